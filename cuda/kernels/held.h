// Entries of a row on chip, in shared memory.
#pragma once
#include "pack.h"
#include "task.h"
#include "team.h"

// Up to PACKS packs of 16 bytes a thread, read once from the device's memory.
//
// Packs lie on 16-byte boundaries of the student: where the stretch starts between two, it starts inside a pack, as it
// ends inside one. A tensor that lies otherwise, and the packs at both ends, are read number by number. A thread comes
// back to its own packs only, so that no barrier is needed. IS_GIVEN: they lie in shared memory that the launch gives.
template <class T, class Team, int PACKS, bool IS_GIVEN = false> struct Held {
    static constexpr int WIDTH = Pack<T>::WIDTH, COUNT = PACKS, CAPACITY = Team::SIZE * PACKS * WIDTH;
    static constexpr bool HAS_INSIDE = false;
    static_assert(PACKS * WIDTH <= 32);
    using Sum = PackSum;

    struct Stored {
        u32x4 t[PACKS][Team::OF_BLOCK], s[PACKS][Team::OF_BLOCK];
    };

    u32 counted; // a bit an item
    u32 thread;
    int lane;
    u64 start; // index of the first entry in the tensor
    int lead, length; // entries of the first pack that belong to others; entries

    DEVICE static Stored &stored() {
        if constexpr (IS_GIVEN) {
            return *(Stored *)dynamic_shared();
        } else {
            SHARED Stored stored;
            return stored;
        }
    }

    DEVICE Held(const Task &task, const Team &team, u64 row, u64 from, int length)
        : counted(0), thread(team.thread), lane((int)team.lane()), start(row * task.length + from), length(length) {
        const T *const teacher = (const T *)task.teacher + start;
        const T *const student = (const T *)task.student + start;
        lead = (int)((u64)student / sizeof(T) % WIDTH);
        if (lead + length > CAPACITY) lead = 0;
        const Counted counts_at = task.counted(row);
#pragma unroll 2
        for (int pack = 0; pack < PACKS; pack++) {
            const int first = first_of(pack);
            const Pack<T> t = read(teacher, first), s = read(student, first);
            if (!task.mask && first >= 0 && first + WIDTH <= length) {
                bool is_plain = true;
#pragma unroll
                for (int i = 0; i < WIDTH; i++)
                    is_plain = is_plain && load(t[i]) < INFINITE && load(s[i]) < INFINITE;
                if (is_plain) {
                    stored().t[pack][thread] = t.words, stored().s[pack][thread] = s.words;
                    counted |= ((1u << WIDTH) - 1) << pack * WIDTH;
                    continue;
                }
            }
            u32 counts = 0, inside = 0;
#pragma unroll
            for (int i = 0; i < WIDTH; i++) {
                if (first + i < 0 || first + i >= length) continue;
                inside |= 1u << i;
                if (counts_at[from + first + i]) counts |= 1u << i;
            }
            const u32 present = task.is_after ? inside : counts;
            const auto clean = [&](T x, int i) {
                if (!(present >> i & 1)) return infinite(T{}, true);
                return load(t[i]) < INFINITE && load(s[i]) < INFINITE ? x : infinite(T{}, false);
            };
            stored().t[pack][thread] = Pack<T>::of([&](int i) { return clean(t[i], i); }).words;
            stored().s[pack][thread] = Pack<T>::of([&](int i) { return clean(s[i], i); }).words;
            counted |= counts << pack * WIDTH;
        }
    }

    template <class F> DEVICE void each(F f) const {
#pragma unroll 1
        for (int pack = 0; pack < PACKS; pack++) {
            if (is_outside(first_of(pack))) break;
            const Pack<T> t{stored().t[pack][thread]}, s{stored().s[pack][thread]};
#pragma unroll
            for (int i = 0; i < WIDTH; i++) f(State::of(load(t[i]), load(s[i])), i);
        }
    }

    // Calls f for every pair of logits, and whether it counts; f is much code.
    template <class F> DEVICE void each_pair(F f) const {
#pragma unroll 1
        for (int pack = 0; pack < PACKS; pack++) {
            if (is_outside(first_of(pack))) break;
            Pack<T> t{stored().t[pack][thread]}, s{stored().s[pack][thread]};
            u32 counts = counted >> pack * WIDTH;
#pragma unroll 1
            for (int word = 0; word < 4; word++, t.turn(), s.turn()) {
#pragma unroll
                for (int i = 0; i < WIDTH / 4; i++, counts >>= 1) f(Logits{load(t[i]), load(s[i])}, counts & 1);
            }
        }
    }

    // Writes what `at` makes of the entries to their places in a tensor like the student; whether a finite number
    // became infinite. WORDS: `at` is much code, and stands there for the numbers of one word only.
    template <bool WORDS, class F> DEVICE bool write(void *tensor, F at) const {
        T *const to = (T *)tensor + start;
        bool overflows = false;
#pragma unroll 1
        for (int pack = 0; pack < PACKS; pack++) {
            const int first = first_of(pack);
            if (is_outside(first)) break;
            Pack<T> t{stored().t[pack][thread]}, s{stored().s[pack][thread]}, out;
            u32 counts = counted >> pack * WIDTH;
            const auto number = [&](int i) {
                return at(Logits{load(t[i]), load(s[i])}, counts >> i & 1, overflows);
            };
            if constexpr (WORDS) {
#pragma unroll 1
                for (int word = 0; word < 4; word++, t.turn(), s.turn(), counts >>= WIDTH / 4) {
                    out.words[0] = Pack<T>::word(0, number);
                    out.turn();
                }
            } else {
                out = Pack<T>::of(number);
            }
            if (is_whole(to, first)) {
                *(u32x4 *)(to + first) = out.words;
            } else {
#pragma unroll
                for (int i = 0; i < WIDTH; i++)
                    if (first + i >= 0 && first + i < length) to[first + i] = out[i];
            }
        }
        return overflows;
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
