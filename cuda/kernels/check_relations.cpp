// The kernels of relations on the CPU against plain formulas in long double, their gradients against differences of
// these; a word for each case that misses.
//
//     clang++-19 -O1 -g -std=c++17 -fsanitize=address,undefined -o check check_relations.cpp && ./check
#include "dist.cu"
#include "ho.cu"
#include "ifvd.cu"
#include "la.cu"
#include "pa.cu"

using real = long double;
using Numbers = std::vector<real>;

static int missed = 0, tried = 0;

static float uniform() { return (float)(device::draw() % 65536) / 32768.0f - 1.0f; }

// Two maps of the same images and positions.
struct Maps {
    u64 images, height, width, channels[2]; // of teacher and student
    bool is_last;

    u64 positions() const { return images * height * width; }
    u64 inner() const { return is_last ? 1 : height * width; }
    Extent extent(int side) const { return {positions(), channels[side], inner()}; }
    u64 index(int side, u64 i, u64 c) const {
        const u64 m = height * width, n = i / m;
        return is_last ? i * channels[side] + c : (n * channels[side] + c) * m + i % m;
    }
};

// A loss: what the kernels make of two maps, and its value in long double.
template <class T> struct Loss {
    const char *name;
    std::function<double(const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed)> run;
    std::function<real(const Numbers (&maps)[2])> value;
};

template <class Task> static void launch(u32 blocks, void (*kernel)(Task), const Task &task) {
    device::launch(blocks, THREADS, [=] { kernel(task); });
}

static double sum_of(const std::vector<double> &values) {
    double sum = 0;
    for (double value : values) sum += value;
    return sum;
}

static void expect(const char *loss, const char *what, const Maps &maps, real got, real want, real tolerance) {
    tried++;
    if (std::fabs(got - want) <= tolerance) return;
    if (missed++ < 40)
        std::printf("%s %s [%llu %llu/%llu %llu %llu] last %d: %.12Lg, wanted %.12Lg\n", loss, what, maps.images,
                    maps.channels[0], maps.channels[1], maps.height, maps.width, maps.is_last, got, want);
}

// The factor of all gradients.
constexpr double FACTOR = 3.0;

template <class T> static void check(const Maps &of, const Loss<T> &loss) {
    std::vector<T> stored[2], gradient[2];
    Numbers maps[2];
    for (int side = 0; side < 2; side++) {
        stored[side].resize(of.positions() * of.channels[side]), gradient[side] = stored[side];
        for (T &x : stored[side]) x = uniform(), maps[side].push_back(x);
    }
    u32 overflowed = 0;
    const real got = loss.run({stored[0].data(), stored[1].data()}, {gradient[0].data(), gradient[1].data()}, &overflowed);
    const real want = loss.value(maps);
    expect(loss.name, "value", of, got, want, 1e-11L * std::fabs(want) + 1e-13L);
    for (int side = 0; side < 2; side++) {
        real largest = 0;
        for (T x : gradient[side]) largest = std::max(largest, std::fabs((real)x));
        for (int turn = 0; turn < 12; turn++) {
            real &x = maps[side][device::draw() % maps[side].size()];
            const real old = x, step = 1e-6L;
            x = old + step;
            const real above = loss.value(maps);
            x = old - step;
            const real slope = (above - loss.value(maps)) / (2 * step);
            x = old;
            expect(loss.name, side ? "to the student" : "to the teacher", of, gradient[side][&x - maps[side].data()],
                   slope * FACTOR, 1e-6L * largest + 1e-9L);
        }
    }
}

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

// Of scores side by side: a discriminator's hinge.
template <class T> static Loss<T> ho_of(const Maps &of, void (*sums)(HoTask), void (*pull)(HoTask), u64 width) {
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        double all = 0;
        for (u32 side = 0; side < 2; side++) {
            HoTask task{};
            task.numbers = maps[side], task.gradient = gradients[side], task.overflowed = overflowed, task.vectors = 1;
            task.length = of.positions() * of.channels[side];
            task.parts_of_vector = ((task.length + 2 * (width - 1)) / width + 2047) / 2048;
            std::vector<double> parts(task.parts_of_vector);
            task.parts = parts.data(), task.share = side ? 1.0 : 0.5, task.factor = FACTOR, task.game = HINGE;
            task.is_negative = !side, task.bit = side ? 1 : 2;
            launch(2, sums, task), launch(2, pull, task);
            all += sum_of(parts);
        }
        return all;
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        real sum = 0;
        for (real t : maps[0]) sum += 0.5L * std::max(0.0L, 1 - t);
        for (real s : maps[1]) sum += std::max(0.0L, 1 + s);
        return sum;
    };
    return {"ho", run, value};
}

#define OF(T, WIDTH)                                                                                                        \
    {                                                                                                                       \
        const bool last = maps.is_last;                                                                                     \
        Maps same = maps;                                                                                                   \
        same.channels[0] = same.channels[1];                                                                                \
        check<T>(same, dist_of<T>(same, last ? Dist{densekd_dist_rows_last_##T, densekd_dist_columns_last_##T,              \
                                                    densekd_dist_pull_last_##T}                                             \
                                             : Dist{densekd_dist_rows_planes_##T, densekd_dist_columns_planes_##T,          \
                                                    densekd_dist_pull_planes_##T}));                                        \
        const La la = last ? La{densekd_la_edges_last_##T, densekd_la_pull_last_##T}                                        \
                           : La{densekd_la_edges_planes_##T, densekd_la_pull_planes_##T};                                   \
        for (LaMode mode : {SQUARES, ROOTS, COSINES})                                                                       \
            for (bool is_clipped : {false, true}) check<T>(maps, la_of<T>(maps, la, mode, is_clipped));                     \
        const auto spread = last ? densekd_pa_spread_last_##T : densekd_pa_spread_planes_##T;                               \
        for (Pool pool : {MAXIMUM, MEAN}) {                                                                                 \
            check<T>(maps, pa_of<T>(maps, Pa{densekd_pa_pool_thread_##T, spread}, 1, 2, pool));                             \
            check<T>(maps, pa_of<T>(maps, Pa{densekd_pa_pool_warp_##T, spread}, 4, 9, pool));                               \
        }                                                                                                                   \
        check<T>(maps, ifvd_of<T>(maps, last ? Ifvd{densekd_ifvd_sums_last_##T, densekd_ifvd_cosines_last_##T,              \
                                                    densekd_ifvd_pull_last_##T}                                             \
                                             : Ifvd{densekd_ifvd_sums_planes_##T, densekd_ifvd_cosines_planes_##T,          \
                                                    densekd_ifvd_pull_planes_##T}, 3));                                     \
        check<T>(maps, ho_of<T>(maps, densekd_ho_sums_##T, densekd_ho_pull_##T, WIDTH));                                    \
    }

int main() {
    const Maps shapes[] = {{2, 5, 7, {6, 3}, false}, {1, 9, 11, {2, 35}, false}, {3, 3, 3, {4, 4}, false}};
    for (Maps maps : shapes)
        for (bool is_last : {false, true}) {
            maps.is_last = is_last;
            OF(f32, 4)
            OF(f64, 1)
        }
    std::printf("%d of %d missed\n", missed, tried);
    return missed > 0;
}
