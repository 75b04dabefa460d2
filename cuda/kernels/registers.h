// A row in registers, read once. Two numbers an entry: the logits first, and whatever they are replaced by, unless they are
// kept (`IS_KEPT`).
#pragma once
#include "pack.h"
#include "task.h"
#include "team.h"

// Whether tensors lie on 16-byte boundaries, and so do all of a task's rows, of which each entry counts.
template <class T> DEVICE bool is_plain(const Task &task) {
    const bool is_aligned = ((u64)task.teacher | (u64)task.student | (u64)task.to_student) % 16 == 0;
    return is_aligned && !task.mask && task.length % Pack<T>::WIDTH == 0;
}

// The second numbers of a thread's packs: in registers.
template <class T, class Threads, int PACKS> struct InRegisters {
    static constexpr int WIDTH = Pack<T>::WIDTH;
    float numbers[PACKS][WIDTH];

    DEVICE explicit InRegisters(const Threads &) {}
    // Calls f with those of a pack, which it may change.
    template <class F> DEVICE void with(int pack, F f) { f(numbers[pack]); }
};

// In shared memory that the launch gives. A thread comes back to its own only.
template <class T, class Threads, int PACKS> struct InShared {
    static constexpr int WIDTH = Pack<T>::WIDTH, WORDS = WIDTH / 4;
    u32x4 *own;

    DEVICE explicit InShared(const Threads &threads) : own(dynamic_shared() + threads.lane()) {}
    template <class F> DEVICE void with(int pack, F f) {
        float numbers[WIDTH];
#pragma unroll
        for (int i = 0; i < WIDTH; i++) numbers[i] = bits<float>(own[at(pack, i / 4)][i % 4]);
        f(numbers);
#pragma unroll
        for (int word = 0; word < WORDS; word++) {
            u32x4 words;
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = bits<u32>(numbers[4 * word + i]);
            own[at(pack, word)] = words;
        }
    }

  private:
    DEVICE static int at(int pack, int word) { return (pack * WORDS + word) * Threads::SIZE; }
};

// Of a row that lies together: packs of 16 bytes, the threads' in turn.
template <class T, class Threads, int PACKS, template <class, class, int> class Second = InRegisters> struct Packs {
    using Number = T;
    using Team = Threads;
    static constexpr bool IS_KEPT = false;
    static constexpr int WIDTH = Pack<T>::WIDTH, COUNT = PACKS;

    u64 start; // index of this thread's first entry in the tensor
    int packs; // of the row, from this thread's first on
    float first[PACKS][WIDTH];
    Second<T, Team, PACKS> second;

    DEVICE static bool suits(const Task &task) { return is_plain<T>(task); }

    DEVICE Packs(const Task &task, const Team &team, u64 row)
        : start(row * task.length + team.lane() * WIDTH), packs((int)(task.length / WIDTH) - (int)team.lane()),
          second(team) {}

    // Calls f for each logit of the student.
    template <class F> DEVICE void read(const Task &task, F f) {
        const u32x4 *const teacher = (const u32x4 *)((const T *)task.teacher + start);
        const u32x4 *const student = (const u32x4 *)((const T *)task.student + start);
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++) {
            second.with(pack, [&](float(&of_student)[WIDTH]) INLINE {
                if (has(pack)) {
                    const Pack<T> t{teacher[pack * Team::SIZE]}, s{student[pack * Team::SIZE]};
#pragma unroll
                    for (int i = 0; i < WIDTH; i++) {
                        first[pack][i] = load(t[i]), of_student[i] = load(s[i]);
                        f(of_student[i]);
                    }
                } else {
                    // Not the numbers of the row before, which would be kept through all that comes between.
                    stay();
#pragma unroll
                    for (int i = 0; i < WIDTH; i++) first[pack][i] = of_student[i] = 0.0f;
                }
            });
        }
    }

    template <class F> DEVICE void each(F f) {
        each_pack([&](int pack, float(&of_it)[WIDTH]) INLINE {
#pragma unroll
            for (int i = 0; i < WIDTH; i++) f(first[pack][i], of_it[i]);
        });
    }

    // Writes what `of` makes of both numbers of an entry to its place in the student's gradient.
    template <class F> DEVICE void write(const Task &task, F of) {
        u32x4 *const to = (u32x4 *)((T *)task.to_student + start);
        each_pack([&](int pack, float(&of_it)[WIDTH]) INLINE {
            const auto number = [&](int i) INLINE { return of(first[pack][i], of_it[i]); };
            to[pack * Team::SIZE] = Pack<T>::rounded_of(number).words;
        });
    }

  private:
    DEVICE bool has(int pack) const { return pack * Team::SIZE < packs; }

    template <class F> DEVICE void each_pack(F f) {
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++)
            if (has(pack)) second.with(pack, [&](float(&of_it)[WIDTH]) INLINE { f(pack, of_it); });
    }
};

// Of a stretch of a plain row that lies together: packs as they are stored.
template <class T, class Threads, int PACKS> struct Kept {
    using Team = Threads;
    static constexpr bool IS_KEPT = true;
    static constexpr int WIDTH = Pack<T>::WIDTH;

    u64 start; // index of this thread's first entry in the tensor
    int packs; // of the stretch, from this thread's first on
    Pack<T> teacher[PACKS], student[PACKS];

    DEVICE Kept(const Task &, const Team &team, u64 first, int length)
        : start(first + team.lane() * WIDTH), packs(length / WIDTH - (int)team.lane()) {}

    template <class F> DEVICE void read(const Task &task, F f) {
        const u32x4 *const of_teacher = (const u32x4 *)((const T *)task.teacher + start);
        const u32x4 *const of_student = (const u32x4 *)((const T *)task.student + start);
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++) {
            if (!has(pack)) continue;
            teacher[pack] = {of_teacher[pack * Team::SIZE]}, student[pack] = {of_student[pack * Team::SIZE]};
#pragma unroll
            for (int i = 0; i < WIDTH; i++) f(load(student[pack][i]));
        }
    }

    // What f makes of the numbers is lost.
    template <class F> DEVICE void each(F f) const {
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++) {
            if (!has(pack)) continue;
            const Pack<T> of_teacher = teacher[pack].anew(), of_student = student[pack].anew();
#pragma unroll
            for (int i = 0; i < WIDTH; i++) {
                float t = load(of_teacher[i]), s = load(of_student[i]);
                f(t, s);
            }
        }
    }

  private:
    DEVICE bool has(int pack) const { return pack * Team::SIZE < packs; }
};

// Of a row whose entries lie apart, the threads' in turn: of each fours, and first what is left over, which is asked for one
// by one.
template <class T, class Threads, int FOURS> struct Apart {
    using Number = T;
    using Team = Threads;
    static constexpr bool IS_KEPT = false;
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
