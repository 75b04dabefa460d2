// The kernels of correlations of classes and positions.
#include "../dist.cu"
#include "relations.h"

struct Dist {
    void (*rows)(DistTask), (*columns)(DistTask), (*pull)(DistTask);
};

template <class T> static Loss<T> dist_of(const Maps &of, const Dist &kernels) {
    const real tau = 2, eps = 1e-3L, a = 0.5L, b = 0.25L;
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        DistTask task{};
        const u64 count = of.positions(), channels = of.channels[0];
        task.map = of.extent(0), task.parts_of_column = (count + (of.is_last ? 255 : 2047)) / (of.is_last ? 256 : 2048);
        std::vector<double> values(count + channels), rows(7 * count);
        std::vector<Comoments> parts(channels * task.parts_of_column);
        std::vector<Column> columns(channels);
        task.teacher = maps[0], task.student = maps[1], task.values = values.data(), task.rows = rows.data();
        task.parts = parts.data(), task.columns = columns.data(), task.overflowed = overflowed;
        task.per_tau = 1 / tau, task.eps = eps, task.of_row = a, task.of_column = b, task.factor = FACTOR;
        launch(2, kernels.rows, task), launch(2, kernels.columns, task), launch(1, densekd_dist_close, task);
        const double sum = sum_of(values);
        task.sum = &sum;
        for (u32 side = 0; side < 2; side++)
            task.to_teacher = !side, task.gradient = gradients[side], launch(2, kernels.pull, task);
        return sum;
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        const u64 count = of.positions(), channels = of.channels[0];
        Numbers share[2];
        for (int side = 0; side < 2; side++) {
            share[side].resize(count * channels);
            for (u64 i = 0; i < count; i++) {
                real all = 0;
                for (u64 c = 0; c < channels; c++) all += std::exp(maps[side][of.index(side, i, c)] / tau);
                for (u64 c = 0; c < channels; c++)
                    share[side][i * channels + c] = std::exp(maps[side][of.index(side, i, c)] / tau) / all;
            }
        }
        const auto miss = [&](u64 first, u64 step, u64 length) {
            real mean[2] = {}, products[3] = {};
            for (u64 i = 0; i < length; i++)
                for (int side = 0; side < 2; side++) mean[side] += share[side][first + i * step] / length;
            for (u64 i = 0; i < length; i++) {
                const real p = share[0][first + i * step] - mean[0], q = share[1][first + i * step] - mean[1];
                products[0] += p * p, products[1] += q * q, products[2] += p * q;
            }
            return 1 - products[2] / (std::sqrt(products[0] * products[1]) + eps);
        };
        real sum = 0;
        for (u64 i = 0; i < count; i++) sum += a * miss(i * channels, 1, channels);
        for (u64 c = 0; c < channels; c++) sum += b * miss(c, channels, count);
        return sum;
    };
    return {"dist", run, value};
}

#define CHECK(T)                                                                                           \
    compare<T>(maps, dist_of<T>(maps, maps.is_last ? Dist{densekd_dist_rows_last_##T,                        \
                                                          densekd_dist_columns_last_##T,                     \
                                                          densekd_dist_pull_last_##T}                        \
                                                   : Dist{densekd_dist_rows_planes_##T,                      \
                                                          densekd_dist_columns_planes_##T,                   \
                                                          densekd_dist_pull_planes_##T}));

int main(int count, char **arguments) {
    check::begin(count, arguments);
    // The last has a class in parts.
    each_map({{2, 5, 7, {3, 3}, false}, {1, 9, 11, {35, 35}, false}, {1, 46, 47, {3, 3}, false}}, [](const Maps &maps) {
        CHECK(f32) CHECK(f16) CHECK(bf16) CHECK(f64)
    });
    return check::end();
}
