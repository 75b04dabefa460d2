// Sums over the threads of a block, of numbers of which each has its part. The order is always the same.
#pragma once
#include "task.h"
#include "team.h"

// One sum over all threads.
struct OfBlock {
    // Whether this thread is to write the sums down.
    template <int N> DEVICE bool sum(double (&values)[N]) const {
        constexpr u32 WARPS = THREADS / 32;
        SHARED double of_warp[N][WARPS];
        Lanes<32>().sum(values);
        if (thread_index() % 32 == 0) {
#pragma unroll
            for (int i = 0; i < N; i++) of_warp[i][thread_index() / 32] = values[i];
        }
        barrier();
#pragma unroll
        for (int i = 0; i < N; i++) {
            values[i] = 0.0;
            // Many sums at once would take as many registers as threads have.
#pragma unroll 1
            for (u32 warp = 0; warp < WARPS; warp++) values[i] += of_warp[i][warp];
        }
        barrier();
        return thread_index() == 0;
    }
};

// A sum for each lane, over the warps.
struct OfLanes {
    bool is_one; // whether this lane has something to add up

    template <int N> DEVICE bool sum(double (&values)[N]) const {
        constexpr u32 WARPS = THREADS / 32;
        SHARED double of_warp[N][WARPS][32];
        const u32 lane = thread_index() % 32;
#pragma unroll
        for (int i = 0; i < N; i++) of_warp[i][thread_index() / 32][lane] = values[i];
        barrier();
#pragma unroll
        for (int i = 0; i < N; i++) {
            values[i] = 0.0;
#pragma unroll 1
            for (u32 warp = 0; warp < WARPS; warp++) values[i] += of_warp[i][warp][lane];
        }
        barrier();
        return thread_index() < 32 && is_one;
    }
};
