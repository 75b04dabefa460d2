// The kernels of relations between images.
#include "../rkd.cu"
#include "relations.h"

struct Rkd {
    void (*norms)(RkdTask), (*distances)(RkdTask), (*pull)(RkdTask);
};

template <class T> static Loss<T> rkd_of(const Maps &of, const Rkd &kernels, bool is_scaled) {
    const u64 images = of.images, length = of.channels[0] * of.height * of.width, pairs = images * images;
    const double per_distance = 25.0 / (double)pairs, per_angle = 50.0 / (double)(pairs * images);
    const auto run = [=](const T *const (&maps)[2], T *const (&gradients)[2], u32 *overflowed) {
        const u64 parts_of_image = (length + rkd::PART - 1) / rkd::PART;
        std::vector<double> squares[2], inverses[2], pulls[2], along[2];
        std::vector<double> parts(2 * parts_of_image * pairs), values(pairs);
        std::vector<Length> lengths[2];
        Unit units[2];
        double sum = 0.0;
        RkdTask task{};
        for (int side = 0; side < 2; side++) {
            lengths[side].resize(images), squares[side].resize(pairs), inverses[side].resize(pairs);
            pulls[side].resize(pairs), along[side].resize(images);
            task.sides[side] = {maps[side],           lengths[side].data(), squares[side].data(), inverses[side].data(),
                                pulls[side].data(), along[side].data(),   &units[side]};
        }
        task.parts = parts.data(), task.values = values.data(), task.sum = &sum, task.overflowed = overflowed;
        task.images = images, task.length = length, task.parts_of_image = parts_of_image;
        task.per_distance = per_distance, task.per_angle = per_angle, task.factor = FACTOR;
        task.is_scaled = is_scaled;
        launch(2, kernels.norms, task), launch(1, densekd_rkd_lengths, task);
        launch(2, kernels.distances, task), launch(1, densekd_rkd_edges, task);
        launch(2, densekd_rkd_units, task), launch(1, densekd_rkd_triangles, task);
        launch(1, densekd_rkd_along, task);
        sum = sum_of(values);
        for (u32 side = 0; side < 2; side++) {
            task.side = side, task.gradient = gradients[side];
            launch(2, kernels.pull, task);
        }
        return sum;
    };
    const auto value = [=](const Numbers (&maps)[2]) {
        const auto huber = [](real d) { return std::fabs(d) < 1 ? d * d / 2 : std::fabs(d) - 0.5L; };
        std::vector<Numbers> edges[2]; // of images i and j: (u_j - u_i) / |u_j - u_i|
        Numbers distances[2];
        for (int side = 0; side < 2; side++) {
            std::vector<Numbers> units(images);
            real mean = 0;
            for (u64 i = 0; i < images; i++) {
                real squares = 0;
                for (u64 at = 0; at < length; at++) {
                    const real x = maps[side][i * length + at];
                    units[i].push_back(x), squares += x * x;
                }
                if (is_scaled)
                    for (real &x : units[i]) x /= std::sqrt(squares);
            }
            for (u64 ij = 0; ij < pairs; ij++) {
                Numbers edge;
                real square = 0;
                for (u64 at = 0; at < length; at++)
                    edge.push_back(units[ij % images][at] - units[ij / images][at]), square += edge[at] * edge[at];
                for (real &x : edge) x = square > 0 ? x / std::sqrt(square) : 0;
                edges[side].push_back(edge);
                distances[side].push_back(ij / images == ij % images ? 0 : std::sqrt(std::max(square, 1e-12L)));
                mean += distances[side].back();
            }
            for (real &far : distances[side]) far *= (real)(images * (images - 1)) / mean;
        }
        real sum = 0;
        for (u64 ij = 0; images > 1 && ij < pairs; ij++) {
            sum += per_distance * huber(distances[1][ij] - distances[0][ij]);
            for (u64 k = 0; k < images; k++) {
                real psi[2] = {};
                for (int side = 0; side < 2; side++)
                    for (u64 at = 0; at < length; at++)
                        psi[side] += edges[side][ij][at] * edges[side][ij / images * images + k][at];
                sum += per_angle * huber(psi[1] - psi[0]);
            }
        }
        return sum;
    };
    return {"rkd", run, value};
}

#define CHECK(T)                                                                                               \
    for (bool is_scaled : {false, true})                                                                       \
        compare<T>(maps, rkd_of<T>(maps, {densekd_rkd_norms_##T, densekd_rkd_distances_##T, densekd_rkd_pull_##T}, \
                                   is_scaled));

int main(int count, char **arguments) {
    check::begin(count, arguments);
    const std::vector<Maps> shapes{{3, 5, 7, {3, 3}, false}, {9, 2, 3, {2, 2}, false}, {18, 1, 3, {5, 5}, false},
                                   {2, 41, 35, {3, 3}, false}};
    for (const Maps &maps : shapes) { CHECK(f32) CHECK(f16) CHECK(bf16) CHECK(f64) }
    return check::end();
}
