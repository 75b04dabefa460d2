// The kernels on the CPU against a plain evaluation in long double; a word for each case that misses.
//
//     clang++-19 -O1 -g -std=c++17 -fsanitize=address,undefined -o check check.cpp && ./check
#include "columns.cu"
#include "rows.cu"
#include "terms.cu"
#include "whole.cu"

using real = long double;

struct Case {
    u64 outer, length, inner;
    float tau, spread, distance, shift;
    bool along, masked, strange;
    Divergence divergence;
    bool after;
    float eps;
    int skip; // numbers before the tensors' first: any alignment
};

static float uniform() { return (float)(device::draw() % 65536) / 32768.0f - 1.0f; }

static int missed = 0, tried = 0;

static void expect(const char *what, const char *type, const Case &c, real got, real want, real tolerance) {
    tried++;
    const real off = std::fabs(got - want);
    if (off <= tolerance || (got != got && want != want) || got == want) return;
    if (missed++ < 40)
        std::printf("%s %s [%llu %llu %llu] tau %g spread %g distance %g shift %g mask %d divergence %d after %d eps %g "
                    "skip %d: %.9Lg, wanted %.9Lg\n",
                    what, type, c.outer, c.length, c.inner, c.tau, c.spread, c.distance, c.shift, c.masked,
                    (int)c.divergence, c.after, c.eps, c.skip, got, want);
}

// A row in long double: its value, its gradients before any factor, and what its terms come to without their signs.
struct Wanted {
    real value = 0, size = 0;
    std::vector<real> student, teacher;

    Wanted(const Case &c, const std::vector<real> &t, const std::vector<real> &s, const std::vector<bool> &counts)
        : student(t.size()), teacher(t.size()) {
        const u64 n = t.size();
        const real nan = __builtin_nanl("");
        real top_t = -INFINITE, top_s = -INFINITE, of_t = 0, of_s = 0;
        bool is_nan = false;
        for (u64 i = 0; i < n; i++)
            top_t = std::max(top_t, t[i]), top_s = std::max(top_s, s[i]),
            is_nan = is_nan || t[i] != t[i] || s[i] != s[i];
        if (is_nan) {
            value = nan;
            for (u64 i = 0; i < n; i++) student[i] = teacher[i] = nan;
            return;
        }
        if (top_t == -INFINITE) return;
        if (c.divergence == NUMBERS || c.divergence == MEANS) {
            real mean = 0;
            for (u64 i = 0; i < n; i++) mean += (s[i] - t[i]) / n;
            const real of = c.divergence == MEANS ? n : 1;
            for (u64 i = 0; i < n; i++) {
                const bool equal = t[i] == -INFINITE && s[i] == -INFINITE && c.divergence == NUMBERS;
                const real d = equal ? 0 : c.divergence == MEANS ? mean : s[i] - t[i];
                value += d * d / of, student[i] = 2 * d / of, teacher[i] = -student[i];
            }
            size = std::fabs(value);
            return;
        }
        for (u64 i = 0; i < n; i++)
            of_t += t[i] > -INFINITE ? expl(t[i] - top_t) : 0, of_s += s[i] > -INFINITE ? expl(s[i] - top_s) : 0;
        // Cotangents of log q and log p.
        real of_student = 0, of_teacher = 0, all_p = 0, all_q = 0;
        std::vector<real> p(n), q(n);
        for (u64 i = 0; i < n; i++) {
            const bool has_p = t[i] > -INFINITE, has_q = s[i] > -INFINITE;
            const real lp = has_p ? t[i] - top_t - logl(of_t) : -INFINITE;
            const real lq = has_q ? s[i] - top_s - logl(of_s) : -INFINITE;
            p[i] = expl(lp), q[i] = expl(lq), all_p += p[i], all_q += q[i];
            const real ratio = has_p || has_q ? lp - lq : 0, a = p[i] + c.eps, b = q[i] + c.eps;
            const real lm = has_p || has_q ? logl(expl(lp - std::max(lp, lq)) + expl(lq - std::max(lp, lq))) +
                                                 std::max(lp, lq) - logl(2)
                                           : 0;
            real term = 0;
            switch (c.divergence) {
            case KL:
                if (counts[i] && has_p) term = p[i] * ratio, teacher[i] = term + p[i];
                if (counts[i]) student[i] = -p[i];
                break;
            case CE:
                if (counts[i] && has_p) term = -p[i] * lq, teacher[i] = term;
                if (counts[i]) student[i] = -p[i];
                break;
            case REVERSE_KL:
                if (has_q) term = -q[i] * ratio, student[i] = term;
                teacher[i] = -q[i];
                break;
            case JS:
                if (has_p) teacher[i] = p[i] * (lp - lm) / 2;
                if (has_q) student[i] = q[i] * (lq - lm) / 2;
                term = teacher[i] + student[i];
                break;
            case MSE:
                term = (q[i] - p[i]) * (q[i] - p[i]);
                student[i] = 2 * q[i] * (q[i] - p[i]), teacher[i] = 2 * p[i] * (p[i] - q[i]);
                break;
            case SMOOTHED_KL:
                term = p[i] * logl(a / b);
                student[i] = -p[i] * q[i] / b, teacher[i] = p[i] * (logl(a / b) + p[i] / a);
                break;
            default:
                term = -p[i] * logl(b);
                student[i] = -p[i] * q[i] / b, teacher[i] = term;
                break;
            }
            value += term, size += std::fabs(term) + (c.after ? std::fabs(p[i] - q[i]) : 0);
            of_student += student[i], of_teacher += teacher[i];
        }
        for (u64 i = 0; i < n; i++) {
            student[i] = std::isfinite((double)of_student) ? student[i] - q[i] * of_student : nan;
            teacher[i] = std::isfinite((double)of_teacher) ? teacher[i] - p[i] * of_teacher : nan;
        }
    }
};

struct Kernels {
    void (*lanes8)(Task), (*lanes32)(Task), (*block)(Task), (*parts)(Task), (*gradient)(Task), (*column)(Task),
        (*column_parts)(Task), (*column_gradient)(Task);
};

struct Room {
    std::vector<State> parts, whole;
    std::vector<Totals> part_totals, totals;
};

static void launch(u32 blocks, void (*kernel)(Task), const Task &task) {
    device::launch(blocks, THREADS, [=] { kernel(task); });
}

// `settled` are the kernels of rows of which the state says all; `summed` those of others, or null.
static void run(const Kernels &settled, const Kernels *summed, u64 pack, Task &task, Room &room) {
    const bool apart = task.inner > 1;
    const u64 part = apart ? columns::PART : 1024 * pack;
    const Kernels &last = summed ? *summed : settled;
    task.parts_of_row = (task.length + part - 1) / part;
    if (task.parts_of_row == 1) {
        launch(2,
               apart                       ? last.column
               : task.length <= 16 * pack  ? last.lanes8
               : task.length <= 128 * pack ? last.lanes32
                                           : last.block,
               task);
        return;
    }
    room.parts.resize(task.rows * task.parts_of_row), room.whole.resize(task.rows);
    room.part_totals.resize(task.rows * task.parts_of_row), room.totals.resize(task.rows);
    task.parts = room.parts.data(), task.whole = room.whole.data();
    task.part_totals = room.part_totals.data(), task.totals = room.totals.data();
    if (!task.is_of_numbers()) {
        launch(2, apart ? settled.column_parts : settled.parts, task);
        launch(1, densekd_whole, task);
    }
    if (summed) {
        launch(2, apart ? summed->column_parts : summed->parts, task);
        launch(1, densekd_terms_whole, task);
    }
    launch(2, apart ? last.column_gradient : last.gradient, task);
}

template <class T> static void one(const char *type, const Kernels (&kernels)[2], u64 pack, const Case &c) {
    const u64 all = c.outer * c.length * c.inner, rows = c.outer * c.inner;
    std::vector<T> t(all + c.skip), s(all + c.skip), to_s(all + c.skip), to_t(all + c.skip);
    for (u64 i = 0; i < all; i++) {
        const float x = c.spread * uniform();
        t[i + c.skip] = rounded(T{}, x + c.shift), s[i + c.skip] = rounded(T{}, x + c.distance * uniform());
        if (c.strange && device::draw() % 7 == 0) t[i + c.skip] = rounded(T{}, -INFINITE);
        if (c.strange && device::draw() % 7 == 0) s[i + c.skip] = rounded(T{}, -INFINITE);
        if (c.strange && device::draw() % 97 == 0) s[i + c.skip] = rounded(T{}, __builtin_nanf(""));
    }
    std::vector<u8> mask(c.along ? c.outer * c.length : rows, 1);
    if (c.masked)
        for (u8 &m : mask) m = device::draw() % 4 > 0;
    std::vector<double> values(rows), sums((rows + 4095) / 4096);
    u32 overflowed = 0;
    Task task{};
    task.teacher = t.data() + c.skip, task.student = s.data() + c.skip;
    task.to_student = to_s.data() + c.skip, task.to_teacher = to_t.data() + c.skip;
    task.mask = c.masked ? mask.data() : nullptr, task.values = values.data(), task.overflowed = &overflowed;
    task.rows = task.summed = rows, task.length = c.length, task.inner = c.inner;
    task.mask_rows = c.along ? c.inner : 0;
    task.temperature = {(float)(1.4426950408889634 / c.tau), (float)(1.0 / c.tau), c.tau};
    task.factor = task.unit = 1.0, task.mantissa = 1.0f, task.power = 1.0f;
    task.eps = c.eps, task.divergence = c.divergence, task.is_after = c.after;
    // Of KL divergence and cross-entropy either the state alone, or all.
    const bool summed = c.divergence > CE || c.after || c.skip % 2;
    Room room;
    run(kernels[0], summed ? &kernels[1] : nullptr, pack, task, room);
    device::launch((u32)sums.size(), THREADS, [&] { densekd_total(values.data(), rows, sums.data()); });

    double sum = 0;
    const real tau = c.divergence < NUMBERS ? c.tau : 1;
    for (u64 row = 0; row < rows; row++) {
        sum += values[row];
        const u64 first = row / c.inner * c.length * c.inner + row % c.inner;
        std::vector<real> x, y;
        std::vector<u64> at;
        std::vector<bool> counts;
        for (u64 i = 0; i < c.length; i++) {
            const u64 index = first + i * c.inner + c.skip;
            const bool counted = mask[c.along ? row / c.inner * c.length + i : row];
            if (counted || c.after)
                x.push_back(load(t[index]) / tau), y.push_back(load(s[index]) / tau), at.push_back(index),
                    counts.push_back(counted);
            else
                expect("ignored", type, c, load(to_s[index]), 0, 0);
        }
        const Wanted want(c, x, y, counts);
        const real half = sizeof(T) == 4 ? 0 : 1.0L / 256;
        // What terms of either sign come to is right beside them.
        const bool cancels = c.eps > 0 || c.after;
        expect("value", type, c, values[row], want.value,
               2e-6L * std::fabs(want.value) + (cancels ? 3e-7L * want.size : 0) +
                   (c.divergence > CE ? 1e-18L : 1e-20L));
        const auto gradient = [&](const char *what, const std::vector<T> &found, const std::vector<real> &wanted) {
            real largest = 0;
            for (real g : wanted) largest = std::max(largest, std::fabs(g));
            for (u64 i = 0; i < at.size(); i++)
                expect(what, type, c, load(found[at[i]]), wanted[i],
                       2e-6L * largest + half * std::fabs(wanted[i]) + (half > 0 ? 1e-7L : 1e-18L));
        };
        gradient("to student", to_s, want.student);
        if (summed) gradient("to teacher", to_t, want.teacher);
    }
    double total = 0;
    for (double part : sums) total += part;
    expect("total", type, c, total, sum, 1e-12L * std::fabs((real)sum));
}

#define FAMILY(PREFIX, T)                                                                                \
    {PREFIX##rows_lanes8_##T,   PREFIX##rows_lanes32_##T,    PREFIX##rows_block_##T,                     \
     PREFIX##rows_parts_##T,    PREFIX##rows_gradient_##T,   PREFIX##columns_short_##T,                  \
     PREFIX##columns_parts_##T, PREFIX##columns_gradient_##T}
#define OF(T)                                                                                            \
    { FAMILY(densekd_, T), FAMILY(densekd_terms_, T) }

int main() {
    const Kernels of_f32[2] = OF(f32), of_f16[2] = OF(f16), of_bf16[2] = OF(bf16);
    for (u64 length : {1, 2, 7, 19, 64, 65, 150, 512, 1000, 4095, 4096, 8192, 9001})
        for (u64 inner : {1, 3, 40})
            for (int way = 0; way < 11; way++)
                for (int form = 0; form < 6; form++) {
                    if (length * inner > 40000) continue;
                    // What is summed is so for any length.
                    if (way > 1 && (inner > 3 || length * inner > 9001 || length % 64 == 0)) continue;
                    Case c{};
                    c.outer = inner > 1 ? 2 : 3, c.length = length, c.inner = inner;
                    c.tau = form % 2 ? 4.0f : 1.0f, c.spread = form == 3 ? 40.0f : 4.0f;
                    c.distance = form == 0 ? 3.0f : form == 1 ? 1e-3f : form == 2 ? 0.0f : form == 3 ? 40.0f : 1.0f;
                    c.divergence = way < 9 ? (Divergence)way : way == 9 ? KL : CE, c.after = way >= 9;
                    c.shift = (form == 1 || form == 2) && way < NUMBERS ? 256.0f : 0.0f;
                    c.masked = form >= 4, c.along = form != 5, c.strange = form == 5, c.skip = form;
                    c.eps = way == SMOOTHED_KL || way == SMOOTHED_CE ? 1e-5f : 0.0f;
                    one<float>("f32", of_f32, 4, c);
                    one<f16>("f16", of_f16, 8, c);
                    one<bf16>("bf16", of_bf16, 8, c);
                }
    std::printf("%d of %d missed\n", missed, tried);
    return missed > 0;
}
