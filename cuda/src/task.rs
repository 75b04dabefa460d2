//! What a kernel is asked for, and which kernels a call takes: decided by the rows' length and by what is asked.

use crate::kernel::{Kernel, Typed};
use densekd_core::{DType, Divergence, Ignore, Norm, Plan, Samples};

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

/// What a call asks for beyond its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) masked: bool,
    pub(crate) to_teacher: bool,
    /// The rows' states are there.
    pub(crate) known: bool,
}

/// What a row needs besides its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: a KL divergence or cross-entropy, and the gradient to the student.
    Settled,
    /// The sum of its terms.
    Summed,
}

impl Need {
    pub(crate) fn of(plan: &Plan, asked: Asked) -> Self {
        let how = How::of(plan);
        // The entropy that a cross-entropy has over the KL divergence is not kept.
        let is_of_state = how == How::Kl || (how == How::Ce && !asked.known);
        if !is_of_state || asked.to_teacher || is_after(plan, asked) { Self::Summed } else { Self::Settled }
    }
}

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

fn is_after(plan: &Plan, asked: Asked) -> bool {
    asked.masked && plan.recipe().options().ignore == Ignore::After
}

/// How the rows of a plan are spread over the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Each row on one chip: one launch. Rows that a block does.
    Whole(Kernel, u64),
    /// Each row in parts: states of parts, then of rows; of summed rows totals of parts, then of rows; then the gradient.
    /// Parts that a block does.
    Parts { states: Kernel, totals: Option<Kernel>, gradient: Kernel, per_row: u64, per_block: u64 },
}

/// Entries of a row that one team holds.
const fn part(inner: usize, pack: u64) -> u64 {
    if inner > 1 { 128 } else { 1024 * pack }
}

impl Strategy {
    /// Parts of a row, of the calls of a plan that take it in parts.
    pub(crate) fn most_parts_of_row(plan: &Plan, dtype: DType) -> u64 {
        let (length, inner) = (plan.row_len() as u64, plan.layout().inner());
        if dtype == DType::F64 { 1 } else { length.div_ceil(part(inner, 16 / dtype.size() as u64)).max(1) }
    }

    /// For numbers of this type; `None` where there are no kernels for it.
    pub(crate) fn of(plan: &Plan, dtype: DType, asked: Asked) -> Option<Self> {
        let need = Need::of(plan, asked);
        let (length, inner) = (plan.row_len() as u64, plan.layout().inner());
        let threads = u64::from(Kernel::THREADS);
        if dtype == DType::F64 {
            return Some(match inner {
                2.. => Self::Whole(Kernel::WIDE_THREAD, threads),
                _ if length <= 1024 => Self::Whole(Kernel::WIDE_WARP, threads / 32),
                _ => Self::Whole(Kernel::WIDE_BLOCK, 1),
            });
        }
        let pack = 16 / dtype.size() as u64;
        let of_need = |settled: Typed, summed: Typed| match need {
            Need::Settled => settled.of(dtype),
            Need::Summed => summed.of(dtype),
        };
        // By the form of rows in registers, where their own sums do not ask for another.
        let all = plan.recipe().options().samples != Samples::First;
        let is_plain = need == Need::Settled && How::of(plan) == How::Kl && all && !asked.known;
        // Thirty-two numbers a thread, of which there is no copy in shared memory.
        let lies_together = inner == 1 && length % pack == 0 && !asked.masked;
        let fits_stack = is_plain && inner > 1 && !asked.masked && length <= 216;
        let in_registers = is_plain && lies_together && length <= 16_384 || fits_stack;
        let part = part(inner, pack);
        if length > part && !in_registers {
            let (states, totals, gradient, per_block) = if inner > 1 {
                let gradient = of_need(Typed::COLUMNS_GRADIENT, Typed::TERMS_COLUMNS_GRADIENT);
                (Typed::COLUMNS_PARTS, Typed::TERMS_COLUMNS_PARTS, gradient, threads)
            } else {
                let gradient = of_need(Typed::ROWS_GRADIENT, Typed::TERMS_ROWS_GRADIENT);
                (Typed::ROWS_PARTS, Typed::TERMS_ROWS_PARTS, gradient, 1)
            };
            return Some(Self::Parts {
                states: states.of(dtype)?,
                totals: (need == Need::Summed).then_some(totals.of(dtype)?),
                gradient: gradient?,
                per_row: length.div_ceil(part),
                per_block,
            });
        }
        let (kernel, rows) = match inner {
            2.. if is_plain && length <= 31 => (Typed::COLUMNS_THREAD.of(dtype), threads),
            2.. if fits_stack => (Typed::COLUMNS_STACK.of(dtype), threads / 8),
            2.. => (of_need(Typed::COLUMNS_SHORT, Typed::TERMS_COLUMNS_SHORT), threads),
            _ if length <= 16 * pack => {
                let lanes = if dtype == DType::F32 && need == Need::Settled { 4 } else { 8 };
                (of_need(Typed::ROWS_SHORT, Typed::TERMS_ROWS_LANES8), threads / lanes)
            }
            _ if length <= 128 * pack => {
                (of_need(Typed::ROWS_LANES32, Typed::TERMS_ROWS_LANES32), threads / 32)
            }
            // As many numbers as the registers of a warp hold beside all else.
            _ if length <= 1024 && dtype == DType::F32 && need == Need::Settled => {
                (Some(Kernel::ROWS_WARP), threads / 32)
            }
            _ => {
                let settled = match length {
                    ..=4096 => Typed::ROWS_BLOCK128,
                    4097..=8192 => Typed::ROWS_BLOCK256,
                    _ => Typed::ROWS_BLOCK512,
                };
                (of_need(settled, Typed::TERMS_ROWS_BLOCK), 1)
            }
        };
        Some(Self::Whole(kernel?, rows))
    }

    /// Parts of a row.
    pub(crate) const fn parts_of_row(self) -> u64 {
        match self {
            Self::Whole(..) => 1,
            Self::Parts { per_row, .. } => per_row,
        }
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
            is_after: u32::from(is_after(plan, asked)),
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use densekd_core::{Order, Recipe, RowOptions, Shape};

    fn strategy(options: RowOptions, shape: [usize; 4], order: Order, dtype: DType) -> Option<&'static str> {
        let plan = Plan::new(Recipe::new(options).ok()?, Shape::new(shape).ok()?, order).ok()?;
        let asked = Asked { masked: false, to_teacher: false, known: false };
        Some(match Strategy::of(&plan, dtype, asked)? {
            Strategy::Whole(kernel, _) => kernel.name,
            Strategy::Parts { states, .. } => states.name,
        })
    }

    #[test]
    fn a_row_is_held_by_as_few_threads_as_hold_it() {
        let rows = |positions, dtype| strategy(RowOptions::CWD, [1, 2, 1, positions], Order::Nchw, dtype);
        assert_eq!(rows(64, DType::F32), Some("densekd_rows_short_f32"));
        assert_eq!(rows(65, DType::F32), Some("densekd_rows_lanes32_f32"));
        assert_eq!(rows(65, DType::F16), Some("densekd_rows_short_f16"));
        assert_eq!(rows(512, DType::F32), Some("densekd_rows_lanes32_f32"));
        assert_eq!(rows(1024, DType::F32), Some("densekd_rows_warp_f32"));
        assert_eq!(rows(1025, DType::F32), Some("densekd_rows_block128_f32"));
        assert_eq!(rows(4096, DType::F32), Some("densekd_rows_block128_f32"));
        assert_eq!(rows(1024, DType::F16), Some("densekd_rows_lanes32_f16"));
        assert_eq!(rows(4097, DType::F32), Some("densekd_rows_parts_f32"));
        assert_eq!(rows(4100, DType::F32), Some("densekd_rows_block256_f32"));
        assert_eq!(rows(8191, DType::Bf16), Some("densekd_rows_block256_bf16"));
        assert_eq!(rows(8200, DType::Bf16), Some("densekd_rows_block512_bf16"));
        assert_eq!(rows(16_384, DType::F32), Some("densekd_rows_block512_f32"));
        assert_eq!(rows(16_388, DType::F32), Some("densekd_rows_parts_f32"));
        assert_eq!(rows(1024, DType::F64), Some("densekd_wide_warp"));
        assert_eq!(rows(1025, DType::F64), Some("densekd_wide_block"));
    }

    #[test]
    fn long_rows_of_which_all_counts_are_held_whole() {
        let shape = Shape::new([2, 2, 64, 128]).unwrap();
        let parts = |options, [masked, known]: [bool; 2]| {
            let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
            let asked = Asked { masked, to_teacher: false, known };
            Strategy::of(&plan, DType::F32, asked).unwrap().parts_of_row()
        };
        let ce = RowOptions { divergence: Divergence::Ce, ..RowOptions::CWD };
        let first = RowOptions { samples: Samples::First, ..RowOptions::CWD };
        assert_eq!(parts(RowOptions::CWD, [false, false]), 1);
        assert_eq!(parts(RowOptions::CWD, [true, false]), 2);
        assert_eq!(parts(RowOptions::CWD, [false, true]), 2);
        assert_eq!(parts(ce, [false, false]), 2);
        assert_eq!(parts(first, [false, false]), 2);
    }

    #[test]
    fn interleaved_rows_are_columns() {
        let names = |options, order, c, m| strategy(options, [2, c, 1, m], order, DType::F32);
        assert_eq!(names(RowOptions::PI, Order::Nchw, 19, 100), Some("densekd_columns_thread_f32"));
        assert_eq!(names(RowOptions::PI, Order::Nchw, 31, 100), Some("densekd_columns_thread_f32"));
        assert_eq!(names(RowOptions::PI, Order::Nchw, 32, 100), Some("densekd_columns_stack_f32"));
        assert_eq!(names(RowOptions::PI, Order::Nchw, 216, 100), Some("densekd_columns_stack_f32"));
        assert_eq!(names(RowOptions::PI, Order::Nchw, 217, 100), Some("densekd_columns_parts_f32"));
        assert_eq!(names(RowOptions::PI, Order::Nhwc, 19, 100), Some("densekd_rows_short_f32"));
        assert_eq!(names(RowOptions::CWD, Order::Nhwc, 19, 225), Some("densekd_columns_parts_f32"));
    }

    #[test]
    fn what_the_state_does_not_say_is_summed() {
        let need = |options, [masked, to_teacher, known]: [bool; 3]| {
            let shape = Shape::new([1, 2, 3, 3]).unwrap();
            let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
            Need::of(&plan, Asked { masked, to_teacher, known })
        };
        let with = |divergence| RowOptions { divergence, ..RowOptions::CWD };
        let after = RowOptions { ignore: Ignore::After, ..RowOptions::CWD };
        let (kl, ce) = (RowOptions::CWD, with(Divergence::Ce));
        for (options, asked) in
            [(kl, [true, false, true]), (ce, [true, false, false]), (after, [false, false, false])]
        {
            assert_eq!(need(options, asked), Need::Settled);
        }
        for (options, asked) in [
            (kl, [false, true, false]),
            (ce, [false, false, true]),
            (after, [true, false, false]),
            (with(Divergence::Js), [false, false, false]),
        ] {
            assert_eq!(need(options, asked), Need::Summed);
        }
    }

    #[test]
    fn tensors_beyond_32_bits_are_counted_in_64() {
        let asked = Asked { masked: false, to_teacher: false, known: false };
        // 2^36 entries: rows of 2^32, rows of 2^12, and columns.
        for (options, dims, order, per_row) in [
            (RowOptions::CWD, [4, 4, 1 << 16, 1 << 16], Order::Nchw, 1 << 20),
            (RowOptions::CWD, [1 << 20, 1 << 4, 64, 64], Order::Nchw, 1),
            (RowOptions::PI, [4, 4, 1 << 16, 1 << 16], Order::Nchw, 1),
            (RowOptions::CWD, [4, 4, 1 << 16, 1 << 16], Order::Nhwc, 1 << 25),
        ] {
            let shape = Shape::new(dims).unwrap();
            let plan = Plan::new(Recipe::new(options).unwrap(), shape, order).unwrap();
            let strategy = Strategy::of(&plan, DType::F32, asked).unwrap();
            let task = Task::new(&plan, strategy, 1.0, asked);
            assert_eq!(task.rows * task.length, 1 << 36, "{dims:?}");
            assert_eq!((strategy.parts_of_row(), task.parts_of_row), (per_row, per_row), "{dims:?}");
        }
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
