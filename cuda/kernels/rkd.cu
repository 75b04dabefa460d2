// Relations between images (RKD): distances and angles within a batch, all from squared distances.
//
//     u = an image's numbers times its step,   Q_ij = |u_i - u_j|^2,   D = sqrt(max(Q, 1e-12))
//     psi_ijk = (Q_ij + Q_ik - Q_jk) / (2 |u_i - u_j| |u_i - u_k|)
//     gradient to u_i:  sum over j of c_ij (u_i - u_j)
//
//     norms      a part of an image: its squares
//     lengths    a warp an image: its step
//     distances  16 x 16 pairs of images: what a part adds to Q
//     edges      a warp a pair: Q, and its inverse root
//     units      a block a side: what its distances are measured by
//     triangles  a thread a pair: what it adds to the value, and c
//     along      a warp an image: what the gradient has along u
//     pull       a thread one number of 8 images: the gradient
//
// An image is a vector whatever the order of its numbers in memory.
#include "adapt.h"
#include "position.h"

// An image's length.
struct Length {
    double step;   // 1 / max(|x|, 1e-12), 0 of a zero image; 1 where none is scaled; NaN of what is not finite
    double square; // |u|^2, of scaled images
    double radial; // 1 where the length of u is given, else 0
};

// What every distance of a side is measured by.
struct Unit {
    double inverse; // 1 / mean
    double shared;  // what all slopes have in common, as the mean moves with each distance
};

// Teacher or student.
struct Side {
    const void *map;
    Length *lengths;  // an image
    double *squares;  // Q, of each two images
    double *inverses; // 1 / sqrt(Q), 0 where images coincide
    double *pulls;    // c, the same of j and i
    double *along;    // an image
    Unit *unit;
};

// The same bytes as `RkdTask` in src/rkd.rs.
struct RkdTask {
    Side sides[2];    // teacher, student
    double *parts;    // of a side, a part of the images' numbers: one an image, or one a pair
    double *values;   // one a pair
    const double *sum; // of these
    void *gradient;
    u32 *overflowed;
    u64 images, length; // numbers of an image
    u64 parts_of_image;
    double per_distance, per_angle; // what a pair's distance counts in the value, and an angle
    double factor;    // of the gradient
    u32 is_scaled;    // images are brought to length 1
    u32 side;         // that the gradient is to
};

namespace rkd {

constexpr u64 PART = 4096;  // numbers of an image
constexpr u64 TILE = 16;    // images of a block, either way
constexpr u32 DEPTH = 32;   // numbers that it holds at once
constexpr u64 TOGETHER = 8; // images that a thread pulls at once
constexpr double SMALLEST = 1e-12; // norm that is divided by, and square of a distance

// What teacher and student add where they differ by so much, and its slope.
struct Huber {
    double value, slope;

    DEVICE explicit Huber(double d) {
        const double size = __builtin_fabs(d);
        value = size < 1.0 ? 0.5 * d * d : size - 0.5;
        slope = size < 1.0 ? d : d > 0.0 ? 1.0 : d < 0.0 ? -1.0 : d;
    }
};

DEVICE double distance(double square) { return square_root(square < SMALLEST ? SMALLEST : square); }

// An edge of a triangle: its square and its inverse.
struct Edge {
    double square, inverse;

    DEVICE Edge(const Side &side, u64 at) : square(side.squares[at]), inverse(side.inverses[at]) {}
};

// A triangle's cosines at i, j and k, and twice their derivatives by Q_ij.
struct Triangle {
    double psi[3], slope[3];

    DEVICE Triangle(Edge ij, Edge ik, Edge jk) {
        psi[0] = 0.5 * (ij.square + ik.square - jk.square) * ij.inverse * ik.inverse;
        psi[1] = 0.5 * (ij.square + jk.square - ik.square) * ij.inverse * jk.inverse;
        psi[2] = 0.5 * (ik.square + jk.square - ij.square) * ik.inverse * jk.inverse;
        slope[0] = ij.inverse * (ik.inverse - psi[0] * ij.inverse);
        slope[1] = ij.inverse * (jk.inverse - psi[1] * ij.inverse);
        slope[2] = -ik.inverse * jk.inverse;
    }
};

// A number of an image at its scale. It is rounded as such wherever it is made: of images that nearly coincide the gradient
// is then of the very difference that their distance is of.
template <class T> DEVICE double coordinate(const RkdTask &task, const Side &side, u64 image, u64 at) {
    return product((double)load(((const T *)side.map)[image * task.length + at]), side.lengths[image].step);
}

// Calls f with the number of each piece that this warp has.
template <class F> DEVICE void each_warp(u64 pieces, F f) { each_position<Lanes<32>>({pieces, 0, 1}, f); }

// Where a part begins in an image, and where it ends.
DEVICE u64 start_of(u64 part) { return part * PART; }
DEVICE u64 end_of(const RkdTask &task, u64 part) {
    return start_of(part + 1) < task.length ? start_of(part + 1) : task.length;
}

template <class T> DEVICE void norms(const RkdTask &task) {
    const u64 of_side = task.parts_of_image * task.images;
    for (u64 i = block_index(); i < 2 * of_side; i += block_count()) {
        const u64 part = i % of_side / task.images, image = i % task.images;
        const T *const x = (const T *)task.sides[i / of_side].map + image * task.length;
        double squares[1] = {0.0};
        for (u64 at = start_of(part) + thread_index(); at < end_of(task, part); at += THREADS) {
            const double number = load(x[at]);
            squares[0] += number * number;
        }
        if (OfBlock().sum(squares)) task.parts[i] = squares[0];
    }
}

// A thread a pair.
template <class T> DEVICE void distances(const RkdTask &task) {
    SHARED double left[TILE][DEPTH + 1], right[TILE][DEPTH + 1];
    const u64 images = task.images, across = (images + TILE - 1) / TILE;
    const u32 row = thread_index() / TILE, column = thread_index() % TILE;
    const u32 first = thread_index() / DEPTH, lane = thread_index() % DEPTH;
    // Those that read the same numbers, one after the other.
    for (u64 i = block_index(); i < 2 * task.parts_of_image * across * across; i += block_count()) {
        const u64 rows = i / across % across * TILE, columns = i % across * TILE;
        // A pair is measured once.
        if (rows > columns) continue;
        const u64 of_all = i / (across * across), part = of_all % task.parts_of_image;
        const Side &side = task.sides[of_all / task.parts_of_image];
        const u64 end = end_of(task, part);
        const auto number = [&](u64 image, u64 at) INLINE {
            return image < images && at < end ? coordinate<T>(task, side, image, at) : 0.0;
        };
        double square = 0.0;
#pragma unroll 1
        for (u64 from = start_of(part); from < end; from += DEPTH) {
#pragma unroll
            for (u32 image = first; image < TILE; image += THREADS / DEPTH) {
                left[image][lane] = number(rows + image, from + lane);
                right[image][lane] = number(columns + image, from + lane);
            }
            barrier();
#pragma unroll 8
            for (u32 k = 0; k < DEPTH; k++) {
                const double apart = left[row][k] - right[column][k];
                square += apart * apart;
            }
            barrier();
        }
        if (rows + row < columns + column && columns + column < images)
            task.parts[(of_all * images + rows + row) * images + columns + column] = square;
    }
}

// The gradient to one number of some images.
template <class T> DEVICE void pull(const RkdTask &task) {
    const Side &side = task.sides[task.side];
    const u64 images = task.images, groups = (images + TOGETHER - 1) / TOGETHER;
    const bool is_nan = *task.sum != *task.sum;
    bool overflows = false;
    for (u64 i = block_index(); i < (task.length + THREADS - 1) / THREADS * groups; i += block_count()) {
        const u64 at = i / groups * THREADS + thread_index(), first = i % groups * TOGETHER;
        if (at >= task.length) continue;
        double here[TOGETHER] = {}, sums[TOGETHER] = {};
#pragma unroll
        for (u64 k = 0; k < TOGETHER; k++) {
            if (first + k >= images) break;
            here[k] = coordinate<T>(task, side, first + k, at), sums[k] = -(here[k] * side.along[first + k]);
        }
#pragma unroll 1
        for (u64 j = 0; j < images; j++) {
            const double there = coordinate<T>(task, side, j, at);
            const double *const pulls = side.pulls + j * images + first;
#pragma unroll
            for (u64 k = 0; k < TOGETHER; k++)
                if (first + k < images) sums[k] += pulls[k] * (here[k] - there);
        }
#pragma unroll
        for (u64 k = 0; k < TOGETHER; k++) {
            if (first + k >= images) break;
            double exact = is_nan ? *task.sum : sums[k] * side.lengths[first + k].step * task.factor;
            if (task.factor == 0.0) exact = 0.0;
            ((T *)task.gradient)[(first + k) * task.length + at] = narrowed<T>(exact, overflows);
        }
    }
    if (overflows) set_bits(task.overflowed, task.side == 1 ? 1 : 2);
}

} // namespace rkd

KERNEL(THREADS) void densekd_rkd_lengths(RkdTask task) {
    rkd::each_warp(2 * task.images, [&](u64 i) INLINE {
        const u64 image = i % task.images, of = i / task.images;
        double squares[1] = {0.0};
        for (u64 part = thread_index() % 32; part < task.parts_of_image; part += 32)
            squares[0] += task.parts[(of * task.parts_of_image + part) * task.images + image];
        Lanes<32>().sum(squares);
        const double norm = square_root(squares[0]);
        Length length{1.0, 0.0, 0.0};
        if (!(norm < INFINITE)) {
            length = {__builtin_nan(""), norm, 0.0};
        } else if (task.is_scaled) {
            const bool is_short = norm <= rkd::SMALLEST;
            length.step = norm == 0.0 ? 0.0 : 1.0 / (is_short ? rkd::SMALLEST : norm);
            length.square = (norm * length.step) * (norm * length.step), length.radial = is_short ? 0.0 : 1.0;
        }
        if (thread_index() % 32 == 0) task.sides[of].lengths[image] = length;
    });
}

KERNEL(THREADS) void densekd_rkd_edges(RkdTask task) {
    const u64 images = task.images, pairs = images * images;
    rkd::each_warp(2 * pairs, [&](u64 item) INLINE {
        const u64 of = item / pairs, i = item % pairs / images, j = item % images;
        if (i > j) return;
        double square[1] = {0.0};
        for (u64 part = thread_index() % 32; i < j && part < task.parts_of_image; part += 32)
            square[0] += task.parts[(of * task.parts_of_image + part) * pairs + item % pairs];
        Lanes<32>().sum(square);
        const double inverse = square[0] == 0.0 ? 0.0 : 1.0 / square_root(square[0]);
        if (thread_index() % 32 > 0) return;
        const Side &side = task.sides[of];
        side.squares[i * images + j] = side.squares[j * images + i] = square[0];
        side.inverses[i * images + j] = side.inverses[j * images + i] = inverse;
    });
}

KERNEL(THREADS) void densekd_rkd_units(RkdTask task) {
    const u64 images = task.images;
    const double pairs = (double)images * ((double)images - 1.0);
    const auto each_pair = [&](auto f) INLINE {
        for (u64 i = thread_index(); i < images * images; i += THREADS)
            if (i / images != i % images)
                f(rkd::distance(task.sides[0].squares[i]), rkd::distance(task.sides[1].squares[i]));
    };
    for (u64 of = block_index(); of < 2; of += block_count()) {
        double sums[2] = {};
        each_pair([&](double t, double s) INLINE { sums[0] += t, sums[1] += s; });
        OfBlock().sum(sums);
        double inverses[2];
#pragma unroll
        for (int side = 0; side < 2; side++) inverses[side] = images > 1 ? pairs / sums[side] : 0.0;
        double slopes[1] = {0.0};
        each_pair([&](double t, double s) INLINE {
            const double slope = rkd::Huber(s * inverses[1] - t * inverses[0]).slope;
            slopes[0] += of == 1 ? slope * s : -slope * t;
        });
        const bool is_first = OfBlock().sum(slopes);
        const double inverse = of == 1 ? inverses[1] : inverses[0];
        if (is_first) *task.sides[of].unit = {inverse, images > 1 ? slopes[0] * inverse * inverse / pairs : 0.0};
    }
}

KERNEL(THREADS) void densekd_rkd_triangles(RkdTask task) {
    using namespace rkd;
    const u64 images = task.images;
    const Side &t = task.sides[0], &s = task.sides[1];
    each_position<Alone>({images * images, 0, 1}, [&](u64 ij) INLINE {
        const u64 i = ij / images, j = ij % images;
        if (i == j) {
            // What is not finite is so for all.
            const double steps = t.lengths[i].step + s.lengths[i].step;
            task.values[ij] = steps == steps ? 0.0 : steps, t.pulls[ij] = 0.0, s.pulls[ij] = 0.0;
            return;
        }
        const Edge ij_t(t, ij), ij_s(s, ij);
        const double far_t = distance(ij_t.square), far_s = distance(ij_s.square);
        const Huber apart(far_s * s.unit->inverse - far_t * t.unit->inverse);
        double angles = 0.0, sum_t = 0.0, sum_s = 0.0;
#pragma unroll 1
        for (u64 k = 0; k < images; k++) {
            if (k == i) continue;
            if (k == j) {
                // An edge with itself: 1, or 0 where it has no direction.
                angles += Huber((ij_s.inverse > 0.0 ? 1.0 : 0.0) - (ij_t.inverse > 0.0 ? 1.0 : 0.0)).value;
                continue;
            }
            const Triangle of_t(ij_t, {t, i * images + k}, {t, k * images + j});
            const Triangle of_s(ij_s, {s, i * images + k}, {s, k * images + j});
#pragma unroll
            for (int corner = 0; corner < 3; corner++) {
                const Huber angle(of_s.psi[corner] - of_t.psi[corner]);
                if (corner == 0) angles += angle.value;
                sum_t -= angle.slope * of_t.slope[corner], sum_s += angle.slope * of_s.slope[corner];
            }
        }
        task.values[ij] = task.per_distance * apart.value + task.per_angle * angles;
        const auto pull = [&](const Side &side, Edge edge, double far, double slope, double sum) INLINE {
            const double of_far = (slope * side.unit->inverse - side.unit->shared) / far;
            const double of_distance = edge.square < SMALLEST ? 0.0 : task.per_distance * of_far;
            side.pulls[ij] = 2.0 * (of_distance + task.per_angle * sum);
        };
        pull(t, ij_t, far_t, -apart.slope, sum_t), pull(s, ij_s, far_s, apart.slope, sum_s);
    });
}

KERNEL(THREADS) void densekd_rkd_along(RkdTask task) {
    rkd::each_warp(2 * task.images, [&](u64 item) INLINE {
        const u64 images = task.images, i = item % images;
        const Side &side = task.sides[item / images];
        const Length here = side.lengths[i];
        double sum[1] = {0.0};
        for (u64 j = thread_index() % 32; j < images; j += 32) {
            const u64 ij = i * images + j;
            sum[0] += side.pulls[ij] * (side.squares[ij] + (here.square - side.lengths[j].square)) * 0.5;
        }
        Lanes<32>().sum(sum);
        if (thread_index() % 32 == 0) side.along[i] = here.radial * sum[0];
    });
}

#define KERNELS_OF(T)                                                                                    \
    KERNEL(THREADS) void densekd_rkd_norms_##T(RkdTask task) { rkd::norms<T>(task); }                    \
    KERNEL(THREADS) void densekd_rkd_distances_##T(RkdTask task) { rkd::distances<T>(task); }            \
    KERNEL(THREADS) void densekd_rkd_pull_##T(RkdTask task) { rkd::pull<T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
