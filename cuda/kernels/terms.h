// Rows with a sum of their own: all but the value and the student's gradient of KL divergence and cross-entropy.
//
//     value = sum of terms,   dS = q (g - sum q g) / tau,   dT = p (h - sum p h) / tau
//
// with the slopes g and h of the value by log q and log p, as multiples of q and p. Terms and slopes are taken in f32,
// each with its own digits, and a slope is the same number again in the gradient; sums of products keep what their
// roundings lose. So a saturated row keeps its gradient: of equal slopes nothing is left, not a rounding.
#pragma once
#include "divergences.h"
#include "task.h"
#include "team.h"

// What a row's entries add up to.
struct Totals {
    double value, student, teacher; // of terms; of slopes, each with its weight
    double of_student, of_teacher;  // of weights; of numbers, each entry has weight 1
    double of_top; // of the teacher's weights where the student is largest, for cross-entropy with eps

    template <class Team> DEVICE Totals over(const Team &team) const {
        double sums[6] = {value, student, teacher, of_student, of_teacher, of_top};
        team.sum(sums);
        return {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]};
    }

    DEVICE void add(const Totals &next) {
        value += next.value, student += next.student, teacher += next.teacher;
        of_student += next.of_student, of_teacher += next.of_teacher, of_top += next.of_top;
    }
};

// A sum of numbers and products that keeps what their roundings, and its own, lose.
struct ProductSum {
    LongSum sum;

    DEVICE void add(float x) { sum.add(0, x); }
    DEVICE void add(float a, float b) {
        const float product = a * b;
        add(product);
        sum.low += __builtin_fmaf(a, b, -product);
    }
    // An infinite sum has no rest.
    DEVICE double value() const { return is_finite(sum.high) ? (double)sum.high + (double)sum.low : sum.high; }
};

// What an entry adds to the value, and its slopes. A constant that all slopes of a row have in common is left out: no
// gradient has it.
struct Term {
    float value, student, teacher;
};

// A row with its totals.
template <class T> struct Summed {
    static constexpr bool HAS_TEACHER = true, IS_OF_STATE = false;
    const Task &task;
    Distributions of;
    Totals totals;
    float surprise_at_top; // -log(q + eps) at the student's largest logit, for cross-entropy with eps
    Pair mean_student, mean_teacher;

    DEVICE Summed(const Task &task, const State &row, const Totals &totals)
        : task(task), of(row, task.temperature), totals(totals), surprise_at_top(0.0f) {
        const double z = totals.of_student;
        if (task.divergence == SMOOTHED_CE && z > 0.0)
            surprise_at_top = -log_with_eps((float)(1.0 / z), (float)((1.0 - z) / z));
        mean_student = mean(totals.student, z);
        mean_teacher = mean(totals.teacher + totals.of_top * surprise_at_top, totals.of_teacher);
    }

    template <class Team, class Entries>
    DEVICE static Summed of_row(const Task &task, const Team &team, const Entries &entries, u64 row) {
        const State state = task.state(team, entries, row);
        return {task, state, Summed(task, state, Totals{}).sum(team, entries)};
    }
    DEVICE static Summed known(const Task &task, u64 row) { return {task, task.known(row), task.totals[row]}; }

    // The totals of entries of this row.
    template <class Team, class Entries> DEVICE Totals sum(const Team &team, const Entries &entries) const {
        Totals totals{};
        if (!of.row.is_empty()) totals = task.is_of_numbers() ? sum_of_numbers(entries) : sum_of_terms(entries);
        return totals.over(team);
    }

    DEVICE double value() const {
        if (of.row.is_nan()) return __builtin_nan("");
        if (is_silent()) return 0.0;
        const bool has_student = totals.of_student > 0.0;
        switch (task.divergence) {
        // Of nothing that counts there are no terms; where the student has nothing, the sum of p - q is 1 and not 0.
        case KL: return totals.value == INFINITE || (has_student && totals.student > 0.0) ? totals.value : 0.0;
        case SMOOTHED_KL: return has_student ? totals.value : totals.value + 1.0;
        case REVERSE_KL: return has_student ? totals.value : 0.0;
        // Beside the 1 of the largest weight the others keep their digits in f64 only.
        case CE: return totals.value + logarithm(1.0f, (float)(totals.of_student - 1.0)) * kept();
        case SMOOTHED_CE: return totals.value + totals.of_top * surprise_at_top / totals.of_teacher;
        case MEANS: return mean_difference() * mean_difference();
        default: return totals.value;
        }
    }

    DEVICE T student(Logits logits, bool counts, bool &overflows) const {
        if (task.is_of_numbers()) return of_numbers(logits, 1.0, counts, overflows);
        const Point x = of.at(logits.t, logits.s);
        // q sum c p - c p
        if (task.divergence <= CE)
            return stored(counts ? -x.excess - x.q * (float)(1.0 - kept()) : x.q * (float)kept(), counts, overflows);
        return stored(x.q * beside(term(logits, x, counts).student, mean_student), counts, overflows);
    }

    DEVICE T teacher(Logits logits, bool counts, bool &overflows) const {
        if (task.is_of_numbers()) return of_numbers(logits, -1.0, counts, overflows);
        const Point x = of.at(logits.t, logits.s);
        if (task.divergence == REVERSE_KL)
            return stored(totals.of_student == 0.0 ? 0.0f : x.excess, counts, overflows);
        return stored(x.p * beside(term(logits, x, counts).teacher, mean_teacher), counts, overflows);
    }

  private:
    // NaN where it is infinite, as all that it is taken off is then.
    DEVICE static Pair mean(double sum, double weights) {
        const double mean = weights > 0.0 ? sum / weights : 0.0;
        const float high = __builtin_fabs(mean) < (double)INFINITE ? (float)mean : __builtin_nanf("");
        return {high, (float)(mean - (double)high)};
    }

    DEVICE static float beside(float slope, Pair mean) { return (slope - mean.high) - mean.low; }

    // Whether the teacher has nothing to say.
    DEVICE bool is_silent() const { return of.row.is_empty() || !(totals.of_teacher > 0.0); }

    // Of KL divergence and cross-entropy: the teacher's share of what counts.
    DEVICE double kept() const { return totals.student / totals.of_teacher; }

    DEVICE T stored(float exact, bool counts, bool &overflows) const {
        const bool is_part = (counts || task.is_after) && !is_silent();
        return scaled<T>(task, is_part ? exact : 0.0f, overflows);
    }

    template <class Entries> DEVICE Totals sum_of_terms(const Entries &entries) const {
        ProductSum value, student, teacher, of_student, of_teacher, of_top;
        entries.each_pair([&](Logits logits, bool counts) {
            const Term terms = term(logits, of.at(logits.t, logits.s), counts);
            const float p = of.teacher_weight(logits.t), q = of.student_weight(logits.s);
            of_student.add(q), of_teacher.add(p);
            student.add(task.divergence > CE ? q : p, terms.student);
            // There q may be 1 but for what f32 does not hold beside it: its part comes when all is known.
            const bool is_later = task.divergence == SMOOTHED_CE && is_top(logits);
            if (is_later) of_top.add(p);
            value.add(is_later ? 0.0f : terms.value), teacher.add(p, is_later ? 0.0f : terms.teacher);
        });
        return {value.value(),      student.value(),    teacher.value(),
                of_student.value(), of_teacher.value(), of_top.value()};
    }

    DEVICE bool is_top(Logits x) const { return x.s == of.row.s && x.s > -INFINITE; }

    // log(q + eps), of q and q - 1.
    DEVICE float log_with_eps(float q, float beyond_1) const {
        const float beyond = beyond_1 + task.eps;
        if (__builtin_fabsf(beyond) <= 0.5f) return Correction::of(beyond).log1p;
        return log2_approx(q + task.eps) * LN_2;
    }

    DEVICE Term term(Logits logits, const Point &x, bool counts) const {
        Term term = with_slopes(logits, x, counts);
        // What is missing has no share of a mean, not even of an infinite slope.
        if (!x.has_q && task.divergence > CE) term.student = 0.0f;
        if (!x.has_p) term.teacher = 0.0f;
        return term;
    }

    DEVICE Term with_slopes(Logits logits, const Point &x, bool counts) const {
        const float eps = task.eps;
        switch (task.divergence) {
        case KL:
            // The sum of p - q over what counts is that of q - p over the rest. Slope: c (log(p / q) + 1) - 1; in
            // place of the student's, whose gradient needs none, c.
            if (!counts) return {-x.excess, 0.0f, -1.0f};
            return {divergence_at(x.p, x.q, x.ratio, x.excess), 1.0f, x.ratio};
        case CE: {
            if (!counts || !x.has_p) return {0.0f, counts ? 1.0f : 0.0f, 0.0f};
            if (!x.has_q) return {INFINITE, 1.0f, INFINITE};
            // The logarithm of the student's sum comes last, see `value`.
            const float below = (of.row.s - logits.s) * of.k.per_nat;
            // Nor is it any part of the gradient where all entries count.
            return {x.p * below, 1.0f, task.is_after ? below + logarithm(of.row.student, 0.0f) : below};
        }
        case REVERSE_KL: return {divergence_at(x.q, x.p, -x.ratio, -x.excess), -x.ratio, 0.0f};
        case JS: return {half_of_both(x), 0.5f * log_over_mixture(x.ratio), 0.5f * log_over_mixture(-x.ratio)};
        case MSE: return {x.excess * x.excess, -2.0f * x.excess, 2.0f * x.excess};
        case SMOOTHED_KL: {
            // p log(a / b) with a = p + eps, b = q + eps; what is added is as above. Slopes: 1 - p / b, and
            // log(a / b) + p / a - 1.
            const float a = x.p + eps, b = x.q + eps;
            const float size = logarithm(1.0f, __builtin_fabsf(x.excess) / (x.excess > 0.0f ? b : a));
            const float ratio = x.excess > 0.0f ? size : -size;
            return {divergence_at(a, b, ratio, x.excess) - eps * ratio, (eps - x.excess) / b, ratio - eps / a};
        }
        default: {
            // -p log(q + eps). Slopes: 1 - p / (q + eps), and -log(q + eps).
            const float surprise = is_top(logits) ? surprise_at_top : -log_with_eps(x.q, x.q - 1.0f);
            return {x.p * surprise, (eps - x.excess) / (x.q + eps), surprise};
        }
        }
    }

    // student - teacher.
    DEVICE double difference(Logits x) const {
        // What both lack is equal, but in a mean.
        if (task.divergence == NUMBERS && x.t == -INFINITE && x.s == -INFINITE) return 0.0;
        return ((double)x.s - (double)x.t) * task.unit;
    }
    DEVICE double mean_difference() const { return totals.value / totals.of_student; }

    template <class Entries> DEVICE Totals sum_of_numbers(const Entries &entries) const {
        Totals sums{};
        entries.each_pair([&](Logits x, bool counts) {
            if (!counts) return;
            const double d = difference(x);
            sums.value += task.divergence == NUMBERS ? d * d : d;
            sums.of_student += 1.0, sums.of_teacher += x.t > -INFINITE ? 1.0 : 0.0;
        });
        return sums;
    }

    DEVICE T of_numbers(Logits x, double sign, bool counts, bool &overflows) const {
        const double d = task.divergence == NUMBERS ? difference(x) : mean_difference() / totals.of_student;
        double exact = 2.0 * sign * d;
        // A NaN anywhere is everywhere.
        if (totals.value != totals.value) exact = totals.value;
        exact = counts && !is_silent() ? exact * task.factor : 0.0;
        bool is_infinite = false;
        const T number = stored_as<T>((float)exact, is_infinite);
        overflows |= is_infinite && __builtin_fabs(exact) < (double)INFINITE;
        return number;
    }
};

// Between the first and the last pass over long rows: the totals of a part.
template <class T> struct TotalsOfPart {
    const Task &task;

    template <class Team, class Entries>
    DEVICE void operator()(const Team &team, const Entries &entries, u64 row, u64 part) const {
        const Totals totals = Summed<T>(task, task.known(row), Totals{}).sum(team, entries);
        if (team.lane() == 0) task.part_totals[part] = totals;
    }
};
