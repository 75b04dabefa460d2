// What is left when each piece is done: the state of a row from its parts, and the sum of rows.
#include "states.h"

constexpr int WARPS = THREADS / 32;

// A warp a row.
KERNEL(THREADS) void densekd_whole(Task task) {
    const Lanes<32> team;
    const u64 first = block_index() * (u64)WARPS + thread_index() / 32, step = block_count() * (u64)WARPS;
    for (u64 row = first; row < task.rows; row += step) {
        const Parts parts{task.parts + row * task.parts_of_row, task.parts_of_row, team.lane()};
        const State whole = task.state(team, parts, row);
        if (team.lane() == 0) task.values[row] = task.value_of(whole);
    }
}

// Sums of 4096 neighbours each; of one such sum, the whole. The order is that of a tree, and never changes.
KERNEL(THREADS) void densekd_total(const double *values, u64 count, double *sums) {
    constexpr u64 STRETCH = 4096;
    SHARED double of_thread[THREADS];
    for (u64 from = block_index() * STRETCH; from < count; from += block_count() * STRETCH) {
        const u64 end = from + STRETCH < count ? from + STRETCH : count;
        double sum = 0.0;
        for (u64 i = from + thread_index(); i < end; i += THREADS) sum += values[i];
        of_thread[thread_index()] = sum;
        barrier();
        for (u32 half = THREADS / 2; half > 0; half /= 2) {
            if (thread_index() < half) of_thread[thread_index()] += of_thread[thread_index() + half];
            barrier();
        }
        if (thread_index() == 0) sums[from / STRETCH] = of_thread[0];
        barrier();
    }
}
