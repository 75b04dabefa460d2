// Rows that lie together in memory: channels of NCHW, positions of NHWC.
//
//     length, f32    f16, bf16     a row is held by           kernels
//     to 64          to 128        8 lanes                    lanes8
//     to 512         to 1024       a warp                     lanes32
//     to 4096        to 8192       a block                    block
//     beyond         beyond        its parts of 4096 (8192),  parts, gradient
//                                  each by a block
//
// Between parts and gradient runs `whole`. A row that one team holds is read once; value and gradient leave in one
// launch.
#include "held.h"

namespace rows {

template <class T, class Team, int PACKS> DEVICE void rows_of(const Task &task, u64 first, u64 step) {
    const Team team;
    for (u64 row = first; row < task.rows; row += step) {
        const Held<T, Team, PACKS> held(task, team, row, 0, (int)task.length);
        const State whole = merge(team, held, task.temperature, task.with_entropy);
        if (team.lane() == 0) task.values[row] = task.value_of(whole);
        if (task.gradient) held.write_gradient(task, row, 0, whole);
    }
}

template <class T, int LANES, int PACKS> DEVICE void by_lanes(const Task &task) {
    constexpr u64 TEAMS = THREADS / LANES;
    rows_of<T, Lanes<LANES>, PACKS>(task, block_index() * TEAMS + thread_index() / LANES, block_count() * TEAMS);
}

template <class T> DEVICE void by_block(const Task &task) {
    rows_of<T, Block<THREADS>, 4>(task, block_index(), block_count());
}

// One part of one row, of all parts of all rows.
template <class T> struct Part {
    using Team = Block<THREADS>;
    using Entries = Held<T, Team, 4>;
    u64 row, from;
    int length;

    DEVICE Part(const Task &task, u64 i)
        : row(i / task.parts_of_row), from(i % task.parts_of_row * Entries::CAPACITY),
          length((int)(task.length - from < Entries::CAPACITY ? task.length - from : Entries::CAPACITY)) {}

    DEVICE Entries held(const Task &task) const { return {task, Team(), row, from, length}; }
};

// The first pass over long rows: the state of every part.
template <class T> DEVICE void parts(const Task &task) {
    const typename Part<T>::Team team;
    const u64 all = task.rows * task.parts_of_row;
    for (u64 i = block_index(); i < all; i += block_count()) {
        const State state = merge(team, Part<T>(task, i).held(task), task.temperature, task.with_entropy);
        if (team.lane() == 0) task.parts[i] = state;
    }
}

// The second pass: the gradient, about the whole row.
template <class T> DEVICE void gradient(const Task &task) {
    const u64 all = task.rows * task.parts_of_row;
    for (u64 i = block_index(); i < all; i += block_count()) {
        const Part<T> part(task, i);
        part.held(task).write_gradient(task, part.row, part.from, task.whole[part.row]);
    }
}

} // namespace rows

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_rows_lanes8_##T(Task task) { rows::by_lanes<T, 8, 2>(task); }           \
    KERNEL(THREADS) void densekd_rows_lanes32_##T(Task task) { rows::by_lanes<T, 32, 4>(task); }         \
    KERNEL(THREADS) void densekd_rows_block_##T(Task task) { rows::by_block<T>(task); }                  \
    KERNEL(THREADS) void densekd_rows_parts_##T(Task task) { rows::parts<T>(task); }                     \
    KERNEL(THREADS) void densekd_rows_gradient_##T(Task task) { rows::gradient<T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)

#undef KERNELS_OF
