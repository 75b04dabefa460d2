// Correlations of two softmaxes over channels: between the classes of each position, and between the positions of each
// class (DIST).
//
//     p = softmax(t / tau),  q = softmax(s / tau),  sum = of_row * sum over positions of (1 - r(p, q))
//                                                       + of_column * sum over classes of (1 - r(p, q))
//
//     rows       a position: both softmaxes, the correlation of its classes
//     columns    a part of a class: what its positions' shares add to the correlation
//     close      a warp a class: its correlation, from all parts
//     pull       a position: the gradient, which takes what the softmax pulls back
//
// Shares are f64, which takes a polynomial for each: correlations of softmaxes that hardly differ are what is left of
// numbers that do not.
#include "elementary.h"
#include "pearson.h"
#include "position.h"

// A class's correlation as its gradients need it; all 0 where a side has no spread.
struct Column {
    double mean_t, mean_s;
    double unit_t, unit_s;   // 1 / |a'|, 1 / |b'|
    double slope_t, slope_s; // |b'| / d, |a'| / d
    double correlation;
};

// What is kept of a position, each for all of them in turn.
enum RowNumber : u32 { TOP_T, PER_SUM_T, TOP_S, PER_SUM_S, ALONG_T, ALONG_S, ACROSS };

// The same bytes as `DistTask` in src/dist.rs.
struct DistTask {
    const void *teacher, *student;
    void *gradient;
    double *values;        // one a position, then one a class
    double *rows;          // `RowNumber` times the positions
    Comoments *parts;      // those of a class side by side
    Column *columns;
    const double *sum;     // of all values
    u32 *overflowed;       // bit 0: a finite gradient became infinite; bit 1: the teacher's
    Extent map;
    u64 parts_of_column;
    double per_tau, eps;
    double of_row, of_column;
    double factor;
    u32 to_teacher, unused;

    DEVICE double &row(RowNumber which, u64 i) const { return rows[which * map.positions + i]; }
};

namespace dist {

// A side's softmax at a position.
struct Softmax {
    double top, per_sum;

    DEVICE double share(double x, double per_tau) const { return exponential((x - top) * per_tau) * per_sum; }
};

// Of teacher and student.
struct Softmaxes {
    Softmax t, s;

    DEVICE static Softmaxes kept(const DistTask &task, u64 i) {
        return {{task.row(TOP_T, i), task.row(PER_SUM_T, i)}, {task.row(TOP_S, i), task.row(PER_SUM_S, i)}};
    }

    template <class T, class Team> DEVICE static Softmaxes of(const DistTask &task, const Position<T, Team> &at) {
        double top[2] = {-INFINITE, -INFINITE}, sums[2] = {0.0, 0.0};
        at.each([&](u64 c) INLINE {
            top[0] = __builtin_fmax(top[0], at.at(task.teacher, c));
            top[1] = __builtin_fmax(top[1], at.at(task.student, c));
        });
        at.team.max(top);
        at.each([&](u64 c) INLINE {
            const double t = at.at(task.teacher, c), s = at.at(task.student, c);
            // Nothing finite comes of what is not: -inf would hide in a share of 0.
            sums[0] += exponential((t - top[0]) * task.per_tau) + t * 0.0;
            sums[1] += exponential((s - top[1]) * task.per_tau) + s * 0.0;
        });
        at.team.sum(sums);
        return {{top[0], 1.0 / sums[0]}, {top[1], 1.0 / sums[1]}};
    }
};

template <class T, class Team> DEVICE void rows(const DistTask &task) {
    const double mean = 1.0 / (double)task.map.channels;
    each_position<Team>(task.map, [&](u64 i) INLINE {
        const Position<T, Team> at(task.map, i);
        const Softmaxes of = Softmaxes::of(task, at);
        Products sums;
        at.each([&](u64 c) INLINE {
            const double p = of.t.share(at.at(task.teacher, c), task.per_tau);
            const double q = of.s.share(at.at(task.student, c), task.per_tau);
            sums.add(p - mean, q - mean);
        });
        sums.sum(at.team);
        if (at.team.lane() > 0) return;
        const Pearson r(sums, task.eps);
        task.values[i] = task.of_row * r.miss;
        task.row(TOP_T, i) = of.t.top, task.row(PER_SUM_T, i) = of.t.per_sum;
        task.row(TOP_S, i) = of.s.top, task.row(PER_SUM_S, i) = of.s.per_sum;
        // r |b'| / |a'| - 1 from what is small of close pairs.
        const double weight = r.is_none ? 0.0 : task.of_row / r.divisor;
        task.row(ALONG_T, i) = r.is_none ? 0.0 : (-r.longer - r.miss * r.b) / r.a * weight;
        task.row(ALONG_S, i) = r.is_none ? 0.0 : (r.longer - r.miss * r.a) / r.b * weight;
        task.row(ACROSS, i) = -weight;
    });
}

// A class's part: sums about the shares of its first position.
struct ClassSums {
    const DistTask &task;
    double shift_t = 0.0, shift_s = 0.0, count = 0.0, a = 0.0, b = 0.0;
    Products sums;

    DEVICE explicit ClassSums(const DistTask &task) : task(task) {}

    template <class T> DEVICE void shares(u64 i, u64 at, double &p, double &q) const {
        const Softmaxes of = Softmaxes::kept(task, i);
        p = of.t.share((double)load(((const T *)task.teacher)[at]), task.per_tau);
        q = of.s.share((double)load(((const T *)task.student)[at]), task.per_tau);
    }
    template <class T> DEVICE void about(u64 i, u64 at) { shares<T>(i, at, shift_t, shift_s); }
    template <class T> DEVICE void add(u64 i, u64 at) {
        double p, q;
        shares<T>(i, at, p, q);
        p -= shift_t, q -= shift_s;
        count += 1.0, a += p, b += q, sums.add(p, q);
    }

    // Over the threads that share a class; whether this one is to write it down.
    template <class Part> DEVICE void write(const Part &part, u64 column, u64 of_column) {
        double all[8] = {count, a, b, sums.aa, sums.bb, sums.ab, sums.apart, sums.skew};
        if (!part.sum(all)) return;
        const Products products{all[3], all[4], all[5], all[6], all[7]};
        task.parts[column * task.parts_of_column + of_column] =
            Comoments::about(all[0], shift_t, shift_s, all[1], all[2], products);
    }
};

// Of planes a block has 2048 positions of a class.
template <class T> DEVICE void columns_of_planes(const DistTask &task) {
    constexpr u64 PART = 8 * THREADS;
    const u64 inner = task.map.inner, channels = task.map.channels;
    for (u64 at = block_index(); at < channels * task.parts_of_column; at += block_count()) {
        // Classes of one part follow each other: they share what is kept of its rows.
        const u64 c = at % channels, part = at / channels, from = part * PART;
        const u64 end = from + PART < task.map.positions ? from + PART : task.map.positions;
        ClassSums own(task);
        const auto index = [&](u64 image, u64 rest) INLINE { return (image * channels + c) * inner + rest; };
        own.about<T>(from, index(from / inner, from % inner));
        u64 image = (from + thread_index()) / inner, rest = (from + thread_index()) % inner;
        const u64 images_on = THREADS / inner, rest_on = THREADS % inner;
#pragma unroll 1
        for (u64 i = from + thread_index(); i < end; i += THREADS) {
            own.add<T>(i, index(image, rest));
            image += images_on, rest += rest_on;
            if (rest >= inner) rest -= inner, image++;
        }
        own.write(OfBlock(), c, part);
    }
}

// Of classes that are last a block has 256 positions of 32.
template <class T> DEVICE void columns_of_last(const DistTask &task) {
    constexpr u64 PART = 256;
    const u64 channels = task.map.channels, groups = (channels + 31) / 32;
    for (u64 at = block_index(); at < groups * task.parts_of_column; at += block_count()) {
        const u64 c = at % groups * 32 + thread_index() % 32, part = at / groups, from = part * PART;
        const u64 end = from + PART < task.map.positions ? from + PART : task.map.positions;
        ClassSums own(task);
        if (c < channels) {
            own.about<T>(from, from * channels + c);
#pragma unroll 1
            for (u64 i = from + thread_index() / 32; i < end; i += THREADS / 32) own.add<T>(i, i * channels + c);
        }
        own.write(OfLanes{c < channels}, c, part);
    }
}

template <class T, class Team> DEVICE void pull(const DistTask &task) {
    const bool to_teacher = task.to_teacher, is_nan = *task.sum != *task.sum;
    const double mean = 1.0 / (double)task.map.channels;
    bool overflows = false;
    each_position<Team>(task.map, [&](u64 i) INLINE {
        const Position<T, Team> at(task.map, i);
        if (is_nan || task.factor == 0.0) {
            at.write(task.gradient, [&](u64) INLINE { return task.factor == 0.0 ? 0.0 : __builtin_nan(""); });
            return;
        }
        const Softmaxes of = Softmaxes::kept(task, i);
        const double along = task.row(to_teacher ? ALONG_T : ALONG_S, i), across = task.row(ACROSS, i);
        // The side's share, and the sum's gradient to it.
        const auto slope = [&](u64 c, double &own) INLINE {
            const Column &column = task.columns[c];
            const double p = of.t.share(at.at(task.teacher, c), task.per_tau);
            const double q = of.s.share(at.at(task.student, c), task.per_tau);
            const double zt = (p - column.mean_t) * column.unit_t, zs = (q - column.mean_s) * column.unit_s;
            own = to_teacher ? p : q;
            const double of_row = (own - mean) * along + (to_teacher ? q - p : p - q) * across;
            // 0 of equal columns, whose correlation is 1.
            const double of_column =
                to_teacher ? __builtin_fma(zt, column.correlation, -zs) : __builtin_fma(zs, column.correlation, -zt);
            return __builtin_fma(of_column, task.of_column * (to_teacher ? column.slope_t : column.slope_s), of_row);
        };
        double dot[1] = {0.0};
        at.each([&](u64 c) INLINE {
            double own;
            const double of_own = slope(c, own);
            dot[0] += own * of_own;
        });
        at.team.sum(dot);
        overflows |= at.write(task.gradient, [&](u64 c) INLINE {
            double own;
            const double of_own = slope(c, own);
            return own * (of_own - dot[0]) * task.per_tau * task.factor;
        });
    });
    if (overflows) set_bits(task.overflowed, to_teacher ? 2 : 1);
}

// The same number of the lane whose number differs in the bits of `flip`, for each of those of a class.
DEVICE Comoments exchange(const Comoments &x, u32 flip) {
    const auto other = [&](double of) INLINE { return ::exchange(~0u, of, flip); };
    const Products &sums = x.sums;
    return {other(x.count), other(x.mean_a), other(x.mean_b),
            {other(sums.aa), other(sums.bb), other(sums.ab), other(sums.apart), other(sums.skew)}};
}

} // namespace dist

KERNEL(THREADS) void densekd_dist_close(DistTask task) {
    const u64 first = block_index() * (u64)(THREADS / 32) + thread_index() / 32;
    for (u64 c = first; c < task.map.channels; c += block_count() * (u64)(THREADS / 32)) {
        Comoments all{};
        for (u64 part = thread_index() % 32; part < task.parts_of_column; part += 32)
            all.merge(task.parts[c * task.parts_of_column + part]);
#pragma unroll 1
        for (u32 flip = 16; flip > 0; flip /= 2) all.merge(dist::exchange(all, flip));
        if (thread_index() % 32 > 0) continue;
        const Pearson r(all.sums, task.eps);
        task.values[task.map.positions + c] = task.of_column * r.miss;
        const auto of = [&](double x) INLINE { return r.is_none ? 0.0 : x; };
        task.columns[c] = {all.mean_a,          all.mean_b,          of(1.0 / r.a), of(1.0 / r.b),
                           of(r.b / r.divisor), of(r.a / r.divisor), 1.0 - r.miss};
    }
}

#define KERNELS_OF(T)                                                                                             \
    KERNEL(THREADS) void densekd_dist_rows_planes_##T(DistTask task) { dist::rows<T, Alone>(task); }              \
    KERNEL(THREADS) void densekd_dist_rows_last_##T(DistTask task) { dist::rows<T, Lanes<32>>(task); }            \
    KERNEL(THREADS) void densekd_dist_columns_planes_##T(DistTask task) { dist::columns_of_planes<T>(task); }     \
    KERNEL(THREADS) void densekd_dist_columns_last_##T(DistTask task) { dist::columns_of_last<T>(task); }         \
    KERNEL(THREADS) void densekd_dist_pull_planes_##T(DistTask task) { dist::pull<T, Alone>(task); }              \
    KERNEL(THREADS) void densekd_dist_pull_last_##T(DistTask task) { dist::pull<T, Lanes<32>>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
