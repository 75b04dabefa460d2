//! What reaches each kernel: losses on small tensors, and their numbers.

use densekd_core::{
    Divergence, KeptStatistics, Loss, Order, Plan, Recipe, RowOptions, RowStatistics, Shape, Term,
};
use densekd_cuda::{Device, Error, HostCall, MapHostCall};

/// Numbers that belong together: they are compared relative to the largest.
pub(crate) type Numbers = Vec<Vec<f64>>;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Rows with ignored positions, the gradients to student and, of a divergence with totals, to the teacher.
    Rows(Order, [usize; 4], Divergence),
    /// A map loss at its defaults, with every gradient that it has.
    Map(Loss, Order, [usize; 4]),
}

fn numbers(count: usize, step: usize) -> Vec<f32> {
    // Of either sign, without a pattern that a wrong index would meet again.
    (0..count).map(|i| f32::from(u8::try_from((i * step + i * i % 89) % 251).unwrap()) / 64.0 - 2.0).collect()
}

fn widened(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

impl Use {
    pub(crate) fn run(self, device: &Device) -> Result<Numbers, Error> {
        match self {
            Self::Rows(order, dims, divergence) => rows(device, order, dims, divergence),
            Self::Map(loss, order, dims) => map(device, loss, order, dims),
        }
    }
}

fn rows(device: &Device, order: Order, dims: [usize; 4], divergence: Divergence) -> Result<Numbers, Error> {
    let options = RowOptions { divergence, ..RowOptions::CWD };
    let plan = Plan::new(Recipe::new(options).unwrap(), Shape::new(dims).unwrap(), order).unwrap();
    let len = plan.shape().len();
    let (teacher, student) = (numbers(len, 37), numbers(len, 53));
    let mask: Vec<u8> = (0..dims[0] * dims[2] * dims[3]).map(|i| u8::from(i % 7 != 3)).collect();
    let both = divergence != Divergence::Kl;
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; len], vec![0.0_f32; len]);
    let mut values = vec![0.0; plan.rows()];
    let mut kept = vec![RowStatistics::default(); plan.rows()];
    let done = device.submit(HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: Some(&mask),
        factor: 1.5,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: both.then(|| (&mut to_teacher[..]).into()),
        row_values: Some(&mut values),
        statistics: KeptStatistics::Write(&mut kept),
    })?;
    Ok(vec![vec![done.sum], values, widened(to_student), widened(to_teacher)])
}

fn map(device: &Device, loss: Loss, order: Order, dims: [usize; 4]) -> Result<Numbers, Error> {
    let shape = Shape::new(dims).unwrap();
    let Term::Map(plan) = Term::new(loss.defaults(), shape, shape, order).unwrap() else { unreachable!() };
    let (teacher, student) = (numbers(shape.len(), 37), numbers(shape.len(), 53));
    let classes: Vec<i32> = (0..shape.images() * shape.positions())
        .map(|i| if i % 5 == 2 { -1 } else { i32::try_from(i % shape.channels()).unwrap() })
        .collect();
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    let done = device.submit_map(MapHostCall {
        plan: &plan,
        teacher: plan.takes_teacher().then(|| teacher[..].into()),
        student: student[..].into(),
        classes: plan.takes_labels().then_some(&classes),
        upstream: 1.5,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: plan.has_teacher_gradient().then(|| (&mut to_teacher[..]).into()),
    })?;
    Ok(vec![vec![done.sum], widened(to_student), widened(to_teacher)])
}
