// Pair-wise affinity (PA): how alike the directions of any two places of an image are.
//
//     y = a window's maximum or mean,  u = y / divisor,  D = the K x K differences <u_i, u_j>_s - <u_i, u_j>_t,  sum of D^2
//
//     pool     of a side, a window and channel: y
//     scale    of a side, a warp a window: its length, and u
//     apart    32 x 32 entries of D
//     slopes   of a side, 32 windows x 32 channels of D u
//     turn     of a side, a warp a window: the gradient to y
//     spread   of a side, a position: the gradient to where y came from
#include "position.h"

enum Pool : u32 { MAXIMUM, MEAN };

// A side's windows: `count` of an image, numbered row by row. What is kept lies channel by channel within a window.
struct Windows {
    u64 images, count, columns;
    u64 height, width;       // of the map
    u64 tall, wide;          // of a window; the last ones have what is left

    DEVICE u64 rows_of(u64 window) const {
        const u64 left = height - window / columns * tall;
        return left < tall ? left : tall;
    }
    DEVICE u64 columns_of(u64 window) const {
        const u64 left = width - window % columns * wide;
        return left < wide ? left : wide;
    }
    DEVICE u64 cells(u64 window) const { return rows_of(window) * columns_of(window); }

    // The position of a window's cell in the image.
    DEVICE u64 position(u64 window, u64 cell) const {
        const u64 across = columns_of(window), y = window / columns * tall + cell / across;
        return y * width + window % columns * wide + cell % across;
    }
    DEVICE u64 window_of(u64 position) const { return position / width / tall * columns + position % width / wide; }
};

// The same bytes as `PaTask` in src/pa.rs.
struct PaTask {
    const void *map;             // the side's
    void *gradient;
    double *units, *pulls;       // of the side: a window and channel
    u32 *chosen;                 // the same: where a maximum stands
    double *scales;              // two a window: divisor, and the share of a gradient along u that is lost
    const double *teacher_units, *student_units;
    double *apart;               // D of every image
    double *values;              // one a tile of D
    u32 *overflowed;
    Extent extent;               // of the side
    Windows windows;
    u64 teacher_channels, student_channels;
    double eps, factor;
    Pool pool;
    u32 eps_is_least, is_detached;
    u32 bit;                     // set in `overflowed` where a finite gradient became infinite
};

namespace pa {

constexpr u64 TILE = 32;

// The largest number so far and the first place where it stands. NaN is the largest of all.
struct Largest {
    double x = -INFINITE;
    u32 at = ~0u;

    DEVICE void take(double y, u32 place) {
        const bool is_above = y > x || (y != y && x == x);
        const bool is_same = y == x || (y != y && x != x);
        if (is_above || (is_same && place < at)) x = y, at = place;
    }
};

// A window and channel a team: a warp of large windows in planes, else a thread, beside those that read beside it.
template <class T, class Team> DEVICE void pool(const PaTask &task) {
    const Windows &windows = task.windows;
    const u64 channels = task.extent.channels, all = windows.images * windows.count * channels;
    const bool is_last = task.extent.inner == 1;
    each_position<Team>({all, 0, 1}, [&](u64 item) INLINE {
        const u64 c = is_last ? item % channels : item / windows.count % channels;
        const u64 window = is_last ? item / channels % windows.count : item % windows.count;
        const u64 image = item / (channels * windows.count), cells = windows.cells(window);
        const Position<T, Alone> first(task.extent, image * windows.height * windows.width);
        const auto number = [&](u64 cell) INLINE {
            return load(((const T *)task.map)[first.start + c * first.inner +
                                              windows.position(window, cell) * (is_last ? channels : 1)]);
        };
        const Team team;
        const u64 to = (image * windows.count + window) * channels + c;
        if (task.pool == MEAN) {
            double sum[1] = {0.0};
            for (u64 cell = team.lane(); cell < cells; cell += Team::SIZE) sum[0] += number(cell);
            team.sum(sum);
            if (team.lane() == 0) task.units[to] = sum[0] / (double)cells;
            return;
        }
        Largest largest;
        for (u64 cell = team.lane(); cell < cells; cell += Team::SIZE) largest.take(number(cell), (u32)cell);
        if constexpr (Team::SIZE == 32) {
#pragma unroll 1
            for (u32 flip = 16; flip > 0; flip /= 2) {
                const double x = exchange(~0u, largest.x, flip);
                largest.take(x, bits<u32>(exchange(~0u, bits<float>(largest.at), flip)));
            }
        }
        if (team.lane() > 0) return;
        task.units[to] = largest.x;
        task.chosen[to] = (u32)windows.position(window, largest.at);
    });
}

// Calls f with the window's first number among those of all, for each window of this warp.
template <class F> DEVICE void each_window(const PaTask &task, F f) {
    each_position<Lanes<32>>({task.windows.images * task.windows.count, 0, 1}, f);
}

// A tile of a product: entry (row + 8 i, column) of this thread, i up to 4, of sum over k of a(row, k) b(k, column).
//
// `along` says that neighbours in b are those of one column.
template <bool ALONG, class A, class B> DEVICE void multiply(u64 depth, A a, B b, double (&sums)[4]) {
    SHARED double left[TILE][TILE + 1], right[TILE][TILE + 1];
    const u32 lane = thread_index() % 32, warp = thread_index() / 32;
#pragma unroll 1
    for (u64 from = 0; from < depth; from += TILE) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u32 row = warp + 8 * i;
            left[row][lane] = a(row, from + lane);
            if constexpr (ALONG)
                right[lane][row] = b(from + lane, row);
            else
                right[row][lane] = b(from + row, lane);
        }
        barrier();
#pragma unroll 8
        for (u32 k = 0; k < TILE; k++) {
            const double x = right[k][lane];
#pragma unroll
            for (u32 i = 0; i < 4; i++) sums[i] += left[warp + 8 * i][k] * x;
        }
        barrier();
    }
}

// <u_i, u_j> of a side.
DEVICE void products(const double *units, u64 channels, u64 count, u64 row, u64 column, double (&sums)[4]) {
    const auto number = [&](u64 window, u64 c) INLINE {
        return window < count && c < channels ? units[window * channels + c] : 0.0;
    };
    multiply<true>(
        channels, [&](u64 i, u64 c) INLINE { return number(row + i, c); },
        [&](u64 c, u64 j) INLINE { return number(column + j, c); }, sums);
}

template <class T, class Team> DEVICE void spread(const PaTask &task) {
    bool overflows = false;
    const u64 positions = task.windows.height * task.windows.width;
    each_position<Team>(task.extent, [&](u64 i) INLINE {
        const Position<T, Team> at(task.extent, i);
        const u64 place = i % positions, window = task.windows.window_of(place);
        const u64 from = (i / positions * task.windows.count + window) * task.extent.channels;
        const double share = task.pool == MEAN ? 1.0 / (double)task.windows.cells(window) : 1.0;
        overflows |= at.write(task.gradient, [&](u64 c) INLINE {
            const double pull = task.pulls[from + c];
            // What is no number is so for all of an image.
            const bool is_here = task.pool == MEAN || pull != pull || task.chosen[from + c] == place;
            return is_here && task.factor != 0.0 ? pull * share * task.factor : 0.0;
        });
    });
    if (overflows) set_bits(task.overflowed, task.bit);
}

} // namespace pa

KERNEL(THREADS) void densekd_pa_scale(PaTask task) {
    const u64 channels = task.extent.channels;
    pa::each_window(task, [&](u64 window) INLINE {
        double *const y = task.units + window * channels;
        double squares[1] = {0.0};
        for (u64 c = thread_index() % 32; c < channels; c += 32) squares[0] += y[c] * y[c];
        Lanes<32>().sum(squares);
        const double norm = square_root(squares[0]);
        double divisor = task.eps_is_least ? (norm <= task.eps ? task.eps : norm) : norm + task.eps;
        double lost = task.eps_is_least ? (norm <= task.eps ? 0.0 : 1.0) : divisor / norm;
        // What has no direction is 0, whatever eps is.
        if (norm == 0.0) divisor = __builtin_inf(), lost = 0.0;
        for (u64 c = thread_index() % 32; c < channels; c += 32) y[c] /= divisor;
        if (thread_index() % 32 == 0)
            task.scales[2 * window] = divisor, task.scales[2 * window + 1] = task.is_detached ? 0.0 : lost;
    });
}

KERNEL(THREADS) void densekd_pa_apart(PaTask task) {
    using namespace pa;
    const u64 count = task.windows.count, across = (count + TILE - 1) / TILE;
    for (u64 tile = block_index(); tile < task.windows.images * across * across; tile += block_count()) {
        const u64 image = tile / (across * across);
        const u64 row = tile / across % across * TILE, column = tile % across * TILE;
        double s[4] = {}, t[4] = {}, squares[1] = {0.0};
        products(task.student_units + image * count * task.student_channels, task.student_channels, count, row, column, s);
        products(task.teacher_units + image * count * task.teacher_channels, task.teacher_channels, count, row, column, t);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u64 at_row = row + thread_index() / 32 + 8 * i, at_column = column + thread_index() % 32;
            if (at_row >= count || at_column >= count) continue;
            const double apart = s[i] - t[i];
            squares[0] += apart * apart, task.apart[(image * count + at_row) * count + at_column] = apart;
        }
        if (OfBlock().sum(squares)) task.values[tile] = squares[0];
    }
}

KERNEL(THREADS) void densekd_pa_slopes(PaTask task) {
    using namespace pa;
    const u64 count = task.windows.count, channels = task.extent.channels;
    const u64 down = (count + TILE - 1) / TILE, across = (channels + TILE - 1) / TILE;
    for (u64 tile = block_index(); tile < task.windows.images * down * across; tile += block_count()) {
        const u64 image = tile / (down * across);
        const u64 row = tile / across % down * TILE, column = tile % across * TILE;
        const double *const apart = task.apart + image * count * count;
        const double *const units = task.units + image * count * channels;
        double sums[4] = {};
        multiply<false>(
            count,
            [&](u64 i, u64 j) INLINE { return row + i < count && j < count ? apart[(row + i) * count + j] : 0.0; },
            [&](u64 j, u64 c) INLINE { return j < count && column + c < channels ? units[j * channels + column + c] : 0.0; },
            sums);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u64 at_row = row + thread_index() / 32 + 8 * i, c = column + thread_index() % 32;
            if (at_row < count && c < channels) task.pulls[(image * count + at_row) * channels + c] = sums[i];
        }
    }
}

KERNEL(THREADS) void densekd_pa_turn(PaTask task) {
    const u64 channels = task.extent.channels;
    const double sign = task.bit == 1 ? 4.0 : -4.0; // of the student; every pair counts twice
    pa::each_window(task, [&](u64 window) INLINE {
        const double *const u = task.units + window * channels;
        double *const pull = task.pulls + window * channels;
        double along[1] = {0.0};
        for (u64 c = thread_index() % 32; c < channels; c += 32) along[0] += pull[c] * u[c];
        Lanes<32>().sum(along);
        const double divisor = task.scales[2 * window], lost = task.scales[2 * window + 1];
        for (u64 c = thread_index() % 32; c < channels; c += 32)
            pull[c] = sign * (pull[c] - u[c] * along[0] * lost) / divisor;
    });
}

#define KERNELS_OF(T)                                                                                      \
    KERNEL(THREADS) void densekd_pa_pool_thread_##T(PaTask task) { pa::pool<T, Alone>(task); }             \
    KERNEL(THREADS) void densekd_pa_pool_warp_##T(PaTask task) { pa::pool<T, Lanes<32>>(task); }           \
    KERNEL(THREADS) void densekd_pa_spread_planes_##T(PaTask task) { pa::spread<T, Alone>(task); }         \
    KERNEL(THREADS) void densekd_pa_spread_last_##T(PaTask task) { pa::spread<T, Lanes<32>>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
