// Rows with a sum of their own, whether their entries lie together or apart.
//
// Of long rows the states of parts and rows come first; then totals of parts, totals of rows (`whole`), gradients.
#include "columns.h"
#include "rows.h"
#include "terms.h"

// A warp a row.
KERNEL(THREADS) void densekd_terms_whole(Task task) {
    const Lanes<32> team;
    constexpr u64 WARPS = THREADS / 32;
    for (u64 row = block_index() * WARPS + thread_index() / 32; row < task.rows; row += block_count() * WARPS) {
        Totals sums{};
        const Totals *const parts = task.part_totals + row * task.parts_of_row;
        for (u64 i = team.lane(); i < task.parts_of_row; i += 32) sums.add(parts[i]);
        sums = sums.over(team);
        const double value = Summed<f32>(task, task.known(row), sums).value();
        if (team.lane() == 0) task.totals[row] = sums, task.values[row] = value;
    }
}

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_terms_rows_lanes8_##T(Task task) {                                      \
        rows::by_lanes<Summed<T>, T, 8, 2>(task);                                                        \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_rows_lanes32_##T(Task task) {                                     \
        rows::by_lanes<Summed<T>, T, 32, 4>(task);                                                       \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_rows_block_##T(Task task) {                                       \
        rows::by_block<Summed<T>, T>(task);                                                              \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_rows_parts_##T(Task task) {                                       \
        rows::each_part<T>(task, TotalsOfPart<T>{task});                                                 \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_rows_gradient_##T(Task task) {                                    \
        rows::each_part<T>(task, GradientsOfPart<Summed<T>>{task});                                      \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_columns_short_##T(Task task) {                                    \
        columns::by_thread<Summed<T>, T>(task);                                                          \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_columns_parts_##T(Task task) {                                    \
        columns::each_part<T>(task, TotalsOfPart<T>{task});                                              \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_terms_columns_gradient_##T(Task task) {                                 \
        columns::each_part<T>(task, GradientsOfPart<Summed<T>>{task});                                   \
    }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)

#undef KERNELS_OF
