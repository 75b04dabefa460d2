// Sums of rows, by a block each, and by the last block the sum of all: what a compiler makes of shuffles, barriers,
// shared memory, wide loads, halves and a ticket. rows.ptx comes of it by
//
//   clang-19 -x cuda --cuda-device-only -nocudainc -nocudalib -O3 -std=c++17 -S -Wall -Werror
//       --cuda-gpu-arch=sm_80 --cuda-feature=+ptx70 -o rows.ptx rows.cu
#define DEVICE static __attribute__((device, always_inline))
#define SHARED static __attribute__((shared))
typedef unsigned u32;
typedef u32 u32x4 __attribute__((ext_vector_type(4)));
constexpr u32 THREADS = 64;

DEVICE float from_half(u32 bits) { return (float)__builtin_bit_cast(_Float16, (unsigned short)bits); }

DEVICE float sum_of(float, u32x4 pack) {
    float sum = 0;
    for (int n = 0; n < 4; n++) {
        const u32 word = pack[n]; // clang 19 takes the bits of the first element, whichever is named
        sum += __builtin_bit_cast(float, word);
    }
    return sum;
}
DEVICE float sum_of(_Float16, u32x4 pack) {
    float sum = 0;
    for (int n = 0; n < 4; n++) sum += from_half(pack[n] & 0xffff) + from_half(pack[n] >> 16);
    return sum;
}

DEVICE float sum_of_block(float own) {
    SHARED float of_warp[THREADS / 32];
    const u32 thread = __nvvm_read_ptx_sreg_tid_x();
    for (int apart = 16; apart; apart /= 2) own += __nvvm_shfl_sync_bfly_f32(~0u, own, apart, 31);
    if (thread % 32 == 0) of_warp[thread / 32] = own;
    __syncthreads();
    float sum = 0;
    for (u32 n = 0; n < THREADS / 32; n++) sum += of_warp[n];
    return sum;
}

template <class T> DEVICE void sums(const T *rows, u32 packs, float *sums, double *whole, u32 *ticket) {
    SHARED bool last;
    const u32 thread = __nvvm_read_ptx_sreg_tid_x(), row = __nvvm_read_ptx_sreg_ctaid_x();
    const u32 count = __nvvm_read_ptx_sreg_nctaid_x();
    const u32x4 *entries = (const u32x4 *)rows + (unsigned long long)row * packs;
    float own = 0;
    for (u32 n = thread; n < packs; n += THREADS) own += sum_of(T(), entries[n]);
    const float sum = sum_of_block(own);
    if (thread == 0) {
        sums[row] = sum;
        __nvvm_membar_gl();
        last = __nvvm_atom_inc_gen_ui(ticket, count - 1) == count - 1;
    }
    __syncthreads();
    if (last && thread == 0) {
        double all = 0;
        for (u32 n = 0; n < count; n++) all += ((volatile float *)sums)[n];
        *whole = all;
    }
}

#define KERNEL(NAME, T)                                                                                     \
    extern "C" __attribute__((global, launch_bounds(THREADS))) void NAME(                                   \
        const T *rows, u32 packs, float *of_rows, double *whole, u32 *ticket) {                             \
        sums<T>(rows, packs, of_rows, whole, ticket);                                                       \
    }
KERNEL(sums_f32, float)
KERNEL(sums_f16, _Float16)
