// What a launch is asked for, and numbers as stored.
#pragma once
#include "maths.h"

constexpr int THREADS = 256; // of every block

// Which entries of a row count.
struct Counted {
    const u8 *mask;
    bool along; // a byte an entry, else one for all

    DEVICE bool operator[](u64 entry) const { return !mask || mask[along ? entry : 0]; }
};

// The same bytes as `Task` in src/task.rs.
//
// Tensors are [outer, axis, inner]: outer * inner rows of `length` entries, `inner` apart.
struct Task {
    const void *teacher, *student;
    void *gradient;            // like them, or null: the value alone
    const u8 *mask;            // a byte a position, 0 = ignored, or null
    double *values;            // one a row
    State *parts;              // of rows in parts: one a part
    State *whole;              // of rows in parts: one a row
    u32 *overflowed;           // bit 0: a finite gradient became infinite
    u64 rows, length, inner;
    u64 parts_of_row;
    u64 mask_rows;             // rows that share the mask of their entries; 0: each row has one byte of its own
    Temperature temperature;
    float mantissa, power;     // the gradient's factor as a product, so that a tiny one is not lost
    u32 with_entropy;          // cross-entropy in place of the KL divergence

    DEVICE Counted counted(u64 row) const {
        if (!mask) return {nullptr, false};
        return mask_rows ? Counted{mask + row / mask_rows * length, true} : Counted{mask + row, false};
    }

    DEVICE double value_of(const State &row) const {
        if (row.is_nan()) return __builtin_nan("");
        if (row.is_empty()) return 0.0;
        return with_entropy ? (double)row.kl + (double)row.entropy : (double)row.kl;
    }
};

// Numbers as stored. All arithmetic is in f32.
using f32 = float;
struct f16 {
    u16 stored;
};
struct bf16 {
    u16 stored;
};

DEVICE float load(float x) { return x; }
DEVICE float load(f16 x) { return (float)bits<_Float16>(x.stored); }
DEVICE float load(bf16 x) { return bits<float>((u32)x.stored << 16); }

// Round to nearest, ties to even.
DEVICE float rounded(float, float x) { return x; }
DEVICE f16 rounded(f16, float x) { return {bits<u16>((_Float16)x)}; }
DEVICE bf16 rounded(bf16, float x) {
    const u32 word = bits<u32>(x);
    return {x != x ? (u16)0x7fff : (u16)((word + 0x7fff + (word >> 16 & 1)) >> 16)};
}

// A pair of logits as entries of a row: NaN and +inf in either spoil both, so that one test finds them.
struct Logits {
    float t, s;

    DEVICE static Logits of(float t, float s) {
        return t < INFINITE && s < INFINITE ? Logits{t, s} : Logits{INFINITE, INFINITE};
    }
    DEVICE static Logits nothing() { return {-INFINITE, -INFINITE}; }
};

// The gradient of entries, scaled once, before it is rounded.
template <class T> struct Scaled {
    const Task &task;
    Gradient gradient;
    bool is_nan;

    DEVICE Scaled(const Task &task, const State &row)
        : task(task), gradient(row, task.temperature), is_nan(row.is_nan()) {}

    DEVICE T at(Logits x, bool counts, bool &overflows) const {
        const float exact = is_nan ? __builtin_nanf("") : gradient.at(x.t, x.s);
        // Adding 0 turns -0 into 0.
        const float wide = counts ? exact * task.mantissa * task.power + 0.0f : 0.0f;
        const T stored = rounded(T{}, wide);
        overflows |= __builtin_fabsf(load(stored)) == INFINITE;
        return stored;
    }
};
