// Energies of a map, sums over channels of |x|^p at every position, and their gradient.
//
//     channels are     a block has                      a position is added up by
//     planes (NCHW)    32 packs of neighbours           a lane of each warp, every eighth channel in turn
//     last (NHWC)      8 positions                      a warp
//
// Energies are f64. They are few beside the map's numbers, and what attention transfer makes of them cancels.
#include "vectors.h"

// The same bytes as `EnergyTask` in src/energy.rs.
struct EnergyTask {
    const void *map;
    double *energies;     // one a position of an image: what is written, or its gradient, which is read
    void *gradient;       // like the map
    u32 *overflowed;
    u64 images, channels, positions;
    u32 power;
    u32 bit;              // set in `overflowed` where a finite gradient became infinite
};

namespace energy {

constexpr u32 WARPS = THREADS / 32;
constexpr u64 CHUNK = 64; // channels of a block of the gradient

// |x|^p for a small p.
DEVICE double power(double x, u32 p) {
    const double size = __builtin_fabs(x);
    double result = size;
    for (u32 i = 1; i < p; i++) result *= size;
    return result;
}

// The sum of powers in f32, where its range holds their squares.
struct Squares {
    WideSum sum;
    float largest = 0.0f;

    DEVICE void add(float x) { Pairs::add_square(sum, {x, 0.0f}), largest = larger(largest, __builtin_fabsf(x)); }
    DEVICE bool is_certain() const { return largest == 0.0f || ::is_certain(sum.value()); }
};

// A sum for each number of a pack, over what `each` calls its argument with: f(pack).
template <class T, class Each> DEVICE void powers(u32 p, Each each, double (&sums)[Pack<T>::WIDTH]) {
    constexpr int WIDTH = Pack<T>::WIDTH;
    if constexpr (!IS_WIDE<T>) {
        if (p == 2) {
            Squares squares[WIDTH];
            each([&](const Pack<T> &x) INLINE {
#pragma unroll
                for (int i = 0; i < WIDTH; i++) squares[i].add(load(x[i]));
            });
            bool certain = true;
#pragma unroll
            for (int i = 0; i < WIDTH; i++) sums[i] = squares[i].sum.value(), certain &= squares[i].is_certain();
            if (certain) return;
        }
    }
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sums[i] = 0.0;
    each([&](const Pack<T> &x) INLINE {
#pragma unroll
        for (int i = 0; i < WIDTH; i++) sums[i] += power((double)load(x[i]), p);
    });
}

// Neighbouring positions of an image, of which a lane has a pack in every channel.
template <class T> struct Tile {
    static constexpr int WIDTH = Pack<T>::WIDTH, SIZE = 32 * WIDTH;
    const EnergyTask &task;
    Line<T> line;
    u64 image, from;
    long long first; // of this lane's pack

    DEVICE static u64 of_image(const EnergyTask &task) { return (task.positions + SIZE - 1) / SIZE; }

    DEVICE Tile(const EnergyTask &task, u64 i)
        : task(task), line{task.positions}, image(i / of_image(task)), from(i % of_image(task) * SIZE),
          first((long long)(from + thread_index() % 32 * WIDTH)) {}

    DEVICE u64 plane(u64 channel) const { return (image * task.channels + channel) * task.positions; }

    DEVICE Pack<T> read(u64 channel) const { return line.read((const T *)task.map + plane(channel), first); }
};

template <class T> DEVICE void of_planes(const EnergyTask &task) {
    constexpr int WIDTH = Pack<T>::WIDTH, SIZE = Tile<T>::SIZE;
    // Of a pack's numbers each in a line of its own, so far apart that neither writing nor reading meets a bank twice.
    constexpr int LINE = 32 + 16 / WIDTH;
    SHARED double of_warp[WARPS][WIDTH * LINE];
    const u64 tiles = task.images * Tile<T>::of_image(task);
    const u32 warp = thread_index() / 32, lane = thread_index() % 32;
    for (u64 i = block_index(); i < tiles; i += block_count()) {
        const Tile<T> tile(task, i);
        double sums[WIDTH];
        powers<T>(task.power, [&](auto f) INLINE {
#pragma unroll 2
            for (u64 c = warp; c < task.channels; c += WARPS) f(tile.read(c));
        }, sums);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) of_warp[warp][j * LINE + lane] = sums[j];
        barrier();
        for (u32 at = thread_index(); at < SIZE; at += THREADS) {
            double sum = 0.0;
#pragma unroll
            for (u32 w = 0; w < WARPS; w++) sum += of_warp[w][at % WIDTH * LINE + at / WIDTH];
            if (tile.from + at < task.positions) task.energies[tile.image * task.positions + tile.from + at] = sum;
        }
        barrier();
    }
}

// Calls f for each position of this warp, by its number among those of all images.
template <class F> DEVICE void each_position(const EnergyTask &task, F f) {
    const u64 first = block_index() * (u64)WARPS + thread_index() / 32;
    for (u64 i = first; i < task.images * task.positions; i += block_count() * (u64)WARPS) f(i);
}

template <class T> DEVICE void of_last(const EnergyTask &task) {
    constexpr int WIDTH = Pack<T>::WIDTH;
    const Line<T> line{task.channels};
    each_position(task, [&](u64 i) INLINE {
        const T *const channels = (const T *)task.map + i * task.channels;
        double sums[WIDTH], sum[1] = {0.0};
        powers<T>(task.power, [&](auto f) INLINE {
            for (u64 pack = thread_index() % 32; pack < line.packs(); pack += 32)
                f(line.read(channels, Line<T>::first_of(pack, channels)));
        }, sums);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) sum[0] += sums[j];
        Lanes<32>().sum(sum);
        if (thread_index() % 32 == 0) task.energies[i] = sum[0];
    });
}

// What a number's gradient is: that of the energy where it is times p |x|^(p-1) sign x.
template <class T> struct Slope {
    double slope;
    float times_two; // in f32, for p of 2
    u32 power;
    bool in_f32;

    DEVICE Slope(const EnergyTask &task, double slope)
        : slope(slope), times_two((float)(2.0 * slope)), power(task.power),
          in_f32(!IS_WIDE<T> && power == 2 && __builtin_fabs(slope) > 1e-30 && __builtin_fabs(slope) < 1e30) {}

    DEVICE T at(T stored, bool &overflows) const {
        const auto x = load(stored);
        T gradient;
        if (in_f32) {
            gradient = rounded(T{}, times_two * (float)x);
        } else {
            double wide = slope == 0.0 ? 0.0 : slope * (double)power * (x > 0 ? 1.0 : x < 0 ? -1.0 : (double)x);
            for (u32 i = 1; i < power; i++) wide *= __builtin_fabs((double)x);
            gradient = rounded(T{}, slope == 0.0 ? 0.0 : wide);
        }
        overflows |= __builtin_fabs((double)load(gradient)) == INFINITE;
        return gradient;
    }
};

template <class T> DEVICE void pull_planes(const EnergyTask &task) {
    constexpr int WIDTH = Pack<T>::WIDTH;
    const u64 chunks = (task.channels + CHUNK - 1) / CHUNK, tiles = task.images * Tile<T>::of_image(task);
    bool overflows = false;
    for (u64 i = block_index(); i < tiles * chunks; i += block_count()) {
        const Tile<T> tile(task, i / chunks);
        const u64 from = i % chunks * CHUNK, end = from + CHUNK < task.channels ? from + CHUNK : task.channels;
        const double *const slopes = task.energies + tile.image * task.positions;
        double of[WIDTH];
#pragma unroll
        for (int j = 0; j < WIDTH; j++) of[j] = tile.line.has(tile.first + j) ? slopes[tile.first + j] : 0.0;
#pragma unroll 2
        for (u64 c = from + thread_index() / 32; c < end; c += WARPS) {
            const Pack<T> x = tile.read(c);
            const auto number = [&](int j) INLINE { return Slope<T>(task, of[j]).at(x[j], overflows); };
            tile.line.write((T *)task.gradient + tile.plane(c), tile.first, Pack<T>::of(number));
        }
    }
    if (overflows) set_bits(task.overflowed, task.bit);
}

template <class T> DEVICE void pull_last(const EnergyTask &task) {
    const Line<T> line{task.channels};
    bool overflows = false;
    each_position(task, [&](u64 i) INLINE {
        const T *const channels = (const T *)task.map + i * task.channels;
        T *const to = (T *)task.gradient + i * task.channels;
        const Slope<T> slope(task, task.energies[i]);
        for (u64 pack = thread_index() % 32; pack < line.packs(); pack += 32) {
            const long long first = Line<T>::first_of(pack, channels);
            const Pack<T> x = line.read(channels, first);
            line.write(to, first, Pack<T>::of([&](int j) INLINE { return slope.at(x[j], overflows); }));
        }
    });
    if (overflows) set_bits(task.overflowed, task.bit);
}

} // namespace energy

#define KERNELS_OF(T)                                                                                        \
    KERNEL(THREADS) void densekd_energy_planes_##T(EnergyTask task) { energy::of_planes<T>(task); }          \
    KERNEL(THREADS) void densekd_energy_last_##T(EnergyTask task) { energy::of_last<T>(task); }              \
    KERNEL(THREADS) void densekd_energy_pull_planes_##T(EnergyTask task) { energy::pull_planes<T>(task); }   \
    KERNEL(THREADS) void densekd_energy_pull_last_##T(EnergyTask task) { energy::pull_last<T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
