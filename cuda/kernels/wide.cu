// Rows of f64: KL divergence and cross-entropy of two softmaxes, all arithmetic in f64.
//
//     p = softmax(t / tau),  q = softmax(s / tau),  r = log p - log q,  value = sum of q k(r),  k(r) = r e^r - e^r + 1
//     to the student:  q - p           to the teacher:  p (h - sum p h),  h = r, of cross-entropy -log q
//
// A row is read four times, out of caches from the second on: its largest logits; its sums about them; value and means;
// gradients. Differences are taken about that at the teacher's largest logit, and a largest weight's 1 stands apart from
// the sum of the others, so that nothing is lost of rows that hardly differ, nor of saturated ones.
//
//     entries        a row is walked by
//     apart          a thread, beside those that have the neighbouring rows
//     together       a warp to 1024, else a block
#include "elementary.h"
#include "task.h"
#include "team.h"

namespace wide {

// A weight's 1 where it is the largest, and what the others add to it.
struct Sum {
    double count, rest;

    // Of the sum.
    DEVICE double inverse() const { return 1.0 / (count + rest); }
    DEVICE double rest_logarithm() const { return logarithm_beyond_1(rest / count); }
};

// An entry as probabilities.
struct Point {
    double p, q;
    double excess; // p - q, to its own digits
    double ratio;  // log p - log q
};

// A row: what its entries are compared about.
struct Row {
    double t, s;         // the largest logits
    double beside;       // the student's where the teacher's is largest; the largest where it has none there
    double per_teacher, per_student;
    double shift;        // -r at `t` and `beside`
    double per_tau;
    bool is_nan, is_empty, is_open; // the teacher has nothing; it has an entry that the student lacks

    DEVICE double exponent(double x, double top) const { return x > -INFINITE ? exponential((x - top) * per_tau) : 0.0; }

    DEVICE Point at(double x_t, double x_s) const {
        Point x;
        x.p = exponent(x_t, t) * per_teacher, x.q = exponent(x_s, s) * per_student;
        x.ratio = ((x_t - x_s) - (t - beside)) * per_tau - shift;
        const bool is_near = __builtin_fabs(x.ratio) <= 1.0;
        x.excess = is_near ? x.q * (x.ratio + x.ratio * x.ratio * second_order(x.ratio)) : x.p - x.q;
        return x;
    }

    // q k(r).
    DEVICE static double term(const Point &x) {
        if (!(__builtin_fabs(x.ratio) <= 1.0)) return (x.p > 0.0 ? x.p * x.ratio : 0.0) - x.excess;
        const double second = second_order(x.ratio);
        return x.q * (x.ratio * x.ratio * (1.0 - second + x.ratio * second));
    }

    // h, about that of the teacher's largest logit.
    DEVICE double slope(double x_t, double x_s, bool with_entropy) const {
        const double of_student = beside - x_s;
        return (with_entropy ? of_student : (x_t - t) + of_student) * per_tau;
    }
};

template <class Team> DEVICE void row_of(const Task &task, u64 index) {
    const Team team;
    const u64 start = index / task.inner * task.length * task.inner + index % task.inner;
    const Counted counted = task.counted(index);
    const bool counts_for_nothing = index >= task.summed;
    // Calls f with each pair of logits, where it stands and whether it counts: nothing where it does not; NaN and +inf in
    // either spoil both.
    const auto each = [&](auto f) INLINE {
#pragma unroll 1
        for (u64 i = team.lane(); i < task.length; i += Team::SIZE) {
            const u64 at = start + i * task.inner;
            const double t = ((const double *)task.teacher)[at], s = ((const double *)task.student)[at];
            const bool counts = !counts_for_nothing && counted[i], is_spoilt = !(t < INFINITE && s < INFINITE);
            const double instead = counts ? INFINITE : -INFINITE;
            f(counts && !is_spoilt ? t : instead, counts && !is_spoilt ? s : instead, at, counts);
        }
    };

    double tops[3] = {-INFINITE, -INFINITE, 0.0};
    each([&](double t, double s, u64, bool) INLINE {
        tops[0] = __builtin_fmax(tops[0], t), tops[1] = __builtin_fmax(tops[1], s);
        tops[2] = __builtin_fmax(tops[2], t > -INFINITE && s == -INFINITE ? 1.0 : 0.0);
    });
    team.max(tops);
    Row row{};
    row.t = tops[0], row.s = tops[1], row.per_tau = task.unit;
    row.is_nan = row.t == INFINITE, row.is_empty = row.t == -INFINITE, row.is_open = tops[2] > 0.0;

    double beside[1] = {-INFINITE}, sums[4] = {};
    each([&](double t, double s, u64, bool) INLINE {
        const bool is_top_t = t == row.t, is_top_s = s == row.s;
        if (is_top_t) beside[0] = __builtin_fmax(beside[0], s);
        sums[0] += is_top_t ? 1.0 : 0.0, sums[1] += is_top_t ? 0.0 : row.exponent(t, row.t);
        sums[2] += is_top_s ? 1.0 : 0.0, sums[3] += is_top_s ? 0.0 : row.exponent(s, row.s);
    });
    team.max(beside), team.sum(sums);
    const Sum of_t{sums[0], sums[1]}, of_s{sums[2], sums[3]};
    const bool has_student = row.s > -INFINITE;
    row.beside = beside[0] > -INFINITE ? beside[0] : row.s;
    row.per_teacher = row.is_empty ? 0.0 : of_t.inverse(), row.per_student = has_student ? of_s.inverse() : 0.0;
    const double ties = logarithm(of_t.count) - logarithm(of_s.count);
    const double below = has_student ? (row.beside - row.s) * row.per_tau : 0.0;
    row.shift = (ties + below) + (of_t.rest_logarithm() - of_s.rest_logarithm());

    // What is left of the sum of p - q, which is 0, is what the shift was rounded by.
    double means[4] = {};
    each([&](double t, double s, u64, bool) INLINE {
        const Point x = row.at(t, s);
        means[0] += x.excess, means[1] += Row::term(x);
        if (!(x.p > 0.0)) return;
        means[2] += x.p * row.slope(t, s, task.with_entropy());
        means[3] += x.p * ((row.t - t) * row.per_tau);
    });
    team.sum(means);
    const double left = means[0];
    double value = row.is_open ? (double)INFINITE : __builtin_fmax(means[1] * (1.0 - left) - 0.5 * left * left, 0.0);
    if (task.with_entropy()) value += means[3] + (logarithm(of_t.count) + of_t.rest_logarithm());
    if (row.is_empty) value = 0.0;
    if (row.is_nan) value = __builtin_nan("");
    if (team.lane() == 0) task.values[index] = value;
    row.shift += left - 0.5 * left * left;

    u32 overflowed = 0;
    const auto stored = [&](double exact, u32 bit) INLINE {
        const double scaled = exact * task.factor + 0.0;
        if (__builtin_fabs(exact) < INFINITE && __builtin_fabs(scaled) == INFINITE) overflowed |= bit;
        return scaled;
    };
    each([&](double t, double s, u64 at, bool counts) INLINE {
        const bool is_part = counts && !row.is_empty;
        const Point x = row.at(t, s);
        if (task.to_student)
            ((double *)task.to_student)[at] = stored(!is_part ? 0.0 : row.is_nan ? value : -x.excess, 1);
        if (task.to_teacher) {
            double exact = x.p > 0.0 ? x.p * (row.slope(t, s, task.with_entropy()) - means[2]) : 0.0;
            if (row.is_open || row.is_nan) exact = __builtin_nan("");
            ((double *)task.to_teacher)[at] = stored(is_part ? exact : 0.0, 2);
        }
    });
    if (overflowed) set_bits(task.overflowed, overflowed);
}

template <class Team> DEVICE void rows(const Task &task) {
    constexpr u64 OF_BLOCK = THREADS / Team::SIZE;
    const u64 first = block_index() * OF_BLOCK + thread_index() / Team::SIZE;
    for (u64 row = first; row < task.rows; row += block_count() * OF_BLOCK) row_of<Team>(task, row);
}

} // namespace wide

KERNEL(THREADS) void densekd_wide_thread(Task task) { wide::rows<Alone>(task); }
KERNEL(THREADS) void densekd_wide_warp(Task task) { wide::rows<Lanes<32>>(task); }
KERNEL(THREADS) void densekd_wide_block(Task task) { wide::rows<Block<THREADS>>(task); }
