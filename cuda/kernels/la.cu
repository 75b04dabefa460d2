// Local affinity (LA): how far a pixel's vector is from those of its neighbours, or how alike in direction.
//
//     distances   A(i) = sum of |x(i) - x(j)|^2, or of its roots, over the neighbours j; sum over centres (A_s - A_t)^2
//     cosines     a(i, j) = <x(i), x(j)> / (|x(i)| |x(j)|); sum over centres and neighbours (a_s - a_t)^2
//
//     edges     of a side, a pixel: what its vector and each of the 4 neighbours after it add up to
//     compare   a pixel: its share of the value
//     pull      of a side, a pixel: sum over neighbours of K(i, j) (x(j) - x(i)), and of a cosine D(i) x(i)
//
// K and D come out of the sums at edges, of which each is kept once, by the pixel that comes first.
#include "position.h"

enum LaMode : u32 { SQUARES, ROOTS, COSINES };

// What is kept of a pixel's own vector, after its edges: of distances 0, or NaN where it is not finite; else |x|^2.
constexpr int EDGES = 4, OWN = EDGES;

// The same bytes as `LaTask` in src/la.rs.
struct LaTask {
    const void *map;               // the side's
    void *gradient;
    double *own, *other;           // sums of the side and of the other: EDGES + 1 for each pixel, all of one kind in turn
    double *values, *apart;        // one a pixel; A less the other side's A
    u32 *overflowed;
    Extent extent;
    u64 height, width;
    double eps, factor;
    LaMode mode;
    u32 is_clipped;                // every pixel is a centre, not those with 8 neighbours alone
    u32 bit;                       // set in `overflowed` where a finite gradient became infinite
    u32 unused;
};

namespace la {

// A pixel and its 8 neighbours: those that follow it, in the order in which it keeps the edges, then those before it.
struct Pixel {
    const LaTask &task;
    u64 i;
    long long y, x;

    DEVICE Pixel(const LaTask &task, u64 i)
        : task(task), i(i), y((long long)(i / task.width % task.height)), x((long long)(i % task.width)) {}

    // Row and column from here, of one of EDGES.
    DEVICE static int down(int edge) { return edge > 0; }
    DEVICE static int right(int edge) { return edge == 0 ? 1 : edge - 2; }

    DEVICE bool has(int edge, int sign) const {
        const long long to_y = y + sign * down(edge), to_x = x + sign * right(edge);
        return to_y >= 0 && to_y < (long long)task.height && to_x >= 0 && to_x < (long long)task.width;
    }
    // How many pixels on it is.
    DEVICE long long step(int edge, int sign) const {
        return sign * (down(edge) * (long long)task.width + right(edge));
    }
    DEVICE bool is_centre() const {
        return task.is_clipped ||
               (y > 0 && y + 1 < (long long)task.height && x > 0 && x + 1 < (long long)task.width);
    }

    // Calls f(edge, pixel that keeps it, the neighbour) for every neighbour.
    template <class F> DEVICE void each(F f) const {
#pragma unroll
        for (int edge = 0; edge < EDGES; edge++) {
            if (has(edge, 1)) f(edge, edge, i, i + step(edge, 1));
            if (has(edge, -1)) f(edge + EDGES, edge, i + step(edge, -1), i + step(edge, -1));
        }
    }
};

struct Sums {
    const double *of;
    u64 pixels;

    DEVICE double operator()(int which, u64 i) const { return of[which * pixels + i]; }

    // 1 / max(|x|, eps), and 0 of the zero vector, which has no direction.
    DEVICE double inverse(u64 i, double eps) const {
        const double norm = square_root((*this)(OWN, i));
        return norm == 0.0 ? 0.0 : norm <= eps ? 1.0 / eps : 1.0 / norm;
    }
    DEVICE double cosine(int edge, u64 kept, double inverses) const { return (*this)(edge, kept) * inverses; }
};

template <class T, class Team> DEVICE void edges(const LaTask &task) {
    each_position<Team>(task.extent, [&](u64 i) INLINE {
        const Pixel pixel(task, i);
        const Position<T, Team> at(task.extent, i);
        // From a pixel to the next one.
        const long long along = task.extent.inner == 1 ? (long long)task.extent.channels : 1;
        bool has[EDGES];
#pragma unroll
        for (int edge = 0; edge < EDGES; edge++) has[edge] = pixel.has(edge, 1);
        double sums[EDGES + 1] = {};
        at.each([&](u64 c) INLINE {
            const T *const here = (const T *)task.map + at.start + c * at.inner;
            const double x = load(*here);
#pragma unroll
            for (int edge = 0; edge < EDGES; edge++) {
                if (!has[edge]) continue;
                const double y = load(here[pixel.step(edge, 1) * along]);
                sums[edge] += task.mode == COSINES ? x * y : (y - x) * (y - x);
            }
            // An infinite number is NaN from here on; an infinite sum of finite ones is not.
            sums[OWN] += task.mode == COSINES ? x * x : x * 0.0;
        });
        at.team.sum(sums);
        if (at.team.lane() > 0) return;
#pragma unroll
        for (int k = 0; k <= EDGES; k++)
            task.own[k * task.extent.positions + i] = task.mode == ROOTS && k < EDGES ? square_root(sums[k]) : sums[k];
    });
}

// How often a pair counts: once for each of the two that is a centre.
DEVICE double count(const LaTask &task, const Pixel &pixel, u64 other) {
    return (pixel.is_centre() ? 1.0 : 0.0) + (Pixel(task, other).is_centre() ? 1.0 : 0.0);
}

// K of every neighbour, and D.
struct Slopes {
    double to[2 * EDGES] = {}, centre = 0.0;

    DEVICE Slopes(const LaTask &task, const Pixel &pixel, const Sums &own, const Sums &other) {
        const u64 i = pixel.i;
        const double sign = task.bit == 1 ? 1.0 : -1.0; // of the student
        const bool is_cosine = task.mode == COSINES;
        const double inverse = is_cosine ? own.inverse(i, task.eps) : 0.0;
        const double inverse_other = is_cosine ? other.inverse(i, task.eps) : 0.0;
        const double square = own(OWN, i);
        pixel.each([&](int place, int edge, u64 kept, u64 j) INLINE {
            if (is_cosine) {
                const double inverses = inverse * own.inverse(j, task.eps);
                const double a = own.cosine(edge, kept, inverses);
                const double b = other.cosine(edge, kept, inverse_other * other.inverse(j, task.eps));
                const double slope = 2.0 * count(task, pixel, j) * (a - b);
                // A clamped norm does not change with x.
                const double turned = square == 0.0 || square_root(square) <= task.eps ? 0.0 : a / square;
                to[place] = slope * inverses, centre += slope * (inverses - turned);
            } else {
                const double apart = sign * (task.apart[i] + task.apart[j]), distance = own(edge, kept);
                to[place] = task.mode == SQUARES ? -4.0 * apart : distance == 0.0 ? 0.0 : -2.0 * apart / distance;
            }
        });
    }
};

template <class T, class Team> DEVICE void pull(const LaTask &task) {
    const Sums own{task.own, task.extent.positions}, other{task.other, task.extent.positions};
    const long long along = task.extent.inner == 1 ? (long long)task.extent.channels : 1;
    bool overflows = false;
    each_position<Team>(task.extent, [&](u64 i) INLINE {
        const Pixel pixel(task, i);
        const Position<T, Team> at(task.extent, i);
        const Slopes slopes(task, pixel, own, other);
        overflows |= at.write(task.gradient, [&](u64 c) INLINE {
            const T *const here = (const T *)task.map + at.start + c * at.inner;
            const double x = load(*here);
            double sum = task.mode == COSINES ? slopes.centre * x : 0.0;
            pixel.each([&](int place, int, u64, u64 j) INLINE {
                sum += slopes.to[place] * ((double)load(here[(long long)(j - i) * along]) - x);
            });
            return task.factor == 0.0 ? 0.0 : sum * task.factor;
        });
    });
    if (overflows) set_bits(task.overflowed, task.bit);
}

} // namespace la

// `own` is the student's.
KERNEL(THREADS) void densekd_la_compare(LaTask task) {
    using namespace la;
    const Sums s{task.own, task.extent.positions}, t{task.other, task.extent.positions};
    each_position<Alone>(task.extent, [&](u64 i) INLINE {
        const Pixel pixel(task, i);
        double value = 0.0;
        if (task.mode == COSINES) {
            const double inverse_s = s.inverse(i, task.eps), inverse_t = t.inverse(i, task.eps);
            pixel.each([&](int place, int edge, u64 kept, u64 j) INLINE {
                if (place >= EDGES) return;
                const double a = s.cosine(edge, kept, inverse_s * s.inverse(j, task.eps));
                const double b = t.cosine(edge, kept, inverse_t * t.inverse(j, task.eps));
                value += count(task, pixel, j) * ((a - b) * (a - b));
            });
        } else {
            double apart = s(OWN, i) - t(OWN, i);
            pixel.each([&](int, int edge, u64 kept, u64 j) INLINE {
                apart += (s(edge, kept) + s(OWN, j)) - (t(edge, kept) + t(OWN, j));
            });
            if (!pixel.is_centre()) apart = 0.0;
            task.apart[i] = apart, value = apart * apart;
        }
        task.values[i] = value;
    });
}

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_la_edges_planes_##T(LaTask task) { la::edges<T, Alone>(task); }         \
    KERNEL(THREADS) void densekd_la_edges_last_##T(LaTask task) { la::edges<T, Lanes<32>>(task); }       \
    KERNEL(THREADS) void densekd_la_pull_planes_##T(LaTask task) { la::pull<T, Alone>(task); }           \
    KERNEL(THREADS) void densekd_la_pull_last_##T(LaTask task) { la::pull<T, Lanes<32>>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
