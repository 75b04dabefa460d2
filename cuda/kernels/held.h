// Entries of a row on chip, in shared memory.
#pragma once
#include "task.h"
#include "team.h"

// Sixteen bytes as numbers.
template <class T> struct Pack {
    static constexpr int WIDTH = 16 / sizeof(T);
    u32x4 words;

    template <class Of> DEVICE static Pack of(Of number) {
        Pack pack;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (WIDTH == 4)
                pack.words[i] = bits<u32>(number(i));
            else
                pack.words[i] = number(2 * i).stored | (u32)number(2 * i + 1).stored << 16;
        }
        return pack;
    }

    DEVICE T operator[](int i) const {
        if constexpr (WIDTH == 4)
            return bits<T>(words[i]);
        else
            return {(u16)(words[i / 2] >> i % 2 * 16)};
    }
};

// Up to PACKS packs of 16 bytes a thread, read once from the device's memory.
//
// Packs lie on 16-byte boundaries of the student: where the stretch starts between two, it starts inside a pack, as it
// ends inside one. A tensor that lies otherwise, and the packs at both ends, are read number by number. A thread comes
// back to its own packs only, so that no barrier is needed.
template <class T, class Team, int PACKS> struct Held {
    static constexpr int WIDTH = Pack<T>::WIDTH, CAPACITY = Team::SIZE * PACKS * WIDTH;
    static constexpr bool HAS_INSIDE = false;
    static_assert(PACKS * WIDTH <= 32);
    using Sum = PackSum;

    struct Stored {
        u32x4 t[PACKS][THREADS], s[PACKS][THREADS];
    };

    u32 counted; // a bit an item
    int lane;
    int lead, length; // entries of the first pack that belong to others; entries

    DEVICE static Stored &stored() {
        SHARED Stored stored;
        return stored;
    }

    DEVICE Held(const Task &task, const Team &team, u64 row, u64 from, int length)
        : counted(0), lane((int)team.lane()), length(length) {
        const T *const teacher = (const T *)task.teacher + row * task.length + from;
        const T *const student = (const T *)task.student + row * task.length + from;
        lead = (int)((u64)student / sizeof(T) % WIDTH);
        if (lead + length > CAPACITY) lead = 0;
        const Counted counts_at = task.counted(row);
#pragma unroll 2
        for (int pack = 0; pack < PACKS; pack++) {
            const int first = first_of(pack);
            const Pack<T> t = read(teacher, first), s = read(student, first);
            u32 counts = 0;
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
                if (first + i >= 0 && first + i < length && counts_at[from + first + i]) counts |= 1u << i;
            const auto clean = [&](int i) {
                return counts >> i & 1 ? Logits::of(load(t[i]), load(s[i])) : Logits::nothing();
            };
            stored().t[pack][thread_index()] = Pack<T>::of([&](int i) { return rounded(T{}, clean(i).t); }).words;
            stored().s[pack][thread_index()] = Pack<T>::of([&](int i) { return rounded(T{}, clean(i).s); }).words;
            counted |= counts << pack * WIDTH;
        }
    }

    template <class F> DEVICE void each(F f) const {
#pragma unroll 1
        for (int pack = 0; pack < PACKS; pack++) {
            if (is_outside(first_of(pack))) break;
            const Pack<T> t{stored().t[pack][thread_index()]}, s{stored().s[pack][thread_index()]};
#pragma unroll
            for (int i = 0; i < WIDTH; i++) f(State::of(load(t[i]), load(s[i])), i);
        }
    }

    DEVICE void write_gradient(const Task &task, u64 row, u64 from, const State &whole) const {
        T *const to = (T *)task.gradient + row * task.length + from;
        const Scaled<T> gradient(task, whole);
        bool overflows = false;
#pragma unroll 1
        for (int pack = 0; pack < PACKS; pack++) {
            const int first = first_of(pack);
            if (is_outside(first)) break;
            const Pack<T> t{stored().t[pack][thread_index()]}, s{stored().s[pack][thread_index()]};
            const Pack<T> out = Pack<T>::of([&](int i) {
                return gradient.at({load(t[i]), load(s[i])}, counted >> (pack * WIDTH + i) & 1, overflows);
            });
            if (is_whole(to, first)) {
                *(u32x4 *)(to + first) = out.words;
            } else {
#pragma unroll
                for (int i = 0; i < WIDTH; i++)
                    if (first + i >= 0 && first + i < length) to[first + i] = out[i];
            }
        }
        if (overflows && !whole.is_nan()) set_bits(task.overflowed, 1);
    }

  private:
    DEVICE int first_of(int pack) const { return (pack * Team::SIZE + lane) * WIDTH - lead; }

    // Packs of a thread come in order: after one outside, all are.
    DEVICE bool is_outside(int first) const { return first >= length; }

    // Whether a pack lies inside the stretch, and on a boundary of this tensor.
    DEVICE bool is_whole(const T *tensor, int first) const {
        return first >= 0 && first + WIDTH <= length && (u64)(tensor + first) % 16 == 0;
    }

    DEVICE Pack<T> read(const T *from, int first) const {
        if (is_whole(from, first)) return {*(const u32x4 *)(from + first)};
        return Pack<T>::of([&](int i) { return first + i >= 0 && first + i < length ? from[first + i] : T{}; });
    }
};
