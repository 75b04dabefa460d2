//! The CUDA backend: a plan's tensors copied to a GPU, its kernels, the results copied back.

use crate::backend::{Backend, BackendError, Statistics, Student, Submission, Unsupported};
use densekd_core::{DType, Element, Outcome, Overflowed, Plan, Tensor, TensorMut, narrow_into};
use densekd_cuda::{Device, HostCall, Sum, uncovered};

const NAME: &str = "cuda";

/// Runs KL divergences and cross-entropies of softmaxes on an NVIDIA GPU, with the gradient to the student.
///
/// Tensors of two types, or a gradient of a third, go through `f32`, which holds every half exactly. Every submission
/// copies its tensors there and back: who has them on the device already uses [`Device::launch`].
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
            if matches!(submission.student, Student::Overwritten(_)) {
                Some("its kernels leave the student as it is: give the gradient a tensor of its own")
            } else if submission.grad_teacher.is_some() {
                Some("its kernels have no gradient to the teacher")
            } else if matches!(submission.statistics, Statistics::Drop) {
                None
            } else {
                Some("it keeps no statistics of rows: ask for value and gradient in one call")
            }
        };
        of_plan.or_else(of_outputs).map(|reason| Unsupported { backend: NAME, reason })
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
        let Submission { plan, teacher, student, mask, upstream, mut grad_student, row_values, .. } =
            submission;
        let student = student.as_tensor();
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
            let (teacher, student) = (widened(teacher), widened(student));
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

    fn synchronise(&self) -> Result<(), BackendError> {
        // `submit` returns after everything is done.
        Ok(())
    }
}

fn widened(tensor: Tensor<'_>) -> Vec<f32> {
    fn all<E: Element>(elements: &[E]) -> Vec<f32> {
        elements.iter().map(|x| x.widen()).collect()
    }
    match tensor {
        Tensor::F32(x) => x.to_vec(),
        Tensor::F64(x) => all(x),
        Tensor::F16(x) => all(x),
        Tensor::Bf16(x) => all(x),
    }
}

/// Whether a finite number became infinite.
fn narrow(from: &[f32], to: &mut TensorMut<'_>) -> bool {
    match to {
        TensorMut::F32(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F64(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F16(x) => narrow_into(x.iter_mut(), from),
        TensorMut::Bf16(x) => narrow_into(x.iter_mut(), from),
    }
}
