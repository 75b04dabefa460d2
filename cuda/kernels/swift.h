// A row in registers, by as few instructions as a certificate allows.
//
// Most rows lie on 16-byte boundaries, have no entry ignored or infinite, and are of a teacher and a student who differ
// by more than rounding. Such a row is that of maths.h, with one word for a difference:
//
//     w = e^((s - s_max) / tau),   r = (t - s) / tau - D,   x = w (e^r - 1),   G = sum (r x - (x - w r)),   E = sum x
//
// D is the student's mean of the differences: the teacher needs no exponentials of its own where no r is beyond 1, and E is
// half of their variance then. Elsewhere D comes from the sums of both weights, and E is nothing but their rounding.
// What the second words would have added is bounded by those sums (`is_certain`). Of any other row nothing is written:
// the careful form takes it. A part of a row, which does not know of the row what that bound asks, takes the second words:
// from logits that are kept as they are stored.
#pragma once
#include "registers.h"

// w (e^r - 1) and w k(r) for |r| <= 1: r - (e^r - 1) is r^2 times the polynomial with the least relative error, 1.1e-7.
// Two products that are not fused spare a change of sign.
struct Near {
    float excess, bregman;

    DEVICE Near(float w, float r) {
        constexpr float C[7] = {-0.5f,           -0.166666955f,    -0.0416665152f, -0.00833093002f,
                                -0.00138913351f, -0.000203254836f, -2.49608147e-05f};
        float q = C[6];
#pragma unroll
        for (int i = 5; i >= 0; i--) q = __builtin_fmaf(q, r, C[i]);
        const float first = product(w, r), less = product(first, r * q);
        excess = first - less, bregman = __builtin_fmaf(r, excess, less);
    }
};

// c(e) of maths.h on -1/32 <= e <= 1/2, to 2e-7, by its series.
DEVICE float correction_near(float e) {
    const float s = e / (2.0f + e), square = s * s;
    float rest = 1.0f / 11.0f;
#pragma unroll
    for (int n = 9; n >= 3; n -= 2) rest = __builtin_fmaf(rest, square, 1.0f / (float)n);
    return 2.0f * square * __builtin_fmaf(s, rest, __builtin_fmaf(0.5f, e, 1.0f) / (1.0f + e));
}

// Sums, and the least for the last of three.
struct SumsAndLeast {
    DEVICE static float of(int i, float a, float b) { return i < 2 ? a + b : __builtin_fminf(a, b); }
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
    // t and s; then t - s and w; then x and w. Where they are kept, t and s throughout.
    Entries entries;
    // What was found: largest logits; sums of weights, the teacher's about its own; D; E; c(E).
    float top_of_teacher, top_of_student, of_teacher, of_student, nats, excess, correction, kl;

    // Whether rows of this task may be done so, whatever is in them.
    DEVICE static bool suits(const Task &task) {
        const bool is_kl = task.divergence == KL && !task.is_known && task.summed == task.rows;
        return is_kl && has_room<typename Entries::Number>(task) && Entries::suits(task);
    }

    template <class... Where>
    DEVICE Swift(const Task &task, const Team &team, Where... where) : task(task), team(team), entries(task, team, where...) {}

    // Writes the row, unless it is not certain. All of the team come to the same answer.
    DEVICE bool has_written(u64 row) {
        if (!has_found(task.whole)) return false;
        const float per_weight = -task.mantissa / (of_student * (1.0f + excess)) * task.power;
        if (task.to_student && !has_scale(per_weight)) return false;
        if (team.lane() == 0) {
            task.values[row] = kl;
            if (task.whole) task.whole[row] = state();
        }
        if (task.to_student) write(per_weight);
        return true;
    }

    // What was found, with the teacher's side.
    DEVICE State state() const {
        const Temperature k = task.temperature;
        const float reference = nats * k.tau, rest = __builtin_fmaf(reference, k.per_nat, -nats);
        const float log1p = excess / (1.0f + excess) + correction;
        return {top_of_teacher, top_of_student, of_teacher, Exponents(top_of_student, k.per_bit).about_top(of_student),
                shifted({reference, 0.0f}, (log1p - rest) * k.tau), kl, 0.0f};
    }

    // Whether all was found, the teacher's side where it is wanted, and is certain.
    DEVICE bool has_found(bool wants_teacher) {
        float top[1] = {-INFINITE};
        entries.read(task, [&](float s) INLINE { top[0] = larger(top[0], s); });
        team.max(top);
        const Temperature k = task.temperature;
        const Exponents of_s(top[0], k.per_bit);
        // Not of an infinite one, nor where a rounding of it is a factor.
        if (!team.goes(__builtin_fabsf(of_s.top) < 1e6f)) return false;

        top_of_student = top[0];
        if (wants_teacher) {
            float sum[1] = {0.0f};
            top[0] = -INFINITE;
            entries.each([&](float &t, float &) INLINE { top[0] = larger(top[0], t); });
            team.max(top);
            const Exponents of_t(top[0], k.per_bit);
            entries.each([&](float &t, float &) INLINE { sum[0] += of_t.weight(t); });
            team.sum(sum);
            top_of_teacher = top[0], of_teacher = of_t.about_top(sum[0]);
        }

        // Of the student: the sum, and that of differences.
        float weights[2] = {0.0f, 0.0f};
        float least = INFINITE, most = -INFINITE;
        entries.each([&](float &t, float &s) INLINE {
            const float d = t - s, w = of_s.weight(s);
            if constexpr (!Entries::IS_KEPT) t = d, s = w;
            weights[0] += w, weights[1] = __builtin_fmaf(w, d, weights[1]);
            least = __builtin_fminf(least, d), most = larger(most, d);
        });
        team.sum(weights);
        const float z = weights[0];
        of_student = z, nats = weights[1] / z * k.per_nat;
        float less_nats = -nats;
        const auto beyond_it = [&](float d) INLINE { return __builtin_fmaf(d, k.per_nat, less_nats); };
        const bool is_near = team.all(beyond_it(least) >= -1.0f && beyond_it(most) <= 1.0f);
        // Calls f for each r and w, and lets it change what is there.
        const auto each = [&](auto f) INLINE {
            entries.each([&](float &a, float &b) INLINE {
                if constexpr (Entries::IS_KEPT) {
                    const Pair d = difference(a, b);
                    float x;
                    f(__builtin_fmaf(d.low, k.per_nat, beyond_it(d.high)), of_s.weight(b), x);
                } else {
                    f(beyond_it(a), b, a);
                }
            });
        };

        // Of x: the sum, G, and the least.
        float sums[3] = {0.0f, 0.0f, 0.0f};
        const auto add = [&](float x, float bregman) INLINE {
            sums[0] += x, sums[1] += bregman;
            if constexpr (!Entries::IS_KEPT) sums[2] = __builtin_fminf(sums[2], x);
            return x;
        };
        if (is_near) {
            each([&](float r, float w, float &x) INLINE {
                const Near near(w, r);
                x = add(near.excess, near.bregman);
            });
        } else {
            float both[1] = {0.0f};
            each([&](float r, float w, float &) INLINE { both[0] += w * exp2_approx(r * LOG2_E); });
            team.sum(both);
            nats += log2_approx(both[0] / z) * LN_2, less_nats = -nats;
            each([&](float r, float w, float &x) INLINE {
                const float p = product(w, exp2_approx(r * LOG2_E)), of_far = __builtin_fmaf(r, p, w - p);
                const Near near(w, r);
                const bool is_far = !(__builtin_fabsf(r) <= 1.0f);
                x = add(is_far ? p - w : near.excess, is_far ? of_far : near.bregman);
            });
            // NaN: found by all of the team in the sums.
            if (!(beyond_it(most) <= FARTHEST)) sums[0] = __builtin_nanf("");
        }
        team.template reduce<SumsAndLeast>(sums);

        excess = sums[0] / z, correction = correction_near(excess);
        kl = larger(sums[1] / (z * (1.0f + excess)) - correction, 0.0f);
        // As far as `correction_near` goes, and where little cancels.
        if (!(excess >= -0.03125f && excess <= 0.5f && correction <= 0.25f * kl)) return false;
        return Entries::IS_KEPT || is_certain(sums[2]);
    }

  private:
    // Whether the value, and each gradient beside the row's largest, are right to 2e-6 whatever t - s was rounded by, and
    // to a fraction of that where roundings go both ways.
    //
    // That is at most 2^-24 of D, and of r, which is as small beside r as any rounding. Let u = 2^-24 |D| / 2e-6 and TV
    // the sum of |p - q|, which is at most v = sqrt(2 KL). The value is off by less than 2^-24 |D| TV: at most 2e-6 of
    // itself where 2 u <= v. A gradient p - q = (x - E w) / (z (1 + E)), with E a multiple of z here, is off by less than
    // 2^-24 |D| w / z, and w <= 1: the largest is at least -x of the least x, without what a negative E takes of it, as a
    // share of z (1 + E).
    DEVICE bool is_certain(float least) const {
        const float u = 0.03f * __builtin_fabsf(nats);
        return 2.0f * u * u <= kl && u * (1.0f + excess) <= __builtin_fminf(excess, 0.0f) - least;
    }

    DEVICE void write(float per_weight) {
        entries.write(task, [&](float x, float w) INLINE {
            // Adding 0 turns -0 into 0.
            return __builtin_fmaf(__builtin_fmaf(-excess, w, x), per_weight, 0.0f);
        });
    }
};
