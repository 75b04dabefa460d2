//! One call of a loss on the caller's thread: inputs, outputs, result.

use crate::access::{Sink, with_reader};
use crate::arithmetic::Arithmetic;
use crate::diverge::Diverge;
use crate::element::{DType, Tensor};
use crate::engine::{self, Memory, Rows, Student};
use crate::isa::Isa;
use crate::mask::Mask;
use crate::normalize::Normalize;
use crate::outcome::{Outcome, Partial};
use crate::plan::Plan;
use crate::recipe::Visit;
use crate::row::{Kind, RowStatistics};
use crate::segments::Segmented;
use crate::{Error, Upstream, upsample};
use core::ops::Range;

/// A teacher and a student that fit a plan. They may be stored in different types; if one is `f64`, all
/// arithmetic is.
///
/// ```
/// use densekd_core::{Error, Inputs, Mask, Order, Plan, Recipe, RowOptions, Shape};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 3])?, Order::Nchw)?;
/// let (teacher, student) = ([0.0_f32, 1.0, 2.0], [0.0_f32, 1.0]);
/// let error = Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL).unwrap_err();
/// assert_eq!(error, Error::Length { buffer: "student", found: 2, wanted: 3 });
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    pub(crate) mask: Mask<'a>,
}

impl<'a> Inputs<'a> {
    /// Checks both lengths against the plan's shape.
    ///
    /// # Errors
    /// [`Error::Length`] where a tensor has another number of elements, [`Error::MaskWithUpsample`].
    pub fn new(
        plan: &'a Plan,
        teacher: impl Into<Tensor<'a>>,
        student: impl Into<Tensor<'a>>,
        mask: Mask<'a>,
    ) -> Result<Self, Error> {
        let (student, wanted) = (student.into(), plan.shape().len());
        let inputs = Self::without_student(plan, teacher.into(), student, mask)?;
        match student.len() {
            found if found == wanted => Ok(inputs),
            found => Err(Error::Length { buffer: "student", found, wanted }),
        }
    }

    /// The same where the student's elements come later, and only their type is known.
    pub(crate) fn without_student(
        plan: &'a Plan,
        teacher: Tensor<'a>,
        student: Tensor<'a>,
        mask: Mask<'a>,
    ) -> Result<Self, Error> {
        let (found, wanted) = (teacher.len(), plan.shape().len());
        if found != wanted {
            return Err(Error::Length { buffer: "teacher", found, wanted });
        }
        if plan.is_upsampled() && !mask.is_all() {
            return Err(Error::MaskWithUpsample);
        }
        Ok(Self { plan, teacher, student, mask })
    }

    /// The plan.
    pub const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The counted positions.
    pub const fn mask(&self) -> &Mask<'a> {
        &self.mask
    }

    fn is_f64(&self) -> bool {
        !self.plan.recipe().is_in_f32(!self.mask.is_all())
            || [self.teacher, self.student].iter().any(|x| x.dtype() == DType::F64)
    }
}

/// What a job computes besides its sum; everything is optional. Slices hold one entry a row *of the job*.
///
/// ```
/// let outputs = densekd_core::Outputs::default();
/// assert!(outputs.grad_student.is_none());
/// ```
#[derive(Default)]
pub struct Outputs<'a> {
    /// The gradient to the student.
    pub grad_student: Option<&'a mut dyn Sink>,
    /// The gradient to the teacher.
    pub grad_teacher: Option<&'a mut dyn Sink>,
    /// Each row's divergence in its own unit (nats for the logarithmic ones), before scale and divisor.
    pub row_values: Option<&'a mut [f64]>,
    /// Statistics to keep for a later call, or kept by an earlier one.
    pub statistics: KeptStatistics<'a>,
    /// [`Plan::scratch`] numbers of scratch for each gradient asked for.
    pub scratch: &'a mut [f64],
    /// [`Plan::room`] numbers in which a job keeps what it knows of entries until their gradient. With fewer or none it
    /// takes longer, and gives the same bits.
    pub room: &'a mut [f32],
}

/// What becomes of the rows' statistics between two calls.
///
/// ```
/// use densekd_core::KeptStatistics;
/// assert!(matches!(KeptStatistics::default(), KeptStatistics::Drop));
/// ```
#[derive(Debug, Default)]
pub enum KeptStatistics<'a> {
    /// One call does it all.
    #[default]
    Drop,
    /// The first of two calls: they are written here.
    Write(&'a mut [RowStatistics]),
    /// The second of two calls: they are read here, and the statistics pass is saved.
    Read(&'a [RowStatistics]),
}

/// A loss on inputs with an upstream gradient, to be run job by job: what a backend that spreads
/// [`Plan::jobs`] over threads calls.
///
/// ```
/// use densekd_core::{Call, Inputs, Mask, Order, Outputs, Partial, Plan, Recipe, RowOptions, Shape, Upstream};
/// let plan = Plan::new(Recipe::new(RowOptions::PI)?, Shape::new([1, 3, 1, 2])?, Order::Nchw)?;
/// let inputs = Inputs::new(&plan, &[0.0_f32, 1.0, 2.0, 0.0, 1.0, 2.0][..], &[0.0_f32; 6][..], Mask::ALL)?;
/// let call = Call::new(inputs, Upstream::ONE);
/// let mut total = Partial::default();
/// for job in plan.jobs() {
///     total.add(call.run(job, Outputs::default())?);
/// }
/// assert!(call.outcome(total).value() > 0.0);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    inputs: Inputs<'a>,
    divisor: f64,
    gradient_scale: f64,
    isa: Isa,
}

impl<'a> Call<'a> {
    /// Counts the divisor and folds every scale into one number.
    pub fn new(inputs: Inputs<'a>, upstream: Upstream) -> Self {
        let divisor = inputs.plan.divisor(&inputs.mask);
        let scale = inputs.plan.recipe().scale();
        let gradient_scale = if divisor == 0.0 { 0.0 } else { scale * upstream.get() / divisor };
        Self { inputs, divisor, gradient_scale, isa: Isa::detect() }
    }

    /// The same on an instruction set of the caller's choice; the plain form where this CPU does not have it.
    ///
    /// Between instruction sets the last bits may differ, between any two runs on one they do not.
    #[must_use]
    pub const fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// Runs the rows of one job.
    ///
    /// # Errors
    /// [`Error::Length`] for an output that does not hold one entry a row of the job, [`Error::Statistics`] for
    /// kept statistics that were never filled.
    pub fn run(&self, job: Range<usize>, mut outputs: Outputs<'_>) -> Result<Partial, Error> {
        self.run_with(job, &mut outputs, Student::Kept)
    }

    /// Runs the whole loss on the caller's thread: [`run`] on the instruction set of this call. Every output's slice covers
    /// all rows of the plan.
    ///
    /// # Errors
    /// As [`run`].
    ///
    /// ```
    /// use densekd_core::{Call, Inputs, Isa, Mask, Order, Outputs, Plan, Recipe, RowOptions, Shape, Upstream};
    /// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 3])?, Order::Nchw)?;
    /// let inputs = Inputs::new(&plan, &[0.0_f32, 1.0, 2.0][..], &[0.0_f32; 3][..], Mask::ALL)?;
    /// let outcome = Call::new(inputs, Upstream::ONE).with_isa(Isa::Plain).run_all(Outputs::default())?;
    /// assert!(outcome.value() > 0.0);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn run_all(&self, mut outputs: Outputs<'_>) -> Result<Outcome, Error> {
        outputs.fit(self.plan())?;
        let mut total = Partial::default();
        for job in self.plan().jobs() {
            total.add(self.run(job.clone(), outputs.part(&job))?);
        }
        Ok(self.outcome(total))
    }

    /// Runs the segments of one job of long rows ([`Plan::is_cut`], one of [`Plan::jobs`]), side by side where the
    /// backend does: the same bits as [`Self::run`]. Gradients go to what is lent to the segments.
    ///
    /// # Errors
    /// As [`Self::run`]; [`Error::Length`] where the rows are not those of a job.
    pub fn run_segments(
        &self,
        job: Range<usize>,
        mut outputs: Outputs<'_>,
        segmented: &mut dyn Segmented,
    ) -> Result<Partial, Error> {
        self.run_with(job, &mut outputs, Student::Segmented(segmented))
    }

    pub(crate) fn run_with<'b>(
        &self,
        job: Range<usize>,
        outputs: &'b mut Outputs<'_>,
        student: Student<'b>,
    ) -> Result<Partial, Error> {
        let plan = self.inputs.plan;
        let job = job.start.min(job.end)..job.end.min(plan.rows());
        outputs.check(plan, &job)?;
        if let Student::Segmented(_) = student {
            let (found, wanted) = (job.len(), plan.rows_of_a_long_job());
            if found > wanted {
                return Err(Error::Length { buffer: "job", found, wanted });
            }
        }
        Ok(if plan.is_upsampled() {
            upsample::run(&self.inputs, job, outputs, self.gradient_scale)
        } else if self.inputs.is_f64() {
            self.read::<f64>(job, outputs, student)
        } else {
            self.read::<f32>(job, outputs, student)
        })
    }

    pub(crate) const fn plan(&self) -> &'a Plan {
        self.inputs.plan
    }

    /// The result, from the sum over all jobs.
    pub fn outcome(&self, total: Partial) -> Outcome {
        Outcome {
            sum: total.sum,
            divisor: self.divisor,
            scale: self.inputs.plan.recipe().scale(),
            overflowed: total.overflowed,
        }
    }

    fn read<'b, R: Arithmetic>(
        &self,
        job: Range<usize>,
        outputs: &'b mut Outputs<'_>,
        with: Student<'b>,
    ) -> Partial {
        let Inputs { plan, teacher, student, mask } = self.inputs;
        let memory = (!self.inputs.is_f64()).then_some(Memory { teacher, student, isa: self.isa });
        with_reader::<R, _>(teacher, |teacher| {
            with_reader::<R, _>(student, |student| {
                let rows =
                    Rows { plan, teacher, student, mask, memory, origin: 0, entries: 0..plan.row_len() };
                plan.recipe().visit(
                    !rows.mask.is_all(),
                    RunJob { rows, job, outputs, gradient_scale: self.gradient_scale, student: with },
                )
            })
        })
    }
}

/// The visitor that runs a job on the recipe's pair of types.
pub(crate) struct RunJob<'a, 'b, 'c, R> {
    pub(crate) rows: Rows<'a, R>,
    pub(crate) job: Range<usize>,
    pub(crate) outputs: &'b mut Outputs<'c>,
    pub(crate) gradient_scale: f64,
    pub(crate) student: Student<'b>,
}

impl<R: Arithmetic> Visit for RunJob<'_, '_, '_, R> {
    type Output = Partial;

    fn pair<N: Normalize, D: Diverge<N::Space>>(self, normalize: N, diverge: D) -> Partial {
        let Self { rows, job, outputs, gradient_scale, student } = self;
        engine::run(&rows, job, (&normalize, &diverge), outputs, gradient_scale, student)
    }
}

impl Outputs<'_> {
    /// Checks that every slice fits the plan: for a backend that cuts them along its jobs, before it writes anything.
    ///
    /// # Errors
    /// As [`run`].
    pub fn fit(&self, plan: &Plan) -> Result<(), Error> {
        self.check(plan, &(0..plan.rows()))
    }

    /// Every slice covers the job.
    pub(crate) fn check(&self, plan: &Plan, job: &Range<usize>) -> Result<(), Error> {
        let wanted = job.len();
        let (kept, unfilled) = match &self.statistics {
            KeptStatistics::Drop => (None, None),
            KeptStatistics::Write(kept) => (Some(kept.len()), None),
            KeptStatistics::Read(kept) => {
                (Some(kept.len()), kept.iter().position(|kept| kept.kind == Kind::Unset))
            }
        };
        let gradients = usize::from(self.grad_student.is_some()) + usize::from(self.grad_teacher.is_some());
        let lengths = [
            ("statistics", kept, wanted),
            ("row_values", self.row_values.as_ref().map(|x| x.len()), wanted),
            ("scratch", Some(self.scratch.len()).filter(|_| plan.is_upsampled()), gradients * plan.scratch()),
        ];
        for (buffer, found, wanted) in lengths {
            if let Some(found) = found.filter(|&found| found != wanted) {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        match unfilled {
            Some(row) => Err(Error::Statistics { row: job.start + row }),
            None => Ok(()),
        }
    }

    /// The part of whole-plan outputs that belongs to a job.
    pub(crate) fn part(&mut self, job: &Range<usize>) -> Outputs<'_> {
        Outputs {
            grad_student: reborrow(&mut self.grad_student),
            grad_teacher: reborrow(&mut self.grad_teacher),
            row_values: self.row_values.as_deref_mut().and_then(|x| x.get_mut(job.clone())),
            statistics: match &mut self.statistics {
                KeptStatistics::Drop => KeptStatistics::Drop,
                KeptStatistics::Write(x) => KeptStatistics::Write(x.get_mut(job.clone()).unwrap_or_default()),
                KeptStatistics::Read(x) => KeptStatistics::Read(x.get(job.clone()).unwrap_or_default()),
            },
            scratch: self.scratch,
            room: self.room,
        }
    }
}

pub(crate) fn reborrow<'b>(sink: &'b mut Option<&mut dyn Sink>) -> Option<&'b mut dyn Sink> {
    match sink {
        Some(sink) => Some(&mut **sink),
        None => None,
    }
}

/// Runs a whole loss on the caller's thread. Every output's slice covers all rows of the plan.
///
/// Nothing is allocated. Bit for bit the same as any backend that runs [`Plan::jobs`] side by side.
///
/// # Errors
/// [`Error::Length`] for an output of another length than the plan asks for, [`Error::Statistics`] for kept
/// statistics that were never filled.
///
/// ```
/// use densekd_core::{Inputs, Mask, Order, Outputs, Plan, Recipe, RowOptions, Shape, Slab, Upstream, run};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 2, 1, 3])?, Order::Nchw)?;
/// let teacher = [0.0_f32, 1.0, 2.0, 3.0, 1.0, 2.0];
/// let student = [0.5_f32, 1.0, 0.0, 2.0, 2.0, 2.0];
/// let mut gradient = [0.0_f32; 6];
/// let outcome = run(
///     &Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL)?,
///     Upstream::ONE,
///     Outputs { grad_student: Some(&mut Slab::new(&mut gradient, 0)), ..Outputs::default() },
/// )?;
/// assert!(outcome.value() > 0.0);
/// assert!(gradient.iter().sum::<f32>().abs() < 1e-6);
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn run(inputs: &Inputs<'_>, upstream: Upstream, outputs: Outputs<'_>) -> Result<Outcome, Error> {
    Call::new(*inputs, upstream).run_all(outputs)
}
