// Rows whose entries lie apart: positions of NCHW, channels of NHWC.
//
// Neighbouring threads have neighbouring rows, so that what a warp reads at once lies together. A thread walks its row
// once a sweep, out of the caches from the second on.
//
//     length      a row is walked by                 kernels
//     to 128      a thread                           short
//     beyond      threads, each a part of 128        parts, gradient (and `whole` between them)
#pragma once
#include "task.h"
#include "team.h"

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

    DEVICE Strided(const Task &task, u64 row, u64 part)
        : task(task), counted(task.counted(row)),
          first(row / task.inner * task.length * task.inner + row % task.inner), from(part * PART),
          length((u32)(task.length - from < PART ? task.length - from : PART)) {}

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

template <class Form, class T> DEVICE void by_thread(const Task &task) {
    for (u64 row = first_thread(); row < task.rows; row += thread_count()) {
        const Strided<T> entries(task, row, 0);
        const Form whole = Form::of_row(task, Alone(), entries, row);
        task.values[row] = whole.value();
        write_gradients(task, entries, whole);
    }
}

// Calls f for the parts of this thread, each with its entries, its row and its number: part by part of neighbouring
// rows.
template <class T, class F> DEVICE void each_part(const Task &task, F f) {
    const u64 all = task.rows * task.parts_of_row, of_outer = task.inner * task.parts_of_row;
    for (u64 i = first_thread(); i < all; i += thread_count()) {
        const u64 inside = i % of_outer;
        const u64 row = i / of_outer * task.inner + inside % task.inner, part = inside / task.inner;
        f(Alone(), Strided<T>(task, row, part), row, row * task.parts_of_row + part);
    }
}

} // namespace columns
