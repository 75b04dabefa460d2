//! Which kernels a call takes: decided by the rows' length and by what is asked.

use crate::kernel::{Kernel, Typed};
use crate::task::How;
use densekd_core::{DType, Ignore, Plan, Samples};

/// What a call asks for beyond its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) masked: bool,
    pub(crate) to_teacher: bool,
    /// The rows' states are there.
    pub(crate) known: bool,
}

impl Asked {
    /// Whether what is ignored takes part in the softmax.
    pub(crate) fn is_after(self, plan: &Plan) -> bool {
        self.masked && plan.recipe().options().ignore == Ignore::After
    }
}

/// What a row needs besides its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing: a KL divergence or cross-entropy, and the gradient to the student.
    Settled,
    /// The sum of its terms.
    Summed,
}

impl Need {
    fn of(plan: &Plan, asked: Asked) -> Self {
        let how = How::of(plan);
        // The entropy that a cross-entropy has over the KL divergence is not kept.
        let is_of_state = how == How::Kl || (how == How::Ce && !asked.known);
        if !is_of_state || asked.to_teacher || asked.is_after(plan) { Self::Summed } else { Self::Settled }
    }
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

const THREADS: u64 = Kernel::THREADS as u64;

/// Numbers of 16 bytes.
const fn pack(dtype: DType) -> u64 {
    16 / dtype.size() as u64
}

/// Entries of a row that one team holds, or walks.
const fn part(inner: usize, dtype: DType) -> u64 {
    if inner > 1 { 128 } else { 1024 * pack(dtype) }
}

impl Strategy {
    /// For numbers of this type on a device that lets a block have so many bytes of shared memory; `None` where there are no
    /// kernels for it.
    pub(crate) fn of(plan: &Plan, dtype: DType, asked: Asked, shared: u32) -> Option<Self> {
        let (length, inner) = (plan.row_len() as u64, plan.layout().inner());
        if dtype == DType::F64 {
            return Some(match inner {
                2.. => Self::Whole(Kernel::WIDE_THREAD, THREADS),
                _ if length <= 1024 => Self::Whole(Kernel::WIDE_WARP, THREADS / 32),
                _ => Self::Whole(Kernel::WIDE_BLOCK, 1),
            });
        }
        let (need, options) = (Need::of(plan, asked), plan.recipe().options());
        let is_kl = need == Need::Settled && How::of(plan) == How::Kl;
        let is_plain = is_kl && options.samples != Samples::First && !asked.known;
        let rows = Rows { length, dtype, need, is_plain, masked: asked.masked, shared };
        if inner > 1 { rows.apart() } else { rows.together() }
    }

    /// Parts of a row.
    pub(crate) const fn parts_of_row(self) -> u64 {
        match self {
            Self::Whole(..) => 1,
            Self::Parts { per_row, .. } => per_row,
        }
    }

    /// The same, of the calls of a plan that take its rows in parts.
    pub(crate) fn most_parts_of_row(plan: &Plan, dtype: DType) -> u64 {
        let (length, inner) = (plan.row_len() as u64, plan.layout().inner());
        if dtype == DType::F64 { 1 } else { length.div_ceil(part(inner, dtype)).max(1) }
    }
}

/// Rows whose arithmetic is in `f32`, and what their way depends on.
struct Rows {
    length: u64,
    dtype: DType,
    need: Need,
    /// The form of rows in registers is tried first.
    is_plain: bool,
    masked: bool,
    /// Bytes of shared memory that the device lets a block have.
    shared: u32,
}

impl Rows {
    /// Rows whose entries lie together.
    fn together(&self) -> Option<Strategy> {
        let &Self { length, dtype, need, is_plain, masked, .. } = self;
        let (pack, part) = (pack(dtype), part(1, dtype));
        // Thirty-two numbers a thread, of which there is no copy in shared memory; or twice as many, half of them there.
        let is_deep = Typed::ROWS_DEEP.of(dtype)?.shared + Kernel::DECLARED <= self.shared;
        let most = if is_deep { 32_768 } else { 16_384 };
        let in_registers = is_plain && !masked && length.is_multiple_of(pack) && length <= most;
        if length > part && !in_registers {
            let gradient = self.kernel(Typed::ROWS_GRADIENT, Typed::TERMS_ROWS_GRADIENT);
            return self.in_parts(part, [Typed::ROWS_PARTS, Typed::TERMS_ROWS_PARTS], gradient?, 1);
        }
        // Fewer lanes or more numbers a lane than other kernels have.
        let is_narrow = dtype == DType::F32 && need == Need::Settled;
        let (kernel, rows) = if length <= 16 * pack {
            let lanes = if is_narrow { 4 } else { 8 };
            (self.kernel(Typed::ROWS_SHORT, Typed::TERMS_ROWS_LANES8), THREADS / lanes)
        } else if length <= 128 * pack {
            (self.kernel(Typed::ROWS_LANES32, Typed::TERMS_ROWS_LANES32), THREADS / 32)
        } else if length <= 1024 && is_narrow {
            (Some(Kernel::ROWS_WARP), THREADS / 32)
        } else {
            let settled = match length {
                ..=4096 => Typed::ROWS_BLOCK128,
                4097..=8192 => Typed::ROWS_BLOCK256,
                8193..=16_384 => Typed::ROWS_BLOCK512,
                _ => Typed::ROWS_DEEP,
            };
            (self.kernel(settled, Typed::TERMS_ROWS_BLOCK), 1)
        };
        Some(Strategy::Whole(kernel?, rows))
    }

    /// Rows whose entries lie apart.
    fn apart(&self) -> Option<Strategy> {
        let &Self { length, dtype, is_plain, masked, .. } = self;
        if is_plain && length <= 31 {
            return Some(Strategy::Whole(Typed::COLUMNS_THREAD.of(dtype)?, THREADS));
        }
        if is_plain && !masked && length <= 216 {
            return Some(Strategy::Whole(Typed::COLUMNS_STACK.of(dtype)?, THREADS / 8));
        }
        let part = part(2, dtype);
        if length > part {
            let gradient = self.kernel(Typed::COLUMNS_GRADIENT, Typed::TERMS_COLUMNS_GRADIENT);
            return self.in_parts(
                part,
                [Typed::COLUMNS_PARTS, Typed::TERMS_COLUMNS_PARTS],
                gradient?,
                THREADS,
            );
        }
        let kernel = self.kernel(Typed::COLUMNS_SHORT, Typed::TERMS_COLUMNS_SHORT);
        Some(Strategy::Whole(kernel?, THREADS))
    }

    fn kernel(&self, settled: Typed, summed: Typed) -> Option<Kernel> {
        match self.need {
            Need::Settled => settled.of(self.dtype),
            Need::Summed => summed.of(self.dtype),
        }
    }

    fn in_parts(
        &self,
        part: u64,
        [states, totals]: [Typed; 2],
        gradient: Kernel,
        per_block: u64,
    ) -> Option<Strategy> {
        let totals = totals.of(self.dtype)?;
        Some(Strategy::Parts {
            states: states.of(self.dtype)?,
            totals: (self.need == Need::Summed).then_some(totals),
            gradient,
            per_row: self.length.div_ceil(part),
            per_block,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use densekd_core::{Divergence, Order, Recipe, RowOptions, Shape};

    fn strategy(options: RowOptions, shape: [usize; 4], order: Order, dtype: DType) -> Option<&'static str> {
        name(options, shape, order, (dtype, false), A100)
    }

    /// Bytes of shared memory that devices let a block have.
    const A100: u32 = 163 << 10;
    const RTX_4090: u32 = 99 << 10;

    fn name(
        options: RowOptions,
        shape: [usize; 4],
        order: Order,
        (dtype, masked): (DType, bool),
        shared: u32,
    ) -> Option<&'static str> {
        let plan = Plan::new(Recipe::new(options).ok()?, Shape::new(shape).ok()?, order).ok()?;
        let asked = Asked { masked, to_teacher: false, known: false };
        Some(match Strategy::of(&plan, dtype, asked, shared)? {
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
        assert_eq!(rows(16_388, DType::F32), Some("densekd_rows_deep_f32"));
        assert_eq!(rows(16_389, DType::F32), Some("densekd_rows_parts_f32"));
        assert_eq!(rows(32_768, DType::F16), Some("densekd_rows_deep_f16"));
        assert_eq!(rows(32_772, DType::F32), Some("densekd_rows_parts_f32"));
        assert_eq!(rows(1024, DType::F64), Some("densekd_wide_warp"));
        assert_eq!(rows(1025, DType::F64), Some("densekd_wide_block"));
    }

    #[test]
    fn long_rows_of_which_all_counts_are_held_whole() {
        let shape = Shape::new([2, 2, 64, 128]).unwrap();
        let parts = |options, [masked, known]: [bool; 2]| {
            let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
            let asked = Asked { masked, to_teacher: false, known };
            Strategy::of(&plan, DType::F32, asked, A100).unwrap().parts_of_row()
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
    fn rows_beyond_registers_want_a_device_with_shared_memory() {
        let rows = |shared| {
            name(RowOptions::CWD, [1, 2, 128, 256], Order::Nchw, (DType::F32, false), shared).unwrap()
        };
        assert_eq!(rows(A100), "densekd_rows_deep_f32");
        assert_eq!(rows(RTX_4090), "densekd_rows_parts_f32");
    }

    #[test]
    fn interleaved_rows_of_which_some_do_not_count_have_a_thread_each() {
        let masked =
            |classes| name(RowOptions::PI, [2, classes, 1, 100], Order::Nchw, (DType::F32, true), A100);
        assert_eq!(masked(31), Some("densekd_columns_thread_f32"));
        assert_eq!(masked(32), Some("densekd_columns_short_f32"));
        assert_eq!(masked(128), Some("densekd_columns_short_f32"));
        assert_eq!(masked(129), Some("densekd_columns_parts_f32"));
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
            let strategy = Strategy::of(&plan, DType::F32, asked, A100).unwrap();
            let task = crate::task::Task::new(&plan, strategy, 1.0, asked);
            assert_eq!(task.rows * task.length, 1 << 36, "{dims:?}");
            assert_eq!((strategy.parts_of_row(), task.parts_of_row), (per_row, per_row), "{dims:?}");
        }
    }
}
