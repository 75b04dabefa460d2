// Exponentials and logarithms in f64.
#pragma once
#include "device.h"

// e^x for x <= 0, to an ulp: 2^n e^r with |r| <= ln 2 / 2. What is below any normal number is 0.
DEVICE double exponential(double x) {
    constexpr double ROUND = 6755399441055744.0; // 1.5 * 2^52: the sum's last bits are n
    constexpr double C[12] = {1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,       1.0 / 5040,
                              1.0 / 40320,  1.0 / 362880,  1.0 / 3628800,  1.0 / 39916800,  1.0 / 479001600,
                              1.0 / 6227020800.0};
    const double biased = __builtin_fma(x, 1.4426950408889634, ROUND), n = biased - ROUND;
    const double r = __builtin_fma(n, -1.90821492927058770e-10, __builtin_fma(n, -6.93147180369123816e-1, x));
    double sum = C[11];
#pragma unroll
    for (int i = 10; i >= 0; i--) sum = __builtin_fma(sum, r, C[i]);
    const double near = 1.0 + __builtin_fma(sum * r, r, r);
    const double scaled = bits<double>(bits<u64>(near) + (bits<u64>(biased) << 52));
    return x < -708.0 ? 0.0 : x != x ? x : scaled;
}

// (e^r - 1 - r) / r^2 on |r| <= 1, to an ulp.
DEVICE double second_order(double r) {
    constexpr double C[18] = {1.0 / 2,
                              1.0 / 6,
                              1.0 / 24,
                              1.0 / 120,
                              1.0 / 720,
                              1.0 / 5040,
                              1.0 / 40320,
                              1.0 / 362880,
                              1.0 / 3628800,
                              1.0 / 39916800,
                              1.0 / 479001600,
                              1.0 / 6227020800.0,
                              1.0 / 87178291200.0,
                              1.0 / 1307674368000.0,
                              1.0 / 20922789888000.0,
                              1.0 / 355687428096000.0,
                              1.0 / 6402373705728000.0,
                              1.0 / 121645100408832000.0};
    double sum = C[17];
#pragma unroll
    for (int i = 16; i >= 0; i--) sum = __builtin_fma(sum, r, C[i]);
    return sum;
}

// log((1 + s) / (1 - s)) for |s| <= 0.18.
DEVICE double logarithm_of_ratio(double s) {
    const double square = s * s;
    double sum = 1.0 / 25.0;
#pragma unroll
    for (int n = 23; n >= 3; n -= 2) sum = __builtin_fma(sum, square, 1.0 / (double)n);
    return __builtin_fma(2.0 * s * square, sum, 2.0 * s);
}

// log x for a normal x, to 2 ulp.
DEVICE double logarithm(double x) {
    // x = 2^n m with m from 1/sqrt 2 to sqrt 2.
    const u64 word = bits<u64>(x), up = 0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull;
    const double n = (double)((long long)((word + up) >> 52) - 1023);
    const double m = bits<double>(((word + up) & 0xfffffffffffffull) + 0x3fe6a09e667f3bcdull);
    const double near = logarithm_of_ratio((m - 1.0) / (m + 1.0));
    return __builtin_fma(n, 6.93147180369123816e-1, __builtin_fma(n, 1.90821492927058770e-10, near));
}

// log(1 + x) for x >= 0, to the digits of x.
DEVICE double logarithm_beyond_1(double x) {
    return x <= 0.4 ? logarithm_of_ratio(x / (2.0 + x)) : logarithm(1.0 + x);
}
