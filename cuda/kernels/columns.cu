// Rows whose entries lie apart: positions of NCHW, channels of NHWC.
//
// Neighbouring threads have neighbouring rows, so that what a warp reads at once lies together. A thread walks its row
// once a sweep, out of the caches from the second on.
//
//     length      a row is walked by                 kernels
//     to 128      a thread                           short
//     beyond      threads, each a part of 128        parts, gradient (and `whole` between them)
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
        return counted[from + i]
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

    DEVICE State state() const { return merge(Alone(), *this, task.temperature, task.with_entropy); }

    DEVICE void write_gradient(const State &whole) const {
        const Scaled<T> gradient(task, whole);
        bool overflows = false;
#pragma unroll 2
        for (u32 i = 0; i < length; i++)
            ((T *)task.gradient)[index(i)] = gradient.at(at(i), counted[from + i], overflows);
        if (overflows && !whole.is_nan()) set_bits(task.overflowed, 1);
    }
};

DEVICE u64 first_thread() { return block_index() * (u64)THREADS + thread_index(); }
DEVICE u64 thread_count() { return block_count() * (u64)THREADS; }

template <class T> DEVICE void by_thread(const Task &task) {
    for (u64 row = first_thread(); row < task.rows; row += thread_count()) {
        const Strided<T> entries(task, row, 0);
        const State whole = entries.state();
        task.values[row] = task.value_of(whole);
        if (task.gradient) entries.write_gradient(whole);
    }
}

// Calls f for the parts of this thread: part by part of neighbouring rows.
template <class F> DEVICE void each_part(const Task &task, F f) {
    const u64 all = task.rows * task.parts_of_row, of_outer = task.inner * task.parts_of_row;
    for (u64 i = first_thread(); i < all; i += thread_count()) {
        const u64 inside = i % of_outer;
        f(i / of_outer * task.inner + inside % task.inner, inside / task.inner);
    }
}

template <class T> DEVICE void parts(const Task &task) {
    each_part(task, [&](u64 row, u64 part) {
        task.parts[row * task.parts_of_row + part] = Strided<T>(task, row, part).state();
    });
}

template <class T> DEVICE void gradient(const Task &task) {
    each_part(task, [&](u64 row, u64 part) { Strided<T>(task, row, part).write_gradient(task.whole[row]); });
}

} // namespace columns

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_columns_short_##T(Task task) { columns::by_thread<T>(task); }           \
    KERNEL(THREADS) void densekd_columns_parts_##T(Task task) { columns::parts<T>(task); }               \
    KERNEL(THREADS) void densekd_columns_gradient_##T(Task task) { columns::gradient<T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)

#undef KERNELS_OF
