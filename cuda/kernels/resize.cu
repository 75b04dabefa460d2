// The resize of planes, and its transpose: a number out of its neighbours, a gradient out of what its number became a
// part of. Both gather, so that each number is written once and its sum has one order.
//
//     axes       of each axis: the cells that an output cell is made of, the output cells that an input cell is part of
//     forward    a run of the resized map
//     pull       a number of the gradient to the map
//
// The first is by exact integers, once a launch; the others read it. Sums are f64.
#include "adapt.h"

enum Mode : u32 { NEAREST, BILINEAR, BILINEAR_ALIGNED, AREA };

// Neighbouring input cells and their weights, none of which is 0: what stands beside a cell that has no share cannot
// reach it, were it NaN.
struct Taps {
    u32 first, count;
    double head, rest; // the first cell's weight, every other's

    DEVICE u32 last() const { return first + count - 1; }
    DEVICE double weight(u32 cell) const { return cell == first ? head : rest; }
};

// Neighbouring output cells.
struct Reach {
    u32 first, count;
};

// Height or width, before and after; up to 2^30, so that products of two fit 64 bits.
struct Axis {
    u64 from, to;
    Taps *taps;   // one an output cell
    Reach *reach; // one an input cell

    DEVICE static Taps equal(u64 first, u64 count) {
        const double weight = 1.0 / (double)count;
        return {(u32)first, (u32)count, weight, weight};
    }

    // The two cells around the coordinate over / under.
    DEVICE Taps between(u64 over, u64 under) const {
        const u64 low = over / under, part = over % under;
        if (part == 0 || low + 1 >= from) return equal(low < from ? low : from - 1, 1);
        const double rest = (double)part / (double)under;
        return {(u32)low, 2, 1.0 - rest, rest};
    }

    DEVICE Taps taps_of(Mode mode, u64 i) const {
        const u64 low = i * from / to;
        if (mode == NEAREST) return equal(low, 1);
        if (mode == AREA) return equal(low, ((i + 1) * from + to - 1) / to - low);
        if (mode == BILINEAR_ALIGNED) return to == 1 ? equal(0, 1) : between(i * (from - 1), to - 1);
        // The centre (i + 1/2) from / to - 1/2, not left of the first centre.
        const u64 over = (2 * i + 1) * from;
        return between(over > to ? over - to : 0, 2 * to);
    }

    // The first output cell of which something holds that holds of all that come after.
    template <class F> DEVICE u64 first_where(Mode mode, F holds) const {
        u64 low = 0, high = to;
        while (low < high) {
            const u64 middle = (low + high) / 2;
            if (holds(taps_of(mode, middle)))
                high = middle;
            else
                low = middle + 1;
        }
        return low;
    }

    // Cells move on with output cells, so that those of an input cell are neighbours.
    DEVICE Reach reach_of(Mode mode, u64 cell) const {
        const u64 first = first_where(mode, [&](const Taps &taps) INLINE { return taps.last() >= cell; });
        const u64 end = first_where(mode, [&](const Taps &taps) INLINE { return taps.first > cell; });
        return {(u32)first, (u32)(end - first)};
    }

    DEVICE void write(Mode mode) const {
        const u64 step = block_count() * (u64)THREADS;
        for (u64 i = block_index() * (u64)THREADS + thread_index(); i < to + from; i += step)
            if (i < to)
                taps[i] = taps_of(mode, i);
            else
                reach[i - to] = reach_of(mode, i - to);
    }
};

// The same bytes as `ResizeTask` in src/resize.rs.
struct ResizeTask {
    const void *from; // the map, or the gradient to what it became
    void *to;         // what it becomes, at a multiple of 16; or the gradient to the map
    u32 *overflowed;
    u64 images;
    Layout map, resized;
    Axis rows, columns;
    Mode mode;
    u32 bit; // set in `overflowed` where a finite gradient became infinite
};

namespace resize {

// A cell of a map, by the number of its number in memory.
struct Cell {
    u64 image, channel, row, column;

    DEVICE Cell(const Layout &map, u64 width, u64 i) {
        if (map.is_last()) channel = i % map.channels, i /= map.channels;
        const u64 position = i % map.positions;
        row = position / width, column = position % width, image = i / map.positions;
        if (!map.is_last()) channel = image % map.channels, image /= map.channels;
    }

    // On to the next in memory.
    DEVICE void next(const Layout &map, u64 height, u64 width) {
        if (map.is_last()) {
            if (++channel < map.channels) return;
            channel = 0;
        }
        if (++column < width) return;
        column = 0;
        if (++row < height) return;
        row = 0;
        if (!map.is_last()) {
            if (++channel < map.channels) return;
            channel = 0;
        }
        ++image;
    }
};

// Neighbouring numbers as f64, of a type, from or to memory: by 16 bytes at once where they lie on such a boundary.
template <class T> struct Sixteen {
    static constexpr int WIDTH = 16 / sizeof(T);

    template <int N> DEVICE static void add(const T *from, double weight, double (&sums)[N]) {
#pragma unroll
        for (int at = 0; at < N; at += WIDTH) {
            Pack<T> pack;
            if ((u64)from % 16 == 0)
                pack = {*(const u32x4 *)(from + at)};
            else
                pack = Pack<T>::of([&](int i) INLINE { return from[at + i]; });
#pragma unroll
            for (int i = 0; i < WIDTH; i++) sums[at + i] += weight * (double)load(pack[i]);
        }
    }

    template <int N> DEVICE static void write(T *to, const double (&numbers)[N]) {
#pragma unroll
        for (int at = 0; at < N; at += WIDTH)
            *(u32x4 *)(to + at) = Pack<T>::of([&](int i) INLINE { return rounded(T{}, numbers[at + i]); }).words;
    }
};

template <> struct Sixteen<double> {
    static constexpr int WIDTH = 2;

    template <int N> DEVICE static void add(const double *from, double weight, double (&sums)[N]) {
#pragma unroll
        for (int i = 0; i < N; i++) sums[i] += weight * from[i];
    }

    template <int N> DEVICE static void write(double *to, const double (&numbers)[N]) {
#pragma unroll
        for (int at = 0; at < N; at += 2) {
            const u64 low = bits<u64>(numbers[at]), high = bits<u64>(numbers[at + 1]);
            *(u32x4 *)(to + at) = {(u32)low, (u32)(low >> 32), (u32)high, (u32)(high >> 32)};
        }
    }
};

// Calls f with the index of each number that a cell is made of, but for its channel, and the number's weight.
template <class F> DEVICE void each_tap(const ResizeTask &task, const Cell &cell, F f) {
    const Taps rows = task.rows.taps[cell.row], columns = task.columns.taps[cell.column];
#pragma unroll 1
    for (u32 y = 0; y < rows.count; y++) {
        const double of_row = y == 0 ? rows.head : rows.rest;
#pragma unroll 2
        for (u32 x = 0; x < columns.count; x++) {
            const u64 position = (rows.first + y) * task.columns.from + columns.first + x;
            f(task.map.at(cell.image, cell.channel, position), of_row * (x == 0 ? columns.head : columns.rest));
        }
    }
}

template <class From, class To> DEVICE void forward(const ResizeTask &task) {
    constexpr int RUN = 16 / (sizeof(From) < sizeof(To) ? sizeof(From) : sizeof(To));
    const From *const from = (const From *)task.from;
    To *const to = (To *)task.to;
    const u64 all = task.images * task.resized.channels * task.resized.positions;
    const u64 step = block_count() * (u64)THREADS * RUN;
    for (u64 i = (block_index() * (u64)THREADS + thread_index()) * RUN; i < all; i += step) {
        Cell cell(task.resized, task.columns.to, i);
        double numbers[RUN] = {};
        if (task.map.is_last() && task.resized.is_last() && cell.channel + RUN <= task.map.channels)
            each_tap(task, cell, [&](u64 at, double weight) INLINE { Sixteen<From>::add(from + at, weight, numbers); });
        else
#pragma unroll
            for (int k = 0; k < RUN; k++) {
                if (i + k >= all) break;
                each_tap(task, cell, [&](u64 at, double weight) INLINE { numbers[k] += weight * load(from[at]); });
                cell.next(task.resized, task.rows.to, task.columns.to);
            }
        if (i + RUN <= all)
            Sixteen<To>::write(to + i, numbers);
        else
#pragma unroll
            for (int k = 0; k < RUN; k++)
                if (i + k < all) to[i + k] = rounded(To{}, numbers[k]);
    }
}

template <class From, class To> DEVICE void pull(const ResizeTask &task) {
    const From *const from = (const From *)task.from;
    const u64 all = task.images * task.map.channels * task.map.positions, step = block_count() * (u64)THREADS;
    bool overflows = false;
    for (u64 i = block_index() * (u64)THREADS + thread_index(); i < all; i += step) {
        const Cell cell(task.map, task.columns.from, i);
        const Reach rows = task.rows.reach[cell.row], columns = task.columns.reach[cell.column];
        double sum = 0.0;
#pragma unroll 1
        for (u64 y = rows.first; y < rows.first + rows.count; y++) {
            double of_row = 0.0;
#pragma unroll 2
            for (u64 x = columns.first; x < columns.first + columns.count; x++) {
                const u64 at = task.resized.at(cell.image, cell.channel, y * task.columns.to + x);
                of_row += task.columns.taps[x].weight((u32)cell.column) * load(from[at]);
            }
            sum += task.rows.taps[y].weight((u32)cell.row) * of_row;
        }
        ((To *)task.to)[i] = narrowed<To>(sum, overflows);
    }
    if (overflows) set_bits(task.overflowed, task.bit);
}

} // namespace resize

KERNEL(THREADS) void densekd_resize_axes(ResizeTask task) {
    task.rows.write(task.mode);
    task.columns.write(task.mode);
}

// To and from the two types that losses are taken in.
#define KERNELS_OF(T)                                                                                              \
    KERNEL(THREADS) void densekd_resize_single_##T(ResizeTask task) { resize::forward<T, f32>(task); }             \
    KERNEL(THREADS) void densekd_resize_double_##T(ResizeTask task) { resize::forward<T, f64>(task); }             \
    KERNEL(THREADS) void densekd_resize_pull_single_##T(ResizeTask task) { resize::pull<f32, T>(task); }           \
    KERNEL(THREADS) void densekd_resize_pull_double_##T(ResizeTask task) { resize::pull<f64, T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
