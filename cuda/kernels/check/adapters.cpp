// The kernels before a loss, of resizes, 1x1 convolutions and labels, against plain loops in long double.
#include "../labels.cu"
#include "../project.cu"
#include "../resize.cu"
#include "support.h"
#include <utility>

static u64 below(u64 end) { return device::draw() % end; }

// What numbers of a type are rounded by, relative to the largest that is expected.
template <class T> constexpr real ROUNDING = sizeof(T) == 8 ? 1e-14L : sizeof(T) == 4 ? 1e-7L : std::is_same_v<T, f16> ? 6e-4L : 4e-3L;

template <class Found> static void all_are(const char *what, const std::vector<Found> &found, const std::vector<real> &wanted, real unit) {
    real largest = 0;
    for (real x : wanted) largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < wanted.size(); i++) expect(what, (real)load(found[i]), wanted[i], unit * largest + 1e-30L);
}

// A map in one of the orders.
static Layout layout(u64 channels, u64 positions, bool is_last) {
    return is_last ? Layout{channels, positions, 1, channels} : Layout{channels, positions, positions, 1};
}

template <class T> static std::vector<T> numbers(u64 count) {
    std::vector<T> all(count);
    for (T &x : all) x = rounded(T{}, (double)uniform());
    return all;
}

// The cells that output cell i is made of, as torch's documentation has it.
static std::vector<std::pair<u64, real>> taps(Mode mode, u64 i, u64 from, u64 to) {
    const auto around = [&](real at) {
        const u64 low = std::min((u64)std::floor(at), from - 1);
        const real rest = low + 1 < from ? at - (real)low : 0;
        return std::vector<std::pair<u64, real>>{{low, 1 - rest}, {std::min(low + 1, from - 1), rest}};
    };
    const real ratio = (real)from / (real)to;
    if (mode == NEAREST) return {{i * from / to, 1}};
    if (mode == BILINEAR) return around(std::max(0.0L, ((real)i + 0.5L) * ratio - 0.5L));
    if (mode == BILINEAR_ALIGNED) return around(to == 1 ? 0 : (real)(i * (from - 1)) / (real)(to - 1));
    std::vector<std::pair<u64, real>> all;
    const u64 first = i * from / to, end = ((i + 1) * from + to - 1) / to;
    for (u64 cell = first; cell < end; cell++) all.push_back({cell, 1.0L / (real)(end - first)});
    return all;
}

template <class From, class To>
static void resize_agrees(const char *type, void (*forward)(ResizeTask), void (*pull)(ResizeTask)) {
    const u64 images = 1 + below(3), channels = 1 + below(9);
    const u64 h = 1 + below(8), w = 1 + below(12), high = 1 + below(12), wide = 1 + below(20);
    check::subject = [=] { return text("%s [%llu %llu %llu %llu] to [%llu %llu]", type, images, channels, h, w, high, wide); };
    ResizeTask task{};
    task.images = images, task.mode = (Mode)below(4);
    task.map = layout(channels, h * w, below(2)), task.resized = layout(channels, high * wide, below(2));
    std::vector<Taps> row_taps(high), column_taps(wide);
    std::vector<Reach> row_reach(h), column_reach(w);
    task.rows = {h, high, row_taps.data(), row_reach.data()};
    task.columns = {w, wide, column_taps.data(), column_reach.data()};
    const auto map = numbers<From>(images * channels * h * w);
    const auto slopes = numbers<To>(images * channels * high * wide);
    std::vector<real> resized(slopes.size()), gradient(map.size());
    for (u64 n = 0; n < images; n++)
        for (u64 c = 0; c < channels; c++)
            for (u64 y = 0; y < high; y++)
                for (u64 x = 0; x < wide; x++)
                    for (const auto &row : taps(task.mode, y, h, high))
                        for (const auto &column : taps(task.mode, x, w, wide)) {
                            const u64 at = task.map.at(n, c, row.first * w + column.first);
                            const u64 to = task.resized.at(n, c, y * wide + x);
                            resized[to] += row.second * column.second * (real)load(map[at]);
                            gradient[at] += row.second * column.second * (real)load(slopes[to]);
                        }
    // On a boundary of 16 bytes, as the workspace is.
    std::vector<u32x4> room(slopes.size() * sizeof(To) / 16 + 1);
    u32 overflowed = 0;
    task.overflowed = &overflowed, task.bit = 1;
    launch(2, densekd_resize_axes, task);
    task.from = map.data(), task.to = room.data(), launch(2, forward, task);
    const To *const found = (const To *)room.data();
    all_are("resize", std::vector<To>(found, found + slopes.size()), resized, ROUNDING<To>);
    std::vector<From> pulled(map.size());
    task.from = slopes.data(), task.to = pulled.data(), launch(2, pull, task);
    all_are("gradient of a resize", pulled, gradient, ROUNDING<From>);
}

template <class T>
static void projection_agrees(const char *type, void (*const (&kernels)[5])(ProjectTask)) {
    const u64 images = 1 + below(3), positions = 1 + below(90), inputs = 1 + below(70), outputs = 1 + below(70);
    const bool has_weight = below(4) > 0;
    check::subject = [=] { return text("%s %llu images [%llu, %llu] to %llu channels", type, images, inputs, positions, outputs); };
    ProjectTask task{};
    task.images = images, task.images_of_part = 1 + below(2), task.positions_of_part = 1 + below(60);
    const bool from_last = below(2), to_last = below(2);
    task.from = layout(inputs, positions, from_last);
    task.to = layout(has_weight ? outputs : inputs, positions, to_last);
    const u64 rows = task.to.channels;
    const auto map = numbers<T>(images * inputs * positions);
    const auto weight = numbers<double>(rows * inputs), bias = numbers<double>(rows);
    auto projected = numbers<double>(images * rows * positions);
    const auto slopes = numbers<double>(projected.size());
    std::vector<real> y(projected.size()), to_map(map.size()), to_weight(weight.size()), to_bias(rows);
    for (u64 n = 0; n < images; n++)
        for (u64 p = 0; p < positions; p++)
            for (u64 o = 0; o < rows; o++) {
                const u64 at = task.to.at(n, o, p);
                y[at] = bias[o], to_bias[o] += slopes[at];
                for (u64 i = 0; i < inputs; i++) {
                    const u64 from = task.from.at(n, i, p);
                    const real share = has_weight ? (real)weight[o * inputs + i] : (real)(o == i);
                    y[at] += share * (real)load(map[from]), to_map[from] += share * slopes[at];
                    to_weight[o * inputs + i] += (real)slopes[at] * (real)load(map[from]);
                }
            }
    u32 overflowed = 0;
    task.map = map.data(), task.projected = projected.data(), task.weight = has_weight ? weight.data() : nullptr;
    task.bias = bias.data(), task.overflowed = &overflowed, task.bit = 1;
    launch(2, kernels[task.to.is_last()], task);
    all_are("projection", projected, y, 1e-14L);
    projected = slopes;
    std::vector<T> pulled(map.size());
    task.gradient = pulled.data(), launch(2, kernels[2 + task.from.is_last()], task);
    all_are("gradient of a projection", pulled, to_map, ROUNDING<T>);
    const u64 parts = (images + task.images_of_part - 1) / task.images_of_part *
                      ((positions + task.positions_of_part - 1) / task.positions_of_part);
    std::vector<double> sums(parts * rows * task.columns()), of_weight(weight.size()), of_bias(rows);
    task.parts = sums.data(), task.to_weight = has_weight ? of_weight.data() : nullptr, task.to_bias = of_bias.data();
    launch(2, kernels[4], task), launch(2, densekd_project_close, task);
    if (has_weight) all_are("gradient to the weight", of_weight, to_weight, 1e-14L);
    all_are("gradient to the bias", of_bias, to_bias, 1e-14L);
}

static void labels_agree() {
    check::subject = [] { return std::string("labels"); };
    LabelsTask task{};
    task.images = 1 + below(3), task.height = 1 + below(9), task.width = 1 + below(9);
    task.label_height = 1 + below(9), task.label_width = 1 + below(9), task.count = 5, task.ignored = 3;
    std::vector<long long> labels(task.images * task.label_height * task.label_width);
    for (long long &label : labels) label = (long long)below(9) - 2;
    std::vector<u8> mask(task.images * task.height * task.width);
    for (u8 &counts : mask) counts = below(4) > 0;
    std::vector<int> classes(mask.size());
    std::vector<real> wanted(mask.size());
    for (u64 n = 0, i = 0; n < task.images; n++)
        for (u64 y = 0; y < task.height; y++)
            for (u64 x = 0; x < task.width; x++, i++) {
                const u64 row = n * task.label_height + y * task.label_height / task.height;
                const long long label = labels[row * task.label_width + x * task.label_width / task.width];
                wanted[i] = label < 0 || label > 4 || label == 3 || !mask[i] ? -1 : label;
            }
    task.labels = labels.data(), task.mask = mask.data(), task.classes = classes.data();
    launch(2, densekd_labels, task);
    for (size_t i = 0; i < classes.size(); i++) expect("class", classes[i], wanted[i], 0);
}

#define RESIZES(T, N)                                                                                                  \
    try_case([] { resize_agrees<T, float>(#N, densekd_resize_single_##N, densekd_resize_pull_single_##N); });       \
    try_case([] { resize_agrees<T, double>(#N, densekd_resize_double_##N, densekd_resize_pull_double_##N); })

#define PROJECTIONS(T, N)                                                                                              \
    try_case([] {                                                                                                   \
        projection_agrees<T>(#N, {densekd_project_planes_##N, densekd_project_last_##N,                             \
                                  densekd_project_pull_planes_##N, densekd_project_pull_last_##N,                   \
                                  densekd_project_weights_##N});                                                    \
    })

int main(int count, char **arguments) {
    check::begin(count, arguments);
    for (int turn = 0; turn < 30; turn++) {
        RESIZES(float, f32);
        RESIZES(f16, f16);
        RESIZES(bf16, bf16);
        RESIZES(f64, f64);
        PROJECTIONS(float, f32);
        PROJECTIONS(f16, f16);
        PROJECTIONS(bf16, bf16);
        PROJECTIONS(f64, f64);
        try_case(labels_agree);
    }
    return check::end();
}
