// Rows that lie together in memory: channels of NCHW, positions of NHWC.
//
//     length, f32    f16, bf16     a row is held by           kernels
//     to 64          to 128        8 lanes, or 4 (f32)        lanes8; short, of rows of which the state says all
//     to 512         to 1024       a warp                     lanes32
//     to 1024                      a warp, or else a block    warp; of rows of which the state says all
//     to 4096        to 8192       a block                    block; of rows of which the state says all block128, and
//                                                             of f16 and bf16 beyond 4096 block256
//     to 16384       to 16384      a block                    block256 (to 8192), block512; of plain tasks (swift.h)
//     to 32768       to 32768      a block                    deep; of plain tasks, with 128 KiB of shared memory
//     beyond         beyond        its parts of 4096 (8192),  parts, gradient
//                                  each by a block
//
// Between parts and gradient runs `whole`. A row that one team holds is read once; value and gradients leave in one
// launch.
#pragma once
#include "held.h"
#include "states.h"
#include "steady.h"

namespace rows {

// Any row, by the careful form.
template <class Form, class Whole, class Team> DEVICE void row_of(const Task &task, const Team &team, u64 row) {
    const Whole held(task, team, row, 0, (int)task.length);
    const Form whole = Form::of_row(task, team, held, row);
    // By all lanes: those that went another way would read by themselves from there on.
    const double value = whole.value();
    if (team.lane() == 0) task.values[row] = value;
    write_gradients(task, held, whole);
}

// A row that the block has no shared memory for at once: stretch by stretch, and again for the gradient.
template <class Form, class Stretch, int STRETCHES, class Team>
DEVICE void row_in_stretches(const Task &task, const Team &team, u64 row) {
    SHARED State of_stretch[STRETCHES], of_row;
    const int count = (int)((task.length + Stretch::CAPACITY - 1) / Stretch::CAPACITY);
#pragma unroll 1
    for (int i = 0; i < (task.to_student ? 2 : 1) * count; i++) {
        const bool is_first = i < count;
        const u64 from = (u64)(is_first ? i : i - count) * Stretch::CAPACITY, rest = task.length - from;
        const Stretch held(task, team, row, from, rest < Stretch::CAPACITY ? (int)rest : Stretch::CAPACITY);
        if (!is_first) {
            write_gradients(task, held, Form(task, of_row));
            continue;
        }
        const State state = merge(team, held, task.temperature, task.with_entropy());
        if (team.lane() == 0) of_stretch[i] = state;
        if (i < count - 1) continue;
        barrier();
        if (team.lane() < 32) {
            const Lanes<32> warp(team.thread);
            const State whole = task.state(warp, Parts{of_stretch, (u64)count, warp.lane()}, row);
            if (warp.lane() == 0) of_row = whole, task.values[row] = task.value_of(whole);
        }
        barrier();
    }
    // Before another row's is written there.
    barrier();
}

template <class Form, class T, class Team, int PACKS>
DEVICE void rows_of(const Task &task, u64 first, u64 step) {
    using Row = Swift<Packs<T, Team, PACKS>>;
    const Team team;
    const bool is_plain = Form::IS_OF_STATE && Row::suits(task);
    for (u64 row = first; row < task.rows; row += step)
        if (!is_plain || !Row(task, team, row).has_written(row))
            row_of<Form, Held<T, Team, PACKS>>(task, Team(thread_index_anew()), row);
}

template <class Form, class T, int LANES, int PACKS> DEVICE void by_lanes(const Task &task) {
    constexpr u64 TEAMS = THREADS / LANES;
    rows_of<Form, T, Lanes<LANES>, PACKS>(task, block_index() * TEAMS + thread_index() / LANES,
                                          block_count() * TEAMS);
}

template <class Form, class T> DEVICE void by_block(const Task &task) {
    rows_of<Form, T, Block<THREADS>, 4>(task, block_index(), block_count());
}

// A block a row, of which the state says all: as many numbers a thread as registers hold beside all else, or twice as many
// with shared memory that the launch gives. Where a row is not certain, a stretch is in shared memory at once.
template <class Form, class Entries, class Stretch> DEVICE void by_wide_block(const Task &task) {
    using Team = typename Entries::Team;
    using Row = Swift<Entries>;
    constexpr int STRETCHES = Entries::COUNT / Stretch::COUNT;
    const Team team;
    const bool is_plain = Row::suits(task);
    for (u64 row = block_index(); row < task.rows; row += block_count()) {
        if (is_plain && Row(task, team, row).has_written(row)) continue;
        const Team anew(thread_index_anew());
        if constexpr (STRETCHES > 1)
            row_in_stretches<Form, Stretch, STRETCHES>(task, anew, row);
        else
            row_of<Form, Stretch>(task, anew, row);
    }
}

// A warp a row, of twice as many entries as shared memory holds for it; the block does those that are not certain.
template <class Form, class T> DEVICE void by_warps(const Task &task) {
    using Row = Swift<Packs<T, Lanes<32>, 32 / Pack<T>::WIDTH>>;
    constexpr u64 WARPS = THREADS / 32;
    SHARED bool is_written[WARPS];
    const Lanes<32> warp;
    const bool is_plain = Row::suits(task);
    const u64 own = thread_index() / 32;
    for (u64 first = block_index() * WARPS; first < task.rows; first += block_count() * WARPS) {
        const u64 row = first + own;
        const bool is_done = row >= task.rows || (is_plain && Row(task, warp, row).has_written(row));
        if (warp.lane() == 0) is_written[own] = is_done;
        barrier();
#pragma unroll 1
        for (u64 i = 0; i < WARPS; i++)
            if (!is_written[i])
                row_of<Form, Held<T, Block<THREADS>, 4>>(task, Block<THREADS>(thread_index_anew()), first + i);
        barrier();
    }
}

// Calls f for the parts of this block: a row, where the part begins, how many entries it has, and its number.
template <class T, class F> DEVICE void each_stretch(const Task &task, F f) {
    constexpr u64 CAPACITY = Held<T, Block<THREADS>, 4>::CAPACITY;
    const u64 all = task.rows * task.parts_of_row;
    for (u64 i = block_index(); i < all; i += block_count()) {
        const u64 row = i / task.parts_of_row, from = i % task.parts_of_row * CAPACITY, rest = task.length - from;
        f(row, from, (int)(rest < CAPACITY ? rest : CAPACITY), i);
    }
}

// Calls f for the parts of this block, each with its entries, its row and its number.
template <class T, class F> DEVICE void each_part(const Task &task, F f) {
    using Team = Block<THREADS>;
    each_stretch<T>(task, [&](u64 row, u64 from, int length, u64 part) INLINE {
        const Team team;
        f(team, Held<T, Team, 4>(task, team, row, from, length), row, part);
    });
}

// States of the parts of rows.
template <class T> DEVICE void each_state(const Task &task) {
    using Team = Block<THREADS>;
    using Part = Swift<Kept<T, Team, 4>>;
    const bool is_plain = ::is_plain<T>(task) && !task.with_entropy() && task.summed == task.rows;
    each_stretch<T>(task, [&](u64 row, u64 from, int length, u64 part) INLINE {
        const Team team;
        Part swift(task, team, row * task.length + from, length);
        if (is_plain && swift.has_found(true)) {
            if (team.lane() == 0) task.parts[part] = swift.state();
        } else {
            const Team anew(thread_index_anew());
            StateOfPart{task}(anew, Held<T, Team, 4>(task, anew, row, from, length), row, part);
        }
    });
}

// Writes the gradient of a row of which the state says all.
template <class T> DEVICE void each_gradient(const Task &task) {
    using Team = Block<THREADS>;
    const bool is_plain = ::is_plain<T>(task) && has_room<T>(task);
    each_stretch<T>(task, [&](u64 row, u64 from, int length, u64 part) INLINE {
        const Steady<T, Team> steady(task, row);
        if (is_plain && steady.is_ordinary()) {
            steady.write(task, row * task.length + from, length);
        } else {
            const Team team;
            const Held<T, Team, 4> held(task, team, row, from, length);
            GradientsOfPart<Settled<T>>{task}(team, held, row, part);
        }
    });
}

} // namespace rows
