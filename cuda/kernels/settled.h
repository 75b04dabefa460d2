// Kernels of rows that lie together, of which the state says all, for numbers of a type. The other numbers are the blocks
// that a multiprocessor has registers for at once: of a few lanes a row, of a warp, of a block a row, of a part.
#pragma once
#include "rows.h"

// Of 16 numbers a thread.
#define SHORT_ROWS(T, LANES, BLOCKS)                                                                     \
    KERNEL(THREADS, BLOCKS) void densekd_rows_short_##T(Task task) {                                     \
        rows::by_lanes<Settled<T>, T, LANES, 16 / Pack<T>::WIDTH>(task);                                 \
    }

#define WHOLE_ROWS(T, LANES32, BLOCK)                                                                    \
    KERNEL(THREADS, LANES32) void densekd_rows_lanes32_##T(Task task) {                                  \
        rows::by_lanes<Settled<T>, T, 32, 4>(task);                                                      \
    }                                                                                                    \
    KERNEL(THREADS, BLOCK) void densekd_rows_block_##T(Task task) {                                      \
        rows::by_block<Settled<T>, T>(task);                                                             \
    }

#define PARTS_OF_ROWS(T, PART)                                                                           \
    KERNEL(THREADS, PART) void densekd_rows_parts_##T(Task task) {                                       \
        rows::each_part<T>(task, StateOfPart{task});                                                     \
    }

#define GRADIENTS_OF_PARTS(T, PART)                                                                      \
    KERNEL(THREADS, PART) void densekd_rows_gradient_##T(Task task) {                                    \
        rows::each_gradient<T>(task);                                                                    \
    }
