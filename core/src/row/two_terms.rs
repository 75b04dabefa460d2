//! Numbers in two terms of `f32`, as the kernels with one row a lane take them: temperatures, references, differences.

use crate::simd::Simd;
use core::f64::consts::LN_2;

/// Two vectors as an unevaluated sum.
pub(super) type Pair<V> = (V, V);

/// A number of `f64` in two of `f32`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "what is cut off is the second number")]
pub(super) fn split(x: f64) -> (f32, f32) {
    let high = x as f32;
    (high, (x - f64::from(high)) as f32)
}

/// `a - b` as an unevaluated sum of two vectors, exactly, barring overflow; NaN where one is infinite.
#[inline(always)]
pub(super) fn two_difference<L: Simd>(_: L, a: L::V, b: L::V) -> Pair<L::V> {
    let high = a - b;
    let v = high - a;
    (high, (a - (high - v)) - (b + v))
}

/// A distance in units of the inputs, times a factor in two terms.
#[inline(always)]
pub(super) fn times<L: Simd>(l: L, distance: L::V, (high, low): Pair<L::V>) -> L::V {
    l.fma(distance, high, distance * low)
}

/// The temperature: nats and bits to a unit of the inputs, in two terms each.
#[derive(Clone, Copy)]
pub(super) struct Scale<L: Simd> {
    pub(super) nats: Pair<L::V>,
    pub(super) bits: Pair<L::V>,
}

impl<L: Simd> Scale<L> {
    #[inline(always)]
    pub(super) fn new(l: L, nats: f64) -> Self {
        let pair = |(high, low)| (l.splat(high), l.splat(low));
        Self { nats: pair(split(nats)), bits: pair(split(nats / LN_2)) }
    }
}
