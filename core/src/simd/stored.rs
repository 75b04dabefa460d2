//! What vectors are loaded from and stored to: numbers as tensors keep them, and as an arithmetic computes them.

use super::Simd;
use crate::arithmetic::Arithmetic;
use crate::element::{Element, TensorMut};
use half::{bf16, f16};

/// A stored number that vectors of `f32` are made of and become.
pub(crate) trait Stored: Element {
    /// The first [`Simd::WIDTH`] numbers, exactly; 0 in the lanes beyond the end.
    fn load<L: Simd>(l: L, from: &[Self]) -> L::V;

    /// Writes as many lanes as there is room for, each rounded once.
    fn store<L: Simd>(l: L, v: L::V, to: &mut [Self]);

    /// The same past the caches, where the machine can; ended by [`Simd::fence`]. Halves, whose vectors are no whole
    /// cache line, are stored as ever, which is faster.
    fn stream<L: Simd>(l: L, v: L::V, to: &mut [Self]);

    /// Whether storing rounds.
    const IS_HALF: bool;

    /// The magnitude from which a number is rounded to infinity.
    const LIMIT: f32;

    /// A tensor's elements, where they are of this type.
    fn cells(tensor: TensorMut<'_>) -> Option<&mut [Self]>;
}

macro_rules! stored {
    ($($type:ty: $variant:ident, $limit:expr, $load:ident, $store:ident, $stream:ident;)+) => {$(
        impl Stored for $type {
            const IS_HALF: bool = size_of::<Self>() < size_of::<f32>();
            const LIMIT: f32 = $limit;

            #[inline(always)]
            fn cells(tensor: TensorMut<'_>) -> Option<&mut [Self]> {
                if let TensorMut::$variant(cells) = tensor { Some(cells) } else { None }
            }

            #[inline(always)]
            fn load<L: Simd>(l: L, from: &[Self]) -> L::V {
                l.$load(from)
            }

            #[inline(always)]
            fn store<L: Simd>(l: L, v: L::V, to: &mut [Self]) {
                l.$store(v, to);
            }

            #[inline(always)]
            fn stream<L: Simd>(l: L, v: L::V, to: &mut [Self]) {
                l.$stream(v, to);
            }
        }
    )+};
}

stored! {
    f32: F32, f32::INFINITY, load_f32, store_f32, stream_f32;
    f16: F16, 65_520.0, load_f16, store_f16, store_f16;
    bf16: Bf16, f32::from_bits(0x7f7f_8000), load_bf16, store_bf16, store_bf16;
}

/// Bytes of the smallest pages that machines with vectors have.
const PAGE: usize = 4096;

/// Has the machine look up the page behind the one that a piece of what is written front to back is the first of.
///
/// What is read is prefetched, and its page is found with it; a store whose page is not known holds up those behind it.
#[inline(always)]
pub(crate) fn foresee_page<L: Simd, E>(l: L, to: &[E]) {
    if to.as_ptr().addr() % PAGE < size_of_val(to) {
        l.prefetch(to, PAGE / size_of::<E>());
    }
}

/// A stored number that vectors of `f64` are made of.
pub(crate) trait Widened: Element {
    /// The first [`Simd::WIDTH`] numbers, exactly; 0 in the lanes beyond the end.
    fn load_wide<L: Simd>(l: L, from: &[Self]) -> [L::W; 2];
}

macro_rules! widened {
    ($($type:ty),+) => {$(
        impl Widened for $type {
            #[inline(always)]
            fn load_wide<L: Simd>(l: L, from: &[Self]) -> [L::W; 2] {
                l.widen(Self::load(l, from))
            }
        }
    )+};
}

widened!(f32, f16, bf16);

impl Widened for f64 {
    #[inline(always)]
    fn load_wide<L: Simd>(l: L, from: &[Self]) -> [L::W; 2] {
        // A load that a mask leaves nothing of is a slow one where there is no memory.
        match from.split_at_checked(L::WIDTH / 2) {
            Some((low, high)) if !high.is_empty() => [l.load_f64(low), l.load_f64(high)],
            _ => [l.load_f64(from), l.splat_f64(0.0)],
        }
    }
}

/// A computed number that vectors of `f32` are made of.
pub(crate) trait Rounded: Arithmetic {
    /// The first [`Simd::WIDTH`] numbers, each the nearest `f32`; 0 in the lanes beyond the end.
    fn load_rounded<L: Simd>(l: L, from: &[Self]) -> L::V;
}

impl Rounded for f32 {
    #[inline(always)]
    fn load_rounded<L: Simd>(l: L, from: &[Self]) -> L::V {
        l.load_f32(from)
    }
}

impl Rounded for f64 {
    #[inline(always)]
    fn load_rounded<L: Simd>(l: L, from: &[Self]) -> L::V {
        l.narrow(Self::load_wide(l, from))
    }
}
