//! One call of a map loss: inputs, passes, result.

use super::gradient::Gradient;
use super::{Executor, Formula, MapPlan, Maps, Measured, Side, Targets, View};
use crate::access::Sink;
use crate::element::Tensor;
use crate::isa::Isa;
use crate::{Error, Mask, Outcome, Overflowed, Shape, Upstream};
use core::ops::Range;

/// Classes of positions: `[N, HL, WL]`, which may be another resolution than the map's.
///
/// ```
/// use densekd_core::Labels;
/// let labels = Labels::new(&[0, 1, 2, 255], 1, 2, 2)?;
/// assert_eq!(labels.at(0, 1, 0), 2);
/// assert!(Labels::new(&[0, 1, 2], 1, 2, 2).is_err());
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    data: &'a [i64],
    height: usize,
    width: usize,
}

impl<'a> Labels<'a> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`Error::Length`] where there are not `images * height * width` labels, [`Error::EmptyDimension`].
    pub fn new(data: &'a [i64], images: usize, height: usize, width: usize) -> Result<Self, Error> {
        let wanted = Shape::new([images, 1, height, width])?.len();
        if data.len() != wanted {
            return Err(Error::Length { buffer: "labels", found: data.len(), wanted });
        }
        Ok(Self { data, height, width })
    }

    /// The labels, row by row.
    pub const fn data(&self) -> &'a [i64] {
        self.data
    }

    /// H and W of the labels.
    pub const fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// How many images there are labels of.
    pub fn images(&self) -> usize {
        self.data.len() / (self.height * self.width).max(1)
    }

    /// The class of every position of a map of this shape, whose channels are the classes, in the order of the labels; none
    /// where the position is left out.
    ///
    /// # Errors
    /// [`Error::Length`] for labels of another size than the map's, [`Error::Label`] for one that is no channel of it.
    ///
    /// ```
    /// use densekd_core::{Labels, Mask, Shape};
    /// let labels = Labels::new(&[1, 255], 1, 1, 2)?;
    /// let classes = labels.classes(Mask::ALL, Shape::new([1, 3, 1, 2])?, 255)?;
    /// assert_eq!(classes.collect::<Vec<_>>(), [Some(1), None]);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn classes(
        self,
        mask: Mask<'a>,
        shape: Shape,
        ignore_index: i64,
    ) -> Result<impl Iterator<Item = Option<usize>> + use<'a>, Error> {
        Ok(Targets::new(Some(self), mask, shape, ignore_index)?.all())
    }

    /// The label at a row and a column of an image; -1 beyond them.
    pub fn at(&self, n: usize, y: usize, x: usize) -> i64 {
        self.data.get((n * self.height + y) * self.width + x).copied().unwrap_or(-1)
    }
}

/// A 1x1 convolution that brings the student's channels to the teacher's: y = W s + b.
///
/// ```
/// let identity = densekd_core::Projection::default();
/// assert!(identity.weight.is_none() && identity.bias.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Projection<'a> {
    /// `[C_t, C_s]`; the identity where absent.
    pub weight: Option<&'a [f64]>,
    /// `[C_t]`; 0 where absent.
    pub bias: Option<&'a [f64]>,
}

/// What a map loss reads, checked against its plan.
///
/// ```
/// use densekd_core::{Error, Loss, MapInputs, Order, Shape, Term};
/// let shape = Shape::new([1, 1, 2, 2])?;
/// let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let map = [1.0_f32, 2.0, 3.0, 4.0];
/// assert_eq!(MapInputs::new(&plan, None, &map[..]).unwrap_err(), Error::TeacherMissing);
/// assert!(MapInputs::new(&plan, Some(map[..].into()), &map[..]).is_ok());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MapInputs<'a> {
    plan: &'a MapPlan,
    teacher: Option<Tensor<'a>>,
    student: Tensor<'a>,
    labels: Option<Labels<'a>>,
    mask: Mask<'a>,
    projection: Projection<'a>,
}

impl<'a> MapInputs<'a> {
    /// A pair of maps.
    ///
    /// # Errors
    /// [`Error::TeacherMissing`] where the loss compares with one, [`Error::Unused`] where it does not,
    /// [`Error::Length`] for another number of elements than the plan's.
    pub fn new(
        plan: &'a MapPlan,
        teacher: Option<Tensor<'a>>,
        student: impl Into<Tensor<'a>>,
    ) -> Result<Self, Error> {
        let student = student.into();
        match (plan.takes_teacher(), teacher) {
            (true, None) => return Err(Error::TeacherMissing),
            (false, Some(_)) => return Err(Error::Unused { input: "a teacher" }),
            _ => {}
        }
        let found = [
            ("teacher", teacher.map(|teacher| teacher.len()), plan.teacher().len()),
            ("student", Some(student.len()), plan.student().len()),
        ];
        check_lengths(found)?;
        Ok(Self { plan, teacher, student, labels: None, mask: Mask::ALL, projection: Projection::default() })
    }

    /// With classes of positions.
    ///
    /// # Errors
    /// [`Error::Unused`] where the loss takes none, [`Error::Length`] for another number of images.
    pub fn with_labels(self, labels: Labels<'a>) -> Result<Self, Error> {
        if !self.plan.takes_labels() {
            return Err(Error::Unused { input: "labels" });
        }
        check_lengths([("labels", Some(labels.images()), self.plan.student().images())])?;
        Ok(Self { labels: Some(labels), ..self })
    }

    /// With positions left out, of a loss that takes labels.
    ///
    /// # Errors
    /// [`Error::Unused`] where the loss takes no labels.
    pub fn with_mask(self, mask: Mask<'a>) -> Result<Self, Error> {
        if !self.plan.takes_labels() && !mask.is_all() {
            return Err(Error::Unused { input: "a mask" });
        }
        Ok(Self { mask, ..self })
    }

    /// With a 1x1 convolution of the student.
    ///
    /// # Errors
    /// [`Error::Unused`] where the loss takes none, [`Error::Length`] for other sizes than the plan's channels,
    /// [`Error::ShapeMismatch`] where there is no weight and the channels differ.
    pub fn with_projection(self, projection: Projection<'a>) -> Result<Self, Error> {
        if !self.plan.takes_projection() {
            return Err(Error::Unused { input: "a projection" });
        }
        let (inputs, outputs) = (self.plan.student().channels(), self.plan.teacher().channels());
        check_lengths([
            ("projection", projection.weight.map(<[f64]>::len), inputs * outputs),
            ("bias", projection.bias.map(<[f64]>::len), outputs),
        ])?;
        Ok(Self { projection, ..self })
    }

    /// The plan.
    pub const fn plan(&self) -> &'a MapPlan {
        self.plan
    }

    fn check(&self) -> Result<(), Error> {
        if self.plan.takes_labels() && self.labels.is_none() {
            return Err(Error::LabelsMissing);
        }
        let aligned = self.projection.weight.is_some() || self.plan.shapes().same().is_ok();
        if self.plan.takes_projection() && !aligned {
            self.plan.shapes().same()?;
        }
        Ok(())
    }

    fn maps(&self, isa: Isa) -> Maps<'a> {
        let order = self.plan.order();
        let student = View::new(self.student, self.plan.student(), order, isa);
        let teacher = self.teacher.map(|teacher| View::new(teacher, self.plan.teacher(), order, isa));
        Maps {
            teacher: teacher.unwrap_or(student),
            student,
            labels: self.labels,
            mask: self.mask,
            projection: self.projection,
            isa,
        }
    }
}

fn check_lengths<const K: usize>(lengths: [(&'static str, Option<usize>, usize); K]) -> Result<(), Error> {
    for (buffer, found, wanted) in lengths {
        if let Some(found) = found.filter(|&found| found != wanted) {
            return Err(Error::Length { buffer, found, wanted });
        }
    }
    Ok(())
}

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
    /// [`Error::Length`] for a state of another length than [`MapPlan::scratch`], [`Error::Label`].
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

    /// Writes the gradient to a side at one of [`MapPlan::bands`]; whether a finite number became infinite.
    ///
    /// # Errors
    /// [`Error::Length`] for a state of another length than [`MapPlan::scratch`], [`Error::TeacherGradient`].
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
