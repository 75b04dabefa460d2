//! The CUDA backend: a plan's tensors copied to a GPU, its kernels, the results copied back.

use crate::backend::{Backend, BackendError, Statistics, Submission, Unsupported};
use densekd_core::{DType, Element, KeptStatistics, Outcome, Plan, Tensor, TensorMut, narrow_into};
use densekd_cuda::{Device, HostCall, Sum, uncovered, uncovered_statistics};

const NAME: &str = "cuda";

/// Runs row losses on an NVIDIA GPU, with the gradients to both sides.
///
/// Tensors of two types, or a gradient of another, go through `f32`, which holds every half exactly. Every submission
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
        let keeps = !matches!(submission.statistics, Statistics::Drop);
        let of_statistics = || keeps.then(|| uncovered_statistics(submission.plan)).flatten();
        of_plan.or_else(of_statistics).map(|reason| Unsupported { backend: NAME, reason })
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
        let Submission {
            plan,
            teacher,
            student,
            mask,
            upstream,
            mut grad_student,
            mut grad_teacher,
            row_values,
            statistics,
        } = submission;
        let counted: Option<Vec<u8>> = (!mask.is_all()).then(|| {
            (0..plan.shape().images() * plan.shape().positions()).map(|i| u8::from(mask.counts(i))).collect()
        });
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
            let (teacher, student) = (widened(teacher), widened(student));
            let [mut to_student, mut to_teacher] =
                gradients.map(|of| of.map(|_| vec![0.0_f32; student.len()]));
            let mut done = self.device.submit(HostCall {
                teacher: teacher[..].into(),
                student: student[..].into(),
                grad_student: to_student.as_deref_mut().map(Into::into),
                grad_teacher: to_teacher.as_deref_mut().map(Into::into),
                ..call
            })?;
            done.overflowed.student |= narrow(to_student.as_deref(), grad_student.as_mut());
            done.overflowed.teacher |= narrow(to_teacher.as_deref(), grad_teacher.as_mut());
            done
        };
        Ok(Outcome { sum, divisor, scale, overflowed })
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
fn narrow(from: Option<&[f32]>, to: Option<&mut TensorMut<'_>>) -> bool {
    let (Some(from), Some(to)) = (from, to) else { return false };
    match to {
        TensorMut::F32(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F64(x) => narrow_into(x.iter_mut(), from),
        TensorMut::F16(x) => narrow_into(x.iter_mut(), from),
        TensorMut::Bf16(x) => narrow_into(x.iter_mut(), from),
    }
}
