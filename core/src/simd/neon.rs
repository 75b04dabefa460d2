//! Advanced SIMD of 64-bit Arm: four lanes. Half precision is converted lane by lane.

#![allow(
    unsafe_code,
    reason = "intrinsics, proven by the token, and loads and stores at addresses that slices give"
)]

use super::intrinsics::{op, operators};
use super::{Part, Simd};
use crate::element::Element;
use crate::isa::has;
#[allow(clippy::wildcard_imports, reason = "intrinsics, each by its full name")]
use core::arch::aarch64::*;
use core::ops::{Add, Mul, Sub};
use half::{bf16, f16};

/// Proof that this CPU has Advanced SIMD.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn detect() -> Option<Self> {
        has::NEON.then_some(Self(()))
    }
}

/// A vector; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

operators! { F32x4:
    Add add vaddq_f32;
    Sub sub vsubq_f32;
    Mul mul vmulq_f32;
}

/// A vector of `f64`; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F64x2(float64x2_t);

operators! { F64x2:
    Add add vaddq_f64;
    Sub sub vsubq_f64;
    Mul mul vmulq_f64;
}

/// The lanes as they lie in memory.
#[inline(always)]
fn array(v: F32x4) -> [f32; 4] {
    let mut out = [0.0; 4];
    // SAFETY: the array has room for four numbers; a vector exists, so the CPU has the instruction.
    unsafe { vst1q_f32(out.as_mut_ptr(), v.0) };
    out
}

#[inline(always)]
fn vector(lanes: [f32; 4], _token: Neon) -> F32x4 {
    // SAFETY: the array has four numbers; the token proves the features.
    F32x4(unsafe { vld1q_f32(lanes.as_ptr()) })
}

#[inline(always)]
fn load<E: Element>(from: &[E], token: Neon) -> F32x4 {
    let mut out = [0.0; 4];
    for (out, from) in out.iter_mut().zip(from) {
        *out = from.widen();
    }
    vector(out, token)
}

#[inline(always)]
fn store<E: Element>(v: F32x4, to: &mut [E]) {
    for (to, v) in to.iter_mut().zip(array(v)) {
        *to = E::narrow(v);
    }
}

impl Simd for Neon {
    const WIDTH: usize = 4;
    const FUSED: bool = true;
    const WIDENS: bool = true;
    type V = F32x4;
    type W = F64x2;
    type M = uint32x4_t;
    type Doubles = Self;

    #[inline(never)]
    fn call<P: Part<Self>>(self, part: P) -> P::Output {
        part.run(self)
    }

    #[inline(always)]
    fn doubles(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        F32x4(op!(vdupq_n_f32(x)))
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> F64x2 {
        F64x2(op!(vdupq_n_f64(x)))
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64]) -> F64x2 {
        let two = match *from {
            [a, b, ..] => [a, b],
            [a] => [a, 0.0],
            [] => [0.0; 2],
        };
        // SAFETY: the array has two numbers; the token proves the features.
        F64x2(unsafe { vld1q_f64(two.as_ptr()) })
    }

    #[inline(always)]
    fn store_f64(self, w: F64x2, to: &mut [f64]) {
        let mut two = [0.0; 2];
        // SAFETY: the array has room for two numbers; a vector exists, so the CPU has the instruction.
        unsafe { vst1q_f64(two.as_mut_ptr(), w.0) };
        to.iter_mut().zip(two).for_each(|(to, from)| *to = from);
    }

    #[inline(always)]
    fn widen(self, v: F32x4) -> [F64x2; 2] {
        let low = op!(vget_low_f32(v.0));
        [F64x2(op!(vcvt_f64_f32(low))), F64x2(op!(vcvt_high_f64_f32(v.0)))]
    }

    #[inline(always)]
    fn narrow(self, [low, high]: [F64x2; 2]) -> F32x4 {
        let low = op!(vcvt_f32_f64(low.0));
        F32x4(op!(vcvt_high_f32_f64(low, high.0)))
    }

    #[inline(always)]
    fn fma_f64(self, a: F64x2, b: F64x2, c: F64x2) -> F64x2 {
        F64x2(op!(vfmaq_f64(c.0, a.0, b.0)))
    }

    #[inline(always)]
    fn sum_f64(self, w: F64x2) -> f64 {
        op!(vaddvq_f64(w.0))
    }

    #[inline(always)]
    fn load_f32(self, from: &[f32]) -> F32x4 {
        match from.first_chunk() {
            Some(whole) => vector(*whole, self),
            None => load(from, self),
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> F32x4 {
        load(from, self)
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> F32x4 {
        load(from, self)
    }

    #[inline(always)]
    fn store_f32(self, v: F32x4, to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(whole) => *whole = array(v),
            None => store(v, to),
        }
    }

    #[inline(always)]
    fn store_f16(self, v: F32x4, to: &mut [f16]) {
        store(v, to);
    }

    #[inline(always)]
    fn store_bf16(self, v: F32x4, to: &mut [bf16]) {
        store(v, to);
    }

    #[inline(always)]
    fn fma(self, a: F32x4, b: F32x4, c: F32x4) -> F32x4 {
        F32x4(op!(vfmaq_f32(c.0, a.0, b.0)))
    }

    #[inline(always)]
    fn max(self, a: F32x4, b: F32x4) -> F32x4 {
        F32x4(op!(vmaxq_f32(a.0, b.0)))
    }

    #[inline(always)]
    fn abs(self, v: F32x4) -> F32x4 {
        F32x4(op!(vabsq_f32(v.0)))
    }

    #[inline(always)]
    fn fraction(self, x: F32x4) -> F32x4 {
        let floor = op!(vrndmq_f32(x.0));
        F32x4(op!(vsubq_f32(x.0, floor)))
    }

    #[inline(always)]
    fn scale(self, p: F32x4, x: F32x4) -> F32x4 {
        // The least and the largest of the biased exponents are those of 0 and of infinity.
        let floor = op!(vrndmq_f32(x.0));
        let lowest = op!(vdupq_n_f32(-127.0));
        let floor = op!(vmaxq_f32(floor, lowest));
        let highest = op!(vdupq_n_f32(128.0));
        let floor = op!(vminq_f32(floor, highest));
        let n = op!(vcvtq_s32_f32(floor));
        let bias = op!(vdupq_n_s32(127));
        let biased = op!(vaddq_s32(n, bias));
        let bits = op!(vshlq_n_s32::<23>(biased));
        let power = op!(vreinterpretq_f32_s32(bits));
        F32x4(op!(vmulq_f32(p.0, power)))
    }

    #[inline(always)]
    fn less(self, a: F32x4, b: F32x4) -> uint32x4_t {
        op!(vcltq_f32(a.0, b.0))
    }

    #[inline(always)]
    fn first(self, n: usize) -> uint32x4_t {
        let index = vector([0.0, 1.0, 2.0, 3.0], self);
        #[allow(clippy::cast_precision_loss, reason = "at most four")]
        let n = self.splat(n.min(4) as f32);
        self.less(index, n)
    }

    #[inline(always)]
    fn and(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        op!(vandq_u32(a, b))
    }

    #[inline(always)]
    fn not(self, m: uint32x4_t) -> uint32x4_t {
        op!(vmvnq_u32(m))
    }

    #[inline(always)]
    fn any(self, m: uint32x4_t) -> bool {
        op!(vmaxvq_u32(m)) != 0
    }

    #[inline(always)]
    fn select(self, m: uint32x4_t, a: F32x4, b: F32x4) -> F32x4 {
        F32x4(op!(vbslq_f32(m, a.0, b.0)))
    }

    #[inline(always)]
    fn sum(self, v: F32x4) -> f64 {
        let [low, high] = self.widen(v);
        self.sum_f64(low + high)
    }

    #[inline(always)]
    fn largest(self, v: F32x4) -> f32 {
        op!(vmaxvq_f32(v.0))
    }
}
