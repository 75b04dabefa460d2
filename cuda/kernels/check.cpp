// The kernels on the CPU against a plain evaluation in long double; a word for each case that misses.
//
//     clang++-19 -O1 -g -std=c++17 -fsanitize=address,undefined -o check check.cpp && ./check
#include "columns.cu"
#include "rows.cu"
#include "whole.cu"

using real = long double;

struct Case {
    u64 outer, length, inner;
    float tau, spread, distance, shift;
    bool along, masked, with_entropy;
    int skip; // numbers before the tensors' first: any alignment
};

static float uniform() { return (float)(device::draw() % 65536) / 32768.0f - 1.0f; }

static int missed = 0, tried = 0;

static void expect(const char *what, const char *type, const Case &c, real got, real want, real tolerance) {
    tried++;
    const real off = std::fabs(got - want);
    if (off <= tolerance || (got != got && want != want) || got == want) return;
    if (missed++ < 40)
        std::printf("%s %s [%llu %llu %llu] tau %g spread %g distance %g shift %g mask %d ce %d skip %d: "
                    "%.9Lg, wanted %.9Lg\n",
                    what, type, c.outer, c.length, c.inner, c.tau, c.spread, c.distance, c.shift, c.masked,
                    c.with_entropy, c.skip, got, want);
}

struct Kernels {
    void (*lanes8)(Task), (*lanes32)(Task), (*block)(Task), (*parts)(Task), (*gradient)(Task), (*column)(Task),
        (*column_parts)(Task), (*column_gradient)(Task);
    u64 packs; // entries of a pack
};

static void launch(u32 blocks, void (*kernel)(Task), const Task &task) {
    device::launch(blocks, THREADS, [=] { kernel(task); });
}

static void run(const Kernels &k, Task &task, std::vector<State> &parts, std::vector<State> &whole) {
    const u64 part = task.inner > 1 ? columns::PART : 1024 * k.packs;
    task.parts_of_row = (task.length + part - 1) / part;
    if (task.parts_of_row > 1) {
        parts.resize(task.rows * task.parts_of_row), whole.resize(task.rows);
        task.parts = parts.data(), task.whole = whole.data();
        launch(2, task.inner > 1 ? k.column_parts : k.parts, task);
        launch(1, densekd_whole, task);
        if (task.gradient) launch(2, task.inner > 1 ? k.column_gradient : k.gradient, task);
        return;
    }
    launch(2,
           task.inner > 1                    ? k.column
           : task.length <= 16 * k.packs     ? k.lanes8
           : task.length <= 128 * k.packs    ? k.lanes32
                                             : k.block,
           task);
}

template <class T> static void one(const char *type, const Kernels &kernels, const Case &c, bool strange) {
    const u64 all = c.outer * c.length * c.inner, rows = c.outer * c.inner;
    std::vector<T> t(all + c.skip), s(all + c.skip), g(all + c.skip);
    for (u64 i = 0; i < all; i++) {
        const float x = c.spread * uniform();
        t[i + c.skip] = rounded(T{}, x + c.shift), s[i + c.skip] = rounded(T{}, x + c.distance * uniform());
        if (strange && device::draw() % 7 == 0) t[i + c.skip] = rounded(T{}, -INFINITE);
        if (strange && device::draw() % 7 == 0) s[i + c.skip] = rounded(T{}, -INFINITE);
        if (strange && device::draw() % 97 == 0) s[i + c.skip] = rounded(T{}, __builtin_nanf(""));
    }
    std::vector<u8> mask(c.along ? c.outer * c.length : rows, 1);
    if (c.masked)
        for (u8 &m : mask) m = device::draw() % 4 > 0;
    std::vector<double> values(rows), sums((rows + 4095) / 4096);
    std::vector<State> parts, whole;
    u32 overflowed = 0;
    Task task{};
    task.teacher = t.data() + c.skip, task.student = s.data() + c.skip, task.gradient = g.data() + c.skip;
    task.mask = c.masked ? mask.data() : nullptr, task.values = values.data(), task.overflowed = &overflowed;
    task.rows = rows, task.length = c.length, task.inner = c.inner, task.mask_rows = c.along ? c.inner : 0;
    task.temperature = {(float)(1.4426950408889634 / c.tau), (float)(1.0 / c.tau), c.tau};
    task.mantissa = 1.0f, task.power = 1.0f, task.with_entropy = c.with_entropy;
    run(kernels, task, parts, whole);
    device::launch((u32)sums.size(), THREADS, [&] { densekd_total(values.data(), rows, sums.data()); });

    double sum = 0;
    for (u64 row = 0; row < rows; row++) {
        sum += values[row];
        const u64 first = row / c.inner * c.length * c.inner + row % c.inner;
        std::vector<real> x, y;
        std::vector<u64> at;
        for (u64 i = 0; i < c.length; i++) {
            const u64 index = first + i * c.inner + c.skip;
            if (mask[c.along ? row / c.inner * c.length + i : row])
                x.push_back(load(t[index]) / (real)c.tau), y.push_back(load(s[index]) / (real)c.tau),
                    at.push_back(index);
            else
                expect("ignored", type, c, load(g[index]), 0, 0);
        }
        real mx = -INFINITE, my = -INFINITE, zx = 0, zy = 0, want = 0;
        bool nan = false;
        for (u64 i = 0; i < x.size(); i++)
            mx = std::max(mx, x[i]), my = std::max(my, y[i]), nan = nan || x[i] != x[i] || y[i] != y[i];
        for (u64 i = 0; i < x.size(); i++) {
            if (x[i] > -INFINITE) zx += expl(x[i] - mx);
            if (y[i] > -INFINITE) zy += expl(y[i] - my);
        }
        real largest = 0;
        std::vector<real> wanted(x.size());
        for (u64 i = 0; i < x.size(); i++) {
            const real p = x[i] > -INFINITE ? expl(x[i] - mx) / zx : 0;
            const real q = y[i] > -INFINITE ? expl(y[i] - my) / zy : 0;
            const real lp = x[i] - mx - logl(zx), lq = my > -INFINITE ? y[i] - my - logl(zy) : my;
            if (p > 0) want += p * ((c.with_entropy ? 0 : lp) - lq);
            wanted[i] = mx == -INFINITE ? 0 : nan ? __builtin_nanl("") : q - p;
            largest = std::max(largest, std::fabs(wanted[i]));
        }
        if (mx == -INFINITE) want = 0;
        if (nan) want = __builtin_nanl("");
        const real half = sizeof(T) == 4 ? 0 : 1.0L / 256;
        expect("value", type, c, values[row], want, 2e-6L * want + 1e-20L);
        for (u64 i = 0; i < at.size(); i++)
            expect("gradient", type, c, load(g[at[i]]), wanted[i],
                   2e-6L * largest + half * std::fabs(wanted[i]) + (half > 0 ? 1e-7L : 1e-20L));
    }
    double total = 0;
    for (double part : sums) total += part;
    expect("total", type, c, total, sum, 1e-12L * std::fabs((real)sum));
}

#define OF(T, WIDTH)                                                                                    \
    Kernels {                                                                                           \
        densekd_rows_lanes8_##T, densekd_rows_lanes32_##T, densekd_rows_block_##T, densekd_rows_parts_##T,  \
            densekd_rows_gradient_##T, densekd_columns_short_##T, densekd_columns_parts_##T,            \
            densekd_columns_gradient_##T, WIDTH                                                         \
    }

int main() {
    for (u64 length : {1, 2, 7, 19, 64, 65, 150, 512, 1000, 4095, 4096, 8192, 9001})
        for (u64 inner : {1, 3, 40})
            for (int form = 0; form < 6; form++) {
                if (length * inner > 40000) continue;
                Case c{};
                c.outer = inner > 1 ? 2 : 3, c.length = length, c.inner = inner;
                c.tau = form % 2 ? 4.0f : 1.0f, c.spread = form == 3 ? 40.0f : 4.0f;
                c.distance = form == 0 ? 3.0f : form == 1 ? 1e-3f : form == 2 ? 0.0f : form == 3 ? 40.0f : 1.0f;
                c.shift = form == 1 || form == 2 ? 256.0f : 0.0f;
                c.masked = form >= 4, c.along = form != 5, c.with_entropy = form == 4, c.skip = form;
                const bool strange = form == 5;
                one<float>("f32", OF(f32, 4), c, strange);
                one<f16>("f16", OF(f16, 8), c, strange);
                one<bf16>("bf16", OF(bf16, 8), c, strange);
            }
    std::printf("%d of %d missed\n", missed, tried);
    return missed > 0;
}
