//! The inner loops, compiled once an instruction set and picked at run time.
//!
//! The loops themselves are plain Rust without a fused multiply-add, so every instruction set gives the same
//! bits; a wider one only takes more entries at a time. Without the feature `simd` (or off `x86_64`) there is
//! one plain form and no unsafe code.

/// A loop: everything in it must be inlined, or it is compiled for the baseline after all.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// Runs a kernel in the widest form that this CPU has.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
#[inline]
#[allow(unsafe_code, reason = "calling a function compiled for an instruction set that was just detected")]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    cpufeatures::new!(avx512, "avx512f", "avx512vl", "avx512dq", "avx512bw");
    cpufeatures::new!(avx2, "avx2");

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
    fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }

    #[target_feature(enable = "avx2")]
    fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }

    if avx512::get() {
        // SAFETY: the features that the function was compiled for were detected on this CPU.
        unsafe { with_avx512(kernel) }
    } else if avx2::get() {
        // SAFETY: the feature that the function was compiled for was detected on this CPU.
        unsafe { with_avx2(kernel) }
    } else {
        kernel.run()
    }
}

/// Runs a kernel.
#[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
