// The kernels of f64 rows against a plain evaluation in long double.
#include "../wide.cu"
#include "support.h"

struct Case {
    u64 outer, length, inner;
    real tau, spread, distance, shift;
    bool with_entropy, masked, along, strange;
};

// r e^r - e^r + 1; near 0 by its series, as long double has no more digits than that takes off.
static real bregman(real r) {
    if (std::fabs(r) > 0.1L) return r * std::exp(r) - std::expm1(r);
    real sum = 0, power = r;
    for (int n = 2; n < 16; n++) power *= r / n, sum += power * (n - 1);
    return sum;
}

// A row's value and gradients, from the pairs that count.
struct Wanted {
    real value = 0;
    std::vector<real> student, teacher;

    Wanted(const Case &c, const std::vector<real> &t, const std::vector<real> &s)
        : student(t.size()), teacher(t.size()) {
        const real nan = __builtin_nanl("");
        real top_t = -INFINITE, top_s = -INFINITE, of_t = 0, of_s = 0, mean = 0;
        bool is_nan = false, is_open = false;
        for (u64 i = 0; i < t.size(); i++) {
            top_t = std::max(top_t, t[i]), top_s = std::max(top_s, s[i]);
            is_nan = is_nan || !(t[i] < INFINITE && s[i] < INFINITE);
            is_open = is_open || (t[i] > -INFINITE && s[i] == -INFINITE);
        }
        if (is_nan) {
            value = nan, student.assign(t.size(), nan), teacher.assign(t.size(), nan);
            return;
        }
        if (top_t == -INFINITE) return;
        for (u64 i = 0; i < t.size(); i++) {
            of_t += std::exp((t[i] - top_t) / c.tau);
            if (top_s > -INFINITE) of_s += std::exp((s[i] - top_s) / c.tau);
        }
        std::vector<real> slopes(t.size());
        for (u64 i = 0; i < t.size(); i++) {
            const real log_p = (t[i] - top_t) / c.tau - std::log(of_t), log_q = (s[i] - top_s) / c.tau - std::log(of_s);
            const real p = t[i] > -INFINITE ? std::exp(log_p) : 0, q = s[i] > -INFINITE ? std::exp(log_q) : 0;
            const real r = ((t[i] - s[i]) - (top_t - top_s)) / c.tau - std::log(of_t / of_s);
            student[i] = p > 0 && q > 0 ? -q * std::expm1(r) : q - p;
            if (p > 0 && !is_open) {
                value += q * bregman(r) - (c.with_entropy ? p * log_p : 0);
                slopes[i] = c.with_entropy ? -log_q : r, mean += p * slopes[i];
            } else {
                value += q;
            }
            teacher[i] = p;
        }
        for (u64 i = 0; i < t.size(); i++)
            teacher[i] = is_open ? nan : teacher[i] > 0 ? teacher[i] * (slopes[i] - mean) : 0;
        if (is_open) value = INFINITE;
    }
};

static void compare_once(const Case &c, void (*kernel)(Task), u32 blocks) {
    check::subject = [=] {
        return text("f64 [%llu %llu %llu] tau %Lg spread %Lg distance %Lg shift %Lg entropy %d mask %d along %d", c.outer,
                    c.length, c.inner, c.tau, c.spread, c.distance, c.shift, c.with_entropy, c.masked, c.along);
    };
    const u64 rows = c.outer * c.inner, count = rows * c.length;
    std::vector<double> teacher(count), student(count), to_teacher(count, 7.0), to_student(count, 7.0), values(rows, 7.0);
    // A byte an entry of rows that share it, or one a row.
    const u64 mask_rows = c.along ? 2 : 0;
    std::vector<u8> mask(c.along ? (rows + 1) / 2 * c.length : rows);
    for (u8 &byte : mask) byte = device::draw() % 4 > 0;
    for (u64 i = 0; i < count; i++) {
        student[i] = (double)(c.shift + c.spread * uniform());
        teacher[i] = student[i] + (double)(c.distance * uniform());
        if (!c.strange) continue;
        const u32 kind = device::draw() % 40;
        if (kind == 0) teacher[i] = -__builtin_inf();
        if (kind == 1 && i % 3 == 0) student[i] = -__builtin_inf();
        if (kind == 2 && i % 7 == 0) teacher[i] = __builtin_nan("");
        if (kind == 3 && i % 7 == 0) student[i] = __builtin_inf();
    }
    const auto at = [&](u64 row, u64 i) { return row / c.inner * c.length * c.inner + row % c.inner + i * c.inner; };
    // Rows that have nothing on one side, or that are saturated.
    for (u64 i = 0; c.strange && rows > 4 && i < c.length; i++)
        teacher[at(0, i)] = -__builtin_inf(), student[at(1, i)] = -__builtin_inf(),
        teacher[at(2, i)] = i == 0 ? 60.0 : 0.01 * i, student[at(2, i)] = i == 0 ? 55.0 : 0.02 * i;
    u32 overflowed = 0;
    Task task{};
    task.teacher = teacher.data(), task.student = student.data(), task.mask = c.masked ? mask.data() : nullptr;
    task.to_teacher = to_teacher.data(), task.to_student = to_student.data(), task.values = values.data();
    task.overflowed = &overflowed, task.rows = rows, task.length = c.length, task.inner = c.inner;
    task.summed = rows, task.mask_rows = mask_rows, task.unit = (double)(1 / c.tau), task.factor = 3.0;
    task.divergence = c.with_entropy ? CE : KL;
    launch(blocks, kernel, task);
    for (u64 row = 0; row < rows; row++) {
        std::vector<real> t, s;
        std::vector<u64> places;
        for (u64 i = 0; i < c.length; i++) {
            if (c.masked && !mask[c.along ? row / 2 * c.length + i : row]) {
                expect("to the student", to_student[at(row, i)], 0, 0);
                expect("to the teacher", to_teacher[at(row, i)], 0, 0);
                continue;
            }
            t.push_back(teacher[at(row, i)]), s.push_back(student[at(row, i)]), places.push_back(at(row, i));
        }
        const Wanted wanted(c, t, s);
        // A difference of logits is rounded by half an ulp of itself; what that comes to is to be told from r.
        const real rounding = 1e-15L * (1 + (std::fabs(c.shift) + c.spread) / c.tau / 8);
        expect("value", values[row], wanted.value, 1e-12L * std::fabs(wanted.value) + rounding * rounding);
        real largest[2] = {};
        for (u64 i = 0; i < t.size(); i++) {
            largest[0] = std::max(largest[0], std::fabs(wanted.teacher[i]));
            largest[1] = std::max(largest[1], std::fabs(wanted.student[i]));
        }
        for (u64 i = 0; i < t.size(); i++) {
            const real least = rounding / c.length;
            expect("to the student", to_student[places[i]], 3 * wanted.student[i], 1e-12L * largest[1] + least);
            expect("to the teacher", to_teacher[places[i]], 3 * wanted.teacher[i], 1e-12L * largest[0] + least);
        }
    }
    expect("overflow", overflowed, 0, 0);
}

int main(int count, char **arguments) {
    check::begin(count, arguments);
    for (bool with_entropy : {false, true})
        for (bool masked : {false, true})
            for (bool strange : {false, true})
                for (real distance : {2.0L, 1e-3L, 1e-7L}) {
                    const Case c{3, 7, 5, 0.7L, 4, distance, 20, with_entropy, masked, with_entropy, strange};
                    const auto check = [&](u64 outer, u64 length, u64 inner, void (*kernel)(Task), u32 blocks) {
                        Case of = c;
                        of.outer = outer, of.length = length, of.inner = inner;
                        try_case([&] { compare_once(of, kernel, blocks); });
                    };
                    check(3, 7, 150, densekd_wide_thread, 1), check(5, 40, 3, densekd_wide_thread, 2);
                    check(19, 45, 1, densekd_wide_warp, 2), check(40, 1, 1, densekd_wide_warp, 1);
                    check(5, 700, 1, densekd_wide_block, 2), check(6, 3, 1, densekd_wide_block, 1);
                }
    return check::end();
}
