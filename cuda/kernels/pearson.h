// Correlations of pairs, from sums that merge. With a' = a - mean, d = |a'| |b'| + eps, and cos the cosine of a' and b':
//
//     r = <a', b'> / d,   1 - r = (1 - cos) |a'| |b'| / d + eps / d
//     1 - cos = (|a' - b'|^2 - (|a'| - |b'|)^2) / (2 |a'| |b'|),   |a'| - |b'| = <a' - b', a' + b'> / (|a'| + |b'|)
//
// so that of close pairs nothing cancels.
#pragma once
#include "vectors.h"

// What pairs of deviations add up to.
struct Products {
    double aa = 0.0, bb = 0.0, ab = 0.0;
    double apart = 0.0; // (a - b)^2
    double skew = 0.0;  // (a - b) (a + b)

    DEVICE void add(double a, double b) {
        aa += a * a, bb += b * b, ab += a * b;
        apart += (a - b) * (a - b), skew += (a - b) * (a + b);
    }
    DEVICE void add(const Products &x, double times) {
        aa += times * x.aa, bb += times * x.bb, ab += times * x.ab;
        apart += times * x.apart, skew += times * x.skew;
    }
    DEVICE static Products of(double a, double b) {
        Products one;
        one.add(a, b);
        return one;
    }

    template <class Team> DEVICE void sum(const Team &team) {
        double all[5] = {aa, bb, ab, apart, skew};
        team.sum(all);
        aa = all[0], bb = all[1], ab = all[2], apart = all[3], skew = all[4];
    }
};

// No sum of squares falls below 0 by what it is rounded to.
DEVICE double not_below_0(double x) { return x < 0.0 ? 0.0 : x; }

// So many pairs: their means, and the products of what they deviate from them.
struct Comoments {
    double count, mean_a, mean_b;
    Products sums;

    // From sums about a shift: of the deviations from it, and of their products.
    DEVICE static Comoments about(double count, double shift_a, double shift_b, double a, double b, Products sums) {
        const double per_count = count == 0.0 ? 0.0 : 1.0 / count;
        a *= per_count, b *= per_count;
        sums.add(Products::of(a, b), -count);
        sums.aa = not_below_0(sums.aa), sums.bb = not_below_0(sums.bb), sums.apart = not_below_0(sums.apart);
        return {count, shift_a + a, shift_b + b, sums};
    }

    DEVICE void merge(const Comoments &x) {
        const double all = count + x.count, moved = all == 0.0 ? 0.0 : x.count / all;
        const double a = x.mean_a - mean_a, b = x.mean_b - mean_b;
        sums.add(x.sums, 1.0), sums.add(Products::of(a, b), count * moved);
        mean_a += a * moved, mean_b += b * moved, count = all;
    }
};

// A correlation; where a side has no spread it is 0, and has no gradient.
struct Pearson {
    double a, b;    // |a'|, |b'|
    double longer;  // |a'| - |b'|
    double divisor; // d
    double miss;    // 1 - r
    bool is_none;

    DEVICE Pearson(const Products &of, double eps) : a(square_root(of.aa)), b(square_root(of.bb)) {
        const double product = a * b;
        divisor = product + eps, longer = of.skew / (a + b), is_none = product == 0.0;
        const double near = not_below_0((of.apart - longer * longer) * 0.5) + eps;
        // Near each other by their difference, else directly.
        miss = is_none ? 1.0 : (of.apart < product ? near : divisor - of.ab) / divisor;
    }
};
