// Kernels of rows of which the state says all, for numbers of a type. BLOCKS are those that a multiprocessor has registers
// for at once.
#pragma once
#include "columns.h"
#include "rows.h"

// Of 16 numbers a thread.
#define SHORT_ROWS(T, LANES, BLOCKS)                                                                     \
    KERNEL(THREADS, BLOCKS) void densekd_rows_short_##T(Task task) {                                     \
        rows::by_lanes<Settled<T>, T, LANES, 16 / Pack<T>::WIDTH>(task);                                 \
    }

#define ROWS_OF_WARPS(T, BLOCKS)                                                                         \
    KERNEL(THREADS, BLOCKS) void densekd_rows_lanes32_##T(Task task) {                                   \
        rows::by_lanes<Settled<T>, T, 32, 4>(task);                                                      \
    }

// Of 32 numbers a thread.
#define ROWS_OF_BLOCKS(T, SIZE, BLOCKS)                                                                  \
    KERNEL(SIZE, BLOCKS) void densekd_rows_block##SIZE##_##T(Task task) {                                \
        constexpr int PACKS = 32 / Pack<T>::WIDTH, STORED = 1024 / SIZE;                                 \
        using Stretch = Held<T, Block<SIZE>, STORED < PACKS ? STORED : PACKS>;                           \
        rows::by_wide_block<Settled<T>, Packs<T, Block<SIZE>, PACKS>, Stretch>(task);                    \
    }

// Of 64 numbers a thread.
#define ROWS_OF_DEEP_BLOCKS(T)                                                                           \
    KERNEL(512) void densekd_rows_deep_##T(Task task) {                                                  \
        constexpr int PACKS = 64 / Pack<T>::WIDTH;                                                       \
        using Stretch = Held<T, Block<512>, PACKS / 2, true>;                                            \
        rows::by_wide_block<Settled<T>, Packs<T, Block<512>, PACKS, InShared>, Stretch>(task);           \
    }

#define PARTS_OF_ROWS(T, BLOCKS)                                                                         \
    KERNEL(THREADS, 2) void densekd_rows_parts_##T(Task task) {                                          \
        rows::each_state<T>(task);                                                                       \
    }                                                                                                    \
    KERNEL(THREADS, BLOCKS) void densekd_rows_gradient_##T(Task task) {                                  \
        rows::each_gradient<T>(task);                                                                    \
    }

// Of rows whose entries lie apart.
#define KERNELS_OF_COLUMNS(T)                                                                            \
    KERNEL(THREADS, 2) void densekd_columns_thread_##T(Task task) {                                      \
        columns::by_thread_at_once<Settled<T>, T>(task);                                                 \
    }                                                                                                    \
    KERNEL(THREADS, 2) void densekd_columns_stack_##T(Task task) {                                       \
        columns::by_stack<Settled<T>, T>(task);                                                          \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_columns_short_##T(Task task) {                                          \
        columns::by_thread<Settled<T>, T>(task);                                                         \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_columns_parts_##T(Task task) {                                          \
        columns::each_part<T>(task, StateOfPart{task});                                                  \
    }                                                                                                    \
    KERNEL(THREADS) void densekd_columns_gradient_##T(Task task) {                                       \
        columns::each_part<T>(task, GradientsOfPart<Settled<T>>{task});                                  \
    }
