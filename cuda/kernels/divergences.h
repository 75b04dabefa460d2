// Terms of the divergences that a row's state does not say, each with its own digits.
#pragma once
#include "maths.h"

// sum of c[i] x^i
template <int N> DEVICE float polynomial(const float (&c)[N], float x) {
    float sum = c[N - 1];
#pragma unroll
    for (int i = N - 2; i >= 0; i--) sum = __builtin_fmaf(sum, x, c[i]);
    return sum;
}

// log(2 / (1 + e^r)): the log-ratio of q to the mixture (p + q) / 2.
DEVICE float log_over_mixture(float r) {
    if (__builtin_fabsf(r) <= 1.0f) {
        // -h - log cosh h with h = r / 2; the polynomial is log cosh h / h^2 to 5e-9.
        constexpr float C[5] = {0.5f, -0.0833331048f, 0.0222148336f, -0.00666160509f, 0.00178346445f};
        const float h = 0.5f * r;
        return -h - h * h * polynomial(C, h * h);
    }
    const float rest = logarithm(1.0f, exp2_approx(-__builtin_fabsf(r) * LOG2_E));
    return r > 0.0f ? (LN_2 - r) - rest : LN_2 - rest;
}

// A term of the Jensen-Shannon divergence, half of p log(p / m) + q log(q / m) with m = (p + q) / 2.
DEVICE float half_of_both(const Point &x) {
    if (__builtin_fabsf(x.ratio) <= 1.0f) {
        // q e^h (h sinh h - cosh h log cosh h) with h = r / 2; the polynomial is the bracket over h^2, to 7e-10.
        constexpr float C[5] = {0.5f, 3.27885843e-08f, 0.00694338698f, -0.00137684355f, 0.000309047464f};
        const float h = 0.5f * x.ratio;
        return x.q * exp2_approx(h * LOG2_E) * (h * h * polynomial(C, h * h));
    }
    const float of_p = x.has_p ? x.p * log_over_mixture(-x.ratio) : 0.0f;
    const float of_q = x.has_q ? x.q * log_over_mixture(x.ratio) : 0.0f;
    return 0.5f * (of_p + of_q);
}

// p log(p / q) - p + q: what has no sum over the row is added, so that no term is negative. p and q need not be
// shares.
DEVICE float divergence_at(float p, float q, float ratio, float excess) {
    if (__builtin_fabsf(ratio) <= 1.0f) return q * bregman_near(ratio);
    return ratio == INFINITE ? INFINITE : (p > 0.0f ? p * ratio : 0.0f) - excess;
}
