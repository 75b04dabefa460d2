// The device on a CPU, for tests under sanitizers: each thread of a block is a fiber, one block at a time.
//
// Threads meet in `exchange` and `barrier` as on the device; which warp runs next is drawn at random, and its lanes run
// upwards or downwards, so that what a missing barrier allows does happen.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <ucontext.h>
#include <vector>

#define KERNEL(THREADS) extern "C"
#define DEVICE inline
#define SHARED static

namespace device {
enum class Waits { NOT, FOR_LANES, FOR_BLOCK, FOR_EVER };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    Waits waits;
    u32 members;
    float given;
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline std::function<void()> kernel;
inline u32 current, block, blocks;
inline u64 seed = 1;

inline u32 draw() {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(seed >> 33);
}

inline void wait(Waits what) {
    Fiber &fiber = fibers[current];
    fiber.waits = what;
    swapcontext(&fiber.context, &scheduler);
}

inline void enter() {
    kernel();
    wait(Waits::FOR_EVER);
}

inline void start(u32 threads) {
    fibers.resize(threads);
    for (Fiber &fiber : fibers) {
        fiber.stack.resize(1 << 17), fiber.waits = Waits::NOT;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data(), fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, enter, 0);
    }
}

// Lets those go on that all of their team wait for. Whether there were any.
inline bool meet(u32 warp) {
    bool met = false;
    for (u32 i = warp; i < warp + 32; i++) {
        if (fibers[i].waits != Waits::FOR_LANES) continue;
        const u32 members = fibers[i].members;
        bool all = true;
        for (u32 lane = 0; lane < 32; lane++) {
            const Fiber &other = fibers[warp + lane];
            if (members >> lane & 1) all = all && other.waits == Waits::FOR_LANES && other.members == members;
        }
        for (u32 lane = 0; all && lane < 32; lane++)
            if (members >> lane & 1) fibers[warp + lane].waits = Waits::NOT;
        met = met || all;
    }
    return met;
}

// Runs a warp until no lane of it can go on. Whether one could.
inline bool run_warp(u32 warp) {
    bool ran = false;
    for (bool more = true; more; more = meet(warp)) {
        const u32 flip = draw() & 1 ? 31 : 0;
        for (u32 lane = 0; lane < 32; lane++) {
            current = warp + (lane ^ flip);
            if (fibers[current].waits != Waits::NOT) continue;
            ran = true;
            swapcontext(&scheduler, &fibers[current].context);
        }
    }
    return ran;
}

inline u32 count(Waits what) {
    u32 count = 0;
    for (const Fiber &fiber : fibers) count += fiber.waits == what;
    return count;
}

inline void launch(u32 of_blocks, u32 threads, std::function<void()> of) {
    kernel = of, blocks = of_blocks;
    for (block = 0; block < blocks; block++) {
        start(threads);
        while (count(Waits::FOR_EVER) < threads) {
            run_warp(draw() % (threads / 32) * 32);
            if (count(Waits::NOT) > 0) continue;
            if (count(Waits::FOR_BLOCK) == threads) {
                for (Fiber &fiber : fibers) fiber.waits = Waits::NOT;
            } else if (count(Waits::FOR_EVER) < threads) {
                std::fprintf(stderr, "not all threads come to a barrier or an exchange\n");
                std::abort();
            }
        }
    }
}
} // namespace device

DEVICE u32 thread_index() { return device::current; }
DEVICE u32 block_index() { return device::block; }
DEVICE u32 block_count() { return device::blocks; }
DEVICE void barrier() { device::wait(device::Waits::FOR_BLOCK); }

DEVICE float exchange(u32 members, float value, u32 flip) {
    device::Fiber &own = device::fibers[device::current];
    own.given = value, own.members = members;
    device::wait(device::Waits::FOR_LANES);
    const float taken = device::fibers[device::current ^ flip].given;
    // Nobody gives the next number before all have taken this one.
    device::wait(device::Waits::FOR_LANES);
    return taken;
}

DEVICE float exp2_approx(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
DEVICE float log2_approx(float x) { return std::log2(x); }
DEVICE float product(float a, float b) { return a * b; }
DEVICE double square_root(double x) { return std::sqrt(x); }
DEVICE void set_bits(u32 *at, u32 bits) { *at |= bits; }
