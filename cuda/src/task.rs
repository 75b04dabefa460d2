//! What a kernel is asked for.

use crate::strategy::{Asked, Strategy};
use densekd_core::{Divergence, Norm, Plan, Samples};

/// The parameter of the kernels: the same bytes as `Task` in `kernels/task.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Task {
    pub(crate) teacher: u64,
    pub(crate) student: u64,
    pub(crate) to_student: u64,
    pub(crate) to_teacher: u64,
    pub(crate) mask: u64,
    pub(crate) values: u64,
    pub(crate) parts: u64,
    pub(crate) whole: u64,
    pub(crate) part_totals: u64,
    pub(crate) totals: u64,
    pub(crate) overflowed: u64,
    pub(crate) rows: u64,
    pub(crate) length: u64,
    pub(crate) inner: u64,
    pub(crate) summed: u64,
    pub(crate) parts_of_row: u64,
    pub(crate) mask_rows: u64,
    pub(crate) factor: f64,
    pub(crate) unit: f64,
    pub(crate) per_bit: f32,
    pub(crate) per_nat: f32,
    pub(crate) tau: f32,
    pub(crate) mantissa: f32,
    pub(crate) power: f32,
    pub(crate) eps: f32,
    pub(crate) divergence: u32,
    pub(crate) is_after: u32,
    pub(crate) is_known: u32,
}

const _: () = assert!(size_of::<Task>() == 192 && align_of::<Task>() == 8);

/// Bytes of `State` in `kernels/maths.h`.
pub(crate) const STATE: usize = 32;

/// Bytes of `Totals` in `kernels/terms.h`.
pub(crate) const TOTALS: usize = 48;

/// Neighbours that one block of `densekd_total` adds.
pub(crate) const STRETCH: u64 = 4096;

/// `Divergence` in `kernels/task.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Kl,
    Ce,
    ReverseKl,
    Js,
    Mse,
    SmoothedKl,
    SmoothedCe,
    Numbers,
    Means,
}

impl How {
    pub(crate) fn of(plan: &Plan) -> Self {
        let options = plan.recipe().options();
        let smoothed = options.eps.get() > 0.0;
        match (options.norm, options.divergence, smoothed) {
            (Norm::ChannelMean, ..) => Self::Means,
            (Norm::None, ..) => Self::Numbers,
            (_, Divergence::Kl, false) => Self::Kl,
            (_, Divergence::Kl, true) => Self::SmoothedKl,
            (_, Divergence::Ce, false) => Self::Ce,
            (_, Divergence::Ce, true) => Self::SmoothedCe,
            (_, Divergence::ReverseKl, _) => Self::ReverseKl,
            (_, Divergence::Js, _) => Self::Js,
            (_, Divergence::Mse, _) => Self::Mse,
        }
    }

    /// Whether rows are no distributions.
    pub(crate) const fn is_of_numbers(self) -> bool {
        matches!(self, Self::Numbers | Self::Means)
    }
}

impl Task {
    /// The numbers of a plan, without its addresses. `factor` multiplies the gradient of the sum of rows, tau apart.
    #[allow(clippy::cast_possible_truncation, reason = "the kernels' arithmetic is f32")]
    pub(crate) fn new(plan: &Plan, strategy: Strategy, factor: f64, asked: Asked) -> Self {
        let options = plan.recipe().options();
        let (tau, how) = (options.tau.get(), How::of(plan));
        let unit = if how == How::Numbers { 1.0 } else { 1.0 / tau };
        let (mantissa, power) = split(factor * unit);
        let images = if options.samples == Samples::First { plan.shape().images() as u64 } else { 1 };
        Self {
            rows: plan.rows() as u64,
            length: plan.row_len() as u64,
            inner: plan.layout().inner() as u64,
            summed: plan.rows() as u64 / images,
            parts_of_row: strategy.parts_of_row(),
            // A channel's entries are the positions of its image; a position is one.
            mask_rows: if options.norm == Norm::Spatial { 0 } else { plan.shape().channels() as u64 },
            factor: factor * unit,
            unit,
            per_bit: (std::f64::consts::LOG2_E / tau) as f32,
            per_nat: (1.0 / tau) as f32,
            tau: tau as f32,
            mantissa,
            power,
            eps: options.eps.get() as f32,
            divergence: how as u32,
            is_after: u32::from(asked.is_after(plan)),
            is_known: u32::from(asked.known),
            ..Self::default()
        }
    }
}

/// A number as the product of two in `f32`, of which the second is a power of two: what is multiplied by both is rounded
/// once, however small the number.
#[allow(clippy::cast_possible_truncation, reason = "the first is of ordinary size, the second exact")]
pub(crate) fn split(x: f64) -> (f32, f32) {
    let exponent = if x == 0.0 { 0.0 } else { x.abs().log2().floor().clamp(-149.0, 127.0) };
    let power = exponent.exp2();
    ((x / power) as f32, power as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_keeps_its_digits_however_small() {
        for x in [0.0, 1.0, -3.7, 1e-30, 1.234_567e-42, 7e-60, 3e38, 1e60] {
            let (mantissa, power) = split(x);
            let product = f64::from(mantissa) * f64::from(power);
            assert!((product - x).abs() <= x.abs() * 6e-8 + 1e-80, "{x}: {product}");
        }
    }
}
