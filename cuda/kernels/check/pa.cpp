// The kernels of pair-wise affinity.
#include "../pa.cu"
#include "relations.h"

struct Pa {
    void (*pool)(PaTask), (*spread)(PaTask);
};

template <class T> static Loss<T> pa_of(const Maps &of, const Pa &kernels, u64 tall, u64 wide, Pool pool) {
    const u64 columns = (of.width + wide - 1) / wide, count = columns * ((of.height + tall - 1) / tall);
    const Windows windows{of.images, count, columns, of.height, of.width, tall, wide};
    const double eps = 1e-3;
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        const u64 nodes = of.images * count, across = (count + 31) / 32;
        std::vector<double> units[2], scales[2], pulls, apart(nodes * count), values(of.images * across * across);
        std::vector<u32> chosen[2];
        PaTask tasks[2];
        pulls.resize(nodes * std::max(of.channels[0], of.channels[1]));
        for (int side = 0; side < 2; side++)
            units[side].resize(nodes * of.channels[side]), chosen[side].resize(nodes * of.channels[side]),
                scales[side].resize(2 * nodes);
        for (u32 side = 0; side < 2; side++) {
            PaTask task{};
            task.map = maps[side], task.gradient = gradients[side], task.units = units[side].data();
            task.pulls = pulls.data(), task.chosen = chosen[side].data(), task.scales = scales[side].data();
            task.teacher_units = units[0].data(), task.student_units = units[1].data(), task.apart = apart.data();
            task.values = values.data(), task.overflowed = overflowed, task.extent = of.extent((int)side);
            task.windows = windows, task.teacher_channels = of.channels[0], task.student_channels = of.channels[1];
            task.eps = eps, task.factor = FACTOR, task.pool = pool, task.bit = side ? 1 : 2;
            tasks[side] = task;
            launch(2, kernels.pool, task), launch(1, densekd_pa_scale, task);
        }
        launch(2, densekd_pa_apart, tasks[0]);
        for (const PaTask &task : tasks)
            launch(2, densekd_pa_slopes, task), launch(1, densekd_pa_turn, task), launch(2, kernels.spread, task);
        return sum_of(values);
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        real sum = 0;
        for (u64 n = 0; n < of.images; n++) {
            Numbers product[2];
            for (int side = 0; side < 2; side++) {
                std::vector<Numbers> units(count);
                for (u64 k = 0; k < count; k++) {
                    real squares = 0;
                    for (u64 c = 0; c < of.channels[side]; c++) {
                        real largest = -INFINITE, all = 0, cells = 0;
                        for (u64 i = 0; i < of.height * of.width; i++) {
                            if (windows.window_of(i) != k) continue;
                            const real x = maps[side][of.index(side, n * of.height * of.width + i, c)];
                            largest = std::max(largest, x), all += x, cells += 1;
                        }
                        units[k].push_back(pool == MEAN ? all / cells : largest);
                        squares += units[k][c] * units[k][c];
                    }
                    for (real &x : units[k]) x /= std::sqrt(squares) + eps;
                }
                for (u64 i = 0; i < count; i++)
                    for (u64 j = 0; j < count; j++) {
                        real all = 0;
                        for (u64 c = 0; c < of.channels[side]; c++) all += units[i][c] * units[j][c];
                        product[side].push_back(all);
                    }
            }
            for (u64 i = 0; i < count * count; i++)
                sum += (product[1][i] - product[0][i]) * (product[1][i] - product[0][i]);
        }
        return sum;
    };
    return {"pa", run, value};
}

#define CHECK(T)                                                                                           \
    for (Pool pool : {MAXIMUM, MEAN}) {                                                                      \
        const auto spread = maps.is_last ? densekd_pa_spread_last_##T : densekd_pa_spread_planes_##T;        \
        compare<T>(maps, pa_of<T>(maps, Pa{densekd_pa_pool_thread_##T, spread}, 1, 2, pool));                \
        compare<T>(maps, pa_of<T>(maps, Pa{densekd_pa_pool_warp_##T, spread}, 4, 9, pool));                  \
    }

int main(int count, char **arguments) {
    check::begin(count, arguments);
    each_map({{2, 5, 7, {6, 3}, false}, {1, 9, 11, {2, 35}, false}, {3, 3, 3, {4, 4}, false}}, [](const Maps &maps) {
        CHECK(f32) CHECK(f16) CHECK(bf16) CHECK(f64)
    });
    return check::end();
}
