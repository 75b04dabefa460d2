// Pairs of vectors of numbers, each brought to a scale of its own, and their squared distance.
//
//     z = (x - offset) step,   e = z_s - z_t,   sum of e^2
//     gradient to x:  of_e e + of_z z,  of which the second is what the scale takes back along z
//
// A channel over batch and positions is one (PKD), a map of energies is one (attention transfer), a whole tensor is one
// that stands as it is. A thread takes its numbers in f32 as pairs, which loses nothing that counts; where its sums lie
// out of their range it takes them once more, in f64.
#pragma once
#include "pack.h"
#include "parts.h"

// How the numbers of a vector become coordinates.
struct Scale {
    double offset, step;
    double lost; // share of what a gradient has along z that is lost

    // Whether pairs of f32 hold it.
    DEVICE bool is_ordinary() const {
        return __builtin_fabs(offset) < 1e30 && (step == 0.0 || (step > 1e-30 && step < 1e30));
    }
};

// A pair of vectors.
struct Vector {
    Scale t, s;
    double squares;          // sum of e^2
    double along_t, along_s; // sums of e z
};

enum Normalisation : u32 { RAW, STANDARDISE, UNIT };

// The same bytes as `VectorTask` in src/vectors.rs.
//
// Tensors are [outer, count, inner]: `count` vectors of outer * inner numbers.
struct VectorTask {
    const void *teacher, *student;
    void *gradient;
    double *values;     // one a vector
    double *parts;      // four a part
    Vector *vectors;
    u32 *overflowed;    // bit 0: a finite gradient became infinite; bit 1: the teacher's
    u64 outer, count, inner;
    u64 parts_of_vector;
    double eps_t, eps_s;
    double share;       // of e^2 in the value
    double factor;      // of the gradient of the sum of vectors
    u32 normalisation;
    u32 has_root;       // the value is the root of the sum
    u32 to_teacher;
    u32 unused;

    DEVICE double length() const { return (double)outer * (double)inner; }
};

template <> struct Pack<double> {
    static constexpr int WIDTH = 1;
    double number;

    template <class Of> DEVICE static Pack of(Of number) { return {number(0)}; }
    DEVICE double operator[](int) const { return number; }
};

using f64 = double;

DEVICE double load(double x) { return x; }
DEVICE double rounded(double, double x) { return x; }
DEVICE double rounded(double, float x) { return x; }
template <class T> DEVICE T rounded(T type, double x) { return rounded(type, (float)x); }

// Numbers of a line in memory that packs of 16 bytes cover, the first of which begins on a boundary before it.
template <class T> struct Line {
    static constexpr int WIDTH = Pack<T>::WIDTH;
    u64 length;

    // Whatever lies before the line in the first pack.
    DEVICE u64 packs() const { return (length + 2 * (WIDTH - 1)) / WIDTH; }

    // Index of a pack's first number in the line; below 0 in what lies before it.
    DEVICE static long long first_of(u64 pack, const T *line) {
        return (long long)(pack * WIDTH) - (long long)((u64)line / sizeof(T) % WIDTH);
    }

    DEVICE bool has(long long i) const { return i >= 0 && i < (long long)length; }

    DEVICE bool is_whole(const T *line, long long first) const {
        return WIDTH > 1 && first >= 0 && first + WIDTH <= (long long)length && (u64)(line + first) % 16 == 0;
    }

    DEVICE Pack<T> read(const T *line, long long first) const {
        if constexpr (WIDTH > 1)
            if (is_whole(line, first)) return {*(const u32x4 *)(line + first)};
        return Pack<T>::of([&](int i) INLINE { return has(first + i) ? line[first + i] : T{}; });
    }

    DEVICE void write(T *line, long long first, Pack<T> pack) const {
        if constexpr (WIDTH > 1)
            if (is_whole(line, first)) {
                *(u32x4 *)(line + first) = pack.words;
                return;
            }
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            if (has(first + i)) line[first + i] = pack[i];
    }
};

// A part of a vector whose numbers lie together in lines: a block's.
template <class T> struct Lines {
    static constexpr u64 PART = 8 * THREADS, AT_ONCE = 1; // packs; vectors of a block
    const VectorTask &task;
    Line<T> line;
    u64 vector, part;

    DEVICE Lines(const VectorTask &task, u64 vector, u64 part)
        : task(task), line{task.inner}, vector(vector), part(part) {}

    // Calls f with the index of a line in the tensors, that of a pack in the line, and the packs.
    template <class F> DEVICE void each_pack(F f) const {
        const u64 packs = line.packs(), all = task.outer * packs;
        const u64 end = (part + 1) * PART < all ? (part + 1) * PART : all;
        u64 i = part * PART + thread_index();
        u64 row = i / packs, pack = i % packs;
        const u64 rows_on = THREADS / packs, packs_on = THREADS % packs;
#pragma unroll 2
        for (; i < end; i += THREADS) {
            const u64 start = (row * task.count + vector) * task.inner;
            const T *const t = (const T *)task.teacher + start, *const s = (const T *)task.student + start;
            const long long first = Line<T>::first_of(pack, s);
            f(start, first, line.read(t, first), line.read(s, first));
            row += rows_on, pack += packs_on;
            if (pack >= packs) pack -= packs, row++;
        }
    }

    template <class F> DEVICE void each(F f) const {
        each_pack([&](u64, long long first, const Pack<T> &t, const Pack<T> &s) INLINE {
#pragma unroll
            for (int i = 0; i < Line<T>::WIDTH; i++)
                if (line.has(first + i)) f(load(t[i]), load(s[i]));
        });
    }

    template <class F> DEVICE void write(F f) const {
        each_pack([&](u64 start, long long first, const Pack<T> &t, const Pack<T> &s) INLINE {
            const auto number = [&](int i) INLINE { return line.has(first + i) ? f(load(t[i]), load(s[i])) : T{}; };
            line.write((T *)task.gradient + start, first, Pack<T>::of(number));
        });
    }

    // Over the part; whether this thread is to write them down.
    template <int N> DEVICE bool sum(double (&values)[N]) const { return OfBlock().sum(values); }
};

// A part of a vector whose numbers lie apart, as channels do where they are last: a lane's, in every warp of a block.
template <class T> struct Columns {
    static constexpr u64 PART = 256, AT_ONCE = 32; // numbers; vectors of a block
    const VectorTask &task;
    u64 vector, part;

    DEVICE Columns(const VectorTask &task, u64 first, u64 part)
        : task(task), vector(first + thread_index() % 32), part(part) {}

    template <class F> DEVICE void each_index(F f) const {
        if (vector >= task.count) return;
        const u64 end = (part + 1) * PART < task.outer ? (part + 1) * PART : task.outer;
#pragma unroll 4
        for (u64 i = part * PART + thread_index() / 32; i < end; i += THREADS / 32) f(i * task.count + vector);
    }

    template <class F> DEVICE void each(F f) const {
        each_index([&](u64 i) INLINE { f(load(((const T *)task.teacher)[i]), load(((const T *)task.student)[i])); });
    }

    template <class F> DEVICE void write(F f) const {
        each_index([&](u64 i) INLINE {
            ((T *)task.gradient)[i] = f(load(((const T *)task.teacher)[i]), load(((const T *)task.student)[i]));
        });
    }

    template <int N> DEVICE bool sum(double (&values)[N]) const { return OfLanes{vector < task.count}.sum(values); }
};

// A sum of f32 that keeps what it rounds off.
struct WideSum {
    LongSum sum;

    DEVICE void add(float x, float rest) { sum.add(0, x), sum.low += rest; }
    DEVICE double value() const { return (double)sum.high + (double)sum.low; }
};

struct WiderSum {
    double sum = 0.0;

    DEVICE void add(double x) { sum += x; }
    DEVICE double value() const { return sum; }
};

// Numbers as pairs of f32.
struct Pairs {
    using Sum = WideSum;
    Pair offset, step;

    DEVICE static Pair of(double x) {
        const float high = (float)x;
        return {high, (float)(x - (double)high)};
    }
    DEVICE explicit Pairs(const Scale &at) : offset(of(at.offset)), step(of(at.step)) {}

    DEVICE Pair from_offset(float x) const {
        const Pair d = difference(x, offset.high);
        return {d.high, d.low - offset.low};
    }
    DEVICE Pair z(float x) const {
        const Pair d = from_offset(x);
        const float z = product(d.high, step.high), rest = __builtin_fmaf(d.high, step.high, -z);
        return {z, rest + __builtin_fmaf(d.high, step.low, d.low * step.high)};
    }

    DEVICE static float apart(Pair s, Pair t) { return (s.high - t.high) + (s.low - t.low); }
    // The offset may end far above the last digit of what is left of a number.
    DEVICE static float near(Pair z) { return z.high + z.low; }
    DEVICE static void add(Sum &sum, Pair x) { sum.add(x.high, x.low); }
    DEVICE static void add_square(Sum &sum, Pair x) {
        const float square = product(x.high, x.high);
        sum.add(square, __builtin_fmaf(x.high, x.high, -square) + 2.0f * x.high * x.low);
    }
    DEVICE static void add_product(Sum &sum, float a, float b) { sum.add(product(a, b), 0.0f); }
};

// The same in f64.
struct Doubles {
    using Sum = WiderSum;
    double offset, step;

    DEVICE explicit Doubles(const Scale &at) : offset(at.offset), step(at.step) {}

    DEVICE double from_offset(double x) const { return x - offset; }
    DEVICE double z(double x) const { return (x - offset) * step; }

    DEVICE static double apart(double s, double t) { return s - t; }
    DEVICE static double near(double z) { return z; }
    DEVICE static void add(Sum &sum, double x) { sum.add(x); }
    DEVICE static void add_square(Sum &sum, double x) { sum.add(x * x); }
    DEVICE static void add_product(Sum &sum, double a, double b) { sum.add(a * b); }
};

// Whether f32 held every square of which this is the sum.
DEVICE bool is_certain(double squares) { return squares > 1e-25 && squares < 1e35; }

template <class T> constexpr bool IS_WIDE = sizeof(T) == sizeof(double);
