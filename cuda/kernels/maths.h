// The KL divergence of two softmaxes, evaluated carefully in f32.
//
//     p = softmax(t / tau),   q = softmax(s / tau),   KL = sum p (log p - log q)
//
// The differences d = (t - s) / tau are taken about a reference D, a guess of the log-ratio of the two normalisers:
//
//     r = d - D,   w = e^(s/tau - m),   Z = sum w,   E = sum w (e^r - 1),   G = sum w k(r),   k(r) = r e^r - e^r + 1
//
// Then log(sum e^(t/tau) / sum e^(s/tau)) = D + log(1 + E/Z), and, with E and G divided by Z,
//
//     KL = G / (1 + E) - c(E),   c(E) = log(1 + E) - E / (1 + E).
//
// No term of G is negative, so only a bad guess D cancels; c > KL tells, and the sum is taken once more about the
// better D. All of this is exact in the parts too: a part of a row is to the row what an entry is to the part, but for
// its weight and for the divergence that it has inside. So one type is entry, part and row, and one function merges
// entries to parts and parts to rows.
#pragma once
#include "device.h"

constexpr float INFINITE = __builtin_inff();
constexpr float LN_2 = 0.693147181f, LOG2_E = 1.44269504f;

DEVICE float larger(float a, float b) { return __builtin_fmaxf(a, b); }
DEVICE bool is_finite(float x) { return __builtin_fabsf(x) < INFINITE; }

// A number as the exact sum of two, of which the second is below the rounding of the first.
struct Pair {
    float high, low;
};

// a + b, exactly (Knuth). Where an infinity is met, there is no rest: NaN.
DEVICE Pair sum_of(float a, float b) {
    const float high = a + b, of_b = high - a, of_a = high - of_b;
    return {high, (a - of_a) + (b - of_b)};
}

// t - s; NaN where neither has a weight, which no maximum and no comparison below lets in.
DEVICE Pair difference(float t, float s) { return sum_of(t, -s); }

DEVICE Pair shifted(Pair a, float by) { return sum_of(a.high, a.low + by); }

// From logits to the exponents of 2, and to nats.
struct Temperature {
    float per_bit; // log2(e) / tau
    float per_nat; // 1 / tau
    float tau;

    DEVICE float weight(float logit, float reference) const { return exp2_approx((logit - reference) * per_bit); }
    DEVICE float nats(Pair d, Pair reference) const {
        return ((d.high - reference.high) + (d.low - reference.low)) * per_nat;
    }
};

// An entry, a part of a row, or a row.
//
// `t` and `s` are the largest logits, in input units; the sums of e^(x/tau) about them are `teacher` and `student`.
// t = s = inf says NaN: a NaN or +inf was met. t = s = -inf: nothing was.
struct State {
    float t, s;
    float teacher, student;
    Pair log_ratio; // tau log(sum e^(t/tau) / sum e^(s/tau)), in input units
    float kl;       // in nats, of the teacher's and the student's distributions inside
    float entropy;  // in nats, of the teacher's distribution inside

    DEVICE static State of(float t, float s) { return {t, s, 1.0f, 1.0f, difference(t, s), 0.0f, 0.0f}; }
    DEVICE static State nothing() { return of(-INFINITE, -INFINITE); }

    DEVICE bool is_nan() const { return t == INFINITE; }
    DEVICE bool is_empty() const { return t == -INFINITE; }
};

// (e^r - 1 - r) / r^2 on |r| <= 1, to 2e-8.
DEVICE float second_order(float r) {
    constexpr float C[8] = {0.5f,           0.166666672f,   0.0416667424f,   0.00833334029f,
                            0.00138852536f, 0.000198379726f, 2.53698254e-05f, 2.80730546e-06f};
    float q = C[7];
#pragma unroll
    for (int i = 6; i >= 0; i--) q = __builtin_fmaf(q, r, C[i]);
    return q;
}

// e^r - 1 on |r| <= 1.
DEVICE float expm1_near(float r) { return __builtin_fmaf(r * r, second_order(r), r); }

// k(r) = r e^r - e^r + 1 on |r| <= 1.
DEVICE float bregman_near(float r) {
    const float q = second_order(r);
    return r * r * (1.0f - q + r * q);
}

// log(1 + e) and c(e) by the series of s = e / (2 + e), for |e| <= 1/2.
struct Correction {
    float log1p, c;

    DEVICE static Correction of(float e) {
        const float s = e / (2.0f + e), square = s * s;
        float rest = 1.0f / 17.0f;
#pragma unroll
        for (int n = 15; n >= 3; n -= 2) rest = __builtin_fmaf(rest, square, 1.0f / (float)n);
        return {2.0f * s * __builtin_fmaf(square, rest, 1.0f),
                2.0f * square * __builtin_fmaf(s, rest, 1.0f / (1.0f + s))};
    }
};

// log(a + b), for a >= 1 and b >= 0; where they are 1 and little, to the digits of that little.
DEVICE float logarithm(float a, float b) {
    const float beyond = (a - 1.0f) + b;
    return beyond <= 0.5f ? Correction::of(beyond).log1p : log2_approx(a + b) * LN_2;
}

// A sum of packs, in a lane for each of four neighbours: equal terms all round one way, but so few do little.
struct PackSum {
    float lane[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    DEVICE void add(int i, float x) { lane[i % 4] += x; }
    DEVICE float value() const { return (lane[0] + lane[1]) + (lane[2] + lane[3]); }
};

// A sum of any number of terms, with what its roundings lose.
struct LongSum {
    float high = 0.0f, low = 0.0f;
    DEVICE void add(int, float x) {
        const Pair sum = sum_of(high, x);
        high = sum.high, low += sum.low;
    }
    DEVICE float value() const { return high + low; }
};

// What entries are compared about: where sums start.
struct Reference {
    float t, s;
    Pair log_ratio;
    float teacher_scale; // turns a teacher's weight about t into one about s and the log-ratio

    // Infinite maxima are no reference: weights about them are 0 anyway.
    DEVICE Reference(float t, float s) : t(is_finite(t) ? t : 0.0f), s(is_finite(s) ? s : 0.0f) {}

    DEVICE void take(Pair d, Temperature at, bool student_is_empty) {
        log_ratio = d;
        teacher_scale = student_is_empty ? 1.0f : exp2_approx(at.nats(difference(t, s), d) * LOG2_E);
    }
};

// w, w (e^r - 1) and w k(r) of an entry about a reference.
struct Terms {
    float weight, excess, bregman;

    DEVICE static Terms of(const State &x, const Reference &at, Temperature k) {
        const float w = x.student * k.weight(x.s, at.s), r = k.nats(x.log_ratio, at.log_ratio);
        if (__builtin_fabsf(r) <= 1.0f) return {w, w * expm1_near(r), w * bregman_near(r)};
        // Far apart, w e^r loses where w underflows: the teacher's own exponent does not.
        const float p = x.teacher * k.weight(x.t, at.t) * at.teacher_scale;
        return {w, p - w, (p > 0.0f ? p * r : 0.0f) - (p - w)};
    }
};

// The state of all entries together.
//
// `entries.each(f)` calls f for every entry of this thread, with its number in what is read at once; `team` are the
// threads that have the others, all of which call this at once and get the same answer.
template <class Team, class Entries>
DEVICE State merge(const Team &team, const Entries &entries, Temperature k, bool with_entropy) {
    using Sum = typename Entries::Sum;
    float top[4] = {-INFINITE, -INFINITE, -INFINITE, -INFINITE}, at_top = 0.0f;
    entries.each([&](const State &x, int) {
        // Where the student is largest.
        if (x.s > top[1]) at_top = x.log_ratio.high;
        top[0] = larger(top[0], x.t), top[1] = larger(top[1], x.s);
        top[2] = larger(top[2], x.log_ratio.high), top[3] = larger(top[3], -x.log_ratio.high);
    });
    const float own_top = top[1];
    team.max(top);
    const float t = top[0], s = top[1], highest = top[2], lowest = -top[3];
    if (t == INFINITE || s == INFINITE) return State::of(INFINITE, INFINITE);
    if (t == -INFINITE && s == -INFINITE) return State::nothing();

    // A position that the teacher has and the student has not, however little of it, is infinitely far.
    bool is_open = highest == INFINITE;
    if constexpr (Entries::HAS_INSIDE) {
        float kl[1] = {0.0f};
        entries.each([&](const State &x, int) { kl[0] = larger(kl[0], x.kl); });
        team.max(kl);
        is_open = is_open || kl[0] == INFINITE;
    }

    Reference at(t, s);
    if ((highest - lowest) * k.per_nat <= 1.0f) {
        // The middle: exactly the one difference where there is but one.
        float low[1] = {0.0f};
        if (highest == lowest) {
            low[0] = -INFINITE;
            entries.each([&](const State &x, int) { low[0] = larger(low[0], x.log_ratio.low); });
            team.max(low);
        }
        at.take({highest - (highest - lowest) * 0.5f, low[0]}, k, false);
    } else {
        Sum of_t, of_s;
        entries.each([&](const State &x, int i) {
            of_t.add(i, x.teacher * k.weight(x.t, at.t));
            of_s.add(i, x.student * k.weight(x.s, at.s));
        });
        float sums[2] = {of_t.value(), of_s.value()};
        team.sum(sums);
        const float ratio = (log2_approx(sums[0]) - log2_approx(sums[1])) / k.per_bit;
        at.take(is_finite(ratio) ? shifted(difference(at.t, at.s), ratio) : Pair{0.0f, 0.0f}, k, s == -INFINITE);
    }

    // Differences that only second words tell apart want a reference that has one.
    const bool is_coarse = highest > lowest && highest - lowest <= 0x1p-16f * __builtin_fabsf(highest);
    State whole{t, s, 0.0f, 0.0f, at.log_ratio, 0.0f, 0.0f};
#pragma unroll 1
    for (int tries = 0; tries < 4; tries++) {
        Sum z, e, g;
        entries.each([&](const State &x, int i) {
            const Terms terms = Terms::of(x, at, k);
            z.add(i, terms.weight), e.add(i, terms.excess), g.add(i, terms.bregman);
        });
        float sums[3] = {z.value(), e.value(), g.value()};
        team.sum(sums);
        const float excess = sums[1] / sums[0];
        const bool is_close = __builtin_fabsf(excess) <= 0.5f;
        const Correction correction = Correction::of(is_close ? excess : 0.0f);
        whole.student = sums[0];
        whole.teacher = (sums[0] + sums[1]) / at.teacher_scale;
        whole.kl = larger(sums[2] / (sums[0] + sums[1]) - correction.c, 0.0f);
        whole.log_ratio = shifted(at.log_ratio, correction.log1p * k.tau);
        if (t == -INFINITE) break;
        if (is_close && (is_open || correction.c <= whole.kl) && !(is_coarse && tries == 0)) {
            // No sum is right beyond a share of E. That is little beside the gradient q (1 - e^-r) of the entry with the largest
            // q, unless its r is small beside E; and parts do not say what their entries have.
            const float error = __builtin_fabsf(excess);
            if (error <= 1e-6f) break;
            if constexpr (!Entries::HAS_INSIDE) {
                float largest[1] = {own_top == s ? at_top : -INFINITE};
                team.max(largest);
                if (error <= 4.0f * __builtin_fabsf(k.nats({largest[0], 0.0f}, whole.log_ratio))) break;
            }
        }
        const float by = is_close ? correction.log1p : log2_approx(1.0f + excess) * LN_2;
        if (!is_finite(by)) break;
        at.take(shifted(at.log_ratio, by * k.tau), k, false);
    }
    if (t == -INFINITE || s == -INFINITE) whole.log_ratio = {t - s, 0.0f};
    if (t == -INFINITE) {
        whole.teacher = whole.kl = 0.0f;
        return whole;
    }

    // What the entries have inside, weighted with the teacher's shares; and of those shares, the entropy.
    if (Entries::HAS_INSIDE || with_entropy) {
        // Shares at the maximum apart: beside their 1 the small ones would lose their digits.
        Sum kl, surprise, at_top, below;
        entries.each([&](const State &x, int i) {
            const float share = x.teacher * k.weight(x.t, at.t);
            if (!(share > 0.0f)) return;
            float of_it = (at.t - x.t) * k.per_nat;
            if constexpr (Entries::HAS_INSIDE) of_it += x.entropy - logarithm(x.teacher, 0.0f);
            kl.add(i, share * x.kl), surprise.add(i, share * of_it);
            (x.t == at.t ? at_top : below).add(i, share);
        });
        float sums[4] = {kl.value(), surprise.value(), at_top.value(), below.value()};
        team.sum(sums);
        const float per_share = 1.0f / (sums[2] + sums[3]);
        whole.kl += sums[0] * per_share;
        whole.entropy = larger(__builtin_fmaf(sums[1], per_share, logarithm(sums[2], sums[3])), 0.0f);
    }
    if (is_open) whole.kl = INFINITE;
    return whole;
}

// One entry of two distributions, p the teacher's and q the student's.
struct Point {
    bool has_p, has_q; // whether there is a logit: a probability that underflows is not missing
    float p, q;
    float excess; // p - q, to its own digits
    float ratio;  // log p - log q; infinite where one alone is missing, 0 where both are
};

// The entries of a row as probabilities: NaN in a row of NaN, 0 on both sides where the teacher has nothing.
struct Distributions {
    State row;
    Temperature k;
    float per_student, per_teacher;

    DEVICE Distributions(const State &row, Temperature k)
        : row(row), k(k), per_student(share_of(row.student)), per_teacher(share_of(row.teacher)) {}

    // Weights about the row's references, of which the probabilities are shares.
    DEVICE float teacher_weight(float t) const { return k.weight(t, is_finite(row.t) ? row.t : 0.0f); }
    DEVICE float student_weight(float s) const { return k.weight(s, is_finite(row.s) ? row.s : 0.0f); }

    DEVICE Point at(float t, float s) const {
        Point x;
        x.has_p = t > -INFINITE, x.has_q = s > -INFINITE;
        x.p = teacher_weight(t) * per_teacher, x.q = student_weight(s) * per_student;
        const float r = k.nats(difference(t, s), row.log_ratio);
        const bool is_near = __builtin_fabsf(r) <= 1.0f;
        x.excess = is_near ? x.q * expm1_near(r) : x.p - x.q;
        x.ratio = x.has_p == x.has_q ? (x.has_p ? r : 0.0f) : x.has_p ? INFINITE : -INFINITE;
        return x;
    }

  private:
    DEVICE float share_of(float sum) const {
        return row.is_nan() ? __builtin_nanf("") : row.is_empty() || sum == 0.0f ? 0.0f : 1.0f / sum;
    }
};
