// Losses over the classes of positions, each of which has a label: decoupled distillation and smoothed cross-entropy.
//
//     channels are       a position is walked by
//     planes (NCHW)      a thread
//     last (NHWC)        a warp
//
// Whoever walks a position walks it once a sweep, out of the caches from the second on; value and gradient leave in one
// launch.
#include "task.h"
#include "team.h"

// The same bytes as `ClassTask` in src/classes.rs.
struct ClassTask {
    const void *teacher, *student;
    void *gradient;        // to the student, or null: the value alone
    const int *classes;    // one a position; below 0: it is left out
    double *values;        // one a position
    u32 *overflowed;       // bit 0: a finite gradient became infinite
    u64 positions, channels;
    u64 inner;             // how far the channels of a position are apart
    Temperature temperature;
    float mantissa, power; // the gradient's factor as a product, so that a tiny one is not lost
    float of_target, of_rest; // weights of the target's divergence and of the other classes'
    float smoothing, spread;  // the share of a target that all classes get, and what one class gets
    u32 unused;
};

namespace classes {

// A counted position of a student, with or without a teacher, without the class of its label.
template <class T, class Team> struct Rest {
    static constexpr bool HAS_INSIDE = false;
    using Sum = LongSum;
    const ClassTask &task;
    Team team;
    u64 start;
    u32 own;

    DEVICE Rest(const ClassTask &task, u64 position, u32 own)
        : task(task), start(position / task.inner * task.channels * task.inner + position % task.inner), own(own) {}

    DEVICE u64 index(u64 c) const { return start + c * task.inner; }
    DEVICE float student(u64 c) const { return load(((const T *)task.student)[index(c)]); }
    DEVICE Logits at(u64 c) const { return Logits::of(load(((const T *)task.teacher)[index(c)]), student(c)); }

    template <class F> DEVICE void each_class(F f) const {
        for (u64 c = team.lane(); c < task.channels; c += Team::SIZE) f(c);
    }

    template <class F> DEVICE void each(F f) const {
        each_class([&](u64 c) INLINE {
            const Logits x = c == own ? Logits::nothing() : at(c);
            f(State::of(x.t, x.s), 0);
        });
    }

    // Writes what `f` gives for each class, scaled once, before it is rounded.
    template <class F> DEVICE void write(F f) const {
        bool overflows = false;
        each_class([&](u64 c) INLINE {
            const float exact = task.mantissa == 0.0f ? 0.0f : f(c);
            const float wide = exact * task.mantissa * task.power + 0.0f;
            const T stored = rounded(T{}, wide);
            overflows |= is_finite(exact) && __builtin_fabsf(load(stored)) == INFINITE;
            ((T *)task.gradient)[index(c)] = stored;
        });
        if (overflows) set_bits(task.overflowed, 1);
    }
};

// The target and the rest beside it, as the two entries of a row.
struct Two {
    static constexpr bool HAS_INSIDE = false;
    using Sum = LongSum;
    State own, rest;

    // One call of f, which is too long to be there twice.
    template <class F> DEVICE void each(F f) const {
#pragma unroll 1
        for (int i = 0; i < 2; i++) f(i ? rest : own, i);
    }
};

// c - b, the student's share of the target less the teacher's: of the two shares the smaller keeps its digits.
DEVICE float difference_of_targets(const State &whole, const Two &two, Temperature k) {
    const auto excess = [&](const State &x) INLINE {
        const float reference_s = is_finite(whole.s) ? whole.s : 0.0f;
        const float q = x.student * k.weight(x.s, reference_s) / whole.student;
        const float r = k.nats(x.log_ratio, whole.log_ratio);
        if (__builtin_fabsf(r) <= 1.0f) return Pair{q, -q * expm1_near(r)};
        return Pair{q, q - x.teacher * k.weight(x.t, whole.t) / whole.teacher};
    };
    const Pair own = excess(two.own), rest = excess(two.rest);
    return two.rest.is_empty() && two.rest.s == -INFINITE ? 0.0f : own.high > rest.high ? -rest.low : own.low;
}

template <class Rest> DEVICE double decoupled(const Rest &entries) {
    const ClassTask &task = entries.task;
    const Temperature k = task.temperature;
    const State rest = merge(entries.team, entries, k, false);
    const Logits label = entries.at(entries.own);
    Two two{State::of(label.t, label.s), rest};
    two.rest.kl = two.rest.entropy = 0.0f;
    const State whole = merge(Alone(), two, k, false);
    if (task.gradient) {
        const Distributions inside(rest, k);
        // Where the teacher has no other class, the student's still take the target's pull.
        const float per_student = rest.student > 0.0f ? 1.0f / rest.student : 0.0f;
        const float pull = task.of_target * difference_of_targets(whole, two, k);
        entries.write([&](u64 c) INLINE {
            if (whole.is_nan()) return __builtin_nanf("");
            if (whole.is_empty()) return 0.0f;
            if (c == entries.own) return pull;
            const Logits x = entries.at(c);
            const float q = inside.student_weight(x.s) * per_student;
            const float of_rest = task.of_rest == 0.0f ? 0.0f : -task.of_rest * inside.at(x.t, x.s).excess;
            return of_rest - pull * q;
        });
    }
    if (whole.is_nan()) return __builtin_nan("");
    if (whole.is_empty()) return 0.0;
    return (task.of_target == 0.0f ? 0.0 : (double)task.of_target * (double)whole.kl) +
           (task.of_rest == 0.0f ? 0.0 : (double)task.of_rest * (double)rest.kl);
}

// With l the log-odds of the label, its term is log(1 + e^-l), and the others' share 1 / (1 + e^l).
template <class Rest> DEVICE double smoothed(const Rest &entries) {
    const ClassTask &task = entries.task;
    const Temperature k = task.temperature;
    const float own = entries.student(entries.own);
    // The largest other logit, the smallest less its sign, whether one is none.
    float top[3] = {-INFINITE, -INFINITE, own < INFINITE ? 0.0f : 1.0f};
    entries.each_class([&](u64 c) INLINE {
        const float x = entries.student(c);
        if (c != entries.own) top[0] = larger(top[0], x), top[1] = larger(top[1], -x);
        if (!(x < INFINITE)) top[2] = 1.0f;
    });
    entries.team.max(top);
    const float reference = is_finite(top[0]) ? top[0] : 0.0f;
    LongSum weights, above;
    entries.each_class([&](u64 c) INLINE {
        if (c == entries.own) return;
        const float x = entries.student(c);
        weights.add(0, k.weight(x, reference));
        const Pair d = difference(x, own);
        above.add(0, d.high), above.low += d.low;
    });
    float sums[2] = {weights.value(), above.value()};
    entries.team.sum(sums);
    const bool is_empty = top[0] == -INFINITE;
    float odds = is_empty ? INFINITE : (own - reference) * k.per_nat - log2_approx(sums[0]) * LN_2;
    if (own == -INFINITE) odds = -INFINITE;
    if (top[2] > 0.0f) odds = __builtin_nanf("");
    const float other = exp2_approx(-__builtin_fabsf(odds) * LOG2_E), per_all = 1.0f / (1.0f + other);
    const float share = odds > 0.0f ? other * per_all : per_all;
    const float term = (odds > 0.0f ? 0.0f : -odds) + logarithm(1.0f, other);
    if (task.gradient) {
        const float per_weight = is_empty ? 0.0f : share / sums[0];
        entries.write([&](u64 c) INLINE {
            if (odds != odds) return odds;
            if (c == entries.own) return task.smoothing - task.spread - share;
            return per_weight * k.weight(entries.student(c), reference) - task.spread;
        });
    }
    if (odds != odds) return __builtin_nan("");
    if (task.spread == 0.0f || term == INFINITE) return (double)term;
    if (top[1] == INFINITE) return (double)INFINITE;
    return (double)term - (double)task.spread * ((double)sums[1] * (double)k.per_nat);
}

template <class T, class Team, class F> DEVICE void each_position(const ClassTask &task, F f) {
    constexpr u64 OF_BLOCK = THREADS / Team::SIZE;
    const u64 first = block_index() * OF_BLOCK + thread_index() / Team::SIZE;
    for (u64 i = first; i < task.positions; i += block_count() * OF_BLOCK) {
        const int label = task.classes[i];
        const Rest<T, Team> entries(task, i, (u32)label);
        double value = 0.0;
        if (label < 0) {
            if (task.gradient) entries.write([](u64) INLINE { return 0.0f; });
        } else if ((u64)label >= task.channels) {
            // No class: nothing finite may hide it.
            value = __builtin_nan("");
            if (task.gradient) entries.write([](u64) INLINE { return __builtin_nanf(""); });
        } else {
            value = f(entries);
        }
        if (entries.team.lane() == 0) task.values[i] = value;
    }
}

template <class T, class Team> DEVICE void all_decoupled(const ClassTask &task) {
    each_position<T, Team>(task, [](const Rest<T, Team> &entries) INLINE { return decoupled(entries); });
}

template <class T, class Team> DEVICE void all_smoothed(const ClassTask &task) {
    each_position<T, Team>(task, [](const Rest<T, Team> &entries) INLINE { return smoothed(entries); });
}

} // namespace classes

#define KERNELS_OF(T)                                                                                         \
    KERNEL(THREADS) void densekd_dkd_planes_##T(ClassTask task) { classes::all_decoupled<T, Alone>(task); }   \
    KERNEL(THREADS) void densekd_dkd_last_##T(ClassTask task) { classes::all_decoupled<T, Lanes<32>>(task); } \
    KERNEL(THREADS) void densekd_smooth_planes_##T(ClassTask task) { classes::all_smoothed<T, Alone>(task); } \
    KERNEL(THREADS) void densekd_smooth_last_##T(ClassTask task) { classes::all_smoothed<T, Lanes<32>>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)

#undef KERNELS_OF
