// The gradient of a row whose state is known, straight from memory to memory: that of `Distributions` in maths.h, by fewer
// instructions.
#pragma once
#include "swift.h"

template <class T, class Team> struct Steady {
    static constexpr int WIDTH = Pack<T>::WIDTH;

    Temperature k;
    Pair log_ratio;
    Exponents of_t, of_s;
    float per_weight, of_teacher; // the gradient's scale, as a multiple of the student's weights; one of the teacher's

    DEVICE Steady(const Task &task, u64 row) : Steady(task, task.known(row)) {}

    // Whether the row has an ordinary scale: not where there is a NaN, or nothing.
    DEVICE bool is_ordinary() const {
        return has_scale(per_weight) && __builtin_fabsf(of_t.top) + __builtin_fabsf(of_s.top) < 1e6f;
    }

    // Writes a stretch of a plain task's row.
    DEVICE void write(const Task &task, u64 start, int length) const {
        const u32x4 *const teacher = (const u32x4 *)((const T *)task.teacher + start);
        const u32x4 *const student = (const u32x4 *)((const T *)task.student + start);
        u32x4 *const to = (u32x4 *)((T *)task.to_student + start);
#pragma unroll 2
        for (int pack = (int)thread_index(); pack < length / WIDTH; pack += Team::SIZE) {
            const Pack<T> t{teacher[pack]}, s{student[pack]};
            to[pack] = Pack<T>::rounded_of([&](int i) INLINE { return at(load(t[i]), load(s[i])); }).words;
        }
    }

  private:
    DEVICE Steady(const Task &task, const State &row)
        : k(task.temperature), log_ratio(row.log_ratio), of_t(row.t, k.per_bit), of_s(row.s, k.per_bit) {
        const float per_student = of_s.about_top(1.0f) / row.student;
        per_weight = -task.mantissa * per_student * task.power;
        of_teacher = of_t.about_top(1.0f) / (row.teacher * per_student);
    }

    DEVICE float at(float t, float s) const {
        const float r = k.nats(difference(t, s), log_ratio), w = of_s.weight(s);
        // Of what one side lacks, r is infinite or NaN.
        const float excess = __builtin_fabsf(r) <= 1.0f ? w * expm1_near(r)
                                                        : __builtin_fmaf(of_t.weight(t), of_teacher, -w);
        return __builtin_fmaf(excess, per_weight, 0.0f);
    }
};
