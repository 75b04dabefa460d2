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

// Every team says, too, whether all may go a way that is right where something `holds`, which is the same for all of a
// team (`goes`).
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
    DEVICE bool all(bool holds) const { return holds; }
    DEVICE bool goes(bool holds) const { return holds; }

    template <class Op, class Value, int N> DEVICE void reduce(Value (&)[N]) const {}
};

// So many neighbouring lanes of a warp; other teams of the warp may be elsewhere.
template <int LANES> struct Lanes : Reduces<Lanes<LANES>> {
    static constexpr int SIZE = LANES, OF_BLOCK = THREADS; // of its block, all
    const u32 thread;

    DEVICE explicit Lanes(u32 thread = thread_index()) : thread(thread) {}
    DEVICE u32 lane() const { return thread % LANES; }

    // Whether it holds for all.
    DEVICE bool all(bool holds) const { return all_of(members(), holds); }
    DEVICE bool goes(bool holds) const { return holds; }

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
    static constexpr int SIZE = THREADS, OF_BLOCK = THREADS, WARPS = THREADS / 32;
    static_assert((WARPS & (WARPS - 1)) == 0 && WARPS <= 32);
    const u32 thread;

    DEVICE explicit Block(u32 thread = thread_index()) : thread(thread) {}
    DEVICE u32 lane() const { return thread; }

    DEVICE bool goes(bool holds) const { return holds; }

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

// As many teams of SIZE threads as a warp has lanes, neighbours of which are of neighbouring teams. They meet at barriers
// of the block, and go every way together.
template <int COUNT> struct Stacked : Reduces<Stacked<COUNT>> {
    static constexpr int SIZE = COUNT, TEAMS = THREADS / SIZE;
    static_assert(TEAMS == 32);
    const u32 thread;

    DEVICE explicit Stacked(u32 thread = thread_index()) : thread(thread) {}
    DEVICE u32 lane() const { return thread / TEAMS; }
    // Whether it holds for all of the block.
    DEVICE bool all(bool holds) const { return Block<THREADS>(thread).all(holds); }
    DEVICE bool goes(bool holds) const { return all(holds); }

    template <class Op, class Value, int N> DEVICE void reduce(Value (&values)[N]) const {
        SHARED Value of_lane[N][SIZE][TEAMS];
        const u32 own = thread % TEAMS;
#pragma unroll
        for (int i = 0; i < N; i++) of_lane[i][lane()][own] = values[i];
        barrier();
#pragma unroll
        for (int i = 0; i < N; i++) {
            values[i] = of_lane[i][0][own];
#pragma unroll
            for (int other = 1; other < SIZE; other++) values[i] = Op::of(i, values[i], of_lane[i][other][own]);
        }
        barrier();
    }
};
