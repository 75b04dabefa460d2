// The kernels of rows against a plain evaluation in long double.
#include "../columns.cu"
#include "../columns_bf16.cu"
#include "../columns_f16.cu"
#include "../rows.cu"
#include "../rows_bf16.cu"
#include "../rows_f16.cu"
#include "../terms.cu"
#include "../whole.cu"
#include "support.h"

struct Case {
    u64 outer, length, inner;
    float tau, spread, distance, shift;
    bool along, masked, strange;
    Divergence divergence;
    bool after;
    float eps;
    int skip; // numbers before the tensors' first: any alignment
    bool summed; // of a KL divergence or cross-entropy all, not the state alone

    std::string text(const char *type) const {
        return ::text("%s [%llu %llu %llu] tau %g spread %g distance %g shift %g mask %d divergence %d after %d eps %g "
                      "skip %d summed %d",
                      type, outer, length, inner, tau, spread, distance, shift, masked, (int)divergence, after, eps,
                      skip, summed);
    }
};

// A row in long double: its value, its gradients before any factor, and what its terms come to without their signs.
struct Wanted {
    real value = 0, size = 0;
    real log_ratio = __builtin_nanl(""); // of the normalisers, where either side has one
    real slopes[2] = {0, 0}; // the largest share of a slope, of which gradients with `eps` or `after` are what is left
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
        log_ratio = top_t - top_s + logl(of_t / of_s);
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
            if (c.eps > 0) {
                const bool has_ratio = c.divergence == SMOOTHED_KL;
                slopes[0] = std::max(slopes[0], q[i] * std::fabs(b - p[i]) / b);
                slopes[1] = std::max(slopes[1], p[i] * (has_ratio ? std::fabs(logl(a / b)) + c.eps / a : std::fabs(logl(b))));
            } else if (c.after && counts[i] && has_p && has_q) {
                slopes[1] = std::max(slopes[1], p[i] * std::fabs(c.divergence == KL ? ratio : lq));
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
    void (*few)(Task), (*lanes32)(Task), (*parts)(Task), (*gradient)(Task), (*column)(Task), (*column_parts)(Task),
        (*column_gradient)(Task);
    void (*warp)(Task), (*thread)(Task), (*stack)(Task); // or null
    std::vector<void (*)(Task)> blocks; // of 128, 256, 512 and again 512 threads, or one of 256
};

static void by_block(const Kernels &kernels, const Task &task) {
    if (kernels.blocks.size() == 1) return launch(2, kernels.blocks[0], task);
    const int size = task.length <= 4096 ? 0 : task.length <= 8192 ? 1 : task.length <= 16384 ? 2 : 3;
    launch_of(size < 3 ? 128 << size : 512, 2, kernels.blocks[size], task);
}

struct Room {
    std::vector<State> parts, whole;
    std::vector<Totals> part_totals, totals;
};

// `settled` are the kernels of rows of which the state says all; `summed` those of others, or null.
static void run(const Kernels &settled, const Kernels *summed, u64 pack, Task &task, Room &room) {
    const bool apart = task.inner > 1;
    const u64 part = apart ? columns::PART : 1024 * pack;
    const Kernels &last = summed ? *summed : settled;
    task.parts_of_row = (task.length + part - 1) / part;
    room.whole.resize(task.rows);
    const bool is_plain = !summed && task.divergence == KL;
    const bool has_stack = is_plain && apart && !task.mask && task.length <= 216;
    const bool in_registers = is_plain && !task.mask && !apart && task.length % pack == 0 && task.length <= 32768;
    if (task.parts_of_row == 1 || in_registers || has_stack) {
        if (!task.is_of_numbers()) task.whole = room.whole.data();
        auto *const kernel = apart && is_plain && task.length <= 31   ? last.thread
                             : has_stack                              ? last.stack
                             : apart                                  ? last.column
                             : task.length <= 16 * pack               ? last.few
                             : task.length <= 128 * pack              ? last.lanes32
                             : last.warp && task.length <= 256 * pack ? last.warp
                                                                      : nullptr;
        return kernel ? launch(2, kernel, task) : by_block(last, task);
    }
    room.parts.resize(task.rows * task.parts_of_row);
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
    const bool summed = c.divergence > CE || c.after || c.summed;
    check::subject = [=] { return c.text(type); };
    Room room;
    run(kernels[0], summed ? &kernels[1] : nullptr, pack, task, room);
    launch((u32)sums.size(), densekd_total, values.data(), rows, sums.data());

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
                expect("ignored", load(to_s[index]), 0, 0);
        }
        const Wanted want(c, x, y, counts);
        const real half = sizeof(T) == 4 ? 0 : 1.0L / 256;
        // What terms of either sign come to is right beside them.
        const bool cancels = c.eps > 0 || c.after;
        expect("value", values[row], want.value,
               2e-6L * std::fabs(want.value) + (cancels ? 3e-7L * want.size : 0) +
                   (c.divergence > CE ? 1e-18L : 1e-20L));
        // What is kept of a row: its sums are right to 2e-7, and each e^r to what r's exponent is rounded by.
        if (c.divergence < NUMBERS && std::isfinite((double)want.log_ratio)) {
            const Pair ratio = room.whole[row].log_ratio;
            expect("log-ratio", ((real)ratio.high + ratio.low) / tau, want.log_ratio,
                   4e-7L + 1.2e-7L * (std::fabs(want.log_ratio) + c.distance / tau));
        }
        const auto gradient = [&](const char *what, const std::vector<T> &found, const std::vector<real> &wanted,
                                  real slope) {
            // A difference of logits has 48 bits.
            real largest = 0;
            const real digits = 4e-15L * c.shift / tau;
            for (real g : wanted) largest = std::max(largest, std::fabs(g));
            for (u64 i = 0; i < at.size(); i++)
                expect(what, load(found[at[i]]), wanted[i],
                       2e-6L * largest + 3e-7L * slope + digits + half * std::fabs(wanted[i]) +
                           (half > 0 ? 1e-7L : 1e-18L));
        };
        gradient("to student", to_s, want.student, want.slopes[0]);
        if (summed) gradient("to teacher", to_t, want.teacher, want.slopes[1]);
    }
    double total = 0;
    for (double part : sums) total += part;
    expect("total", total, sum, 1e-12L * std::fabs((real)sum));
}

#define FAMILY(PREFIX, FEW, T, WARP, THREAD, STACK, ...)                                                      \
    {PREFIX##rows_##FEW##_##T,       PREFIX##rows_lanes32_##T,  PREFIX##rows_parts_##T,                  \
     PREFIX##rows_gradient_##T,      PREFIX##columns_short_##T, PREFIX##columns_parts_##T,               \
     PREFIX##columns_gradient_##T,   WARP,                      THREAD,                     STACK,       \
     {__VA_ARGS__}}
#define OF(T, WARP)                                                                                      \
    {FAMILY(densekd_, short, T, WARP, densekd_columns_thread_##T, densekd_columns_stack_##T,             \
            densekd_rows_block128_##T, densekd_rows_block256_##T, densekd_rows_block512_##T,             \
            densekd_rows_deep_##T),                                                                      \
     FAMILY(densekd_terms_, lanes8, T, nullptr, nullptr, nullptr, densekd_terms_rows_block_##T)}

// A teacher and a student in one of several ways to differ.
static Case form_of(int form) {
    Case c{};
    c.tau = form % 2 ? 4.0f : 1.0f, c.spread = form == 3 ? 40.0f : 4.0f;
    c.distance = form == 0 ? 3.0f : form == 1 ? 1e-3f : form == 2 ? 0.0f : form == 3 ? 40.0f : 1.0f;
    c.masked = form >= 4, c.along = form != 5, c.strange = form == 5, c.skip = form, c.summed = form % 2;
    return c;
}

// More values than a block adds.
static void many_values() {
    check::subject = [] { return "10000 values"; };
    std::vector<double> values(10000), sums(3);
    real want = 0, got = 0;
    for (double &value : values) want += value = uniform();
    launch(2, densekd_total, values.data(), values.size(), sums.data());
    for (double sum : sums) got += sum;
    expect("total", got, want, 1e-11L);
}

int main(int count, char **arguments) {
    check::begin(count, arguments);
    try_case(many_values);
    const Kernels of_f32[2] = OF(f32, densekd_rows_warp_f32), of_f16[2] = OF(f16, nullptr), of_bf16[2] = OF(bf16, nullptr);
    const auto all = [&](const Case &c) {
        try_case([&] { one<float>("f32", of_f32, 4, c); });
        try_case([&] { one<f16>("f16", of_f16, 8, c); });
        try_case([&] { one<bf16>("bf16", of_bf16, 8, c); });
    };
    // Plain rows that lie on boundaries, which are taken in registers: near, far, and those of which that is not certain.
    for (u64 length : {8, 64, 128, 200, 512, 640, 1024, 4096, 8192, 12200, 16384, 32768})
        for (float distance : {0.25f, 3.0f, 12.0f, 1e-4f}) {
            Case c{};
            c.outer = length < 128 ? 40 : 3, c.length = length, c.inner = 1, c.tau = 1.0f, c.spread = 4.0f;
            c.distance = distance, c.shift = distance < 1e-3f ? 256.0f : 0.0f;
            all(c);
            // None lies on a boundary: stretch by stretch.
            c.skip = 1;
            if (length > 8192) all(c);
        }
    for (u64 length : {1, 2, 7, 19, 31, 64, 65, 150, 512, 1000, 4095, 4096, 8192, 9001})
        for (u64 inner : {1, 3, 40})
            for (int way = 0; way < 11; way++)
                for (int form = 0; form < 6; form++) {
                    if (length * inner > 10000) continue;
                    // What is summed is so for any length.
                    if (way > 1 && (inner > 3 || length * inner > 9001 || length % 64 == 0)) continue;
                    Case c = form_of(form);
                    c.outer = inner > 1 ? 2 : 3, c.length = length, c.inner = inner;
                    c.divergence = way < 9 ? (Divergence)way : way == 9 ? KL : CE, c.after = way >= 9;
                    c.shift = (form == 1 || form == 2) && way < (int)NUMBERS ? 256.0f : 0.0f;
                    c.eps = way == SMOOTHED_KL || way == SMOOTHED_CE ? 1e-5f : 0.0f;
                    all(c);
                }
    // Plain rows that lie apart.
    for (u64 length : {3, 8, 19, 21, 31, 33, 80, 150, 216})
        // 1.02f: of a block some rows are near, and some are not.
        for (float distance : {0.25f, 1.02f, 3.0f, 12.0f, 1e-4f}) {
            Case c{};
            c.outer = 2, c.length = length, c.inner = 300, c.tau = 1.0f, c.spread = 4.0f, c.distance = distance;
            c.shift = distance < 1e-3f ? 256.0f : 0.0f;
            all(c);
        }
    return check::end();
}
