// Intra-class feature variation (IFVD): how far the pixels of a class are from what it is like on average.
//
//     c_k = sum of x / (m + 1e-6) over an image's m pixels of class k,   f = cosine of x and c_k,   sum of (f_s - f_t)^2
//
//     count, start, place    an image's positions in the order of their classes
//     sums                   of a side, a class and channel: c_k; or what its pixels have of the gradient to c_k
//     norms                  of a side, a warp a class: |c_k|
//     cosines                of a side, a position: <x, c_k> and |x|^2
//     compare                a position: its share of the value, and what its gradients need
//     images                 a block an image: its sum
//     along                  of a side, a warp a class: what its gradient has along c_k
//     pull                   of a side, a position: the gradient
//
// Classes are added up in the order of their positions, whoever comes first.
#include "position.h"

// What is kept of a side.
struct IfvdSide {
    double *prototypes, *shared; // a class of an image and channel: c_k; all pixels' part of the gradient through it
    double *norms, *pulls;       // a class of an image: |c_k|; sum of g f
    double *alpha, *beta;        // a position: <x, c> and |x|^2, then what its gradient has of c and of x
    double *along;               // a position: g f, g the gradient to f
};

// The same bytes as `IfvdTask` in src/ifvd.rs.
struct IfvdTask {
    const void *map;             // the side's
    void *gradient;
    const int *classes;          // one a position; below 0: none
    u32 *counts, *starts;        // a class of an image: how many positions, and where they begin in its `order`
    u32 *segments;               // a class of a segment of an image: the same
    u32 *order;                  // an image's positions by class
    double *differences, *values; // a position's share of the value; an image's sum
    u32 *overflowed;
    Extent extent;               // of the side
    u64 images, image, count;    // positions of an image; classes
    u64 segments_of_image;
    double factor;
    IfvdSide own, other;         // the side's, and the other's
    u32 is_weighted;             // `sums` are those of the gradient
    u32 bit;                     // set in `overflowed` where a finite gradient became infinite
};

namespace ifvd {

constexpr u64 SEGMENT = 4096;
constexpr double COUNT_EPS = 1e-6, LEAST = 1e-8;

// Calls f with a class of an image, its segment's first and last position, and the place of its numbers among segments'.
template <class F> DEVICE void each_segment(const IfvdTask &task, F f) {
    for (u64 at = block_index(); at < task.images * task.segments_of_image; at += block_count()) {
        const u64 image = at / task.segments_of_image, from = at % task.segments_of_image * SEGMENT;
        const u64 end = from + SEGMENT < task.image ? from + SEGMENT : task.image;
        for (u64 k = thread_index(); k < task.count; k += THREADS) f(image, k, from, end, at * task.count + k);
    }
}

// Calls f with each class of an image that this warp has, counted over all images.
template <class F> DEVICE void each_class(const IfvdTask &task, F f) {
    each_position<Lanes<32>>({task.images * task.count, 0, 1}, f);
}

// Calls f with the positions of a class, counted over all images, every `step`-th from `first` on.
template <class F> DEVICE void each_of(const IfvdTask &task, u64 k, u64 first, u64 step, F f) {
    const u64 image = k / task.count * task.image, count = task.counts[k];
    const u32 *const own = task.order + image + task.starts[k];
#pragma unroll 2
    for (u64 i = first; i < count; i += step) f(image + own[i]);
}

// What a vector of this length is divided by for its direction, and whether it gets its direction's gradient back.
struct Direction {
    double divisor;
    bool turns;

    DEVICE explicit Direction(double norm)
        : divisor(norm == 0.0 ? __builtin_inf() : norm <= LEAST ? LEAST : norm), turns(!(norm <= LEAST)) {}
};

DEVICE bool has_class(const IfvdTask &task, u64 i) {
    return task.classes[i] >= 0 && (u64)task.classes[i] < task.count;
}

// The sum becomes what is kept of a class's channel.
DEVICE void write(const IfvdTask &task, u64 k, u64 c, double sum) {
    const u64 at = k * task.extent.channels + c;
    const double per_count = (double)task.counts[k] + COUNT_EPS;
    if (!task.is_weighted) {
        task.own.prototypes[at] = sum / per_count;
        return;
    }
    const double norm = task.own.norms[k];
    const double along = Direction(norm).turns ? task.own.prototypes[at] * task.own.pulls[k] / (norm * norm) : 0.0;
    task.own.shared[at] = norm == 0.0 ? 0.0 : (sum - along) / per_count;
}

template <class T> DEVICE double term(const IfvdTask &task, u64 i, u64 c) {
    const double x = Position<T, Alone>(task.extent, i).at(task.map, c);
    return task.is_weighted ? task.own.alpha[i] * x : x;
}

// A warp a class and channel of planes.
template <class T> DEVICE void sums_of_planes(const IfvdTask &task) {
    const u64 channels = task.extent.channels;
    each_position<Lanes<32>>({task.images * task.count * channels, 0, 1}, [&](u64 item) INLINE {
        const u64 k = item / channels, c = item % channels;
        double sum[1] = {0.0};
        each_of(task, k, thread_index() % 32, 32, [&](u64 i) INLINE { sum[0] += term<T>(task, i, c); });
        Lanes<32>().sum(sum);
        if (thread_index() % 32 == 0) write(task, k, c, sum[0]);
    });
}

// A block a class and 32 channels that are last.
template <class T> DEVICE void sums_of_last(const IfvdTask &task) {
    const u64 channels = task.extent.channels, groups = (channels + 31) / 32;
    for (u64 at = block_index(); at < task.images * task.count * groups; at += block_count()) {
        const u64 k = at / groups, c = at % groups * 32 + thread_index() % 32;
        double sum[1] = {0.0};
        if (c < channels)
            each_of(task, k, thread_index() / 32, THREADS / 32, [&](u64 i) INLINE { sum[0] += term<T>(task, i, c); });
        if (OfLanes{c < channels}.sum(sum)) write(task, k, c, sum[0]);
    }
}

template <class T, class Team> DEVICE void cosines(const IfvdTask &task) {
    each_position<Team>(task.extent, [&](u64 i) INLINE {
        const Position<T, Team> at(task.extent, i);
        double sums[2] = {0.0, 0.0};
        if (has_class(task, i)) {
            const u64 k = i / task.image * task.count + (u64)task.classes[i];
            const double *const prototype = task.own.prototypes + k * task.extent.channels;
            at.each([&](u64 c) INLINE {
                const double x = at.at(task.map, c);
                sums[0] += x * prototype[c], sums[1] += x * x;
            });
        }
        at.team.sum(sums);
        if (at.team.lane() == 0) task.own.alpha[i] = sums[0], task.own.beta[i] = sums[1];
    });
}

// A pixel's cosine, and what becomes of it.
struct Pixel {
    const IfvdSide &side;
    u64 i;
    Direction of_x;
    double divisor, cosine;

    DEVICE Pixel(const IfvdSide &side, u64 i, u64 k)
        : side(side), i(i), of_x(square_root(side.beta[i])), divisor(of_x.divisor * Direction(side.norms[k]).divisor),
          cosine(side.alpha[i] / divisor) {}

    // g is the gradient to the cosine.
    DEVICE void turn(double g) const {
        const double along = g * cosine;
        side.along[i] = along;
        side.alpha[i] = g / divisor, side.beta[i] = of_x.turns ? -along / side.beta[i] : 0.0;
    }
};

template <class T, class Team> DEVICE void pull(const IfvdTask &task) {
    bool overflows = false;
    each_position<Team>(task.extent, [&](u64 i) INLINE {
        const Position<T, Team> at(task.extent, i);
        const bool is_none = !has_class(task, i) || task.factor == 0.0;
        const double sum = task.values[i / task.image];
        if (is_none || sum != sum) {
            at.write(task.gradient, [&](u64) INLINE { return is_none ? 0.0 : __builtin_nan(""); });
            return;
        }
        const u64 from = (i / task.image * task.count + (u64)task.classes[i]) * task.extent.channels;
        const double alpha = task.own.alpha[i], beta = task.own.beta[i];
        overflows |= at.write(task.gradient, [&](u64 c) INLINE {
            const double along = beta == 0.0 ? 0.0 : beta * at.at(task.map, c);
            return (alpha * task.own.prototypes[from + c] + along + task.own.shared[from + c]) * task.factor;
        });
    });
    if (overflows) set_bits(task.overflowed, task.bit);
}

} // namespace ifvd

KERNEL(THREADS) void densekd_ifvd_count(IfvdTask task) {
    ifvd::each_segment(task, [&](u64 image, u64 k, u64 from, u64 end, u64 to) INLINE {
        u32 count = 0;
        for (u64 i = from; i < end; i++) count += task.classes[image * task.image + i] == (int)k;
        task.segments[to] = count;
    });
}

// A block an image.
KERNEL(THREADS) void densekd_ifvd_start(IfvdTask task) {
    for (u64 image = block_index(); image < task.images; image += block_count()) {
        const u64 first = image * task.count;
        u32 *const segments = task.segments + image * task.segments_of_image * task.count;
        for (u64 k = thread_index(); k < task.count; k += THREADS) {
            u32 count = 0;
            for (u64 i = 0; i < task.segments_of_image; i++) count += segments[i * task.count + k];
            task.counts[first + k] = count;
        }
        barrier();
        for (u64 k = thread_index(); k < task.count; k += THREADS) {
            u32 start = 0;
            for (u64 lower = 0; lower < k; lower++) start += *(volatile u32 *)&task.counts[first + lower];
            task.starts[first + k] = start;
            for (u64 i = 0; i < task.segments_of_image; i++) {
                const u32 count = segments[i * task.count + k];
                segments[i * task.count + k] = start, start += count;
            }
        }
        barrier();
    }
}

KERNEL(THREADS) void densekd_ifvd_place(IfvdTask task) {
    ifvd::each_segment(task, [&](u64 image, u64 k, u64 from, u64 end, u64 to) INLINE {
        u32 *next = task.order + image * task.image + task.segments[to];
        for (u64 i = from; i < end; i++)
            if (task.classes[image * task.image + i] == (int)k) *next++ = (u32)i;
    });
}

KERNEL(THREADS) void densekd_ifvd_norms(IfvdTask task) {
    ifvd::each_class(task, [&](u64 k) INLINE {
        const double *const prototype = task.own.prototypes + k * task.extent.channels;
        double squares[1] = {0.0};
        for (u64 c = thread_index() % 32; c < task.extent.channels; c += 32) squares[0] += prototype[c] * prototype[c];
        Lanes<32>().sum(squares);
        if (thread_index() % 32 == 0) task.own.norms[k] = square_root(squares[0]);
    });
}

// `own` is the student's.
KERNEL(THREADS) void densekd_ifvd_compare(IfvdTask task) {
    using namespace ifvd;
    each_position<Alone>(task.extent, [&](u64 i) INLINE {
        if (!has_class(task, i)) {
            task.differences[i] = 0.0;
            return;
        }
        const u64 k = i / task.image * task.count + (u64)task.classes[i];
        const Pixel s(task.own, i, k), t(task.other, i, k);
        const double apart = s.cosine - t.cosine;
        task.differences[i] = apart * apart;
        s.turn(2.0 * apart), t.turn(-2.0 * apart);
    });
}

KERNEL(THREADS) void densekd_ifvd_images(IfvdTask task) {
    for (u64 image = block_index(); image < task.images; image += block_count()) {
        double sum[1] = {0.0};
        for (u64 i = thread_index(); i < task.image; i += THREADS) sum[0] += task.differences[image * task.image + i];
        if (OfBlock().sum(sum)) task.values[image] = sum[0];
    }
}

KERNEL(THREADS) void densekd_ifvd_along(IfvdTask task) {
    ifvd::each_class(task, [&](u64 k) INLINE {
        double sum[1] = {0.0};
        ifvd::each_of(task, k, thread_index() % 32, 32, [&](u64 i) INLINE { sum[0] += task.own.along[i]; });
        Lanes<32>().sum(sum);
        if (thread_index() % 32 == 0) task.own.pulls[k] = sum[0];
    });
}

#define KERNELS_OF(T)                                                                                          \
    KERNEL(THREADS) void densekd_ifvd_sums_planes_##T(IfvdTask task) { ifvd::sums_of_planes<T>(task); }        \
    KERNEL(THREADS) void densekd_ifvd_sums_last_##T(IfvdTask task) { ifvd::sums_of_last<T>(task); }            \
    KERNEL(THREADS) void densekd_ifvd_cosines_planes_##T(IfvdTask task) { ifvd::cosines<T, Alone>(task); }     \
    KERNEL(THREADS) void densekd_ifvd_cosines_last_##T(IfvdTask task) { ifvd::cosines<T, Lanes<32>>(task); }   \
    KERNEL(THREADS) void densekd_ifvd_pull_planes_##T(IfvdTask task) { ifvd::pull<T, Alone>(task); }           \
    KERNEL(THREADS) void densekd_ifvd_pull_last_##T(IfvdTask task) { ifvd::pull<T, Lanes<32>>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
