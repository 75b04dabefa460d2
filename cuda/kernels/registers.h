// A row in registers, read once. Two numbers an entry: the logits first, and whatever they are replaced by.
#pragma once
#include "pack.h"
#include "task.h"
#include "team.h"

// Whether tensors lie on 16-byte boundaries, and so do all of a task's rows, of which each entry counts.
template <class T> DEVICE bool is_plain(const Task &task) {
    const bool is_aligned = ((u64)task.teacher | (u64)task.student | (u64)task.to_student) % 16 == 0;
    return is_aligned && !task.mask && task.length % Pack<T>::WIDTH == 0;
}

// Of a row that lies together: packs of 16 bytes, the threads' in turn.
template <class T, class Threads, int PACKS> struct Packs {
    using Number = T;
    using Team = Threads;
    static constexpr int WIDTH = Pack<T>::WIDTH, CAPACITY = Team::SIZE * PACKS * WIDTH;
    static_assert(PACKS * WIDTH <= 32);

    u64 start; // index of this thread's first entry in the tensor
    int packs; // of the row, from this thread's first on
    float a[PACKS][WIDTH], b[PACKS][WIDTH];

    DEVICE static bool suits(const Task &task) { return is_plain<T>(task); }

    DEVICE Packs(const Task &task, const Team &team, u64 row)
        : start(row * task.length + team.lane() * WIDTH), packs((int)(task.length / WIDTH) - (int)team.lane()) {}

    // Calls f for each logit of the student.
    template <class F> DEVICE void read(const Task &task, F f) {
        const u32x4 *const teacher = (const u32x4 *)((const T *)task.teacher + start);
        const u32x4 *const student = (const u32x4 *)((const T *)task.student + start);
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++) {
            if (has(pack)) {
                const Pack<T> t{teacher[pack * Team::SIZE]}, s{student[pack * Team::SIZE]};
#pragma unroll
                for (int i = 0; i < WIDTH; i++) {
                    a[pack][i] = load(t[i]), b[pack][i] = load(s[i]);
                    f(b[pack][i]);
                }
            } else {
                // Not the numbers of the row before, which would be kept through all that comes between.
                stay();
#pragma unroll
                for (int i = 0; i < WIDTH; i++) a[pack][i] = b[pack][i] = 0.0f;
            }
        }
    }

    template <class F> DEVICE void each(F f) {
        each_pack([&](int pack) INLINE {
#pragma unroll
            for (int i = 0; i < WIDTH; i++) f(a[pack][i], b[pack][i]);
        });
    }

    // Writes what `of` makes of both numbers of an entry to its place in the student's gradient.
    template <class F> DEVICE void write(const Task &task, F of) const {
        u32x4 *const to = (u32x4 *)((T *)task.to_student + start);
        each_pack([&](int pack) INLINE {
            const auto number = [&](int i) INLINE { return of(a[pack][i], b[pack][i]); };
            to[pack * Team::SIZE] = Pack<T>::rounded_of(number).words;
        });
    }

  private:
    DEVICE bool has(int pack) const { return pack * Team::SIZE < packs; }

    template <class F> DEVICE void each_pack(F f) const {
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++)
            if (has(pack)) f(pack);
    }
};

// Of a row whose entries lie apart, the threads' in turn: of each fours, and first what is left over, which is asked for one
// by one.
template <class T, class Threads, int FOURS> struct Apart {
    using Number = T;
    using Team = Threads;
    static constexpr u64 CAPACITY = Team::SIZE * (4 * FOURS + 3);

    u64 first, apart; // index of this thread's first entry in the tensor; how far on the next one is
    int over, fours;
    float a[FOURS + 1][4], b[FOURS + 1][4];

    // Positions are ignored whole.
    DEVICE static bool suits(const Task &task) { return task.length <= CAPACITY && !(task.mask && task.mask_rows); }

    DEVICE Apart(const Task &task, const Team &team, u64 row)
        : first((row / task.inner * task.length + team.lane()) * task.inner + row % task.inner),
          apart(Team::SIZE * task.inner) {
        const int count = ((int)task.length - (int)team.lane() + Team::SIZE - 1) / Team::SIZE;
        over = count % 4, fours = count / 4;
    }

    template <class F> DEVICE void read(const Task &task, F f) {
        const T *teacher = (const T *)task.teacher + first, *student = (const T *)task.student + first;
        each_place([&](int four, int i) INLINE {
            a[four][i] = load(*teacher), b[four][i] = load(*student);
            teacher += apart, student += apart;
            f(b[four][i]);
        });
    }

    template <class F> DEVICE void each(F f) {
        each_place([&](int four, int i) INLINE { f(a[four][i], b[four][i]); });
    }

    template <class F> DEVICE void write(const Task &task, F of) const {
        T *to = (T *)task.to_student + first;
        each_place([&](int four, int i) INLINE {
            *to = rounded(T{}, of(a[four][i], b[four][i]));
            to += apart;
        });
    }

  private:
    template <class F> DEVICE void each_place(F f) const {
#pragma unroll
        for (int i = 0; i < 3; i++)
            if (i < over) f(0, i);
#pragma unroll
        for (int four = 1; four <= FOURS; four++)
            if (four <= fours) {
#pragma unroll
                for (int i = 0; i < 4; i++) f(four, i);
            }
    }
};
