//! Backends that are wrong in one way each, and the maps that they are given.

use densekd::check::{Options, Report, check};
use densekd::core::{
    DType, Divergence, Divisor, Element, Epsilon, Ignore, Mask, Norm, Order, Outcome, Plan, Recipe,
    RowOptions, Samples, Shape, TensorMut,
};
use densekd::{Backend, BackendError, Cpu, Submission, Unsupported};

pub(crate) const SHAPE: [usize; 4] = [2, 5, 6, 7];

/// A right backend whose gradient is then spoilt.
pub(crate) struct Spoilt<F>(pub(crate) F);

impl<F: Fn(&Plan, &mut [f64]) + Send + Sync> Backend for Spoilt<F> {
    fn name(&self) -> &'static str {
        "spoilt"
    }

    fn capability(&self, _: &Plan, _: DType, _: DType) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch(&self, _: &Plan, _: usize) -> usize {
        0
    }

    fn submit(&self, mut submission: Submission<'_>) -> Result<Outcome, BackendError> {
        let Some(stored) = submission.grad_student.take() else { return Cpu::new().submit(submission) };
        let plan = submission.plan;
        let mut gradient = vec![0.0; stored.len()];
        let wide = Submission { grad_student: Some(gradient.as_mut_slice().into()), ..submission };
        let outcome = Cpu::new().submit(wide)?;
        (self.0)(plan, &mut gradient);
        match stored {
            TensorMut::F32(to) => narrow(&gradient, to),
            TensorMut::F64(to) => narrow(&gradient, to),
            TensorMut::F16(to) => narrow(&gradient, to),
            TensorMut::Bf16(to) => narrow(&gradient, to),
        }
        Ok(outcome)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

pub(crate) fn narrow<E: Element>(from: &[f64], to: &mut [E]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = E::narrow(*from));
}

/// A right backend that never heard of masks where it makes gradients.
pub(crate) struct Maskless;

impl Backend for Maskless {
    fn name(&self) -> &'static str {
        "maskless"
    }

    fn capability(&self, _: &Plan, _: DType, _: DType) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch(&self, _: &Plan, _: usize) -> usize {
        0
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        let asked = submission.grad_student.is_some();
        let mask = if asked { Mask::ALL } else { submission.mask };
        Cpu::new().submit(Submission { mask, ..submission })
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A backend that knows everything but `f64`.
pub(crate) struct Narrow;

impl Backend for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn capability(&self, _: &Plan, teacher: DType, _: DType) -> Result<(), Unsupported> {
        let refused = Unsupported { backend: "narrow", reason: "no f64" };
        if teacher == DType::F64 { Err(refused) } else { Ok(()) }
    }

    fn scratch(&self, _: &Plan, _: usize) -> usize {
        0
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        Cpu::new().submit(submission)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Numbers between -1 and 1 that repeat from run to run.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A teacher, and a student that differs from it by so much.
pub(crate) fn maps(n: usize, spread: f64, apart: f64) -> (Vec<f64>, Vec<f64>) {
    let teacher: Vec<f64> = noise(n, 1).iter().map(|x| x * spread).collect();
    let student = teacher.iter().zip(noise(n, 2)).map(|(t, d)| t + d * apart).collect();
    (teacher, student)
}

pub(crate) fn stored<E: Element>(numbers: &[f64]) -> Vec<E> {
    numbers.iter().map(|&x| E::narrow(x)).collect()
}

pub(crate) fn plan(options: RowOptions, order: Order) -> Plan {
    let shape = Shape::new(SHAPE).expect("the shape has elements");
    Plan::new(Recipe::new(options).expect("the options go together"), shape, order).expect("the map fits")
}

pub(crate) fn run<E: Element>(
    backend: &dyn Backend,
    plan: &Plan,
    (teacher, student): (&[f64], &[f64]),
    mask: Mask<'_>,
    entries: usize,
) -> Report {
    let (teacher, student) = (stored::<E>(teacher), stored::<E>(student));
    let (t, s) = (teacher.as_slice().into(), student.as_slice().into());
    check(backend, plan, t, s, mask, Options { entries, seed: 7 }).expect("the tensors fit the plan")
}

pub(crate) fn len() -> usize {
    SHAPE.iter().product()
}

pub(crate) fn half_ignored() -> Vec<u8> {
    (0..SHAPE[0] * SHAPE[2] * SHAPE[3]).map(|i| u8::from(i % 3 != 0)).collect()
}

/// Every kind of row loss.
pub(crate) fn recipes() -> Vec<RowOptions> {
    let mut all = Vec::new();
    for norm in [Norm::Channel, Norm::Spatial] {
        for divergence in
            [Divergence::Kl, Divergence::Ce, Divergence::Mse, Divergence::Js, Divergence::ReverseKl]
        {
            all.push(RowOptions { norm, divergence, ..RowOptions::CWD });
        }
        for divergence in [Divergence::Kl, Divergence::Ce] {
            let eps = Epsilon::new(1e-5).expect("it is finite");
            all.push(RowOptions { norm, divergence, eps, ..RowOptions::CWD });
            all.push(RowOptions { norm, divergence, ignore: Ignore::After, ..RowOptions::CWD });
        }
    }
    for norm in [Norm::ChannelMean, Norm::None] {
        all.push(RowOptions { norm, divergence: Divergence::Mse, ..RowOptions::CWD });
        all.push(RowOptions {
            norm,
            divergence: Divergence::Mse,
            samples: Samples::First,
            divisor: Divisor::BatchPositions,
            ..RowOptions::CWD
        });
    }
    all
}
