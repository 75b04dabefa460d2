// The kernels of local affinity.
#include "../la.cu"
#include "relations.h"

struct La {
    void (*edges)(LaTask), (*pull)(LaTask);
};

template <class T> static Loss<T> la_of(const Maps &of, const La &kernels, LaMode mode, bool is_clipped) {
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        const u64 count = of.positions();
        std::vector<double> sums[2], values(count), apart(count);
        LaTask tasks[2];
        for (int side = 0; side < 2; side++) sums[side].resize(5 * count);
        for (u32 side = 0; side < 2; side++) {
            LaTask task{};
            task.map = maps[side], task.gradient = gradients[side], task.own = sums[side].data();
            task.other = sums[1 - side].data(), task.values = values.data(), task.apart = apart.data();
            task.overflowed = overflowed, task.extent = of.extent((int)side), task.height = of.height, task.width = of.width;
            task.eps = 1e-8, task.factor = FACTOR, task.mode = mode, task.is_clipped = is_clipped, task.bit = side ? 1 : 2;
            tasks[side] = task;
            launch(2, kernels.edges, task);
        }
        launch(1, densekd_la_compare, tasks[1]);
        for (const LaTask &task : tasks) launch(2, kernels.pull, task);
        return sum_of(values);
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        const long long height = (long long)of.height, width = (long long)of.width;
        const auto of_pair = [&](int side, u64 i, u64 j) {
            real distance = 0, product = 0, squares[2] = {};
            for (u64 c = 0; c < of.channels[side]; c++) {
                const real x = maps[side][of.index(side, i, c)], y = maps[side][of.index(side, j, c)];
                distance += (x - y) * (x - y), product += x * y, squares[0] += x * x, squares[1] += y * y;
            }
            return mode == SQUARES ? distance : mode == ROOTS ? std::sqrt(distance)
                                                              : product / std::sqrt(squares[0] * squares[1]);
        };
        real sum = 0;
        for (u64 i = 0; i < of.positions(); i++) {
            const long long y = (long long)(i / of.width % of.height), x = (long long)(i % of.width);
            if (!is_clipped && (y == 0 || y + 1 == height || x == 0 || x + 1 == width)) continue;
            real apart = 0;
            for (long long dy = -1; dy <= 1; dy++)
                for (long long dx = -1; dx <= 1; dx++) {
                    if ((dy == 0 && dx == 0) || y + dy < 0 || y + dy >= height || x + dx < 0 || x + dx >= width) continue;
                    const u64 j = (u64)((long long)i + dy * width + dx);
                    const real d = of_pair(1, i, j) - of_pair(0, i, j);
                    if (mode == COSINES) sum += d * d;
                    apart += d;
                }
            if (mode != COSINES) sum += apart * apart;
        }
        return sum;
    };
    return {"la", run, value};
}

#define CHECK(T)                                                                                           \
    for (LaMode mode : {SQUARES, ROOTS, COSINES})                                                            \
        for (bool is_clipped : {false, true})                                                                \
            compare<T>(maps, la_of<T>(maps,                                                                  \
                                      maps.is_last ? La{densekd_la_edges_last_##T, densekd_la_pull_last_##T} \
                                                   : La{densekd_la_edges_planes_##T,                         \
                                                        densekd_la_pull_planes_##T},                         \
                                      mode, is_clipped));

int main(int count, char **arguments) {
    check::begin(count, arguments);
    each_map({{2, 5, 7, {6, 3}, false}, {1, 9, 11, {2, 35}, false}, {3, 3, 3, {4, 4}, false}, {1, 23, 29, {2, 2}, false}},
             [](const Maps &maps) { CHECK(f32) CHECK(f16) CHECK(bf16) CHECK(f64) });
    return check::end();
}
