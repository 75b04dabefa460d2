//! One call of a map loss: passes and result.

use super::gradient::Gradient;
use super::inputs::{MapInputs, check_lengths};
use super::{Executor, Formula, Maps, Measured, Side};
use crate::access::Sink;
use crate::isa::Isa;
use crate::{Error, Outcome, Overflowed, Upstream};
use core::ops::Range;

/// A map loss on its inputs, pass by pass: what a backend that spreads the work calls.
///
/// ```
/// use densekd_core::{Alone, Loss, MapCall, MapInputs, Order, Shape, Side, Slab, Term, Upstream};
/// let shape = Shape::new([1, 1, 2, 2])?;
/// let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let (teacher, student) = ([1.0_f32, 2.0, 3.0, 4.0], [4.0_f32, 3.0, 2.0, 1.0]);
/// let call = MapCall::new(MapInputs::new(&plan, Some(teacher[..].into()), &student[..])?)?;
/// let mut state = vec![0.0; plan.scratch()];
/// let outcome = call.measure(&mut state, &Alone)?;
/// let mut gradient = [0.0_f32; 4];
/// for band in plan.bands(Side::Student) {
///     let mut sink = Slab::new(&mut gradient[band.clone()], band.start);
///     call.pull((&outcome, Upstream::ONE), &state, Side::Student, band, &mut sink)?;
/// }
/// assert!(outcome.value() > 0.0 && gradient[0] > 0.0);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MapCall<'a> {
    inputs: MapInputs<'a>,
    isa: Isa,
}

impl<'a> MapCall<'a> {
    /// Checks that nothing is missing.
    ///
    /// # Errors
    /// [`Error::LabelsMissing`], and [`Error::ShapeMismatch`] where channels differ and no projection aligns them.
    pub fn new(inputs: MapInputs<'a>) -> Result<Self, Error> {
        inputs.check()?;
        Ok(Self { inputs, isa: Isa::detect() })
    }

    /// The same on this instruction set instead of the widest that this CPU has; in plain Rust where it does not
    /// have it.
    #[must_use]
    pub const fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// The value; the state then holds what [`pull`](Self::pull) needs.
    ///
    /// # Errors
    /// [`Error::Length`] for a state of another length than [`MapPlan::scratch`](crate::MapPlan::scratch), [`Error::Label`].
    pub fn measure(&self, state: &mut [f64], on: &dyn Executor) -> Result<Outcome, Error> {
        self.outcome(state, |formula, maps, state| formula.measure_and_prepare(maps, state, on))
    }

    /// The value where no gradient will be asked for; what the state then holds is of no use.
    ///
    /// # Errors
    /// As those of [`measure`](Self::measure).
    pub fn value(&self, state: &mut [f64], on: &dyn Executor) -> Result<Outcome, Error> {
        self.outcome(state, |formula, maps, state| formula.measure(maps, state, on))
    }

    fn outcome(
        &self,
        state: &mut [f64],
        measure: impl FnOnce(&dyn Formula, &Maps<'_>, &mut [f64]) -> Result<Measured, Error>,
    ) -> Result<Outcome, Error> {
        self.check_state(state)?;
        let formula = self.formula();
        let Measured { sum, divisor } = measure(formula, &self.inputs.maps(self.isa), state)?;
        Ok(Outcome { sum, divisor, scale: formula.scale(), overflowed: Overflowed::default() })
    }

    /// Writes the gradient to a side at one of [`MapPlan::bands`](crate::MapPlan::bands); whether a finite number became infinite.
    ///
    /// # Errors
    /// [`Error::Length`] for a state of another length than [`MapPlan::scratch`](crate::MapPlan::scratch), [`Error::TeacherGradient`].
    pub fn pull(
        &self,
        (outcome, upstream): (&Outcome, Upstream),
        state: &[f64],
        side: Side,
        band: Range<usize>,
        sink: &mut dyn Sink,
    ) -> Result<bool, Error> {
        self.check_state(state)?;
        if side == Side::Teacher && !self.inputs.plan.has_teacher_gradient() {
            return Err(Error::TeacherGradient);
        }
        let (plan, maps) = (self.inputs.plan, self.inputs.maps(self.isa));
        let scale = outcome.gradient_scale(upstream);
        Ok(Gradient { plan, maps, state, side, scale }.write(band, sink))
    }

    /// The gradients to the projection's weight `[C_t, C_s]` and bias `[C_t]`.
    ///
    /// # Errors
    /// [`Error::Length`] for a state or an output of another length than the plan's.
    pub fn pull_projection(
        &self,
        (outcome, upstream): (&Outcome, Upstream),
        state: &[f64],
        (weight, bias): (&mut [f64], &mut [f64]),
        on: &dyn Executor,
    ) -> Result<(), Error> {
        self.check_state(state)?;
        let (inputs, outputs) =
            (self.inputs.plan.student().channels(), self.inputs.plan.teacher().channels());
        check_lengths([
            ("grad_projection", Some(weight.len()), inputs * outputs),
            ("grad_bias", Some(bias.len()), outputs),
        ])?;
        self.formula().pull_projection(&self.inputs.maps(self.isa), state, weight, bias, on);
        let scale = outcome.gradient_scale(upstream);
        weight.iter_mut().chain(bias).for_each(|x| *x = if scale == 0.0 { 0.0 } else { *x * scale });
        Ok(())
    }

    /// Runs the whole loss on the caller's thread: [`run_map`] on the instruction set of this call.
    ///
    /// # Errors
    /// As those of [`measure`](Self::measure) and [`pull`](Self::pull).
    ///
    /// ```
    /// use densekd_core::{Isa, Loss, MapCall, MapInputs, Order, Shape, Term, Upstream};
    /// let shape = Shape::new([1, 1, 2, 2])?;
    /// let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
    /// let (teacher, student) = ([1.0_f32, 2.0, 3.0, 4.0], [4.0_f32, 3.0, 2.0, 1.0]);
    /// let call = MapCall::new(MapInputs::new(&plan, Some(teacher[..].into()), &student[..])?)?.with_isa(Isa::Plain);
    /// let outcome = call.run_all(Upstream::ONE, &mut vec![0.0; plan.scratch()], None, None)?;
    /// assert!(outcome.value() > 0.0);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn run_all(
        &self,
        upstream: Upstream,
        state: &mut [f64],
        grad_student: Option<&mut dyn Sink>,
        grad_teacher: Option<&mut dyn Sink>,
    ) -> Result<Outcome, Error> {
        let outcome = match (&grad_student, &grad_teacher) {
            (None, None) => self.value(state, &super::Alone)?,
            _ => self.measure(state, &super::Alone)?,
        };
        let pull = |side, sink: Option<&mut dyn Sink>| -> Result<bool, Error> {
            let Some(sink) = sink else { return Ok(false) };
            let mut overflowed = false;
            for band in self.inputs.plan.bands(side) {
                overflowed |= self.pull((&outcome, upstream), state, side, band, sink)?;
            }
            Ok(overflowed)
        };
        let student = pull(Side::Student, grad_student)?;
        let teacher = pull(Side::Teacher, grad_teacher)?;
        Ok(Outcome { overflowed: Overflowed { student, teacher }, ..outcome })
    }

    fn formula(&self) -> &'a dyn Formula {
        self.inputs.plan.formula()
    }

    fn check_state(&self, state: &[f64]) -> Result<(), Error> {
        check_lengths([("state", Some(state.len()), self.inputs.plan.scratch())])
    }
}

/// Runs a whole map loss on the caller's thread; gradients to a projection are [`MapCall`]'s to give.
///
/// Bit for bit the same as any backend that spreads the passes and multiplies matrices in the same order.
///
/// # Errors
/// As those of [`MapCall`].
///
/// ```
/// use densekd_core::{Loss, MapInputs, Order, Shape, Slab, Term, Upstream, run_map};
/// let shape = Shape::new([1, 1, 2, 2])?;
/// let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let (teacher, student) = ([1.0_f32, 2.0, 3.0, 4.0], [4.0_f32, 3.0, 2.0, 1.0]);
/// let inputs = MapInputs::new(&plan, Some(teacher[..].into()), &student[..])?;
/// let (mut gradient, mut state) = ([0.0_f32; 4], vec![0.0; plan.scratch()]);
/// let mut sink = Slab::new(&mut gradient, 0);
/// let outcome = run_map(inputs, Upstream::ONE, &mut state, Some(&mut sink), None)?;
/// assert!(outcome.value() > 0.0 && !outcome.overflowed.student);
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn run_map(
    inputs: MapInputs<'_>,
    upstream: Upstream,
    state: &mut [f64],
    grad_student: Option<&mut dyn Sink>,
    grad_teacher: Option<&mut dyn Sink>,
) -> Result<Outcome, Error> {
    MapCall::new(inputs)?.run_all(upstream, state, grad_student, grad_teacher)
}
