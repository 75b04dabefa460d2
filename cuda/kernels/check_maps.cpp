// The kernels of map losses on the CPU against a plain evaluation in long double; a word for each case that misses.
//
//     clang++-19 -O1 -g -std=c++17 -fsanitize=address,undefined -o check check_maps.cpp && ./check
#include "classes.cu"
#include "energy.cu"
#include "vectors.cu"

using real = long double;

static int missed = 0, tried = 0;

struct Case {
    u64 outer, count, inner; // of energies: images, channels, positions
    u32 normalisation, has_root, power;
    real offset, distance, unit;
    int skip; // numbers before the tensors' first: any alignment
    bool channels_last;
};

static float uniform() { return (float)(device::draw() % 65536) / 32768.0f - 1.0f; }

static void expect(const char *what, const char *type, const Case &c, real got, real want, real tolerance) {
    tried++;
    if (std::fabs(got - want) <= tolerance || (got != got && want != want) || got == want) return;
    if (missed++ < 40)
        std::printf("%s %s [%llu %llu %llu] scale %u root %u p %u offset %Lg distance %Lg unit %Lg skip %d last %d: "
                    "%.9Lg, wanted %.9Lg\n",
                    what, type, c.outer, c.count, c.inner, c.normalisation, c.has_root, c.power, c.offset, c.distance,
                    c.unit, c.skip, c.channels_last, got, want);
}

template <class T> static void launch(u32 blocks, void (*kernel)(T), const T &task) {
    device::launch(blocks, THREADS, [=] { kernel(task); });
}

struct Vectors {
    void (*moments)(VectorTask), (*compare)(VectorTask), (*pull)(VectorTask);
    u64 width;
};

template <class T> static void fill(std::vector<T> &s, std::vector<T> &t, const Case &c) {
    for (u64 i = 0; i < s.size(); i++) {
        const real x = c.offset + uniform();
        s[i] = rounded(T{}, (double)(x * c.unit)), t[i] = rounded(T{}, (double)((x + c.distance * uniform()) * c.unit));
    }
}

// z = (x - mean) / (sd + eps), x / |x| or x, of a vector's numbers; and its gradient's factor and share lost.
static real scaled(std::vector<real> &z, const Case &c, real &lost) {
    const real count = z.size();
    real mean = 0, squares = 0;
    for (real x : z) mean += x / count;
    if (c.normalisation != STANDARDISE) mean = 0;
    for (real x : z) squares += (x - mean) * (x - mean);
    real step = 1;
    lost = 0;
    if (c.normalisation == STANDARDISE) {
        const real sd = count > 1 ? std::sqrt(squares / (count - 1)) : 0;
        step = sd > 0 ? 1 / (sd + 1e-6L) : 0, lost = sd > 0 ? (sd + 1e-6L) / (sd * (count - 1)) : 0;
    } else if (c.normalisation == UNIT) {
        step = squares > 0 ? 1 / std::sqrt(squares) : 0, lost = 1;
    }
    for (real &x : z) x = (x - mean) * step;
    return step;
}

template <class T> static void vectors_of(const char *type, const Vectors &kernels, const Case &c) {
    const u64 all = c.outer * c.count * c.inner;
    std::vector<T> t(all + c.skip), s(all + c.skip), g[2] = {t, t};
    fill(s, t, c);
    VectorTask task{};
    task.teacher = t.data() + c.skip, task.student = s.data() + c.skip;
    task.outer = c.outer, task.count = c.count, task.inner = c.inner;
    const u64 packs = (c.inner + 2 * (kernels.width - 1)) / kernels.width;
    task.parts_of_vector = c.inner == 1 ? (c.outer + 255) / 256 : (c.outer * packs + 2047) / 2048;
    std::vector<double> values(c.count), parts(c.count * task.parts_of_vector * 4);
    std::vector<Vector> vectors(c.count);
    u32 overflowed = 0;
    task.values = values.data(), task.parts = parts.data(), task.vectors = vectors.data();
    task.overflowed = &overflowed, task.eps_t = task.eps_s = c.normalisation == STANDARDISE ? 1e-6 : 0.0;
    task.share = 0.5, task.factor = 3.0, task.normalisation = c.normalisation, task.has_root = c.has_root;
    if (c.normalisation != RAW) launch(2, kernels.moments, task);
    VectorTask scale = task;
    if (c.normalisation == RAW) scale.parts_of_vector = 0;
    launch(1, densekd_vectors_scale, scale);
    launch(2, kernels.compare, task);
    launch(1, densekd_vectors_close, task);
    for (u32 side = 0; side < 2; side++) {
        task.to_teacher = side, task.gradient = g[side].data() + c.skip;
        launch(2, kernels.pull, task);
    }

    for (u64 v = 0; v < c.count; v++) {
        std::vector<real> zt, zs;
        std::vector<u64> at;
        for (u64 o = 0; o < c.outer; o++)
            for (u64 i = 0; i < c.inner; i++) at.push_back((o * c.count + v) * c.inner + i + c.skip);
        for (u64 i : at) zt.push_back(load(t[i])), zs.push_back(load(s[i]));
        real lost_t, lost_s, along_t = 0, along_s = 0, squares = 0;
        const real step_t = scaled(zt, c, lost_t), step_s = scaled(zs, c, lost_s);
        for (u64 i = 0; i < at.size(); i++) {
            const real e = zs[i] - zt[i];
            squares += e * e, along_t += e * zt[i], along_s += e * zs[i];
        }
        const real sum = squares / 2, root = c.has_root ? (sum > 0 ? 0.5L / std::sqrt(sum) : 0) : 1;
        expect("value", type, c, values[v], c.has_root ? std::sqrt(sum) : sum, 1e-6L * (c.has_root ? std::sqrt(sum) : sum));
        real largest[2] = {0, 0};
        for (int pass = 0; pass < 2; pass++)
            for (u64 i = 0; i < at.size(); i++) {
                const real e = zs[i] - zt[i], of_s = 3 * root * step_s, of_t = 3 * root * step_t;
                const real want[2] = {of_s * (e - zs[i] * lost_s * along_s), -of_t * (e - zt[i] * lost_t * along_t)};
                for (int side = 0; side < 2; side++) {
                    if (pass == 0) {
                        largest[side] = std::max(largest[side], std::fabs(side ? of_t * e : of_s * e));
                        continue;
                    }
                    const real half = sizeof(T) == 2 ? 1.0L / 256 : 0;
                    expect(side ? "to teacher" : "to student", type, c, load(g[side][at[i]]), want[side],
                           1e-6L * largest[side] + half * std::fabs(want[side]) + (half > 0 ? 1e-7L : 0));
                }
            }
    }
}

struct Energies {
    void (*planes)(EnergyTask), (*last)(EnergyTask), (*pull_planes)(EnergyTask), (*pull_last)(EnergyTask);
};

template <class T> static void energies_of(const char *type, const Energies &kernels, const Case &c) {
    const u64 images = c.outer, channels = c.count, positions = c.inner, all = images * channels * positions;
    std::vector<T> x(all + c.skip), g = x;
    fill(x, g, c);
    std::vector<double> energies(images * positions), slopes(images * positions);
    for (double &slope : slopes) slope = uniform();
    u32 overflowed = 0;
    EnergyTask task{x.data() + c.skip, energies.data(), g.data() + c.skip, &overflowed, images, channels, positions, c.power, 1};
    launch(2, c.channels_last ? kernels.last : kernels.planes, task);
    task.energies = slopes.data();
    launch(2, c.channels_last ? kernels.pull_last : kernels.pull_planes, task);
    for (u64 n = 0; n < images; n++)
        for (u64 m = 0; m < positions; m++) {
            real energy = 0;
            for (u64 i = 0; i < channels; i++) {
                const u64 at = (c.channels_last ? (n * positions + m) * channels + i : (n * channels + i) * positions + m) + c.skip;
                const real y = load(x[at]), size = std::fabs(y);
                energy += std::pow(size, (real)c.power);
                const real want = slopes[n * positions + m] * c.power * std::pow(size, (real)c.power - 1) * (y > 0 ? 1 : y < 0 ? -1 : 0);
                const real half = sizeof(T) == 2 ? 1.0L / 256 : 2e-7L, smallest = sizeof(T) == 2 ? 1e-7L : sizeof(T) == 4 ? 1e-45L : 0;
                expect("gradient", type, c, load(g[at]), want, half * std::fabs(want) + smallest);
            }
            expect("energy", type, c, energies[n * positions + m], energy, 1e-12L * energy);
        }
}

struct Classes {
    void (*dkd_planes)(ClassTask), (*dkd_last)(ClassTask), (*smooth_planes)(ClassTask), (*smooth_last)(ClassTask);
};

static real log_sum(const std::vector<real> &x, u64 but) {
    real top = -INFINITE, sum = 0;
    for (u64 i = 0; i < x.size(); i++)
        if (i != but) top = std::max(top, x[i]);
    for (u64 i = 0; i < x.size(); i++)
        if (i != but) sum += std::exp(x[i] - top);
    return sum > 0 ? top + std::log(sum) : -INFINITE;
}

// A term of the sum of p log(p / q) - p + q, for r = log(p / q): none is negative, so nothing cancels.
static real divergence(real p, real r) { return p > 0 ? p * (r + std::expm1(-r)) : 0; }

template <class T> static void classes_of(const char *type, const Classes &kernels, const Case &c, bool smoothed) {
    const u64 channels = c.count, positions = c.outer * c.inner, all = positions * channels;
    std::vector<T> t(all + c.skip), s = t, g = t;
    fill(s, t, c);
    std::vector<int> labels(positions);
    for (int &label : labels) label = (int)(device::draw() % (channels + 1)) - 1;
    std::vector<double> values(positions);
    u32 overflowed = 0;
    const float tau = c.power == 2 ? 4.0f : 1.0f, alpha = 1.0f, beta = 8.0f, share = 0.1f, factor = 3.0f;
    ClassTask task{};
    task.teacher = t.data() + c.skip, task.student = s.data() + c.skip, task.gradient = g.data() + c.skip;
    task.classes = labels.data(), task.values = values.data(), task.overflowed = &overflowed;
    task.positions = positions, task.channels = channels, task.inner = c.channels_last ? 1 : c.inner;
    task.temperature = {(float)(1.4426950408889634 / tau), 1.0f / tau, tau};
    task.mantissa = factor, task.power = 1.0f / tau, task.of_target = alpha, task.of_rest = beta;
    task.smoothing = share, task.spread = share / (float)channels;
    launch(2, smoothed ? c.channels_last ? kernels.smooth_last : kernels.smooth_planes
                       : c.channels_last ? kernels.dkd_last : kernels.dkd_planes, task);
    for (u64 i = 0; i < positions; i++) {
        const u64 start = i / task.inner * channels * task.inner + i % task.inner + c.skip;
        std::vector<real> x(channels), y(channels), want(channels);
        for (u64 k = 0; k < channels; k++)
            x[k] = load(t[start + k * task.inner]) / (real)tau, y[k] = load(s[start + k * task.inner]) / (real)tau;
        const u64 own = (u64)labels[i];
        real value = 0, largest = 0;
        if (labels[i] >= 0) {
            const real rest_t = log_sum(x, own), rest_s = log_sum(y, own);
            const real all_t = log_sum(x, channels), all_s = log_sum(y, channels);
            const real b = std::exp(x[own] - all_t), b_rest = std::exp(rest_t - all_t);
            const real q_own = std::exp(y[own] - all_s), q_rest = std::exp(rest_s - all_s);
            const real pull = channels == 1 ? 0 : q_own < 0.5L ? q_own - b : b_rest - q_rest;
            if (smoothed) {
                for (u64 k = 0; k < channels; k++) {
                    const real target = (real)task.spread + (k == own ? 1 - (real)task.smoothing : 0);
                    value -= target * (y[k] - all_s), want[k] = std::exp(y[k] - all_s) - target;
                    if (k == own) want[k] = (real)task.smoothing - (real)task.spread - q_rest;
                }
            } else {
                value = alpha * (divergence(b, (x[own] - all_t) - (y[own] - all_s)) +
                                 (channels > 1 ? divergence(b_rest, (rest_t - all_t) - (rest_s - all_s)) : 0));
                want[own] = alpha * pull;
                for (u64 k = 0; k < channels; k++) {
                    if (k == own) continue;
                    const real p = std::exp(x[k] - rest_t), q = std::exp(y[k] - rest_s);
                    value += beta * divergence(p, (x[k] - rest_t) - (y[k] - rest_s));
                    want[k] = beta * (q - p) - alpha * pull * q;
                }
            }
        }
        for (u64 k = 0; k < channels; k++) want[k] *= factor / tau, largest = std::max(largest, std::fabs(want[k]));
        expect(smoothed ? "smoothed" : "decoupled", type, c, values[i], value, 4e-6L * value + 1e-17L);
        for (u64 k = 0; k < channels; k++) {
            const real half = sizeof(T) == 2 ? 1.0L / 256 : 0;
            expect(smoothed ? "to smoothed" : "to decoupled", type, c, load(g[start + k * task.inner]), want[k],
                   4e-6L * largest + half * std::fabs(want[k]) + (half > 0 ? 1e-7L : 1e-17L));
        }
    }
}

#define CLASSES(T) \
    Classes { densekd_dkd_planes_##T, densekd_dkd_last_##T, densekd_smooth_planes_##T, densekd_smooth_last_##T }
#define VECTORS(FORM, T, WIDTH) \
    Vectors { densekd_##FORM##_moments_##T, densekd_##FORM##_compare_##T, densekd_##FORM##_pull_##T, WIDTH }
#define ENERGIES(T) \
    Energies { densekd_energy_planes_##T, densekd_energy_last_##T, densekd_energy_pull_planes_##T, densekd_energy_pull_last_##T }

int main() {
    const u64 lines[][3] = {{2, 3, 35}, {3, 2, 2}, {1, 1, 8200}, {40, 1, 300}, {1, 2, 64}, {2, 1, 2080}};
    const u64 apart[][3] = {{70, 3, 1}, {600, 33, 1}, {5, 64, 1}};
    const real forms[][3] = {{0, 1, 1}, {1000, 1, 1}, {0, 1e-3L, 1}, {0, 1, 1e-30L}, {0, 1, 1e30L}, {0, 0, 1}};
    for (u32 normalisation : {RAW, STANDARDISE, UNIT})
        for (int form = 0; form < 6; form++) {
            Case c{};
            c.normalisation = normalisation, c.has_root = form % 2;
            c.offset = forms[form][0], c.distance = forms[form][1], c.unit = forms[form][2], c.skip = form;
            const auto all = [&](bool is_apart) {
                vectors_of<f64>("f64", is_apart ? VECTORS(apart, f64, 1) : VECTORS(lines, f64, 1), c);
                if (normalisation == UNIT) return; // of energies, which are f64
                vectors_of<float>("f32", is_apart ? VECTORS(apart, f32, 4) : VECTORS(lines, f32, 4), c);
                if (form > 2) return; // beyond the range of halves
                vectors_of<f16>("f16", is_apart ? VECTORS(apart, f16, 8) : VECTORS(lines, f16, 8), c);
                vectors_of<bf16>("bf16", is_apart ? VECTORS(apart, bf16, 8) : VECTORS(lines, bf16, 8), c);
            };
            for (const auto &shape : lines) c.outer = shape[0], c.count = shape[1], c.inner = shape[2], all(false);
            for (const auto &shape : apart) c.outer = shape[0], c.count = shape[1], c.inner = shape[2], all(true);
        }
    const u64 maps[][3] = {{2, 3, 35}, {1, 70, 300}, {3, 1, 1}, {1, 64, 64}};
    for (u32 power : {1, 2, 4})
        for (int form = 0; form < 6; form++)
            for (const auto &shape : maps) {
                Case c{};
                c.outer = shape[0], c.count = shape[1], c.inner = shape[2], c.power = power, c.channels_last = form % 2;
                c.unit = form == 2 ? 1e-12L : form == 3 ? 1e12L : 1, c.skip = form;
                energies_of<float>("f32", ENERGIES(f32), c);
                energies_of<f64>("f64", ENERGIES(f64), c);
                if (form > 1 && form < 4) continue;
                energies_of<f16>("f16", ENERGIES(f16), c);
                energies_of<bf16>("bf16", ENERGIES(bf16), c);
            }
    const u64 logits[][3] = {{2, 19, 35}, {3, 150, 1}, {1, 2, 40}, {5, 1, 3}};
    for (int form = 0; form < 8; form++)
        for (const auto &shape : logits)
            for (bool smoothed : {false, true}) {
                Case c{};
                c.outer = shape[0], c.count = shape[1], c.inner = shape[2], c.power = form % 2 ? 2 : 1, c.skip = form;
                c.channels_last = form / 2 % 2, c.unit = form < 4 ? 4 : 15, c.distance = form == 3 ? 1e-3L : 1;
                c.offset = form == 3 || form == 5 ? 20 : 0;
                classes_of<float>("f32", CLASSES(f32), c, smoothed);
                classes_of<f16>("f16", CLASSES(f16), c, smoothed);
                classes_of<bf16>("bf16", CLASSES(bf16), c, smoothed);
            }
    std::printf("%d of %d missed\n", missed, tried);
    return missed > 0;
}
