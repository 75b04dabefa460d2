// The kernels of intra-class variation.
#include "../ifvd.cu"
#include "relations.h"

struct Ifvd {
    void (*sums)(IfvdTask), (*cosines)(IfvdTask), (*pull)(IfvdTask);
};

template <class T> static Loss<T> ifvd_of(const Maps &of, const Ifvd &kernels, u64 count) {
    std::vector<int> classes(of.positions());
    for (int &k : classes) k = (int)(device::draw() % (count + 1)) - 1;
    const u64 image = of.height * of.width;
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        const u64 segments = (image + 4095) / 4096, all = of.images * count;
        std::vector<u32> counts(all), starts(all), of_segments(all * segments), order(of.positions());
        std::vector<double> differences(of.positions()), values(of.images), numbers[2][7];
        IfvdSide sides[2];
        for (int side = 0; side < 2; side++) {
            const u64 table = all * of.channels[side], sizes[] = {table, table, all, all, of.positions(), of.positions(), of.positions()};
            for (int i = 0; i < 7; i++) numbers[side][i].resize(sizes[i]);
            auto &own = numbers[side];
            sides[side] = {own[0].data(), own[1].data(), own[2].data(), own[3].data(), own[4].data(), own[5].data(), own[6].data()};
        }
        IfvdTask tasks[2];
        for (u32 side = 0; side < 2; side++) {
            IfvdTask task{};
            task.map = maps[side], task.gradient = gradients[side], task.classes = classes.data();
            task.counts = counts.data(), task.starts = starts.data(), task.segments = of_segments.data();
            task.order = order.data(), task.differences = differences.data(), task.values = values.data();
            task.overflowed = overflowed, task.extent = of.extent((int)side), task.images = of.images, task.image = image;
            task.count = count, task.segments_of_image = segments, task.factor = FACTOR;
            task.own = sides[side], task.other = sides[1 - side], task.bit = side ? 1 : 2;
            tasks[side] = task;
        }
        for (auto kernel : {densekd_ifvd_count, densekd_ifvd_start, densekd_ifvd_place}) launch(2, kernel, tasks[1]);
        for (const IfvdTask &task : tasks)
            launch(2, kernels.sums, task), launch(1, densekd_ifvd_norms, task), launch(2, kernels.cosines, task);
        launch(2, densekd_ifvd_compare, tasks[1]), launch(2, densekd_ifvd_images, tasks[1]);
        for (IfvdTask &task : tasks) {
            task.is_weighted = 1;
            launch(1, densekd_ifvd_along, task), launch(2, kernels.sums, task), launch(2, kernels.pull, task);
        }
        return sum_of(values);
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        real sum = 0;
        for (u64 n = 0; n < of.images; n++)
            for (u64 k = 0; k < count; k++) {
                Numbers cosines[2];
                for (int side = 0; side < 2; side++) {
                    Numbers prototype(of.channels[side]);
                    real members = 1e-6L, norm = 0;
                    for (u64 i = n * image; i < (n + 1) * image; i++) {
                        if (classes[i] != (int)k) continue;
                        members += 1;
                        for (u64 c = 0; c < of.channels[side]; c++) prototype[c] += maps[side][of.index(side, i, c)];
                    }
                    for (real &x : prototype) x /= members, norm += x * x;
                    for (u64 i = n * image; i < (n + 1) * image; i++) {
                        if (classes[i] != (int)k) continue;
                        real dot = 0, squares = 0;
                        for (u64 c = 0; c < of.channels[side]; c++) {
                            const real x = maps[side][of.index(side, i, c)];
                            dot += x * prototype[c], squares += x * x;
                        }
                        cosines[side].push_back(dot / std::sqrt(norm * squares));
                    }
                }
                for (u64 i = 0; i < cosines[0].size(); i++)
                    sum += (cosines[1][i] - cosines[0][i]) * (cosines[1][i] - cosines[0][i]);
            }
        return sum;
    };
    return {"ifvd", run, value};
}

#define CHECK(T)                                                                                           \
    compare<T>(maps, ifvd_of<T>(maps,                                                                        \
                                maps.is_last ? Ifvd{densekd_ifvd_sums_last_##T,                              \
                                                    densekd_ifvd_cosines_last_##T,                           \
                                                    densekd_ifvd_pull_last_##T}                              \
                                             : Ifvd{densekd_ifvd_sums_planes_##T,                            \
                                                    densekd_ifvd_cosines_planes_##T,                         \
                                                    densekd_ifvd_pull_planes_##T},                           \
                                classes));

int main(int count, char **arguments) {
    check::begin(count, arguments);
    // More classes than a warp has lanes, and an image in segments.
    for (u64 classes : {3, 40})
        each_map({{2, 5, 7, {6, 3}, false}, {1, 9, 11, {2, 35}, false}, {1, 65, 66, {2, 3}, false}}, [=](const Maps &maps) {
            CHECK(f32) CHECK(f16) CHECK(bf16) CHECK(f64)
        });
    return check::end();
}
