//! Vectors of `f32`, of `f64` beside them where sums are to keep more, and of `f64` alone ([`Doubles`]): one trait, an
//! implementation for each instruction set, chosen once at the outermost call.
//!
//! A kernel is written once over [`Simd`] and run by [`on`]. Every method takes the token of its instruction
//! set, and a token exists only where the CPU was found to have it: that is the proof that each
//! implementation rests on. Everything below [`on`] is a named `#[inline(always)]` function, since what is not
//! inlined there is compiled for the baseline, a call for each operation.
//!
//! Results may differ between instruction sets in the last bits ([`Simd::fma`] rounds once where the machine
//! does), never between two runs on one.

#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx512;
mod doubles;
#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod intrinsics;
#[cfg(all(feature = "simd", target_arch = "aarch64"))]
mod neon;
mod plain;
mod stored;
#[cfg(test)]
mod tests;
mod twice;

pub(crate) use doubles::{Doubles, EIGHT, difference};
pub(crate) use stored::{Rounded, Stored, Widened, foresee_page};

use crate::isa::Isa;
use core::ops::{Add, Mul, Sub};
use half::{bf16, f16};

pub(crate) use twice::{Four, Twice};

/// A vector of any instruction set in memory, at a cache line of its own.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [f32; 16]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; 16]);
}

/// A vector of a square that is transposed.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
#[inline(always)]
fn row<L: Simd, E: Stored>(l: L, from: &[E], at: usize) -> L::V {
    E::load(l, from.get(at..).unwrap_or_default())
}

/// Stores the vectors of a transposed square.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
#[inline(always)]
fn store_lines<L: Simd, const N: usize>(l: L, columns: [L::V; N], to: &mut [Line]) {
    if let Some(to) = to.first_chunk_mut::<N>() {
        for (to, column) in to.iter_mut().zip(columns) {
            l.store_f32(column, &mut to.0);
        }
        return;
    }
    for (to, column) in to.iter_mut().zip(columns) {
        l.store_f32(column, &mut to.0);
    }
}

/// The vectors of a square, the last of them 0 where there are fewer lines.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
#[inline(always)]
fn load_lines<L: Simd, const N: usize>(l: L, from: &[Line]) -> [L::V; N] {
    let mut lines = [l.splat(0.0); N];
    for (to, from) in lines.iter_mut().zip(from) {
        *to = l.load_f32(&from.0);
    }
    lines
}

/// Stores vectors as rows, each over what the one before left beyond its own.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
#[inline(always)]
fn store_rows<L: Simd, const N: usize>(l: L, rows: [L::V; N], to: &mut [f32], pitch: usize) {
    for (i, row) in rows.into_iter().enumerate() {
        l.store_f32(row, to.get_mut(i * pitch..).unwrap_or_default());
    }
}

/// The operations of one instruction set; `self` is its token.
pub(crate) trait Simd: Copy {
    /// Lanes of a vector.
    const WIDTH: usize;
    /// Whether [`Self::fma`] rounds once.
    const FUSED: bool;
    /// Whether it has something for halves, so that a kernel that loads them is worth its code. Elsewhere they are widened
    /// first, and the kernel is that of `f32`.
    const WIDENS: bool;
    /// A vector.
    type V: Copy + Add<Output = Self::V> + Sub<Output = Self::V> + Mul<Output = Self::V>;
    /// A vector of `f64`, of half as many lanes.
    type W: Copy + Add<Output = Self::W> + Sub<Output = Self::W> + Mul<Output = Self::W>;
    /// One truth a lane.
    type M: Copy;
    /// The same instruction set over `f64`.
    type Doubles: Doubles;

    /// Its token.
    fn doubles(self) -> Self::Doubles;

    /// Runs a part of a kernel in a function of its own. For what takes longer than a call: with every form that a kernel
    /// may take in one function, compilers take minutes, and whoever calls the same part has it again.
    fn call<P: Part<Self>>(self, part: P) -> P::Output;

    /// The same number in every lane.
    fn splat(self, x: f32) -> Self::V;

    /// The same number in every lane.
    fn splat_f64(self, x: f64) -> Self::W;

    /// The first half as many as [`Self::WIDTH`] numbers; 0 in the lanes beyond the end.
    fn load_f64(self, from: &[f64]) -> Self::W;

    /// Writes as many lanes as there is room for.
    fn store_f64(self, w: Self::W, to: &mut [f64]);

    /// The lower and the upper half of the lanes, exactly.
    fn widen(self, v: Self::V) -> [Self::W; 2];

    /// The nearest `f32` of each lane, ties to even: what [`Self::widen`] undoes.
    fn narrow(self, w: [Self::W; 2]) -> Self::V;

    /// `a * b + c`, rounded once where [`Self::FUSED`].
    fn fma_f64(self, a: Self::W, b: Self::W, c: Self::W) -> Self::W;

    /// The sum of the lanes, in one order.
    fn sum_f64(self, w: Self::W) -> f64;

    /// The first [`Self::WIDTH`] numbers; 0 in the lanes beyond the end.
    fn load_f32(self, from: &[f32]) -> Self::V;

    /// The same from `f16`, exactly.
    fn load_f16(self, from: &[f16]) -> Self::V;

    /// The same from `bf16`, exactly.
    fn load_bf16(self, from: &[bf16]) -> Self::V;

    /// Writes as many lanes as there is room for.
    fn store_f32(self, v: Self::V, to: &mut [f32]);

    /// The same, rounded to the nearest `f16`, ties to even.
    fn store_f16(self, v: Self::V, to: &mut [f16]);

    /// The same, rounded to the nearest `bf16`, ties to even.
    fn store_bf16(self, v: Self::V, to: &mut [bf16]);

    /// [`Self::store_f32`] past the caches, where the machine can and the place is aligned; ended by
    /// [`Self::fence`].
    #[inline(always)]
    fn stream_f32(self, v: Self::V, to: &mut [f32]) {
        self.store_f32(v, to);
    }

    /// Orders what was streamed before it before every later store.
    #[inline(always)]
    fn fence(self) {}

    /// Asks for the cache line so many elements after the head of the slice, which may lie beyond its end.
    #[inline(always)]
    fn prefetch<T>(self, from: &[T], ahead: usize) {
        let _ = (from, ahead);
    }

    /// `a * b + c`, rounded once where [`Self::FUSED`].
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The larger; unspecified which where a lane is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;

    /// The magnitude.
    fn abs(self, v: Self::V) -> Self::V;

    /// The larger magnitude; unspecified which where a lane is NaN.
    #[inline(always)]
    fn max_abs(self, a: Self::V, b: Self::V) -> Self::V {
        self.max(self.abs(a), self.abs(b))
    }

    /// `x - floor(x)`, in 0..=1; unspecified for an infinity.
    fn fraction(self, x: Self::V) -> Self::V;

    /// `p * 2^floor(x)` for p in 1/2..=4 and x below 127, infinity from 129 on; where it is below the smallest
    /// normal number, it or 0. NaN where p is NaN.
    fn scale(self, p: Self::V, x: Self::V) -> Self::V;

    /// Where `a < b`.
    fn less(self, a: Self::V, b: Self::V) -> Self::M;

    /// The first `n` lanes.
    fn first(self, n: usize) -> Self::M;

    /// Where both are true.
    fn and(self, a: Self::M, b: Self::M) -> Self::M;

    /// Where it is false.
    fn not(self, m: Self::M) -> Self::M;

    /// Whether it is true anywhere.
    fn any(self, m: Self::M) -> bool;

    /// `a` where true, `b` elsewhere.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;

    /// The sum of the lanes in `f64`, in one order.
    fn sum(self, v: Self::V) -> f64;

    /// The largest lane; unspecified where one is NaN.
    fn largest(self, v: Self::V) -> f32;

    /// A bit for each lane that is true, the first the lowest; of the first sixteen lanes.
    #[inline(always)]
    fn bits(self, m: Self::M) -> u32 {
        let mut lanes = [0.0; 16];
        self.store_f32(self.select(m, self.splat(1.0), self.splat(0.0)), &mut lanes);
        lanes.iter().rev().fold(0, |bits, lane| bits << 1 | u32::from(*lane != 0.0))
    }

    /// Rows for columns: entry j of row i, which begins at `i * pitch`, into lane i of line j, for as many rows as
    /// there are lanes, and as many entries or lines, if these are fewer. 0 beyond the end of the slice.
    #[inline(always)]
    fn transpose<E: Stored>(self, from: &[E], pitch: usize, to: &mut [Line]) {
        for (j, line) in to.iter_mut().enumerate().take(Self::WIDTH) {
            for (i, lane) in line.0.iter_mut().enumerate().take(Self::WIDTH) {
                *lane = from.get(i * pitch + j).map_or(0.0, |x| x.widen());
            }
        }
    }

    /// Columns for rows, the way back: lane i of line j to entry j of row i, which begins at `i * pitch`, for as many rows
    /// as there are lanes, and as many entries, or lines, if these are fewer. What follows an entry in the last
    /// vector of a row may be overwritten by anything.
    #[inline(always)]
    fn transpose_back(self, from: &[Line], to: &mut [f32], pitch: usize) {
        for (j, line) in from.iter().enumerate().take(Self::WIDTH) {
            for (i, lane) in line.0.iter().enumerate().take(Self::WIDTH) {
                if let Some(to) = to.get_mut(i * pitch + j) {
                    *to = *lane;
                }
            }
        }
    }

    /// 2^x within 1.5e-7 of itself for x below 127, infinity from 129 on; below the smallest normal number, it or
    /// 0; NaN for NaN; unspecified for -inf.
    ///
    /// Source: polynomials for 2^f on 0..=1, minimax for the relative error. Fused, one of degree 5 and 1 at 0 is
    /// enough (8.2e-8); where each step rounds twice, only one of degree 6 leaves room for that (1.9e-9).
    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        if !Self::FUSED {
            return self.exp2_fine(x);
        }
        self.scale(horner(self, self.fraction(x), EXP2_FUSED), x)
    }

    /// The same by the polynomial of degree 6, whose error is far below the roundings: for sums that are subtracted.
    #[inline(always)]
    fn exp2_fine(self, x: Self::V) -> Self::V {
        self.scale(horner(self, self.fraction(x), EXP2), x)
    }
}

/// A polynomial of coefficients of rising degree.
#[inline(always)]
pub(crate) fn horner<L: Simd, const N: usize>(l: L, x: L::V, coefficients: [f32; N]) -> L::V {
    let mut terms = coefficients.into_iter().rev();
    let mut p = l.splat(terms.next().unwrap_or(0.0));
    for c in terms {
        p = l.fma(p, x, l.splat(c));
    }
    p
}

/// Coefficients of 2^f on 0..=1, of rising degree.
#[allow(clippy::approx_constant, reason = "minimax coefficients near those of the series")]
const EXP2: [f32; 7] = [1.0, 0.693_147, 0.240_229_84, 5.548_334e-2, 9.678_84e-3, 1.243_97e-3, 2.170_221e-4];
const EXP2_FUSED: [f32; 6] = [1.0, 0.693_151_3, 0.240_164_49, 5.579_989_8e-2, 9.017_037e-3, 1.867_130_2e-3];

/// A loop over vectors of any instruction set.
pub(crate) trait Vectors {
    /// What it returns.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`, and so is all that they call but by [`Simd::call`].
    fn run<L: Simd>(self, l: L) -> Self::Output;
}

/// A part of a kernel on an instruction set, for [`Simd::call`].
pub(crate) trait Part<L> {
    /// What it returns.
    type Output;

    /// Runs it, as [`Vectors::run`] does.
    fn run(self, l: L) -> Self::Output;
}

/// The whole of one.
struct Whole<K>(K);

impl<L: Simd, K: Vectors> Part<L> for Whole<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run(self, l: L) -> K::Output {
        self.0.run(l)
    }
}

/// Runs a loop on an instruction set; on the plain form where this CPU does not have it.
///
/// Not `#[inline]`: whole kernels would be compiled again with each unit of code that calls one.
pub(crate) fn on<K: Vectors>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    match isa {
        Isa::Avx512 => {
            if let Some(token) = avx512::Avx512::detect() {
                return token.call(Whole(kernel));
            }
        }
        Isa::Avx2 => {
            if let Some(token) = avx2::Avx2::detect() {
                return token.call(Whole(kernel));
            }
        }
        Isa::Neon | Isa::Plain => {}
    }
    #[cfg(all(feature = "simd", target_arch = "aarch64"))]
    if isa == Isa::Neon {
        if let Some(token) = neon::Neon::detect() {
            return token.call(Whole(kernel));
        }
    }
    let _ = isa;
    plain::Plain.call(Whole(kernel))
}
