// A row in registers, by as few instructions as a certificate allows.
//
// Most rows lie on 16-byte boundaries, have no entry ignored or infinite, and are of a teacher and a student who differ
// by more than rounding. Such a row is that of maths.h, with one word for a difference:
//
//     w = e^((s - s_max) / tau),   r = (t - s) / tau - D,   x = w (e^r - 1),   G = sum (r x - (x - w r)),   E = sum x
//
// D comes from the sums of both weights, so that E is nothing but their rounding. What the second words would have
// added is bounded by those sums (`is_certain`). Of any other row nothing is written: the careful form takes it.
#pragma once
#include "held.h"

// (e^r - 1 - r) / r^2 on |r| <= 1/2, to 6e-8: the polynomial with the least relative error.
DEVICE float second_order_near(float r) {
    constexpr float C[6] = {0.5f, 0.166666657f, 0.0416657962f, 0.00833345205f, 0.0013981997f, 0.000198756257f};
    float q = C[5];
#pragma unroll
    for (int i = 4; i >= 0; i--) q = __builtin_fmaf(q, r, C[i]);
    return q;
}

// Exponents of 2 about a row's largest logit, in one operation a logit; `rest` is what that logit's own is then.
struct Exponents {
    float per_bit, top, rest;

    DEVICE Exponents(float largest, float per_bit)
        : per_bit(per_bit), top(largest * per_bit), rest(__builtin_fmaf(largest, per_bit, -top)) {}
    DEVICE float weight(float logit) const { return exp2_approx(__builtin_fmaf(logit, per_bit, -top)); }
    // A sum of weights about that logit.
    DEVICE float about_top(float sum) const { return sum * exp2_approx(-rest); }
};

template <class T, class Team, int PACKS> struct Swift {
    static constexpr int WIDTH = Pack<T>::WIDTH;
    static_assert(PACKS * WIDTH <= 32);
    // Beyond, a product of roundings is no small share of e^r, and a scale no longer one of ordinary size.
    static constexpr float FARTHEST = 16.0f, LEAST = 1e-30f, MOST = 1e30f;

    const Task &task;
    const Team &team;
    u64 start; // index of this thread's first entry in the tensor
    int packs; // of the row, from this thread's first on
    // t and s; then t - s and w; then r; then x and w.
    float a[PACKS][WIDTH], b[PACKS][WIDTH];

    // Whether rows of this task may be done so, whatever is in them.
    DEVICE static bool suits(const Task &task) {
        const bool is_aligned = ((u64)task.teacher | (u64)task.student | (u64)task.to_student) % 16 == 0;
        const bool is_plain = !task.mask && !task.is_known && task.divergence == KL && task.summed == task.rows;
        // No gradient is as large as the scale: then none overflows.
        const float scale = __builtin_fabsf(task.mantissa * task.power);
        return is_aligned && is_plain && task.length % WIDTH == 0 && scale < largest(T{}) && task.power > LEAST;
    }

    DEVICE Swift(const Task &task, const Team &team, u64 row)
        : task(task), team(team), start(row * task.length + team.lane() * WIDTH),
          packs((int)(task.length / WIDTH) - (int)team.lane()) {}

    // Writes the row, unless it is not certain. All of the team come to the same answer.
    DEVICE bool has_written(u64 row) {
        const u32x4 *const teacher = (const u32x4 *)((const T *)task.teacher + start);
        const u32x4 *const student = (const u32x4 *)((const T *)task.student + start);
        float top[2] = {-INFINITE, -INFINITE};
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++) {
            if (has(pack)) {
                const Pack<T> t{teacher[pack * Team::SIZE]}, s{student[pack * Team::SIZE]};
#pragma unroll
                for (int i = 0; i < WIDTH; i++) {
                    a[pack][i] = load(t[i]), b[pack][i] = load(s[i]);
                    top[0] = larger(top[0], a[pack][i]), top[1] = larger(top[1], b[pack][i]);
                }
            } else {
                // Not the numbers of the row before, which would be kept through all that comes between.
#pragma unroll
                for (int i = 0; i < WIDTH; i++) a[pack][i] = b[pack][i] = 0.0f;
            }
        }
        team.max(top);
        const Temperature k = task.temperature;
        const Exponents of_t(top[0], k.per_bit), of_s(top[1], k.per_bit);
        // Not of an infinite one, nor where a rounding of it is a factor.
        if (!(__builtin_fabsf(of_t.top) + __builtin_fabsf(of_s.top) < 1e6f)) return false;

        float weights[2] = {0.0f, 0.0f};
        each([&](float &t, float &s) INLINE {
            const float of_teacher = of_t.weight(t), difference = t - s;
            weights[0] += of_teacher, s = of_s.weight(s), t = difference;
            weights[1] += s;
        });
        team.sum(weights);
        const Pair apart = sum_of(of_t.top, -of_s.top);
        const float ratio = log2_approx(weights[0]) - log2_approx(weights[1]);
        const float reference = ((apart.high + ratio) + apart.low) / k.per_bit, nats = reference * k.per_nat;

        float least = INFINITE, most = -INFINITE;
        each([&](float &d, float &) INLINE {
            d = __builtin_fmaf(d, k.per_nat, -nats);
            least = __builtin_fminf(least, d), most = larger(most, d);
        });
        const bool is_near = least >= -0.5f && most <= 0.5f;
        // Of e^r - 1: the sum, that of its squares, and G.
        float sums[3] = {0.0f, 0.0f, 0.0f};
        const auto add = [&](float &r, float x, float bregman) INLINE {
            sums[0] += x, sums[1] = __builtin_fmaf(x, x, sums[1]), sums[2] += bregman;
            r = x;
        };
        if (is_near) {
            each([&](float &r, float &w) INLINE {
                const float first = w * r, second = first * (r * second_order_near(r)), x = first + second;
                add(r, x, __builtin_fmaf(r, x, -second));
            });
        } else {
            each([&](float &r, float &w) INLINE {
                const float first = w * r, second = first * (r * second_order(r)), near = first + second;
                const float p = w * exp2_approx(r * LOG2_E), far = p - w;
                const bool is_far = !(__builtin_fabsf(r) <= 1.0f);
                add(r, is_far ? far : near, is_far ? __builtin_fmaf(r, p, -far) : __builtin_fmaf(r, near, -second));
            });
            // NaN: found by all of the team in the sums.
            if (!(most <= FARTHEST)) sums[0] = __builtin_nanf("");
        }
        team.sum(sums);

        const float excess = sums[0] / weights[1], beyond = 1.0f + excess;
        const float kl = larger(sums[2] / (weights[1] * beyond) - 0.5f * excess * excess, 0.0f);
        const float per_weight = -task.mantissa / (weights[1] * beyond) * task.power;
        const bool is_small = __builtin_fabsf(excess) <= 1e-3f && excess * excess <= 1e-4f * kl;
        if (!is_small || !is_certain(kl, nats, sums[1], weights[1])) return false;
        if (task.to_student && !has_scale(per_weight)) return false;

        if (team.lane() == 0) {
            task.values[row] = kl;
            if (task.whole) {
                const float rest = __builtin_fmaf(reference, k.per_nat, -nats);
                const float log1p = excess - 0.5f * excess * excess;
                task.whole[row] = {top[0], top[1], of_t.about_top(weights[0]), of_s.about_top(weights[1]),
                                   shifted({reference, 0.0f}, (log1p - rest) * k.tau), kl, 0.0f};
            }
        }
        if (task.to_student) write(excess, per_weight);
        return true;
    }

  private:
    DEVICE static constexpr float largest(f32) { return 3e38f; }
    DEVICE static constexpr float largest(f16) { return 65000.0f; }
    DEVICE static constexpr float largest(bf16) { return 3e38f; }

    DEVICE static bool has_scale(float x) {
        return x == 0.0f || (__builtin_fabsf(x) > LEAST && __builtin_fabsf(x) < MOST);
    }

    // Whether the value, and each gradient beside the row's largest, are right to 1e-6 whatever t - s was rounded by.
    //
    // That is at most 2^-25 of D, and of r, which is as small beside r as any rounding. Let u = 2^-25 |D| / 1e-6 and TV
    // the sum of |p - q|, which is at most v = sqrt(2 KL). The value is off by less than 2^-25 |D| TV: at most 1e-6 of
    // itself where 2 u <= v. A gradient p - q = x / z is off by less than 2^-25 |D| w / z, with w <= 1; the largest x is
    // at least sum x^2 / (z TV).
    DEVICE static bool is_certain(float kl, float nats, float squares, float z) {
        const float u = 0.03f * __builtin_fabsf(nats), v_squared = 2.0f * kl, at_least = u * z;
        return 4.0f * u * u <= v_squared && at_least * at_least * v_squared <= squares * squares;
    }

    DEVICE bool has(int pack) const { return pack * Team::SIZE < packs; }

    template <class F> DEVICE void each_pack(F f) const {
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++)
            if (has(pack)) f(pack);
    }

    template <class F> DEVICE void each(F f) {
        each_pack([&](int pack) INLINE {
#pragma unroll
            for (int i = 0; i < WIDTH; i++) f(a[pack][i], b[pack][i]);
        });
    }

    DEVICE void write(float excess, float per_weight) const {
        u32x4 *const to = (u32x4 *)((T *)task.to_student + start);
        each_pack([&](int pack) INLINE {
            const auto number = [&](int i) INLINE {
                // Adding 0 turns -0 into 0.
                const float apart = __builtin_fmaf(-excess, b[pack][i], a[pack][i]);
                return rounded(T{}, __builtin_fmaf(apart, per_weight, 0.0f));
            };
            to[pack * Team::SIZE] = Pack<T>::of(number).words;
        });
    }
};
