//! The CUDA backend: a plan's tensors copied to a GPU, its kernels, the results copied back.

use crate::backend::{Backend, BackendError, MapSubmission, Statistics, Submission, Unsupported};
use densekd_core::{
    Arithmetic, DType, Element, MapPlan, Outcome, Overflowed, Plan, Tensor, TensorMut, narrow_into,
};
use densekd_cuda::{Device, HostCall, MapHostCall, Sum, uncovered, uncovered_map};

const NAME: &str = "cuda";

/// Runs KL divergences and cross-entropies of softmaxes on an NVIDIA GPU, with the gradient to the student, and the map
/// losses of [`uncovered_map`], with both gradients.
///
/// Tensors of two types, or a gradient of a third, go through `f32`, which holds every half exactly, those of a map loss
/// through `f64`. Every submission copies its tensors there and back: who has them on the device already uses
/// [`Device::launch`] or [`Device::launch_map`].
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
        let of_outputs = || {
            if submission.grad_teacher.is_some() {
                Some("its kernels have no gradient to the teacher")
            } else if matches!(submission.statistics, Statistics::Drop) {
                None
            } else {
                Some("it keeps no statistics of rows: ask for value and gradient in one call")
            }
        };
        of_plan.or_else(of_outputs).map(|reason| Unsupported { backend: NAME, reason })
    }

    /// The same of a map loss.
    pub(crate) fn map_refusal(submission: &MapSubmission<'_>) -> Option<Unsupported> {
        let of_projection = || {
            let projection = submission.projection;
            (projection.weight.is_some() || projection.bias.is_some() || submission.grad_projection.is_some())
                .then_some("its kernels take no projection")
        };
        let reason = uncovered_map(submission.plan).or_else(of_projection);
        reason.map(|reason| Unsupported { backend: NAME, reason })
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
        submission.inputs()?;
        if let Some(refusal) = Self::refusal(&submission) {
            return Err(refusal.into());
        }
        let Submission { plan, teacher, student, mask, upstream, mut grad_student, row_values, .. } =
            submission;
        let counted: Option<Vec<u8>> = (!mask.is_all()).then(|| {
            (0..plan.shape().images() * plan.shape().positions()).map(|i| u8::from(mask.counts(i))).collect()
        });
        let (divisor, scale) = (plan.divisor(&mask), plan.recipe().scale());
        let factor = if divisor == 0.0 { 0.0 } else { scale * upstream.get() / divisor };
        let gradient = grad_student.as_ref().map(TensorMut::dtype);
        let Sum { sum, overflowed } = if teacher.dtype() == student.dtype()
            && gradient.is_none_or(|gradient| gradient == student.dtype())
        {
            let mask = counted.as_deref();
            self.device.submit(HostCall {
                plan,
                teacher,
                student,
                mask,
                factor,
                gradient: grad_student,
                row_values,
            })?
        } else {
            let (teacher, student) = (widened::<f32>(teacher), widened::<f32>(student));
            let mut wide = gradient.map(|_| vec![0.0_f32; student.len()]);
            let mut done = self.device.submit(HostCall {
                plan,
                teacher: teacher[..].into(),
                student: student[..].into(),
                mask: counted.as_deref(),
                factor,
                gradient: wide.as_deref_mut().map(Into::into),
                row_values,
            })?;
            if let (Some(gradient), Some(wide)) = (&mut grad_student, &wide) {
                done.overflowed |= narrow(wide, gradient);
            }
            done
        };
        Ok(Outcome { sum, divisor, scale, overflowed: Overflowed { student: overflowed, teacher: false } })
    }

    fn map_capability(&self, plan: &MapPlan) -> Result<(), Unsupported> {
        uncovered_map(plan).map_or(Ok(()), |reason| Err(Unsupported { backend: NAME, reason }))
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        submission.call()?;
        if let Some(refusal) = Self::map_refusal(&submission) {
            return Err(refusal.into());
        }
        let MapSubmission { plan, teacher, student, upstream, grad_student, grad_teacher, .. } = submission;
        let teacher = teacher.ok_or(densekd_core::Error::TeacherMissing)?;
        let upstream = upstream.get();
        let gradients = [grad_student.as_ref(), grad_teacher.as_ref()];
        let mut types = gradients.into_iter().flatten().map(TensorMut::dtype).chain([teacher.dtype()]);
        let done = if types.all(|dtype| dtype == student.dtype()) {
            self.device.submit_map(MapHostCall {
                plan,
                teacher,
                student,
                upstream,
                grad_student,
                grad_teacher,
            })?
        } else {
            let (teacher, student) = (widened::<f64>(teacher), widened::<f64>(student));
            let room = |gradient: &Option<TensorMut<'_>>| {
                gradient.as_ref().map(|gradient| vec![0.0_f64; gradient.len()])
            };
            let (mut to_student, mut to_teacher) = (room(&grad_student), room(&grad_teacher));
            let mut done = self.device.submit_map(MapHostCall {
                plan,
                teacher: teacher[..].into(),
                student: student[..].into(),
                upstream,
                grad_student: to_student.as_deref_mut().map(Into::into),
                grad_teacher: to_teacher.as_deref_mut().map(Into::into),
            })?;
            let narrowed = |to: Option<TensorMut<'_>>, from: &Option<Vec<f64>>| match (to, from) {
                (Some(mut to), Some(from)) => narrow(from, &mut to),
                _ => false,
            };
            let student = narrowed(grad_student, &to_student);
            done.overflowed.add(Overflowed { student, teacher: narrowed(grad_teacher, &to_teacher) });
            done
        };
        Ok(Outcome { sum: done.sum, divisor: done.divisor, scale: plan.scale(), overflowed: done.overflowed })
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        // `submit` returns after everything is done.
        Ok(())
    }
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

/// Whether a finite number became infinite.
fn narrow<R: Arithmetic>(from: &[R], to: &mut TensorMut<'_>) -> bool {
    match to {
        TensorMut::F32(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F64(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F16(x) => narrow_into(x.iter_mut(), from),
        TensorMut::Bf16(x) => narrow_into(x.iter_mut(), from),
    }
}
