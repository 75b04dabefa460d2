// The threads that hold a row together. Every reduction runs in one order, whatever the clock does.
#pragma once
#include "device.h"

// What is made of two numbers, by their place among those that are reduced at once.
struct Larger {
    DEVICE static float of(int, float a, float b) { return __builtin_fmaxf(a, b); }
    DEVICE static double of(int, double a, double b) { return __builtin_fmax(a, b); }
};
struct Plus {
    template <class Value> DEVICE static Value of(int, Value a, Value b) { return a + b; }
};

template <class Derived> struct Reduces {
    template <class Value, int N> DEVICE void max(Value (&values)[N]) const { self().template reduce<Larger>(values); }
    template <class Value, int N> DEVICE void sum(Value (&values)[N]) const { self().template reduce<Plus>(values); }

  private:
    DEVICE const Derived &self() const { return static_cast<const Derived &>(*this); }
};

// One thread.
struct Alone : Reduces<Alone> {
    static constexpr int SIZE = 1;

    DEVICE u32 lane() const { return 0; }

    template <class Op, class Value, int N> DEVICE void reduce(Value (&)[N]) const {}
};

// So many neighbouring lanes of a warp; other teams of the warp may be elsewhere.
template <int LANES> struct Lanes : Reduces<Lanes<LANES>> {
    static constexpr int SIZE = LANES;
    const u32 thread;

    DEVICE explicit Lanes(u32 thread = thread_index()) : thread(thread) {}
    DEVICE u32 lane() const { return thread % LANES; }

    // Whether it holds for all.
    DEVICE bool all(bool holds) const { return all_of(members(), holds); }

    template <class Op, class Value, int N> DEVICE void reduce(Value (&values)[N]) const {
#pragma unroll
        for (int flip = LANES / 2; flip > 0; flip /= 2)
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = Op::of(i, values[i], exchange(members(), values[i], flip));
    }

  private:
    DEVICE u32 members() const {
        return (LANES == 32 ? ~0u : (1u << LANES % 32) - 1) << thread % 32 / LANES * LANES;
    }
};

// All threads of the block.
template <int THREADS> struct Block : Reduces<Block<THREADS>> {
    static constexpr int SIZE = THREADS, WARPS = THREADS / 32;
    static_assert((WARPS & (WARPS - 1)) == 0 && WARPS <= 32);
    const u32 thread;

    DEVICE explicit Block(u32 thread = thread_index()) : thread(thread) {}
    DEVICE u32 lane() const { return thread; }

    // Whether it holds for all.
    DEVICE bool all(bool holds) const {
        SHARED u8 of_warp[WARPS];
        const bool of_own = Lanes<32>(thread).all(holds);
        if (thread % 32 == 0) of_warp[thread / 32] = of_own;
        barrier();
        const bool of_all = Lanes<32>(thread).all(of_warp[thread % WARPS]);
        barrier();
        return of_all;
    }

    template <class Op, class Value, int N> DEVICE void reduce(Value (&values)[N]) const {
        SHARED Value of_warp[N][WARPS];
        Lanes<32>(thread).template reduce<Op>(values);
        if (thread % 32 == 0) {
#pragma unroll
            for (int i = 0; i < N; i++) of_warp[i][thread / 32] = values[i];
        }
        barrier();
#pragma unroll
        for (int i = 0; i < N; i++) {
            values[i] = of_warp[i][thread % WARPS];
#pragma unroll
            for (int flip = WARPS / 2; flip > 0; flip /= 2)
                values[i] = Op::of(i, values[i], exchange(~0u, values[i], flip));
        }
        barrier();
    }
};
