// The device on a CPU, for tests under sanitizers: each thread of a block is a fiber, one block at a time.
//
// Threads meet in `exchange` and `barrier` as on the device; which warp runs next is drawn at random, and its lanes run
// upwards or downwards, so that what a missing barrier allows does happen. A fiber changes hands some hundred million
// times in a run, so it does that in a few instructions of its own, which are those of x86-64.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#define KERNEL(...) extern "C"
#define DEVICE inline
#define SHARED static

// Leaves a stack, whose top is kept, for another: what a function must not change lies on both.
extern "C" void densekd_change(void **kept, void *to);
asm(R"(
.pushsection .text
.globl densekd_change
.type densekd_change, @function
densekd_change:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
.size densekd_change, . - densekd_change
.popsection
)");

namespace device {
enum class Waits { NOT, FOR_LANES, FOR_BLOCK, FOR_EVER };

// What goes wrong on purpose, to see that it is found: threads pass barriers, a lane takes its own number for its
// neighbour's, a thread does the work of the next, a block does.
enum class Mistake { NONE, BARRIER, EXCHANGE, THREAD, BLOCK };

struct Fiber {
    std::vector<void *> stack;
    void *top;
    Waits waits;
    u32 members;
    float given, shown; // what this lane gives; what the others see since they met
};

inline std::vector<Fiber> fibers;
inline void *scheduler;
inline std::function<void()> kernel;
inline u32 current, block, blocks;
inline u64 seed = 1;
inline Mistake mistake = Mistake::NONE;
inline bool has_barrier, has_exchange; // whether the kernel came to one

inline u32 draw() {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(seed >> 33);
}

inline void wait(Waits what) {
    Fiber &fiber = fibers[current];
    fiber.waits = what;
    densekd_change(&fiber.top, scheduler);
}

inline void enter() {
    kernel();
    wait(Waits::FOR_EVER);
}

inline void start(u32 threads) {
    fibers.resize(threads);
    for (Fiber &fiber : fibers) {
        fiber.stack.resize(1 << 13), fiber.waits = Waits::NOT;
        // As after a call of `enter` that never returns, below six registers.
        void **const end = fiber.stack.data() + fiber.stack.size();
        end[-1] = nullptr, end[-2] = (void *)enter;
        fiber.top = end - 8;
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
        // All of them take what is shown before any meets again.
        for (u32 lane = 0; all && lane < 32; lane++)
            if (Fiber &one = fibers[warp + lane]; members >> lane & 1) one.waits = Waits::NOT, one.shown = one.given;
        met = met || all;
    }
    return met;
}

// Runs a warp until no lane of it can go on.
inline void run_warp(u32 warp) {
    for (bool more = true; more; more = meet(warp)) {
        const u32 flip = draw() & 1 ? 31 : 0;
        for (u32 lane = 0; lane < 32; lane++) {
            current = warp + (lane ^ flip);
            if (fibers[current].waits == Waits::NOT) densekd_change(&scheduler, fibers[current].top);
        }
    }
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

DEVICE u32 thread_index() {
    const bool is_next = device::mistake == device::Mistake::THREAD && device::current + 1 < device::fibers.size();
    return device::current + is_next;
}
DEVICE u32 anew(u32 number) { return number; }
DEVICE u32 block_index() { return device::block + (device::mistake == device::Mistake::BLOCK); }
DEVICE u32 block_count() { return device::blocks; }

DEVICE void barrier() {
    device::has_barrier = true;
    if (device::mistake != device::Mistake::BARRIER) device::wait(device::Waits::FOR_BLOCK);
}

DEVICE float exchange(u32 members, float value, u32 flip) {
    device::has_exchange = true;
    if (device::mistake == device::Mistake::EXCHANGE) return value;
    device::Fiber &own = device::fibers[device::current];
    own.given = value, own.members = members;
    device::wait(device::Waits::FOR_LANES);
    return device::fibers[device::current ^ flip].shown;
}

DEVICE bool all_of(u32 members, bool holds) {
    float all = holds;
    for (u32 flip = 1; flip < 32 && members >> (device::current % 32 ^ flip) & 1; flip *= 2)
        all = std::fmin(all, exchange(members, all, flip));
    return all > 0.0f;
}

DEVICE void stay() {}

// As much as any launch gives.
inline u32x4 densekd_dynamic[(128 << 10) / sizeof(u32x4)];
DEVICE u32x4 *dynamic_shared() { return densekd_dynamic; }

DEVICE float exp2_approx(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
DEVICE float log2_approx(float x) { return std::log2(x); }
DEVICE float product(float a, float b) { return a * b; }
DEVICE double product(double a, double b) { return a * b; }
DEVICE double square_root(double x) { return std::sqrt(x); }
DEVICE void set_bits(u32 *at, u32 bits) { *at |= bits; }
