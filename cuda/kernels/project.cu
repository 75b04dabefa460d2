// The 1x1 convolution of a map, y = W s + b at every position, and its gradients: three products of matrices, in f64,
// in tiles of 64 x 64.
//
//     forward    a tile of y, channels x positions
//     pull       a tile of the gradient to s, W^T g
//     weights    of some images' positions: a tile of the gradients to W and b, g s^T beside the sums of g
//     close      an entry of these, from all parts, in their order
//
// A bias is the weight of a channel that is 1 everywhere, the last one. An absent W is the identity: y = s + b.
// Neighbouring threads write neighbouring numbers: in NCHW a row of a tile is a channel, in NHWC it is a position.
#include "adapt.h"

// The same bytes as `ProjectTask` in src/project.rs.
struct ProjectTask {
    const void *map;        // s
    double *projected;      // y, or the gradient to it
    const double *weight;   // [outputs, inputs], or null
    const double *bias;     // [outputs], or null
    void *gradient;         // to s
    double *parts;          // [parts, outputs, columns]
    double *to_weight;      // null where it is not wanted
    double *to_bias;        // the same
    u32 *overflowed;
    u64 images;
    Layout from, to;        // of s, of y
    u64 images_of_part, positions_of_part;
    u64 bit;                // set in `overflowed` where a finite gradient became infinite

    // Columns of the gradients: of W's there are none where it is absent.
    DEVICE u64 inputs() const { return weight ? from.channels : 0; }
    DEVICE u64 columns() const { return inputs() + 1; }
};

namespace project {

constexpr u32 TILE = 64, DEPTH = 16, SIDE = 16, EACH = TILE / SIDE;

// A matrix that a product reads: number(..., along the sum), 0 outside of it.
template <class Number> struct Factor {
    bool is_deep; // whether neighbours in memory are those along the sum
    Number number;
};
template <class Number> DEVICE Factor<Number> factor(bool is_deep, Number number) { return {is_deep, number}; }

// Numbers of a factor that a tile needs next.
using Stage = double[DEPTH][TILE + 1];

template <class F> DEVICE void stage(Stage &stage, const F &factor, u64 from) {
#pragma unroll 2
    for (u32 i = 0; i < TILE * DEPTH / THREADS; i++) {
        const u32 nth = i * THREADS + thread_index();
        const u32 k = factor.is_deep ? nth % DEPTH : nth / TILE, side = factor.is_deep ? nth / DEPTH : nth % TILE;
        stage[k][side] = factor.number(side, from + k);
    }
}

// Adds to a tile of a product what so many steps along the sum give. This thread has 4 x 4 entries, 16 apart.
template <class A, class B>
DEVICE void multiply(u64 depth, const Factor<A> &a, const Factor<B> &b, double (&sums)[EACH][EACH]) {
    SHARED Stage left, right;
    const u32 row = thread_index() / SIDE, column = thread_index() % SIDE;
#pragma unroll 1
    for (u64 from = 0; from < depth; from += DEPTH) {
        stage(left, a, from);
        stage(right, b, from);
        barrier();
#pragma unroll 1
        for (u32 k = 0; k < DEPTH; k++) {
            double x[EACH];
#pragma unroll
            for (u32 j = 0; j < EACH; j++) x[j] = right[k][column + SIDE * j];
#pragma unroll
            for (u32 i = 0; i < EACH; i++) {
                const double y = left[k][row + SIDE * i];
#pragma unroll
                for (u32 j = 0; j < EACH; j++) sums[i][j] += y * x[j];
            }
        }
        barrier();
    }
}

// Calls f with the row, the column and the sum of each entry of this thread that lies inside.
template <class F>
DEVICE void each_entry(u64 row, u64 column, u64 rows, u64 columns, const double (&sums)[EACH][EACH], F f) {
#pragma unroll
    for (u32 i = 0; i < EACH; i++) {
#pragma unroll
        for (u32 j = 0; j < EACH; j++) {
            const u64 r = row + thread_index() / SIDE + SIDE * i, c = column + thread_index() % SIDE + SIDE * j;
            if (r < rows && c < columns) f(r, c, sums[i][j]);
        }
    }
}

// Calls f with a part's number and the first row and column of each tile of this block.
template <class F> DEVICE void each_tile(u64 parts, u64 rows, u64 columns, F f) {
    const u64 down = (rows + TILE - 1) / TILE, across = (columns + TILE - 1) / TILE;
    for (u64 tile = block_index(); tile < parts * down * across; tile += block_count())
        f(tile / (down * across), tile / across % down * TILE, tile % across * TILE);
}

// The maps of an image.
template <class T> struct Maps {
    const ProjectTask &task;
    u64 image;

    DEVICE double s(u64 channel, u64 position) const {
        if (channel >= task.from.channels || position >= task.from.positions) return 0.0;
        return load(((const T *)task.map)[task.from.at(image, channel, position)]);
    }
    DEVICE double y(u64 channel, u64 position) const {
        if (channel >= task.to.channels || position >= task.to.positions) return 0.0;
        return task.projected[task.to.at(image, channel, position)];
    }
    DEVICE double weight(u64 output, u64 input) const {
        if (output >= task.to.channels || input >= task.from.channels) return 0.0;
        return task.weight[output * task.from.channels + input];
    }
};

// W times one map, or its transpose times the other: a tile is channels x positions, or, with channels last, positions
// x channels. `f` is given the channel, the position and the sum.
template <bool IS_LAST, class W, class X, class F>
DEVICE void times(const ProjectTask &task, const Layout &to, u64 depth, const Factor<W> &weight, const Factor<X> &map, F f) {
    const u64 rows = IS_LAST ? to.positions : to.channels, columns = IS_LAST ? to.channels : to.positions;
    each_tile(task.images, rows, columns, [&](u64 image, u64 row, u64 column) INLINE {
        const u64 channel = IS_LAST ? column : row, position = IS_LAST ? row : column;
        const auto w = factor(weight.is_deep, [&](u32 side, u64 k) INLINE { return weight.number(channel + side, k); });
        const auto x = factor(map.is_deep, [&](u32 side, u64 k) INLINE { return map.number(image, k, position + side); });
        double sums[EACH][EACH] = {};
        if constexpr (IS_LAST)
            multiply(depth, x, w, sums);
        else
            multiply(depth, w, x, sums);
        each_entry(row, column, rows, columns, sums, [&](u64 r, u64 c, double sum) INLINE {
            f(image, IS_LAST ? c : r, IS_LAST ? r : c, sum);
        });
    });
}

template <class T, bool IS_LAST> DEVICE void forward(const ProjectTask &task) {
    times<IS_LAST>(
        task, task.to, task.inputs(),
        factor(true, [&](u64 output, u64 k) INLINE { return Maps<T>{task, 0}.weight(output, k); }),
        factor(task.from.is_last(), [&](u64 image, u64 k, u64 position) INLINE {
            return Maps<T>{task, image}.s(k, position);
        }),
        [&](u64 image, u64 output, u64 position, double sum) INLINE {
            const double own = task.weight ? sum : Maps<T>{task, image}.s(output, position);
            task.projected[task.to.at(image, output, position)] = task.bias ? own + task.bias[output] : own;
        });
}

template <class T, bool IS_LAST> DEVICE void pull(const ProjectTask &task) {
    bool overflows = false;
    times<IS_LAST>(
        task, task.from, task.weight ? task.to.channels : 0,
        factor(false, [&](u64 input, u64 k) INLINE { return Maps<T>{task, 0}.weight(k, input); }),
        factor(task.to.is_last(), [&](u64 image, u64 k, u64 position) INLINE {
            return Maps<T>{task, image}.y(k, position);
        }),
        [&](u64 image, u64 input, u64 position, double sum) INLINE {
            const double own = task.weight ? sum : Maps<T>{task, image}.y(input, position);
            ((T *)task.gradient)[task.from.at(image, input, position)] = narrowed<T>(own, overflows);
        });
    if (overflows) set_bits(task.overflowed, task.bit);
}

template <class T> DEVICE void weights(const ProjectTask &task) {
    const u64 outputs = task.to.channels, columns = task.columns(), inputs = task.inputs();
    const u64 of_image = (task.from.positions + task.positions_of_part - 1) / task.positions_of_part;
    const u64 parts = (task.images + task.images_of_part - 1) / task.images_of_part * of_image;
    each_tile(parts, outputs, columns, [&](u64 part, u64 row, u64 column) INLINE {
        const u64 start = part % of_image * task.positions_of_part, left = task.from.positions - start;
        const u64 count = left < task.positions_of_part ? left : task.positions_of_part;
        const u64 first = part / of_image * task.images_of_part, end = first + task.images_of_part;
        double sums[EACH][EACH] = {};
#pragma unroll 1
        for (u64 image = first; image < end && image < task.images; image++) {
            const Maps<T> maps{task, image};
            const auto g = factor(!task.to.is_last(), [&](u32 side, u64 k) INLINE {
                return k < count ? maps.y(row + side, start + k) : 0.0;
            });
            const auto x = factor(!task.from.is_last(), [&](u32 side, u64 k) INLINE {
                const u64 input = column + side;
                return k >= count ? 0.0 : input == inputs ? 1.0 : maps.s(input, start + k);
            });
            multiply(count, g, x, sums);
        }
        each_entry(row, column, outputs, columns, sums, [&](u64 output, u64 input, double sum) INLINE {
            task.parts[(part * outputs + output) * columns + input] = sum;
        });
    });
}

} // namespace project

KERNEL(THREADS) void densekd_project_close(ProjectTask task) {
    const u64 inputs = task.inputs(), columns = task.columns(), entries = task.to.channels * columns;
    const u64 of_image = (task.from.positions + task.positions_of_part - 1) / task.positions_of_part;
    const u64 parts = (task.images + task.images_of_part - 1) / task.images_of_part * of_image;
    const u64 step = block_count() * (u64)THREADS;
    for (u64 i = block_index() * (u64)THREADS + thread_index(); i < entries; i += step) {
        double sum = 0.0;
#pragma unroll 4
        for (u64 part = 0; part < parts; part++) sum += task.parts[part * entries + i];
        const u64 output = i / columns, input = i % columns;
        if (input < inputs) {
            if (task.to_weight) task.to_weight[output * inputs + input] = sum;
        } else if (task.to_bias) {
            task.to_bias[output] = sum;
        }
    }
}

#define KERNELS_OF(T)                                                                                               \
    KERNEL(THREADS) void densekd_project_planes_##T(ProjectTask task) { project::forward<T, false>(task); }         \
    KERNEL(THREADS) void densekd_project_last_##T(ProjectTask task) { project::forward<T, true>(task); }            \
    KERNEL(THREADS) void densekd_project_pull_planes_##T(ProjectTask task) { project::pull<T, false>(task); }       \
    KERNEL(THREADS) void densekd_project_pull_last_##T(ProjectTask task) { project::pull<T, true>(task); }          \
    KERNEL(THREADS) void densekd_project_weights_##T(ProjectTask task) { project::weights<T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
