//! The CUDA backend: a plan's tensors copied to a GPU, its kernels, the results copied back.

mod adapted;

use crate::adapter::{AdaptedOutcome, AdaptedPair, Gradients};
use crate::backend::{Backend, BackendError, MapSubmission, Statistics, Student, Submission, Unsupported};
use adapted::mimicking;
use densekd_core::{
    Arithmetic, DType, Element, KeptStatistics, MapPlan, Mask, Outcome, Plan, Projection, Tensor, TensorMut,
    narrow_into,
};
use densekd_cuda::{
    Device, HostCall, MapHostCall, MapSum, Sum, classes, uncovered, uncovered_map, uncovered_statistics,
};

const NAME: &str = "cuda";

/// Runs row losses and the map losses of [`uncovered_map`] on an NVIDIA GPU, with the gradients to both sides, to maps
/// behind their adapters, and to the parameters of these.
///
/// Tensors of two types, or a gradient of another, go through `f32`, which holds every half exactly, those of a map loss
/// through `f64` where its kernels have it. Every submission copies its tensors there and back: who has them on the
/// device already uses [`Device::launch`], [`Device::launch_map`] or [`Device::launch_adapted`].
///
/// ```
/// use densekd::{Backend, BackendError, Cuda};
/// match Cuda::open(0) {
///     Ok(cuda) => assert_eq!(cuda.name(), "cuda"),
///     Err(BackendError::Cuda(error)) => println!("{error}"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), BackendError>(())
/// ```
#[derive(Debug)]
pub struct Cuda {
    device: Device,
}

impl Cuda {
    /// A device by its number.
    ///
    /// # Errors
    /// [`BackendError::Cuda`] with the reason: no driver, no such device, a driver or a device that is too old.
    pub fn open(ordinal: u32) -> Result<Self, BackendError> {
        Ok(Self { device: Device::open(ordinal)? })
    }

    /// The device, to run plans on its own memory.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Why it does not run a submission, which asks for more than a plan and its types say.
    pub(crate) fn refusal(submission: &Submission<'_>) -> Option<Unsupported> {
        let types = [submission.teacher.dtype(), submission.student.dtype()];
        let of_plan = types.into_iter().find_map(|dtype| uncovered(submission.plan, dtype));
        let overwrites = matches!(submission.student, Student::Overwritten(_));
        let of_student = || {
            overwrites
                .then_some("its kernels leave the student as it is: give the gradient a tensor of its own")
        };
        let keeps = !matches!(submission.statistics, Statistics::Drop);
        let of_statistics = || {
            types.into_iter().filter(|_| keeps).find_map(|dtype| uncovered_statistics(submission.plan, dtype))
        };
        let reason = of_plan.or_else(of_student).or_else(of_statistics);
        reason.map(|reason| Unsupported { backend: NAME, reason })
    }

    /// Runs a map loss on tensors of other types, which `R` holds.
    fn submit_wide<R: Arithmetic + Element>(
        &self,
        call: MapHostCall<'_>,
    ) -> Result<MapSum, densekd_cuda::Error>
    where
        for<'a> Tensor<'a>: From<&'a [R]>,
        for<'a> TensorMut<'a>: From<&'a mut [R]>,
    {
        let MapHostCall { teacher, student, mut grad_student, mut grad_teacher, .. } = call;
        let (teacher, student) = (teacher.map(widened::<R>), widened::<R>(student));
        let [mut to_student, mut to_teacher] = [grad_student.as_ref(), grad_teacher.as_ref()].map(room::<R>);
        let mut done = self.device.submit_map(MapHostCall {
            plan: call.plan,
            teacher: teacher.as_deref().map(Into::into),
            student: student[..].into(),
            classes: call.classes,
            upstream: call.upstream,
            grad_student: to_student.as_deref_mut().map(Into::into),
            grad_teacher: to_teacher.as_deref_mut().map(Into::into),
        })?;
        done.overflowed.student |= narrow(to_student.as_deref(), grad_student.as_mut());
        done.overflowed.teacher |= narrow(to_teacher.as_deref(), grad_teacher.as_mut());
        Ok(done)
    }

    /// The same of rows.
    fn submit_rows_wide<R: Arithmetic + Element>(
        &self,
        call: HostCall<'_>,
    ) -> Result<Sum, densekd_cuda::Error>
    where
        for<'a> Tensor<'a>: From<&'a [R]>,
        for<'a> TensorMut<'a>: From<&'a mut [R]>,
    {
        let HostCall { mut grad_student, mut grad_teacher, .. } = call;
        let (teacher, student) = (widened::<R>(call.teacher), widened::<R>(call.student));
        let [mut to_student, mut to_teacher] = [grad_student.as_ref(), grad_teacher.as_ref()].map(room::<R>);
        let mut done = self.device.submit(HostCall {
            teacher: teacher[..].into(),
            student: student[..].into(),
            grad_student: to_student.as_deref_mut().map(Into::into),
            grad_teacher: to_teacher.as_deref_mut().map(Into::into),
            ..call
        })?;
        done.overflowed.student |= narrow(to_student.as_deref(), grad_student.as_mut());
        done.overflowed.teacher |= narrow(to_teacher.as_deref(), grad_teacher.as_mut());
        Ok(done)
    }

    /// The one type of all tensors of a map loss, or else the type that they go through.
    fn map_type(submission: &MapSubmission<'_>) -> Result<DType, DType> {
        let MapSubmission { plan, teacher, student, grad_student, grad_teacher, .. } = submission;
        let gradients = [grad_student.as_ref(), grad_teacher.as_ref()];
        let others = gradients.into_iter().flatten().map(TensorMut::dtype).chain(teacher.map(|x| x.dtype()));
        let student = student.dtype();
        if others.clone().all(|other| other == student) {
            return Ok(student);
        }
        let is_wide = others.chain([student]).any(|dtype| dtype == DType::F64);
        Err(if is_wide || lacks(plan, DType::F64).is_none() { DType::F64 } else { DType::F32 })
    }

    /// The same of a map loss.
    pub(crate) fn map_refusal(submission: &MapSubmission<'_>) -> Option<Unsupported> {
        let (Ok(dtype) | Err(dtype)) = Self::map_type(submission);
        lacks(submission.plan, dtype).map(|reason| Unsupported { backend: NAME, reason })
    }
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capability(&self, plan: &Plan, teacher: DType, student: DType) -> Result<(), Unsupported> {
        let reason = [teacher, student].into_iter().find_map(|dtype| uncovered(plan, dtype));
        reason.map_or(Ok(()), |reason| Err(Unsupported { backend: NAME, reason }))
    }

    /// Of the device's memory; the tensors' copies come to it.
    fn scratch(&self, plan: &Plan, _gradients: usize) -> usize {
        Device::workspace(plan, DType::F32).unwrap_or_default()
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        submission.check()?;
        if let Some(refusal) = Self::refusal(&submission) {
            return Err(refusal.into());
        }
        let Submission {
            plan,
            teacher,
            student,
            mask,
            upstream,
            grad_student,
            grad_teacher,
            row_values,
            statistics,
        } = submission;
        let student = student.as_tensor();
        let counted = counted(plan, &mask);
        let (divisor, scale) = (plan.divisor(&mask), plan.recipe().scale());
        let factor = if divisor == 0.0 { 0.0 } else { scale * upstream.get() / divisor };
        let call = HostCall {
            plan,
            teacher,
            student,
            mask: counted.as_deref(),
            factor,
            grad_student: None,
            grad_teacher: None,
            row_values,
            statistics: match statistics {
                Statistics::Drop => KeptStatistics::Drop,
                Statistics::Write(kept) => KeptStatistics::Write(kept),
                Statistics::Read(kept) => KeptStatistics::Read(kept),
            },
        };
        let gradients =
            [&grad_student, &grad_teacher].map(|gradient| gradient.as_ref().map(TensorMut::dtype));
        let of_one_type =
            gradients.into_iter().flatten().chain([teacher.dtype()]).all(|x| x == student.dtype());
        let Sum { sum, overflowed } = if of_one_type {
            self.device.submit(HostCall { grad_student, grad_teacher, ..call })?
        } else {
            let call = HostCall { grad_student, grad_teacher, ..call };
            let is_wide = [teacher, student].iter().any(|map| map.dtype() == DType::F64);
            if is_wide { self.submit_rows_wide::<f64>(call)? } else { self.submit_rows_wide::<f32>(call)? }
        };
        Ok(Outcome { sum, divisor, scale, overflowed })
    }

    fn map_capability(&self, plan: &MapPlan) -> Result<(), Unsupported> {
        lacks(plan, DType::F32).map_or(Ok(()), |reason| Err(Unsupported { backend: NAME, reason }))
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        submission.call()?;
        if let Some(refusal) = Self::map_refusal(&submission) {
            return Err(refusal.into());
        }
        if submission.grad_teacher.is_some() && !submission.plan.has_teacher_gradient() {
            return Err(densekd_core::Error::TeacherGradient.into());
        }
        let Projection { weight, bias } = submission.projection;
        let projects = weight.is_some() || bias.is_some() || submission.grad_projection.is_some();
        if let Some(projected) = mimicking(submission.plan).filter(|_| projects) {
            return self.mimic(submission, &projected);
        }
        let dtype = Self::map_type(&submission);
        let MapSubmission {
            plan, teacher, student, labels, mask, upstream, grad_student, grad_teacher, ..
        } = submission;
        let classes = labels.map(|labels| classes(plan, labels, mask)).transpose()?;
        let to = MapHostCall {
            plan,
            teacher,
            student,
            classes: classes.as_deref(),
            upstream: upstream.get(),
            grad_student,
            grad_teacher,
        };
        let done = match dtype {
            Ok(_) => self.device.submit_map(to)?,
            Err(DType::F32) => self.submit_wide::<f32>(to)?,
            Err(_) => self.submit_wide::<f64>(to)?,
        };
        Ok(Outcome { sum: done.sum, divisor: done.divisor, scale: plan.scale(), overflowed: done.overflowed })
    }

    fn submit_adapted(
        &self,
        pair: &AdaptedPair<'_>,
        wanted: Gradients,
    ) -> Result<Option<AdaptedOutcome>, BackendError> {
        self.run_adapted(pair, wanted)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        // `submit` returns after everything is done.
        Ok(())
    }
}

/// Why there are no kernels for a map loss, in itself or of maps that are projected first.
fn lacks(plan: &MapPlan, dtype: DType) -> Option<&'static str> {
    uncovered_map(&mimicking(plan).unwrap_or(*plan), dtype)
}

/// A byte a position, of a mask that leaves any out.
fn counted(plan: &Plan, mask: &Mask<'_>) -> Option<Vec<u8>> {
    let positions = plan.shape().images() * plan.shape().positions();
    (!mask.is_all()).then(|| (0..positions).map(|i| u8::from(mask.counts(i))).collect())
}

fn widened<R: Arithmetic>(tensor: Tensor<'_>) -> Vec<R> {
    fn all<E: Element, R: Arithmetic>(elements: &[E]) -> Vec<R> {
        elements.iter().map(|x| x.widen()).collect()
    }
    match tensor {
        Tensor::F32(x) => all(x),
        Tensor::F64(x) => all(x),
        Tensor::F16(x) => all(x),
        Tensor::Bf16(x) => all(x),
    }
}

/// Room of another type for a gradient.
fn room<R: Arithmetic>(gradient: Option<&TensorMut<'_>>) -> Option<Vec<R>> {
    gradient.map(|gradient| vec![R::zero(); gradient.len()])
}

/// Whether a finite number became infinite.
fn narrow<R: Arithmetic>(from: Option<&[R]>, to: Option<&mut TensorMut<'_>>) -> bool {
    let (Some(from), Some(to)) = (from, to) else { return false };
    match to {
        TensorMut::F32(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F64(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F16(x) => narrow_into(x.iter_mut(), from),
        TensorMut::Bf16(x) => narrow_into(x.iter_mut(), from),
    }
}
