// Scores of a discriminator (HO), and the length of its gradient: sums over numbers that lie together, whatever their
// order.
//
//     sums     a part of a vector: of scores as they count, or of squares
//     close    a warp a vector: its length, and how far it is from 1
//     pull     the gradient of a part
//
// Scores are one vector, the values of its parts their own sums; of a gradient every image is one.
#include "vectors.h"

enum Game : u32 { SCORES, HINGE, LENGTH };

// The same bytes as `HoTask` in src/ho.rs.
struct HoTask {
    const void *numbers;
    void *gradient;
    double *parts;       // of a vector side by side
    double *lengths;     // one a vector, of LENGTH
    double *values;      // the same
    u32 *overflowed;
    u64 vectors, length;
    u64 parts_of_vector;
    double share;        // what a term counts
    double factor;       // of the gradient
    Game game;
    u32 is_negative;     // scores count less their sign
    u32 bit;             // set in `overflowed` where a finite gradient became infinite
    u32 unused;
};

namespace ho {

constexpr u64 PART = 8 * THREADS; // packs

// Calls f with a line, the index of a pack in it and the part's number, for each pack of this block's parts; `after`
// comes when a part is done.
template <class T, class F, class After> DEVICE void each_part(const HoTask &task, F f, After after) {
    const Line<T> line{task.length};
    const u64 packs = line.packs();
    for (u64 i = block_index(); i < task.vectors * task.parts_of_vector; i += block_count()) {
        const u64 vector = i / task.parts_of_vector, from = i % task.parts_of_vector * PART;
        const u64 start = vector * task.length, end = from + PART < packs ? from + PART : packs;
        const T *const numbers = (const T *)task.numbers + start;
        for (u64 pack = from + thread_index(); pack < end; pack += THREADS)
            f(line, start, Line<T>::first_of(pack, numbers), vector);
        after(i);
    }
}

// What a score is to the side that is judged, beyond its margin; NaN stays.
DEVICE double margin(double signed_score) {
    const double beyond = 1.0 + signed_score;
    return beyond <= 0.0 ? 0.0 : beyond;
}

template <class T> DEVICE void sums(const HoTask &task) {
    const double sign = task.is_negative ? -1.0 : 1.0;
    double sum[1] = {0.0};
    each_part<T>(
        task,
        [&](const Line<T> &line, u64 start, long long first, u64) INLINE {
            const Pack<T> pack = line.read((const T *)task.numbers + start, first);
#pragma unroll
            for (int i = 0; i < Line<T>::WIDTH; i++) {
                if (!line.has(first + i)) continue;
                const double x = load(pack[i]);
                sum[0] += task.game == LENGTH ? x * x : task.game == HINGE ? margin(sign * x) : sign * x;
            }
        },
        [&](u64 part) INLINE {
            if (OfBlock().sum(sum)) task.parts[part] = task.share * sum[0];
            sum[0] = 0.0;
        });
}

template <class T> DEVICE void pull(const HoTask &task) {
    const double sign = task.is_negative ? -1.0 : 1.0, slope = sign * task.share * task.factor;
    bool overflows = false;
    each_part<T>(
        task,
        [&](const Line<T> &line, u64 start, long long first, u64 vector) INLINE {
            Pack<T> pack{};
            double of_x = 0.0;
            if (task.game != SCORES) pack = line.read((const T *)task.numbers + start, first);
            if (task.game == LENGTH) {
                const double length = task.lengths[vector];
                of_x = length == 0.0 ? 0.0 : 2.0 * task.share * task.factor * (length - 1.0) / length;
            }
            const auto number = [&](int i) INLINE {
                double wide = slope;
                if (task.game == LENGTH) wide = of_x * load(pack[i]);
                if (task.game == HINGE) {
                    const double beyond = margin(sign * load(pack[i]));
                    wide = slope * (beyond > 0.0 ? 1.0 : beyond);
                }
                if (task.factor == 0.0) wide = 0.0;
                const T stored = rounded(T{}, wide);
                overflows |= line.has(first + i) && __builtin_fabs(wide) < INFINITE &&
                             __builtin_fabs((double)load(stored)) == INFINITE;
                return stored;
            };
            line.write((T *)task.gradient + start, first, Pack<T>::of(number));
        },
        [](u64) INLINE {});
    if (overflows) set_bits(task.overflowed, task.bit);
}

} // namespace ho

KERNEL(THREADS) void densekd_ho_close(HoTask task) {
    const u64 first = block_index() * (u64)(THREADS / 32) + thread_index() / 32;
    for (u64 vector = first; vector < task.vectors; vector += block_count() * (u64)(THREADS / 32)) {
        double squares[1] = {0.0};
        for (u64 part = thread_index() % 32; part < task.parts_of_vector; part += 32)
            squares[0] += task.parts[vector * task.parts_of_vector + part];
        Lanes<32>().sum(squares);
        if (thread_index() % 32 > 0) continue;
        // An infinite length is of no finite direction.
        const double length = squares[0] < INFINITE ? square_root(squares[0]) : __builtin_nan("");
        task.lengths[vector] = length, task.values[vector] = (length - 1.0) * (length - 1.0);
    }
}

#define KERNELS_OF(T)                                                                    \
    KERNEL(THREADS) void densekd_ho_sums_##T(HoTask task) { ho::sums<T>(task); }         \
    KERNEL(THREADS) void densekd_ho_pull_##T(HoTask task) { ho::pull<T>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
