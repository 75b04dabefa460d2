// What a launch is asked for, and numbers as stored.
#pragma once
#include "maths.h"

// Which entries of a row count.
struct Counted {
    const u8 *mask;
    bool along; // a byte an entry, else one for all

    DEVICE bool operator[](u64 entry) const { return !mask || mask[along ? entry : 0]; }
};

// How two rows differ. Those up to SMOOTHED_CE are of softmaxes, the others of numbers as they are.
enum Divergence : u32 { KL, CE, REVERSE_KL, JS, MSE, SMOOTHED_KL, SMOOTHED_CE, NUMBERS, MEANS };

struct Totals; // of a row's terms, see terms.h

// The same bytes as `Task` in src/task.rs.
//
// Tensors are [outer, axis, inner]: outer * inner rows of `length` entries, `inner` apart.
struct Task {
    const void *teacher, *student;
    void *to_student;          // the gradient, like them, or null
    void *to_teacher;
    const u8 *mask;            // a byte a position, 0 = ignored, or null
    double *values;            // one a row
    State *parts;              // of rows in parts: one a part
    State *whole;              // one a row: of rows in parts, of rows whose states are kept, or null
    Totals *part_totals;       // of rows in parts: one a part
    Totals *totals;            // of rows in parts: one a row
    u32 *overflowed;           // bit 0: a finite gradient to the student became infinite; bit 1: one to the teacher
    u64 rows, length, inner;
    u64 summed;                // rows from this one on count for nothing
    u64 parts_of_row;
    u64 mask_rows;             // rows that share the mask of their entries; 0: each row has one byte of its own
    double factor;             // the gradient's, of numbers
    double unit;               // what numbers are multiplied by
    Temperature temperature;
    float mantissa, power;     // the factor of shares as a product, so that a tiny one is not lost
    float eps;
    Divergence divergence;
    u32 is_after;              // ignored entries take part in the softmax, their terms are left out
    u32 is_known;              // `whole` was kept by an earlier launch

    DEVICE bool is_of_numbers() const { return divergence >= NUMBERS; }
    DEVICE bool with_entropy() const { return divergence == CE; }

    // The state of a row that is not merged in this launch.
    DEVICE State known(u64 row) const {
        return row >= summed ? State::nothing() : is_of_numbers() ? State::of(0.0f, 0.0f) : whole[row];
    }

    // The state of a row, merged of its entries or known.
    template <class Team, class Entries>
    DEVICE State state(const Team &team, const Entries &entries, u64 row) const {
        if (is_known || is_of_numbers()) return known(row);
        const State merged =
            row < summed ? merge(team, entries, temperature, with_entropy()) : State::nothing();
        if (whole && team.lane() == 0) whole[row] = merged;
        return merged;
    }

    DEVICE Counted counted(u64 row) const {
        if (!mask) return {nullptr, false};
        return mask_rows ? Counted{mask + row / mask_rows * length, true} : Counted{mask + row, false};
    }

    DEVICE double value_of(const State &row) const {
        if (row.is_nan()) return __builtin_nan("");
        if (row.is_empty()) return 0.0;
        return with_entropy() ? (double)row.kl + (double)row.entropy : (double)row.kl;
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
#ifdef ROUNDS_PAIRS
DEVICE u32 rounded_pair(f16, float low, float high) { return halves(low, high); }
DEVICE u32 rounded_pair(bf16, float low, float high) { return brain_halves(low, high); }
DEVICE f16 rounded(f16 type, float x) { return {(u16)rounded_pair(type, x, 0.0f)}; }
DEVICE bf16 rounded(bf16 type, float x) { return {(u16)rounded_pair(type, x, 0.0f)}; }
#else
DEVICE f16 rounded(f16, float x) { return {bits<u16>((_Float16)x)}; }
DEVICE bf16 rounded(bf16, float x) {
    const u32 word = bits<u32>(x);
    return {x != x ? (u16)0x7fff : (u16)((word + 0x7fff + (word >> 16 & 1)) >> 16)};
}
// Two numbers in a word, the first in its lower half.
template <class T> DEVICE u32 rounded_pair(T type, float low, float high) {
    return rounded(type, low).stored | (u32)rounded(type, high).stored << 16;
}
#endif

DEVICE float infinite(float, bool is_negative) { return is_negative ? -INFINITE : INFINITE; }
DEVICE f16 infinite(f16, bool is_negative) { return {(u16)(is_negative ? 0xfc00 : 0x7c00)}; }
DEVICE bf16 infinite(bf16, bool is_negative) { return {(u16)(is_negative ? 0xff80 : 0x7f80)}; }

// The least number that is rounded to infinity: halfway from the largest to what would follow.
DEVICE constexpr float overflow_of(f32) { return INFINITE; }
DEVICE constexpr float overflow_of(f16) { return 65520.0f; }
DEVICE constexpr float overflow_of(bf16) { return 0x1.ffp127f; }

// Rounded; whether it is infinite then.
template <class T> DEVICE T stored_as(float x, bool &is_infinite) {
    is_infinite |= __builtin_fabsf(x) >= overflow_of(T{});
    // Adding 0 turns -0 into 0.
    return rounded(T{}, x + 0.0f);
}

// A finite gradient, scaled once, before it is rounded.
template <class T> DEVICE T scaled(const Task &task, float exact, bool &overflows) {
    return stored_as<T>(exact * task.mantissa * task.power, overflows);
}

// A pair of logits as entries of a row: NaN and +inf in either spoil both, so that one test finds them.
struct Logits {
    float t, s;

    DEVICE static Logits of(float t, float s) {
        return t < INFINITE && s < INFINITE ? Logits{t, s} : Logits{INFINITE, INFINITE};
    }
    DEVICE static Logits nothing() { return {-INFINITE, -INFINITE}; }
};

// Writes the gradients that are asked for at the entries that this thread has, of a row of some form.
template <class Form, class Entries>
DEVICE void write_gradients(const Task &task, const Entries &entries, const Form &row) {
    u32 overflowed = 0;
    const auto student = [&](Logits x, bool counts, bool &overflows) { return row.student(x, counts, overflows); };
    if (task.to_student && entries.template write<Form::HAS_TEACHER>(task.to_student, student)) overflowed |= 1;
    if constexpr (Form::HAS_TEACHER) {
        const auto teacher = [&](Logits x, bool counts, bool &overflows) {
            return row.teacher(x, counts, overflows);
        };
        if (task.to_teacher && entries.template write<true>(task.to_teacher, teacher)) overflowed |= 2;
    }
    if (overflowed) set_bits(task.overflowed, overflowed);
}

// A row of which the state says all: a KL divergence or cross-entropy, and its gradient q - p to the student.
template <class T> struct Settled {
    static constexpr bool HAS_TEACHER = false, IS_OF_STATE = true;
    const Task &task;
    Distributions of;

    DEVICE Settled(const Task &task, const State &row) : task(task), of(row, task.temperature) {}

    template <class Team, class Entries>
    DEVICE static Settled of_row(const Task &task, const Team &team, const Entries &entries, u64 row) {
        return {task, task.state(team, entries, row)};
    }
    DEVICE static Settled known(const Task &task, u64 row) { return {task, task.known(row)}; }

    DEVICE double value() const { return task.value_of(of.row); }

    DEVICE T student(Logits x, bool counts, bool &overflows) const {
        return scaled<T>(task, counts ? -of.at(x.t, x.s).excess : 0.0f, overflows);
    }
};

// What is done with a part of a long row, given its team and its entries: in the first pass its state is taken, of
// rows of any form; in the last its gradients are written.
struct StateOfPart {
    const Task &task;

    template <class Team, class Entries>
    DEVICE void operator()(const Team &team, const Entries &entries, u64, u64 part) const {
        const State state = merge(team, entries, task.temperature, task.with_entropy());
        if (team.lane() == 0) task.parts[part] = state;
    }
};

template <class Form> struct GradientsOfPart {
    const Task &task;

    template <class Team, class Entries>
    DEVICE void operator()(const Team &, const Entries &entries, u64 row, u64) const {
        write_gradients(task, entries, Form::known(task, row));
    }
};
