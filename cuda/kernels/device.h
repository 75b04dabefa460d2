// What the kernels need of the device, without a toolkit's headers: one name for each builtin of clang.
#pragma once
using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned;
using u64 = unsigned long long;
constexpr int THREADS = 256; // of a block, where nothing else is said

typedef u32 u32x4 __attribute__((ext_vector_type(4)));

#ifdef __CUDA__
// A kernel of blocks of so many threads, and for how many of these a multiprocessor is to have registers: one where
// nothing is said.
#define KERNEL(...) BOUNDED(__VA_ARGS__, 1, 0)
#define BOUNDED(THREADS, BLOCKS, ...) extern "C" __attribute__((global, launch_bounds(THREADS, BLOCKS)))
#define DEVICE __attribute__((device, always_inline)) inline
#define SHARED static __attribute__((shared))

// Shared memory that the launch gives, behind what kernels declare.
DEVICE u32x4 *dynamic_shared() {
    extern __attribute__((shared)) u32x4 densekd_dynamic[];
    return densekd_dynamic;
}

DEVICE u32 thread_index() { return __nvvm_read_ptx_sreg_tid_x(); }
// The same as a number of which the compiler knows nothing: what is made of it is made where it is wanted, not kept in
// registers through all that comes before.
DEVICE u32 anew(u32 number) {
    asm volatile("" : "+r"(number));
    return number;
}
DEVICE u32 block_index() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 block_count() { return __nvvm_read_ptx_sreg_nctaid_x(); }

// All threads of the block meet here; what they wrote to shared memory before is seen after.
DEVICE void barrier() { __syncthreads(); }

// The value of the lane whose number differs in the bits of `flip`. The lanes of `members` meet here.
DEVICE float exchange(u32 members, float value, u32 flip) {
    return __nvvm_shfl_sync_bfly_f32(members, value, flip, 31);
}

// Whether it holds for all lanes of `members`, which meet here.
DEVICE bool all_of(u32 members, bool holds) { return __nvvm_vote_all_sync(members, holds); }

// Keeps what follows on this way: constants of one of two ways are set before they part otherwise, for both.
DEVICE void stay() { asm volatile(""); }

// 2^x and log2 x to about 2 ulp; 2^-inf = 0, log2 0 = -inf.
DEVICE float exp2_approx(float x) { return __nvvm_ex2_approx_ftz_f(x); }
DEVICE float log2_approx(float x) { return __nvvm_lg2_approx_ftz_f(x); }

#if __CUDA_ARCH__ >= 800
// Two numbers rounded to f16, to bf16, by one instruction; NaN is 0x7fff.
#define ROUNDS_PAIRS
DEVICE u32 halves(float low, float high) { return __builtin_bit_cast(u32, __nvvm_ff2f16x2_rn(high, low)); }
DEVICE u32 brain_halves(float low, float high) { return __builtin_bit_cast(u32, __nvvm_ff2bf16x2_rn(high, low)); }
#endif

// a * b rounded by itself, never as a part of a fused sum.
DEVICE float product(float a, float b) { return __nvvm_mul_rn_f(a, b); }
DEVICE double product(double a, double b) { return __nvvm_mul_rn_d(a, b); }
DEVICE double square_root(double x) { return __nvvm_sqrt_rn_d(x); }

DEVICE void set_bits(u32 *at, u32 bits) { __nvvm_atom_or_gen_i((int *)at, (int)bits); }
#else
#include "check/host.h"
#endif

DEVICE u32 thread_index_anew() { return anew(thread_index()); }

template <class To, class From> DEVICE To bits(From from) { return __builtin_bit_cast(To, from); }

// Of lambdas: one that is called in two places is a call with its captures in memory otherwise.
#define INLINE __attribute__((always_inline))

DEVICE double exchange(u32 members, double value, u32 flip) {
    const u64 word = bits<u64>(value);
    const float low = exchange(members, bits<float>((u32)word), flip);
    const float high = exchange(members, bits<float>((u32)(word >> 32)), flip);
    return bits<double>((u64)bits<u32>(high) << 32 | bits<u32>(low));
}
