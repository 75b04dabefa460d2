// A row in registers, by as few instructions as a certificate allows.
//
// Most rows lie on 16-byte boundaries, have no entry ignored or infinite, and are of a teacher and a student who differ
// by more than rounding. Such a row is that of maths.h, with one word for a difference:
//
//     w = e^((s - s_max) / tau),   r = (t - s) / tau - D,   x = w (e^r - 1),   G = sum (r x - (x - w r)),   E = sum x
//
// D is the student's mean of the differences: the teacher needs no exponentials of its own where no r is beyond 1/2, and E
// is half of their variance then. Elsewhere D comes from the sums of both weights, and E is nothing but their rounding.
// What the second words would have added is bounded by those sums (`is_certain`). Of any other row nothing is written:
// the careful form takes it.
#pragma once
#include "registers.h"

// (e^r - 1 - r) / r^2 on |r| <= 1/2, to 6e-8: the polynomial with the least relative error.
DEVICE float second_order_near(float r) {
    constexpr float C[6] = {0.5f, 0.166666657f, 0.0416657962f, 0.00833345205f, 0.0013981997f, 0.000198756257f};
    float q = C[5];
#pragma unroll
    for (int i = 4; i >= 0; i--) q = __builtin_fmaf(q, r, C[i]);
    return q;
}

// c(e) of maths.h on -1/32 <= e <= 3/16, to 7e-8, likewise.
DEVICE float correction_near(float e) {
    constexpr float C[6] = {0.5f, -0.666669071f, 0.750011146f, -0.797759533f, 0.789357305f, -0.548398852f};
    float q = C[5];
#pragma unroll
    for (int i = 4; i >= 0; i--) q = __builtin_fmaf(q, e, C[i]);
    return e * e * q;
}

// Sums, and the largest for the last of three.
struct SumsAndLargest {
    DEVICE static float of(int i, float a, float b) { return i < 2 ? a + b : __builtin_fmaxf(a, b); }
};

// Exponents of 2 about a row's largest logit, in one operation a logit; `rest` is what that logit's own is then.
struct Exponents {
    float per_bit, top, rest;

    DEVICE Exponents(float largest, float per_bit)
        : per_bit(per_bit), top(largest * per_bit), rest(__builtin_fmaf(largest, per_bit, -top)) {}
    DEVICE float weight(float logit) const { return exp2_approx(__builtin_fmaf(logit, per_bit, -top)); }
    // A sum of weights about that logit.
    DEVICE float about_top(float sum) const { return sum * exp2_approx(-rest); }
};

DEVICE constexpr float largest(f32) { return 3e38f; }
DEVICE constexpr float largest(f16) { return 65000.0f; }
DEVICE constexpr float largest(bf16) { return 3e38f; }

// Beyond, a scale is no longer one of ordinary size.
constexpr float LEAST = 1e-30f, MOST = 1e30f;

DEVICE bool has_scale(float x) { return x == 0.0f || (__builtin_fabsf(x) > LEAST && __builtin_fabsf(x) < MOST); }

// Whether no gradient of a task overflows.
template <class T> DEVICE bool has_room(const Task &task) {
    // None is as large as the scale.
    return __builtin_fabsf(task.mantissa * task.power) < largest(T{}) && task.power > LEAST;
}

template <class Entries> struct Swift {
    using Team = typename Entries::Team;
    // Beyond, a product of roundings is no small share of e^r.
    static constexpr float FARTHEST = 16.0f;

    const Task &task;
    const Team &team;
    // t and s; then t - s and w; then r; then x and w.
    Entries entries;

    // Whether rows of this task may be done so, whatever is in them.
    DEVICE static bool suits(const Task &task) {
        const bool is_kl = task.divergence == KL && !task.is_known && task.summed == task.rows;
        return is_kl && has_room<typename Entries::Number>(task) && Entries::suits(task);
    }

    DEVICE Swift(const Task &task, const Team &team, u64 row) : task(task), team(team), entries(task, team, row) {}

    // Writes the row, unless it is not certain. All of the team come to the same answer.
    DEVICE bool has_written(u64 row) {
        float top[1] = {-INFINITE};
        entries.read(task, [&](float s) INLINE { top[0] = larger(top[0], s); });
        team.max(top);
        const Temperature k = task.temperature;
        const Exponents of_s(top[0], k.per_bit);
        // Not of an infinite one, nor where a rounding of it is a factor.
        if (!team.goes(__builtin_fabsf(of_s.top) < 1e6f)) return false;

        float top_of_teacher[1] = {-INFINITE}, of_teacher[1] = {0.0f};
        if (task.whole) {
            entries.each([&](float &t, float &) INLINE { top_of_teacher[0] = larger(top_of_teacher[0], t); });
            team.max(top_of_teacher);
            const Exponents of_t(top_of_teacher[0], k.per_bit);
            entries.each([&](float &t, float &) INLINE { of_teacher[0] += of_t.weight(t); });
            team.sum(of_teacher);
            of_teacher[0] = of_t.about_top(of_teacher[0]);
        }

        // Of the student: the sum, and that of differences.
        float weights[2] = {0.0f, 0.0f};
        float least = INFINITE, most = -INFINITE;
        entries.each([&](float &t, float &s) INLINE {
            const float d = t - s;
            t = d, s = of_s.weight(s);
            weights[0] += s, weights[1] = __builtin_fmaf(s, d, weights[1]);
            least = __builtin_fminf(least, d), most = larger(most, d);
        });
        team.sum(weights);
        const float z = weights[0];
        float nats = weights[1] / z * k.per_nat; // D
        const auto beyond_it = [&](float d) INLINE { return __builtin_fmaf(d, k.per_nat, -nats); };
        const bool is_near = team.all(beyond_it(least) >= -0.5f && beyond_it(most) <= 0.5f);

        // Of e^r - 1: the sum, G, and the largest of both signs.
        float sums[3] = {0.0f, 0.0f, 0.0f};
        const auto add = [&](float &d, float x, float bregman) INLINE {
            sums[0] += x, sums[1] += bregman, sums[2] = larger(sums[2], __builtin_fabsf(x));
            d = x;
        };
        if (is_near) {
            entries.each([&](float &d, float &w) INLINE {
                const float r = beyond_it(d);
                const float first = w * r, second = first * (r * second_order_near(r)), x = first + second;
                add(d, x, __builtin_fmaf(r, x, -second));
            });
        } else {
            float both[1] = {0.0f};
            entries.each([&](float &d, float &w) INLINE { both[0] += w * exp2_approx(beyond_it(d) * LOG2_E); });
            team.sum(both);
            nats += log2_approx(both[0] / z) * LN_2;
            entries.each([&](float &d, float &w) INLINE {
                const float r = beyond_it(d);
                const float first = w * r, second = first * (r * second_order(r)), near = first + second;
                const float p = w * exp2_approx(r * LOG2_E), far = p - w;
                const bool is_far = !(__builtin_fabsf(r) <= 1.0f);
                add(d, is_far ? far : near, is_far ? __builtin_fmaf(r, p, -far) : __builtin_fmaf(r, near, -second));
            });
            // NaN: found by all of the team in the sums.
            if (!(beyond_it(most) <= FARTHEST)) sums[0] = __builtin_nanf("");
        }
        team.template reduce<SumsAndLargest>(sums);

        const float excess = sums[0] / z, beyond = 1.0f + excess, per_share = 1.0f / (z * beyond);
        const float correction = correction_near(excess), kl = larger(sums[1] * per_share - correction, 0.0f);
        const float per_weight = -task.mantissa * per_share * task.power;
        // As far as `correction_near` goes, and where little cancels.
        const bool is_small = excess >= -0.03125f && excess <= 0.1875f && correction <= 0.25f * kl;
        if (!is_small || !is_certain(kl, nats, sums[2], excess)) return false;
        if (task.to_student && !has_scale(per_weight)) return false;

        if (team.lane() == 0) {
            task.values[row] = kl;
            if (task.whole) {
                const float reference = nats * k.tau, rest = __builtin_fmaf(reference, k.per_nat, -nats);
                const float log1p = __builtin_fmaf(excess, 1.0f / beyond, correction);
                task.whole[row] = {top_of_teacher[0], top[0], of_teacher[0], of_s.about_top(z),
                                   shifted({reference, 0.0f}, (log1p - rest) * k.tau), kl, 0.0f};
            }
        }
        if (task.to_student) write(excess, per_weight);
        return true;
    }

  private:
    // Whether the value, and each gradient beside the row's largest, are right to 1e-6 whatever t - s was rounded by.
    //
    // That is at most 2^-25 of D, and of r, which is as small beside r as any rounding. Let u = 2^-25 |D| / 1e-6 and TV
    // the sum of |p - q|, which is at most v = sqrt(2 KL). The value is off by less than 2^-25 |D| TV: at most 1e-6 of
    // itself where 2 u <= v. A gradient p - q = (x - E w) / (z (1 + E)), with E a multiple of z here, is off by less than
    // 2^-25 |D| w / z, and w <= 1: the largest is at least the largest |x| without |E|, as a share of z (1 + E).
    DEVICE static bool is_certain(float kl, float nats, float largest, float excess) {
        const float u = 0.03f * __builtin_fabsf(nats);
        return 2.0f * u * u <= kl && u * (1.0f + excess) <= largest - __builtin_fabsf(excess);
    }

    DEVICE void write(float excess, float per_weight) const {
        entries.write(task, [&](float x, float w) INLINE {
            // Adding 0 turns -0 into 0.
            return __builtin_fmaf(__builtin_fmaf(-excess, w, x), per_weight, 0.0f);
        });
    }
};
