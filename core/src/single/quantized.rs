//! Rows of int8, as `TFLite` and `CMSIS-NN` store them.

use super::Row;
use super::row::first;

/// `scale (x - zero_point)` as `f32`, rounded once: what dequantisation gives.
#[inline(always)]
fn dequantised(x: i8, scale: f32, zero_point: i32) -> f32 {
    #[allow(clippy::cast_precision_loss, reason = "exact below 2^24: zero points are those of int8")]
    let steps = i32::from(x).wrapping_sub(zero_point) as f32;
    scale * steps
}

/// A row of int8 with one scale and zero point: of a tensor quantised as a whole, or one channel of a map whose channels
/// have scales of their own.
///
/// The numbers are those that `TFLite`'s dequantisation gives, `scale (x - zero_point)` rounded to `f32`; value and gradient
/// (to these numbers, not to the stored steps) are as exact as of any row of `f32`.
///
/// ```
/// use densekd_core::single::{Polynomial, Quantized, RowKl};
/// let Some(loss) = RowKl::<Polynomial>::new(4.0) else { return };
/// let (teacher, student) = (Quantized::new(&[10, -20, 40], 0.05, -3), Quantized::new(&[4, 0, 25], 0.08, 0));
/// let mut gradient = [0.0; 3];
/// let kl = loss.gradient(&teacher, &student, 16.0, &mut gradient);
/// let as_floats = loss.value(&[0.65_f32, -0.85, 2.15], &[0.32_f32, 0.0, 2.0]);
/// assert!(kl > 0.0 && (kl / as_floats - 1.0).abs() < 1e-5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    values: &'a [i8],
    scale: f32,
    zero_point: i32,
}

impl<'a> Quantized<'a> {
    /// The stored row, and what its numbers mean. A scale that is no number makes numbers that are none.
    pub const fn new(values: &'a [i8], scale: f32, zero_point: i32) -> Self {
        Self { values, scale, zero_point }
    }
}

impl Row for Quantized<'_> {
    #[inline(always)]
    fn entries(&self) -> usize {
        self.values.len()
    }

    #[inline(always)]
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        let (scale, zero_point) = (self.scale, self.zero_point);
        first(self.values, len).iter().map(move |&x| dequantised(x, scale, zero_point))
    }

    #[inline(always)]
    fn some(&self, len: usize, step: usize) -> impl Iterator<Item = f32> {
        let (scale, zero_point) = (self.scale, self.zero_point);
        first(self.values, len).iter().step_by(step).map(move |&x| dequantised(x, scale, zero_point))
    }
}

/// A position's channels in int8, each with a scale and zero point of its own. As long as the shortest of the three.
///
/// ```
/// use densekd_core::single::{Polynomial, Quantized, QuantizedChannels, RowKl};
/// let Some(loss) = RowKl::<Polynomial>::new(1.0) else { return };
/// let (x, other) = ([10, -20, 40], Quantized::new(&[4, 0, 25], 0.08, 0));
/// let channels = QuantizedChannels::new(&x, &[0.05; 3], &[-3; 3]);
/// assert_eq!(loss.value(&channels, &other), loss.value(&Quantized::new(&x, 0.05, -3), &other));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuantizedChannels<'a> {
    values: &'a [i8],
    scales: &'a [f32],
    zero_points: &'a [i32],
}

impl<'a> QuantizedChannels<'a> {
    /// The stored row, and each channel's meaning.
    pub const fn new(values: &'a [i8], scales: &'a [f32], zero_points: &'a [i32]) -> Self {
        Self { values, scales, zero_points }
    }
}

impl Row for QuantizedChannels<'_> {
    #[inline(always)]
    fn entries(&self) -> usize {
        self.values.len().min(self.scales.len()).min(self.zero_points.len())
    }

    #[inline(always)]
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        let steps = self.values.iter().zip(self.scales).zip(self.zero_points);
        steps.take(len).map(|((&x, &scale), &zero_point)| dequantised(x, scale, zero_point))
    }
}
