// Rows that lie together, of which the state says all.
#define SCARCE_REGISTERS
#include "rows.h"

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_rows_lanes8_##T(Task task) {                                            \
        rows::by_lanes<Settled<T>, T, 8, 2>(task);                                                       \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_rows_lanes32_##T(Task task) {                                           \
        rows::by_lanes<Settled<T>, T, 32, 4>(task);                                                      \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_rows_block_##T(Task task) { rows::by_block<Settled<T>, T>(task); }      \
    KERNEL(THREADS) void densekd_rows_parts_##T(Task task) {                                             \
        rows::each_part<T>(task, StateOfPart{task});                                                     \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_rows_gradient_##T(Task task) {                                          \
        rows::each_part<T>(task, GradientsOfPart<Settled<T>>{task});                                     \
    }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)

KERNEL(THREADS) void densekd_rows_warp_f32(Task task) { rows::by_warps<Settled<f32>, f32>(task); }

#undef KERNELS_OF
