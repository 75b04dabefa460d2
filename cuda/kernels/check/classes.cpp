// The kernels of classes against a plain evaluation in long double.
#include "../classes.cu"
#include "maps.h"

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
    check::subject = [=] { return c.text(type); };
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
        expect(smoothed ? "smoothed" : "decoupled", values[i], value, 4e-6L * value + 1e-17L);
        for (u64 k = 0; k < channels; k++) {
            const real half = sizeof(T) == 2 ? 1.0L / 256 : 0;
            expect(smoothed ? "to smoothed" : "to decoupled", load(g[start + k * task.inner]), want[k],
                   4e-6L * largest + half * std::fabs(want[k]) + (half > 0 ? 1e-7L : 1e-17L));
        }
    }
}

#define CLASSES(T) \
    Classes { densekd_dkd_planes_##T, densekd_dkd_last_##T, densekd_smooth_planes_##T, densekd_smooth_last_##T }

int main(int count, char **arguments) {
    check::begin(count, arguments);
    const u64 logits[][3] = {{2, 19, 35}, {3, 150, 1}, {1, 2, 40}, {5, 1, 3}};
    for (int form = 0; form < 8; form++)
        for (const auto &shape : logits)
            for (bool smoothed : {false, true}) {
                Case c{};
                c.outer = shape[0], c.count = shape[1], c.inner = shape[2], c.power = form % 2 ? 2 : 1, c.skip = form;
                c.channels_last = form / 2 % 2, c.unit = form < 4 ? 4 : 15, c.distance = form == 3 ? 1e-3L : 1;
                c.offset = form == 3 || form == 5 ? 20 : 0;
                try_case([&] { classes_of<float>("f32", CLASSES(f32), c, smoothed); });
                try_case([&] { classes_of<f16>("f16", CLASSES(f16), c, smoothed); });
                try_case([&] { classes_of<bf16>("bf16", CLASSES(bf16), c, smoothed); });
            }
    return check::end();
}
