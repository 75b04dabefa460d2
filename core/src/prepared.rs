//! A fixed teacher, normalised once.

use crate::access::{Load, with_reader};
use crate::arithmetic::Arithmetic;
use crate::call::Inputs;
use crate::element::{Element, Tensor, TensorMut};
use crate::mask::Mask;
use crate::plan::Plan;
use crate::recipe::{Ignore, Norm};
use crate::row::BLOCK;
use crate::shape::{Order, Shape};
use crate::{Error, Slab, Temperature};

/// A teacher's log-probabilities, in units of logits: `tau log p`.
///
/// A softmax does not see a constant added to its row, so the table stands in for the teacher's logits in any
/// loss of the same temperature: kept as `f16` it is read at half the cost of `f32` logits, and its numbers
/// are as small as they can be, which is what a narrow type wants. Its cost is one rounding of each stored
/// number: a relative error of 2^-24 (`f32`), 2^-11 (`f16`) or 2^-8 (`bf16`) of `tau log p`.
///
/// ```
/// use densekd_core::{Inputs, Mask, Order, Outputs, Plan, PreparedTeacher, Recipe, RowOptions, Shape, Upstream, run};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 4])?, Order::Nchw)?;
/// let (teacher, student) = ([103.0_f32, 101.0, 102.0, 100.0], [0.0_f32, 1.0, 0.5, 2.0]);
/// let mut table = [half::f16::ZERO; 4];
/// let prepared = PreparedTeacher::prepare(&plan, &teacher[..], Mask::ALL, &mut table[..])?;
/// let a = run(&prepared.inputs(&plan, &student[..], Mask::ALL)?, Upstream::ONE, Outputs::default())?;
/// let logits = Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL)?;
/// let b = run(&logits, Upstream::ONE, Outputs::default())?;
/// assert!((a.value() / b.value() - 1.0).abs() < 2e-3);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PreparedTeacher<'a> {
    table: Tensor<'a>,
    temperature: Temperature,
    shape: Shape,
    order: Order,
    norm: Norm,
}

impl<'a> PreparedTeacher<'a> {
    /// Writes the table, in the plan's memory order. Cost: two reads of the teacher.
    ///
    /// Rows are normalised over counted positions; ignored ones are shifted with their row, so that the table
    /// serves under any mask. Entries that are not finite stay as they are, and so does every defined result
    /// for them.
    ///
    /// # Errors
    /// [`Error::Length`] where teacher or table do not fit the plan, [`Error::Prepared`] for a plan without a
    /// softmax or with `upsample`.
    pub fn prepare<'t>(
        plan: &Plan,
        teacher: impl Into<Tensor<'t>>,
        mask: Mask<'_>,
        table: impl Into<TensorMut<'a>>,
    ) -> Result<Self, Error> {
        let (teacher, table) = (teacher.into(), table.into());
        let wanted = plan.shape().len();
        for (buffer, found) in [("teacher", teacher.len()), ("table", table.len())] {
            if found != wanted {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        check(plan)?;
        with_reader::<f64, _>(teacher, |teacher| match table {
            TensorMut::F32(x) => Self::fill(plan, teacher, mask, x),
            TensorMut::F64(x) => Self::fill(plan, teacher, mask, x),
            TensorMut::F16(x) => Self::fill(plan, teacher, mask, x),
            TensorMut::Bf16(x) => Self::fill(plan, teacher, mask, x),
        })
    }

    /// A table that was prepared before, with a plan of the same temperature, rows, shape and memory order.
    ///
    /// # Errors
    /// [`Error::Length`] where it does not fit the plan, [`Error::Prepared`] as in [`Self::prepare`].
    pub fn from_table(plan: &Plan, table: impl Into<Tensor<'a>>) -> Result<Self, Error> {
        let table = table.into();
        let (found, wanted) = (table.len(), plan.shape().len());
        if found != wanted {
            return Err(Error::Length { buffer: "table", found, wanted });
        }
        check(plan)?;
        let options = plan.recipe().options();
        Ok(Self {
            table,
            temperature: options.tau,
            shape: plan.shape(),
            order: plan.order(),
            norm: options.norm,
        })
    }

    /// The table.
    pub const fn table(&self) -> Tensor<'a> {
        self.table
    }

    /// The table with a student, ready to run.
    ///
    /// # Errors
    /// [`Error::Prepared`] where the plan has another temperature, other rows, another shape or memory order;
    /// else as [`Inputs::new`].
    pub fn inputs(
        &self,
        plan: &'a Plan,
        student: impl Into<Tensor<'a>>,
        mask: Mask<'a>,
    ) -> Result<Inputs<'a>, Error> {
        check(plan)?;
        let options = plan.recipe().options();
        let here = (options.tau, options.norm, plan.shape(), plan.order());
        if here != (self.temperature, self.norm, self.shape, self.order) {
            return Err(Error::Prepared);
        }
        Inputs::new(plan, self.table, student, mask)
    }

    fn fill<E: Element>(
        plan: &Plan,
        teacher: &dyn Load<f64>,
        mask: Mask<'_>,
        table: &'a mut [E],
    ) -> Result<Self, Error> {
        let tau = plan.recipe().options().tau.get();
        let mut slab = Slab::new(table, 0);
        let mut buffer = [0.0; BLOCK];
        for row in 0..plan.rows() {
            let shift = log_sum(plan, teacher, mask, row, &mut buffer, tau);
            for (from, n) in blocks(plan) {
                let place = plan.place(row, from);
                let mut out = [0.0; BLOCK];
                let block = teacher.load(place, buffer.get_mut(..n).unwrap_or_default());
                for (to, &t) in out.iter_mut().zip(block) {
                    *to = if t.is_finite() { t - shift } else { t };
                }
                f64::store(&mut slab, place, out.get(..n).unwrap_or_default());
            }
        }
        Self::from_table(plan, &*table)
    }
}

fn check(plan: &Plan) -> Result<(), Error> {
    let softmax = matches!(plan.recipe().options().norm, Norm::Channel | Norm::Spatial);
    if softmax && !plan.is_upsampled() { Ok(()) } else { Err(Error::Prepared) }
}

fn blocks(plan: &Plan) -> impl Iterator<Item = (usize, usize)> + use<> {
    let axis = plan.row_len();
    (0..axis).step_by(BLOCK).map(move |from| (from, (axis - from).min(BLOCK)))
}

/// `tau log sum e^(t / tau)` over the finite counted entries of a row; 0 where there is none.
fn log_sum(
    plan: &Plan,
    teacher: &dyn Load<f64>,
    mask: Mask<'_>,
    row: usize,
    buffer: &mut [f64; BLOCK],
    tau: f64,
) -> f64 {
    let after = plan.recipe().options().ignore == Ignore::After;
    let mut fold = |start: f64, step: &dyn Fn(f64, f64) -> f64| {
        blocks(plan).fold(start, |so_far, (from, n)| {
            let (position, entries_are_positions) = plan.position(row, from);
            let block = teacher.load(plan.place(row, from), buffer.get_mut(..n).unwrap_or_default());
            block.iter().enumerate().fold(so_far, |so_far, (i, &t)| {
                let at = if entries_are_positions { position + i } else { position };
                let counted = after || mask.is_all() || mask.counts(at);
                if counted && t.is_finite() { step(so_far, t) } else { so_far }
            })
        })
    };
    let top = fold(f64::NEG_INFINITY, &f64::max);
    if top == f64::NEG_INFINITY {
        return 0.0;
    }
    top + tau * libm::log(fold(0.0, &|sum, t| sum + libm::exp((t - top) / tau)))
}
