// The scales of pairs of vectors, their distance, and its gradient.
//
//     moments    sums of a part of both vectors, about their first numbers
//     scale      a warp a vector: the scales, from the sums of all parts
//     compare    sums of a part of both vectors' coordinates
//     close      a warp a vector: its value, from the sums of all parts
//     pull       the gradient of a part
//
// Each reads what the ones before it wrote. `total` of whole.cu adds the values.
#include "vectors.h"

namespace vectors {

template <class Part, class F> DEVICE void each_part(const VectorTask &task, F f) {
    const u64 groups = (task.count + Part::AT_ONCE - 1) / Part::AT_ONCE;
    for (u64 i = block_index(); i < groups * task.parts_of_vector; i += block_count())
        f(Part(task, i / task.parts_of_vector * Part::AT_ONCE, i % task.parts_of_vector));
}

template <class T> DEVICE double first_of(const void *tensor, u64 index) {
    return (double)load(((const T *)tensor)[index]);
}

template <class By, class Part> DEVICE void moments_by(const Part &part, const Vector &at, double (&sums)[4]) {
    const By t(at.t), s(at.s);
    typename By::Sum t_sum, t_squares, s_sum, s_squares;
    part.each([&](auto x, auto y) INLINE {
        const auto dt = t.from_offset(x), ds = s.from_offset(y);
        By::add(t_sum, dt), By::add_square(t_squares, dt);
        By::add(s_sum, ds), By::add_square(s_squares, ds);
    });
    sums[0] = t_sum.value(), sums[1] = t_squares.value();
    sums[2] = s_sum.value(), sums[3] = s_squares.value();
}

template <class T, class Part> DEVICE void moments(const VectorTask &task) {
    each_part<Part>(task, [&](const Part &part) INLINE {
        Vector about{};
        if (task.normalisation == STANDARDISE && part.vector < task.count) {
            about.t.offset = first_of<T>(task.teacher, part.vector * task.inner);
            about.s.offset = first_of<T>(task.student, part.vector * task.inner);
        }
        double sums[4];
        bool certain = false;
        if constexpr (!IS_WIDE<T>) {
            moments_by<Pairs>(part, about, sums);
            certain = is_certain(sums[1]) && is_certain(sums[3]);
        }
        if (!certain) moments_by<Doubles>(part, about, sums);
        if (!part.sum(sums)) return;
        double *const to = task.parts + (part.vector * task.parts_of_vector + part.part) * 4;
#pragma unroll
        for (int i = 0; i < 4; i++) to[i] = sums[i];
        if (part.part == 0) task.vectors[part.vector] = about;
    });
}

template <class By, class Part> DEVICE void compare_by(const Part &part, const Vector &at, double (&sums)[3]) {
    const By t(at.t), s(at.s);
    typename By::Sum squares, along_t, along_s;
    part.each([&](auto x, auto y) INLINE {
        const auto zt = t.z(x);
        const auto zs = s.z(y);
        const auto e = By::apart(zs, zt);
        By::add_product(squares, e, e);
        By::add_product(along_t, e, By::near(zt)), By::add_product(along_s, e, By::near(zs));
    });
    sums[0] = squares.value(), sums[1] = along_t.value(), sums[2] = along_s.value();
}

template <class T, class Part> DEVICE void compare(const VectorTask &task) {
    each_part<Part>(task, [&](const Part &part) INLINE {
        const Vector at = part.vector < task.count ? task.vectors[part.vector] : Vector{};
        double sums[3];
        bool certain = false;
        if constexpr (!IS_WIDE<T>) {
            if (at.t.is_ordinary() && at.s.is_ordinary()) {
                compare_by<Pairs>(part, at, sums);
                certain = is_certain(sums[0]);
            }
        }
        if (!certain) compare_by<Doubles>(part, at, sums);
        if (!part.sum(sums)) return;
        double *const to = task.parts + (part.vector * task.parts_of_vector + part.part) * 4;
#pragma unroll
        for (int i = 0; i < 3; i++) to[i] = sums[i];
    });
}

// The gradient of the sum of vectors at a number: of_e e + of_z z.
struct Slopes {
    double of_e, of_z;
    bool is_teacher;

    DEVICE Slopes(const VectorTask &task, const Vector &at) : is_teacher(task.to_teacher) {
        const Scale &scale = is_teacher ? at.t : at.s;
        const double sign = is_teacher ? -1.0 : 1.0, sum = task.share * at.squares;
        const double root = !task.has_root ? 1.0 : sum == 0.0 ? 0.0 : 0.5 / square_root(sum);
        const double of_cotangent = 2.0 * task.share * sign * root * scale.step * task.factor;
        of_e = of_cotangent;
        of_z = scale.lost == 0.0 ? 0.0 : -of_cotangent * scale.lost * (is_teacher ? at.along_t : at.along_s);
    }
};

template <class T> struct Pull {
    const VectorTask &task;
    const Vector &at;
    Slopes slopes;
    bool overflows = false;

    DEVICE Pull(const VectorTask &task, const Vector &at) : task(task), at(at), slopes(task, at) {}

    template <class Part> DEVICE void all_of(const Part &part) {
        // Numbers that share a scale share what is not one of them.
        const bool is_nan = at.squares != at.squares && task.normalisation != RAW;
        if (task.factor == 0.0 || is_nan) {
            const T all = rounded(T{}, task.factor == 0.0 ? 0.0 : __builtin_nan(""));
            part.write([&](auto, auto) INLINE { return all; });
            return;
        }
        bool done = false;
        if constexpr (!IS_WIDE<T>) {
            const double size = __builtin_fabs(slopes.of_e);
            done = at.t.is_ordinary() && at.s.is_ordinary() && size < 1e37 && at.squares < INFINITE;
            if (done) {
                // A tiny slope keeps its digits beside its exponent.
                const u64 exponent = bits<u64>(size) & 0x7ff0000000000000ull;
                const double power = size < 1e-37 ? 1e-37 : bits<double>(exponent);
                by<Pairs>(part, (float)(slopes.of_e / power), (float)(slopes.of_z / power), (float)power);
            }
        }
        if (!done) by<Doubles>(part, slopes.of_e, slopes.of_z, 1.0);
        if (overflows) set_bits(task.overflowed, task.to_teacher ? 2 : 1);
    }

  private:
    template <class By, class Part, class Number>
    DEVICE void by(const Part &part, Number of_e, Number of_z, Number power) {
        const By t(at.t), s(at.s);
        part.write([&](auto x, auto y) INLINE {
            const auto zt = t.z(x);
            const auto zs = s.z(y);
            const Number z = By::near(slopes.is_teacher ? zt : zs);
            const Number along = of_z == 0 ? 0 : of_z * z, wide = (of_e * By::apart(zs, zt) + along) * power;
            const T stored = rounded(T{}, wide);
            // In f32 all is finite that comes here, and may overflow on the way.
            const bool was_finite = sizeof(Number) == sizeof(float) || __builtin_fabs((double)wide) < INFINITE;
            overflows |= was_finite && __builtin_fabs((double)load(stored)) == INFINITE;
            return stored;
        });
    }
};

template <class T, class Part> DEVICE void pull(const VectorTask &task) {
    each_part<Part>(task, [&](const Part &part) INLINE {
        if (part.vector < task.count) Pull<T>(task, task.vectors[part.vector]).all_of(part);
    });
}

// Calls f for each vector of a warp with the sums of its parts; true for one lane, which is to write.
template <int N, class F> DEVICE void each_vector(const VectorTask &task, F f) {
    const u64 first = block_index() * (u64)(THREADS / 32) + thread_index() / 32;
    for (u64 vector = first; vector < task.count; vector += block_count() * (u64)(THREADS / 32)) {
        double sums[N] = {};
        for (u64 part = thread_index() % 32; part < task.parts_of_vector; part += 32) {
            const double *const from = task.parts + (vector * task.parts_of_vector + part) * 4;
#pragma unroll
            for (int i = 0; i < N; i++) sums[i] += from[i];
        }
        Lanes<32>().sum(sums);
        if (thread_index() % 32 == 0) f(vector, sums);
    }
}

// z = (x - mean) / (sd + eps), sd over one less than their number; of what has no spread 0, and no gradient.
DEVICE Scale standardised(const VectorTask &task, double eps, double first, double sum, double squares) {
    const double count = task.length(), mean = sum / count, spread = squares - sum * mean;
    // Of a spread that is nothing but rounding, no negative number comes.
    const double sd = count < 2.0 ? 0.0 : square_root((spread < 0.0 ? 0.0 : spread) / (count - 1.0));
    if (sd == 0.0) return {first + mean, 0.0, 0.0};
    // An overflow is no reason for a finite answer.
    const double divisor = (sd < INFINITE ? sd : __builtin_nan("")) + eps;
    return {first + mean, 1.0 / divisor, divisor / (sd * (count - 1.0))};
}

// z = x / max(|x|, eps); of the zero vector 0, and no gradient.
DEVICE Scale of_unit_length(double eps, double squares) {
    const double norm = square_root(squares);
    if (norm == 0.0) return {0.0, 0.0, 0.0};
    return norm <= eps ? Scale{0.0, 1.0 / eps, 0.0} : Scale{0.0, 1.0 / norm, 1.0};
}

} // namespace vectors

KERNEL(THREADS) void densekd_vectors_scale(VectorTask task) {
    using namespace vectors;
    each_vector<4>(task, [&](u64 i, const double (&sums)[4]) INLINE {
        Vector &at = task.vectors[i];
        if (task.normalisation == STANDARDISE)
            at.t = standardised(task, task.eps_t, at.t.offset, sums[0], sums[1]),
            at.s = standardised(task, task.eps_s, at.s.offset, sums[2], sums[3]);
        else if (task.normalisation == UNIT)
            at.t = of_unit_length(task.eps_t, sums[1]), at.s = of_unit_length(task.eps_s, sums[3]);
        else
            at.t = at.s = {0.0, 1.0, 0.0};
    });
}

KERNEL(THREADS) void densekd_vectors_close(VectorTask task) {
    vectors::each_vector<3>(task, [&](u64 i, const double (&sums)[3]) INLINE {
        Vector &at = task.vectors[i];
        at.squares = sums[0], at.along_t = sums[1], at.along_s = sums[2];
        const double sum = task.share * at.squares;
        task.values[i] = task.has_root ? square_root(sum) : sum;
    });
}

#define KERNELS_OF(T)                                                                                               \
    KERNEL(THREADS) void densekd_lines_moments_##T(VectorTask task) { vectors::moments<T, Lines<T>>(task); }        \
    KERNEL(THREADS) void densekd_lines_compare_##T(VectorTask task) { vectors::compare<T, Lines<T>>(task); }        \
    KERNEL(THREADS) void densekd_lines_pull_##T(VectorTask task) { vectors::pull<T, Lines<T>>(task); }              \
    KERNEL(THREADS) void densekd_apart_moments_##T(VectorTask task) { vectors::moments<T, Columns<T>>(task); }      \
    KERNEL(THREADS) void densekd_apart_compare_##T(VectorTask task) { vectors::compare<T, Columns<T>>(task); }      \
    KERNEL(THREADS) void densekd_apart_pull_##T(VectorTask task) { vectors::pull<T, Columns<T>>(task); }

KERNELS_OF(f32)
KERNELS_OF(f16)
KERNELS_OF(bf16)
KERNELS_OF(f64)

#undef KERNELS_OF
