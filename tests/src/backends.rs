//! Backends that tests put beside the library's own: the core on the caller's thread, and any backend behind
//! the other memory order.

use crate::engine::{Stored, to_nchw, to_nhwc};
use densekd::{Backend, BackendError, Cpu, MapSubmission, Statistics, Student, Submission, Unsupported};
use densekd_core::{
    Alone, Call, DType, Element, InPlace, Inputs, Isa, KeptStatistics, MapCall, MapInputs, MapPlan, Mask,
    Options, Order, Outcome, Outputs, Plan, Sink, Slab, Tensor, TensorMut, Term, Upstream,
};

/// `densekd_core::run` on the instruction set that the CPU backend runs on, which every backend must equal.
#[derive(Debug)]
pub struct Sequential;

/// The instruction set that the CPU backend runs on.
///
/// # Panics
/// Where `DENSEKD_ISA` names one that this CPU does not have.
pub fn isa() -> Isa {
    Cpu::new().isa().unwrap_or_else(|error| panic!("{error}"))
}

fn sink(tensor: TensorMut<'_>) -> Box<dyn Sink + '_> {
    match tensor {
        TensorMut::F32(x) => Box::new(Slab::new(x, 0)),
        TensorMut::F64(x) => Box::new(Slab::new(x, 0)),
        TensorMut::F16(x) => Box::new(Slab::new(x, 0)),
        TensorMut::Bf16(x) => Box::new(Slab::new(x, 0)),
    }
}

/// The gradient in the student's place.
fn overwrite<'a, E: Element>(
    (plan, teacher, mask, upstream): (&'a Plan, Tensor<'a>, Mask<'a>, Upstream),
    student: &mut [E],
    outputs: Outputs<'_>,
) -> Result<Outcome, densekd_core::Error> {
    // What stands in the copy must not matter.
    let mut copy = vec![E::narrow(f64::NAN); plan.in_place()?];
    let loss = InPlace::<E>::new(plan, teacher, mask, upstream)?.with_isa(isa());
    loss.run_all(student, &mut copy, outputs)
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
            room: &mut [],
        };
        let loss = (plan, teacher, mask, upstream);
        Ok(match student {
            Student::Kept(student) => {
                let inputs = Inputs::new(plan, teacher, student, mask)?;
                Call::new(inputs, upstream).with_isa(isa()).run_all(outputs)
            }
            Student::Overwritten(TensorMut::F32(student)) => overwrite(loss, student, outputs),
            Student::Overwritten(TensorMut::F64(student)) => overwrite(loss, student, outputs),
            Student::Overwritten(TensorMut::F16(student)) => overwrite(loss, student, outputs),
            Student::Overwritten(TensorMut::Bf16(student)) => overwrite(loss, student, outputs),
        }?)
    }

    fn map_capability(&self, _plan: &MapPlan) -> Result<(), Unsupported> {
        Ok(())
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        let MapSubmission { plan, teacher, student, labels, mask, projection, upstream, .. } = submission;
        let mut inputs = MapInputs::new(plan, teacher, student)?.with_mask(mask)?;
        if let Some(labels) = labels {
            inputs = inputs.with_labels(labels)?;
        }
        if plan.takes_projection() {
            inputs = inputs.with_projection(projection)?;
        }
        let (mut to_student, mut to_teacher) =
            (submission.grad_student.map(sink), submission.grad_teacher.map(sink));
        let mut state = vec![f64::NAN; plan.scratch()];
        let call = MapCall::new(inputs)?.with_isa(isa());
        let outcome = call.run_all(
            upstream,
            &mut state,
            to_student.as_deref_mut().map(|sink| sink as &mut dyn Sink),
            to_teacher.as_deref_mut().map(|sink| sink as &mut dyn Sink),
        )?;
        if let Some(gradients) = submission.grad_projection {
            call.measure(&mut state, &Alone)?;
            call.pull_projection((&outcome, upstream), &state, gradients, &Alone)?;
        }
        Ok(outcome)
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
        let Student::Kept(student) = submission.student else {
            let reason = "it hands on a copy of the student";
            return Err(Unsupported { backend: self.name(), reason }.into());
        };
        let student = reordered(shape.dims(), student);
        let Submission { mut grad_student, mut grad_teacher, .. } = submission;
        let copy = |x: &Option<TensorMut<'_>>| x.as_ref().map(|x| reordered(shape.dims(), x.as_tensor()));
        let (mut to_student, mut to_teacher) = (copy(&grad_student), copy(&grad_teacher));
        let outcome = self.0.submit(Submission {
            plan: &plan,
            teacher: teacher.tensor(),
            student: student.tensor().into(),
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

    fn map_capability(&self, plan: &MapPlan) -> Result<(), Unsupported> {
        self.0.map_capability(plan)
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        let (student, teacher) = (submission.plan.student(), submission.plan.teacher());
        let options = Options::Map(*submission.plan.options());
        let Term::Map(plan) = Term::new(options, student, teacher, Order::Nhwc)? else {
            unreachable!("a map loss stays one")
        };
        let to_teacher = submission.teacher.map(|x| reordered(teacher.dims(), x));
        let to_student = reordered(student.dims(), submission.student);
        let MapSubmission { mut grad_student, mut grad_teacher, .. } = submission;
        let copy = |dims, x: &Option<TensorMut<'_>>| x.as_ref().map(|x| reordered(dims, x.as_tensor()));
        let mut from_student = copy(student.dims(), &grad_student);
        let mut from_teacher = copy(teacher.dims(), &grad_teacher);
        let outcome = self.0.submit_map(MapSubmission {
            plan: &plan,
            teacher: to_teacher.as_ref().map(Stored::tensor),
            student: to_student.tensor(),
            grad_student: from_student.as_mut().map(Stored::tensor_mut),
            grad_teacher: from_teacher.as_mut().map(Stored::tensor_mut),
            ..submission
        })?;
        let pairs =
            [(student, &from_student, &mut grad_student), (teacher, &from_teacher, &mut grad_teacher)];
        for (shape, from, to) in pairs {
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
