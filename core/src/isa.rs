//! Instruction sets: which there are, which this CPU has, and the loops that are compiled once for each.
//!
//! Two kinds of loops. Those behind [`dispatch_on`] are plain Rust without a fused multiply-add, so every
//! instruction set gives the same bits; a wider one only takes more entries at a time. Those over
//! [`crate::simd::Simd`] are run on the instruction set that the caller names, and round as it does. Without
//! the feature `simd` there is one plain form of either and no unsafe code.

use crate::names::choice;

choice! {
    /// An instruction set that the vector kernels have a form for.
    ///
    /// Results of two may differ in the last bits; on one, they are the same for any number of threads.
    ///
    /// ```
    /// use densekd_core::Isa;
    /// assert!(Isa::detect().is_available() && Isa::Plain.is_available());
    /// assert_eq!("avx2".parse(), Ok(Isa::Avx2));
    /// ```
    Isa, "instruction set" {
        /// AVX-512 F, VL, DQ and BW: sixteen lanes.
        Avx512 = "avx512",
        /// AVX2 with FMA and F16C: eight lanes.
        Avx2 = "avx2",
        /// Advanced SIMD of 64-bit Arm: four lanes.
        Neon = "neon",
        /// Portable Rust: the exact engine alone.
        Plain = "plain",
    }
}

impl Isa {
    /// The widest that this CPU has.
    pub fn detect() -> Self {
        let mut all = Self::ALL.iter().copied();
        all.find(|isa| isa.is_available()).unwrap_or(Self::Plain)
    }

    /// Whether this CPU has it, and the library was built with it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Avx512 => has::avx512(),
            Self::Avx2 => has::avx2(),
            Self::Neon => has::NEON,
            Self::Plain => true,
        }
    }

    /// Whether kernels over vectors are worth it: lane by lane they are slower than the exact engine's loops, which
    /// are the plain form of what they do.
    pub(crate) fn has_vectors(self) -> bool {
        cfg!(feature = "simd") && self != Self::Plain
    }

    /// Those that this CPU has, the widest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|isa| isa.is_available())
    }
}

/// What was detected, asked of the CPU once.
pub(crate) mod has {
    /// 64-bit Arm always has it.
    pub(crate) const NEON: bool = cfg!(all(feature = "simd", target_arch = "aarch64"));

    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    mod x86 {
        use core::arch::x86_64::__cpuid;
        use core::sync::atomic::{AtomicU8, Ordering};

        cpufeatures::new!(wide, "avx512f", "avx512vl", "avx512dq", "avx512bw", "avx2", "fma");
        cpufeatures::new!(middle, "avx2", "fma");

        pub(crate) fn avx512() -> bool {
            wide::get() && f16c()
        }

        pub(crate) fn avx2() -> bool {
            middle::get() && f16c()
        }

        /// F16C, which `cpufeatures` does not know: bit 29 of leaf 1. That the system saves its registers is a
        /// part of AVX2.
        fn f16c() -> bool {
            const UNKNOWN: u8 = 2;
            static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);
            let mut found = FOUND.load(Ordering::Relaxed);
            if found == UNKNOWN {
                found = u8::from(__cpuid(1).ecx & 1 << 29 != 0);
                FOUND.store(found, Ordering::Relaxed);
            }
            found == 1
        }
    }

    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    pub(crate) use x86::{avx2, avx512};

    #[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
    pub(crate) const fn avx512() -> bool {
        false
    }

    #[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
    pub(crate) const fn avx2() -> bool {
        false
    }
}

/// A loop: everything in it must be inlined, or it is compiled for the baseline after all.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// Runs a kernel in the form of an instruction set; in that of the baseline where this CPU does not have it.
#[inline]
#[cfg_attr(
    all(feature = "simd", target_arch = "x86_64"),
    allow(unsafe_code, reason = "calling a function compiled for an instruction set that was just detected")
)]
pub(crate) fn dispatch_on<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
        fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
            kernel.run()
        }

        #[target_feature(enable = "avx2")]
        fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
            kernel.run()
        }

        if isa == Isa::Avx512 && has::avx512() {
            // SAFETY: the features that the function was compiled for were detected on this CPU.
            return unsafe { with_avx512(kernel) };
        }
        if isa == Isa::Avx2 && has::avx2() {
            // SAFETY: the feature that the function was compiled for was detected on this CPU.
            return unsafe { with_avx2(kernel) };
        }
    }
    let _ = isa;
    kernel.run()
}

/// Runs a kernel in the widest form that this CPU has.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    dispatch_on(Isa::detect(), kernel)
}
