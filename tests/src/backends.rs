//! Backends that tests put beside the library's own: the core on the caller's thread, and any backend behind
//! the other memory order.

use crate::engine::{Stored, to_nchw, to_nhwc};
use densekd::{Backend, BackendError, Statistics, Submission, Unsupported};
use densekd_core::{
    DType, Element, Inputs, KeptStatistics, Order, Outcome, Outputs, Plan, Sink, Slab, Tensor, TensorMut,
};

/// `densekd_core::run`, which every backend must equal.
#[derive(Debug)]
pub struct Sequential;

fn sink(tensor: TensorMut<'_>) -> Box<dyn Sink + '_> {
    match tensor {
        TensorMut::F32(x) => Box::new(Slab::new(x, 0)),
        TensorMut::F64(x) => Box::new(Slab::new(x, 0)),
        TensorMut::F16(x) => Box::new(Slab::new(x, 0)),
        TensorMut::Bf16(x) => Box::new(Slab::new(x, 0)),
    }
}

impl Backend for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn capability(&self, _plan: &Plan, _teacher: DType, _student: DType) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch(&self, plan: &Plan, gradients: usize) -> usize {
        gradients * plan.scratch() * size_of::<f64>()
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        let Submission { plan, teacher, student, mask, upstream, row_values, statistics, .. } = submission;
        let mut to_student = submission.grad_student.map(sink);
        let mut to_teacher = submission.grad_teacher.map(sink);
        let gradients = usize::from(to_student.is_some()) + usize::from(to_teacher.is_some());
        // What stands in scratch must not matter.
        let mut scratch = vec![f64::NAN; gradients * plan.scratch()];
        let outputs = Outputs {
            grad_student: to_student.as_deref_mut().map(|sink| sink as &mut dyn Sink),
            grad_teacher: to_teacher.as_deref_mut().map(|sink| sink as &mut dyn Sink),
            row_values,
            statistics: match statistics {
                Statistics::Drop => KeptStatistics::Drop,
                Statistics::Write(to) => KeptStatistics::Write(to),
                Statistics::Read(from) => KeptStatistics::Read(from),
            },
            scratch: &mut scratch,
        };
        Ok(densekd_core::run(&Inputs::new(plan, teacher, student, mask)?, upstream, outputs)?)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A backend that is asked in NCHW and hands everything on in NHWC.
pub struct ChannelsLast<'a>(pub &'a dyn Backend);

fn reordered(shape: [usize; 4], tensor: Tensor<'_>) -> Stored {
    match tensor {
        Tensor::F32(x) => Stored::F32(to_nhwc(shape, x)),
        Tensor::F64(x) => Stored::F64(to_nhwc(shape, x)),
        Tensor::F16(x) => Stored::F16(to_nhwc(shape, x)),
        Tensor::Bf16(x) => Stored::Bf16(to_nhwc(shape, x)),
    }
}

fn put_back(shape: [usize; 4], from: &Stored, to: &mut TensorMut<'_>) {
    fn put<E: Element>(shape: [usize; 4], from: &[E], to: &mut [E]) {
        to.copy_from_slice(&to_nchw(shape, from));
    }
    match (from, to) {
        (Stored::F32(from), TensorMut::F32(to)) => put(shape, from, to),
        (Stored::F64(from), TensorMut::F64(to)) => put(shape, from, to),
        (Stored::F16(from), TensorMut::F16(to)) => put(shape, from, to),
        (Stored::Bf16(from), TensorMut::Bf16(to)) => put(shape, from, to),
        _ => unreachable!("the copy has the original's type"),
    }
}

impl Backend for ChannelsLast<'_> {
    fn name(&self) -> &'static str {
        "channels last"
    }

    fn capability(&self, plan: &Plan, teacher: DType, student: DType) -> Result<(), Unsupported> {
        self.0.capability(plan, teacher, student)
    }

    fn scratch(&self, plan: &Plan, gradients: usize) -> usize {
        self.0.scratch(plan, gradients)
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        let shape = submission.plan.shape();
        let plan = Plan::new(*submission.plan.recipe(), shape, Order::Nhwc)?;
        let teacher = reordered(shape.dims(), submission.teacher);
        let student = reordered(shape.dims(), submission.student);
        let Submission { mut grad_student, mut grad_teacher, .. } = submission;
        let copy = |x: &Option<TensorMut<'_>>| x.as_ref().map(|x| reordered(shape.dims(), x.as_tensor()));
        let (mut to_student, mut to_teacher) = (copy(&grad_student), copy(&grad_teacher));
        let outcome = self.0.submit(Submission {
            plan: &plan,
            teacher: teacher.tensor(),
            student: student.tensor(),
            grad_student: to_student.as_mut().map(Stored::tensor_mut),
            grad_teacher: to_teacher.as_mut().map(Stored::tensor_mut),
            ..submission
        })?;
        let pairs = [(&to_student, &mut grad_student), (&to_teacher, &mut grad_teacher)];
        for (from, to) in pairs {
            if let (Some(from), Some(to)) = (from, to) {
                put_back(shape.dims(), from, to);
            }
        }
        Ok(outcome)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        self.0.synchronise()
    }
}
