// Rows whose entries lie apart: positions of NCHW, channels of NHWC.
//
// Neighbouring threads have neighbouring rows, so that what a warp reads at once lies together. A thread walks its row
// once a sweep, out of the caches from the second on; a short one it holds.
//
//     length      a row is walked by                 kernels
//     to 31       a thread, in registers             thread; of rows of which the state says all
//     to 216      eight threads, in registers        stack; of those of which all counts
//     to 128      a thread                           short
//     beyond      threads, each a part of 128        parts, gradient (and `whole` between them)
#pragma once
#include "swift.h"

namespace columns {

constexpr int PART = 128;

// Entries at a fixed distance.
template <class T> struct Strided {
    static constexpr bool HAS_INSIDE = false;
    using Sum = LongSum;
    const Task &task;
    Counted counted;
    u64 first, from; // index of the row's first entry in the tensor; entries of the row before this part
    u32 length;

    DEVICE Strided(const Task &task, u64 row, u64 from, u64 length)
        : task(task), counted(task.counted(row)),
          first(row / task.inner * task.length * task.inner + row % task.inner), from(from), length((u32)length) {}

    DEVICE u64 index(u32 i) const { return first + (from + i) * task.inner; }

    DEVICE Logits at(u32 i) const {
        return task.is_after || counted[from + i]
                   ? Logits::of(load(((const T *)task.teacher)[index(i)]), load(((const T *)task.student)[index(i)]))
                   : Logits::nothing();
    }

    template <class F> DEVICE void each(F f) const {
#pragma unroll 2
        for (u32 i = 0; i < length; i++) {
            const Logits x = at(i);
            f(State::of(x.t, x.s), 0);
        }
    }

    // Calls f for every pair of logits, and whether it counts.
    template <class F> DEVICE void each_pair(F f) const {
#pragma unroll 1
        for (u32 i = 0; i < length; i++) f(at(i), counted[from + i]);
    }

    // Writes what `of` makes of the entries to their places in a tensor like the student; whether a finite number
    // became infinite. WORDS: `of` is much code.
    template <bool WORDS, class F> DEVICE bool write(void *tensor, F of) const {
        bool overflows = false;
#pragma unroll WORDS ? 1 : 2
        for (u32 i = 0; i < length; i++) ((T *)tensor)[index(i)] = of(at(i), counted[from + i], overflows);
        return overflows;
    }
};

DEVICE u64 first_thread() { return block_index() * (u64)THREADS + thread_index(); }
DEVICE u64 thread_count() { return block_count() * (u64)THREADS; }

template <class Form, class T> DEVICE void row_of(const Task &task, u64 row) {
    const Strided<T> entries(task, row, 0, task.length);
    const Form whole = Form::of_row(task, Alone(), entries, row);
    task.values[row] = whole.value();
    write_gradients(task, entries, whole);
}

template <class Form, class T> DEVICE void by_thread(const Task &task) {
    for (u64 row = first_thread(); row < task.rows; row += thread_count()) row_of<Form, T>(task, row);
}

template <class Form, class T> DEVICE void by_thread_at_once(const Task &task) {
    using Row = Swift<Apart<T, Alone, 7>>;
    const bool is_plain = Row::suits(task);
    for (u64 row = first_thread(); row < task.rows; row += thread_count()) {
        const bool counts = task.counted(row)[0];
        if (!is_plain || !counts || !Row(task, Alone(), row).has_written(row)) row_of<Form, T>(task, row);
    }
}

// Eight threads a row; of what they are not certain of, and of the last rows, one.
template <class Form, class T> DEVICE void by_stack(const Task &task) {
    using Team = Stacked<8>;
    using Row = Swift<Apart<T, Team, 6>>;
    constexpr u64 ROWS = Team::TEAMS;
    const Team team;
    // Which rows count is seen by threads that have a row each.
    const bool is_plain = !task.mask && Row::suits(task);
    for (u64 first = block_index() * ROWS; first < task.rows; first += block_count() * ROWS) {
        const u64 row = first + team.thread % ROWS;
        const bool is_written =
            is_plain && first + ROWS <= task.rows && Row(task, team, row).has_written(row);
        if (!is_written && row < task.rows && team.lane() == 0) row_of<Form, T>(task, row);
    }
}

// Calls f for the parts of this thread, each with its entries, its row and its number: part by part of neighbouring
// rows.
template <class T, class F> DEVICE void each_part(const Task &task, F f) {
    const u64 all = task.rows * task.parts_of_row, of_outer = task.inner * task.parts_of_row;
    for (u64 i = first_thread(); i < all; i += thread_count()) {
        const u64 inside = i % of_outer;
        const u64 row = i / of_outer * task.inner + inside % task.inner, part = inside / task.inner;
        const u64 from = part * PART, rest = task.length - from;
        f(Alone(), Strided<T>(task, row, from, rest < PART ? rest : PART), row, row * task.parts_of_row + part);
    }
}

} // namespace columns
