//! What a kernel is asked for, and which kernels a plan takes: decided by the rows' length alone.

use crate::kernel::{Kernel, Typed};
use densekd_core::{DType, Divergence, Norm, Plan};

/// The parameter of the kernels: the same bytes as `Task` in `kernels/task.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Task {
    pub(crate) teacher: u64,
    pub(crate) student: u64,
    pub(crate) gradient: u64,
    pub(crate) mask: u64,
    pub(crate) values: u64,
    pub(crate) parts: u64,
    pub(crate) whole: u64,
    pub(crate) overflowed: u64,
    pub(crate) rows: u64,
    pub(crate) length: u64,
    pub(crate) inner: u64,
    pub(crate) parts_of_row: u64,
    pub(crate) mask_rows: u64,
    pub(crate) per_bit: f32,
    pub(crate) per_nat: f32,
    pub(crate) tau: f32,
    pub(crate) mantissa: f32,
    pub(crate) power: f32,
    pub(crate) with_entropy: u32,
}

const _: () = assert!(size_of::<Task>() == 128 && align_of::<Task>() == 8);

/// Bytes of `State` in `kernels/maths.h`.
pub(crate) const STATE: usize = 32;

/// Neighbours that one block of `densekd_total` adds.
pub(crate) const STRETCH: u64 = 4096;

/// How the rows of a plan are spread over the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Each row on one chip: one launch. Rows that a block does.
    Whole(Kernel, u64),
    /// Each row in parts: states, then rows, then the gradient. Parts that a block does.
    Parts { states: Kernel, gradient: Kernel, per_row: u64, per_block: u64 },
}

impl Strategy {
    /// For numbers of this type; `None` where there are no kernels for it.
    pub(crate) fn of(plan: &Plan, dtype: DType) -> Option<Self> {
        let (length, inner) = (plan.row_len() as u64, plan.layout().inner());
        let pack = 16 / dtype.size() as u64;
        let threads = u64::from(Kernel::THREADS);
        let part = if inner > 1 { 128 } else { 1024 * pack };
        if length > part {
            let (states, gradient, per_block) = if inner > 1 {
                (Typed::COLUMNS_PARTS, Typed::COLUMNS_GRADIENT, threads)
            } else {
                (Typed::ROWS_PARTS, Typed::ROWS_GRADIENT, 1)
            };
            let (states, gradient) = (states.of(dtype)?, gradient.of(dtype)?);
            return Some(Self::Parts { states, gradient, per_row: length.div_ceil(part), per_block });
        }
        let (kernel, rows) = match inner {
            2.. => (Typed::COLUMNS_SHORT, threads),
            _ if length <= 16 * pack => (Typed::ROWS_LANES8, threads / 8),
            _ if length <= 128 * pack => (Typed::ROWS_LANES32, threads / 32),
            _ => (Typed::ROWS_BLOCK, 1),
        };
        Some(Self::Whole(kernel.of(dtype)?, rows))
    }

    /// Parts of a row.
    pub(crate) const fn parts_of_row(self) -> u64 {
        match self {
            Self::Whole(..) => 1,
            Self::Parts { per_row, .. } => per_row,
        }
    }

    /// Bytes for the states of parts, and of rows.
    pub(crate) fn states(self, rows: usize) -> (usize, usize) {
        match self {
            Self::Whole(..) => (0, 0),
            Self::Parts { per_row, .. } => {
                let parts = usize::try_from(per_row).unwrap_or(usize::MAX);
                (rows.saturating_mul(parts).saturating_mul(STATE), rows.saturating_mul(STATE))
            }
        }
    }
}

impl Task {
    /// The numbers of a plan, without its addresses. `factor` multiplies the gradient of the sum of rows, tau apart.
    #[allow(clippy::cast_possible_truncation, reason = "the kernels' arithmetic is f32")]
    pub(crate) fn new(plan: &Plan, strategy: Strategy, factor: f64) -> Self {
        let options = plan.recipe().options();
        let tau = options.tau.get();
        let (mantissa, power) = split(factor / tau);
        Self {
            rows: plan.rows() as u64,
            length: plan.row_len() as u64,
            inner: plan.layout().inner() as u64,
            parts_of_row: strategy.parts_of_row(),
            // A channel's entries are the positions of its image; a position is one.
            mask_rows: if options.norm == Norm::Channel { plan.shape().channels() as u64 } else { 0 },
            per_bit: (std::f64::consts::LOG2_E / tau) as f32,
            per_nat: (1.0 / tau) as f32,
            tau: tau as f32,
            mantissa,
            power,
            with_entropy: u32::from(options.divergence == Divergence::Ce),
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
    use densekd_core::{Order, Recipe, RowOptions, Shape};

    fn strategy(options: RowOptions, shape: [usize; 4], order: Order, dtype: DType) -> Option<&'static str> {
        let plan = Plan::new(Recipe::new(options).ok()?, Shape::new(shape).ok()?, order).ok()?;
        Some(match Strategy::of(&plan, dtype)? {
            Strategy::Whole(kernel, _) => kernel.name,
            Strategy::Parts { states, .. } => states.name,
        })
    }

    #[test]
    fn a_row_is_held_by_as_few_threads_as_hold_it() {
        let rows = |positions, dtype| strategy(RowOptions::CWD, [1, 2, 1, positions], Order::Nchw, dtype);
        assert_eq!(rows(64, DType::F32), Some("densekd_rows_lanes8_f32"));
        assert_eq!(rows(65, DType::F32), Some("densekd_rows_lanes32_f32"));
        assert_eq!(rows(65, DType::F16), Some("densekd_rows_lanes8_f16"));
        assert_eq!(rows(512, DType::F32), Some("densekd_rows_lanes32_f32"));
        assert_eq!(rows(4096, DType::F32), Some("densekd_rows_block_f32"));
        assert_eq!(rows(4097, DType::F32), Some("densekd_rows_parts_f32"));
        assert_eq!(rows(8192, DType::Bf16), Some("densekd_rows_block_bf16"));
        assert_eq!(rows(8, DType::F64), None);
    }

    #[test]
    fn interleaved_rows_are_columns() {
        let names = |options, order, c, m| strategy(options, [2, c, 1, m], order, DType::F32);
        assert_eq!(names(RowOptions::PI, Order::Nchw, 19, 100), Some("densekd_columns_short_f32"));
        assert_eq!(names(RowOptions::PI, Order::Nhwc, 19, 100), Some("densekd_rows_lanes8_f32"));
        assert_eq!(names(RowOptions::CWD, Order::Nhwc, 19, 129), Some("densekd_columns_parts_f32"));
    }

    #[test]
    fn a_factor_keeps_its_digits_however_small() {
        for x in [0.0, 1.0, -3.7, 1e-30, 1.234_567e-42, 7e-60, 3e38, 1e60] {
            let (mantissa, power) = split(x);
            let product = f64::from(mantissa) * f64::from(power);
            assert!((product - x).abs() <= x.abs() * 6e-8 + 1e-80, "{x}: {product}");
        }
    }
}
