// The kernels of pairs of vectors against a plain evaluation in long double.
#include "../vectors.cu"
#include "maps.h"

struct Vectors {
    void (*moments)(VectorTask), (*compare)(VectorTask), (*pull)(VectorTask);
    u64 width;
};

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
    check::subject = [=] { return c.text(type); };
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
        // An offset has 48 bits, of which as much is off in each z.
        const real off = 4e-15L * std::fabs(c.offset * c.unit) * std::max(step_t, step_s);
        const real value = c.has_root ? std::sqrt(sum) : sum, of_all = off * std::sqrt((real)at.size());
        expect("value", values[v], value, 1e-6L * value + of_all * (c.has_root ? 1 : std::sqrt(2 * sum)));
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
                    expect(side ? "to teacher" : "to student", load(g[side][at[i]]), want[side],
                           1e-6L * largest[side] + 4 * off * std::fabs(side ? of_t : of_s) + half * std::fabs(want[side]) + (half > 0 ? 1e-7L : 0));
                }
            }
    }
}

#define VECTORS(FORM, T, WIDTH) \
    Vectors { densekd_##FORM##_moments_##T, densekd_##FORM##_compare_##T, densekd_##FORM##_pull_##T, WIDTH }

int main(int count, char **arguments) {
    check::begin(count, arguments);
    const u64 lines[][3] = {{2, 3, 35}, {3, 2, 2}, {1, 1, 8200}, {40, 1, 300}, {1, 2, 64}, {2, 1, 2080}};
    const u64 apart[][3] = {{70, 3, 1}, {600, 33, 1}, {5, 64, 1}};
    const real forms[][3] = {{0, 1, 1}, {1000, 1, 1}, {0, 1e-3L, 1}, {0, 1, 1e-30L}, {0, 1, 1e30L}, {0, 0, 1}};
    for (u32 normalisation : {RAW, STANDARDISE, UNIT})
        for (int form = 0; form < 6; form++) {
            Case c{};
            c.normalisation = normalisation, c.has_root = form % 2;
            c.offset = forms[form][0], c.distance = forms[form][1], c.unit = forms[form][2], c.skip = form;
            const auto all = [&](bool is_apart) {
                try_case([&] { vectors_of<f64>("f64", is_apart ? VECTORS(apart, f64, 1) : VECTORS(lines, f64, 1), c); });
                if (normalisation == UNIT) return; // of energies, which are f64
                try_case([&] { vectors_of<float>("f32", is_apart ? VECTORS(apart, f32, 4) : VECTORS(lines, f32, 4), c); });
                if (form > 2) return; // beyond the range of halves
                try_case([&] { vectors_of<f16>("f16", is_apart ? VECTORS(apart, f16, 8) : VECTORS(lines, f16, 8), c); });
                try_case([&] { vectors_of<bf16>("bf16", is_apart ? VECTORS(apart, bf16, 8) : VECTORS(lines, bf16, 8), c); });
            };
            for (const auto &shape : lines) c.outer = shape[0], c.count = shape[1], c.inner = shape[2], all(false);
            for (const auto &shape : apart) c.outer = shape[0], c.count = shape[1], c.inner = shape[2], all(true);
        }
    return check::end();
}
