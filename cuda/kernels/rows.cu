// Rows that lie together, of which the state says all.
#include "rows.h"

// For numbers of a type; blocks that a multiprocessor has registers for at once: of 8 lanes a row, of a warp, of a block
// a row, of a part.
#define KERNELS_OF(T, LANES8, LANES32, BLOCK, PART)                                                      \
    KERNEL(THREADS, LANES8) void densekd_rows_lanes8_##T(Task task) {                                    \
        rows::by_lanes<Settled<T>, T, 8, 2>(task);                                                       \
    }                                                                                                    \
    KERNEL(THREADS, LANES32) void densekd_rows_lanes32_##T(Task task) {                                  \
        rows::by_lanes<Settled<T>, T, 32, 4>(task);                                                      \
    }                                                                                                    \
    KERNEL(THREADS, BLOCK) void densekd_rows_block_##T(Task task) {                                      \
        rows::by_block<Settled<T>, T>(task);                                                             \
    }                                                                                                    \
    KERNEL(THREADS, PART) void densekd_rows_parts_##T(Task task) {                                       \
        rows::each_part<T>(task, StateOfPart{task});                                                     \
    }                                                                                                    \
    KERNEL(THREADS, PART) void densekd_rows_gradient_##T(Task task) {                                    \
        rows::each_part<T>(task, GradientsOfPart<Settled<T>>{task});                                     \
    }

KERNELS_OF(f32, 4, 3, 3, 4)
KERNELS_OF(f16, 3, 2, 2, 3)
KERNELS_OF(bf16, 3, 2, 2, 3)

KERNEL(THREADS, 2) void densekd_rows_warp_f32(Task task) { rows::by_warps<Settled<f32>, f32>(task); }

#undef KERNELS_OF
