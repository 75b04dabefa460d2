//! How far the engine is from the oracle on one row.

use crate::oracle::fast;
use crate::rows::RowPair;
use densekd::{Backend, Cpu, Submission};
use densekd_core::{
    Divisor, Isa, Kl, Order, Plan, Recipe, RowLoss, RowOptions, Shape, Softmax, Temperature, Upstream,
};

/// The engine's errors on a row pair, the oracle being right.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowError {
    /// The true KL divergence.
    pub kl: f64,
    /// Of the value, relative to it; 0 below 1e-26, which `f32` terms do not reach.
    pub value: f64,
    /// Of the gradient, relative to its largest entry.
    pub gradient: f64,
    /// The gradient's sum, relative to the sum of its magnitudes.
    pub sum: f64,
}

/// Compares value and gradient in `f32` with the oracle, on the instruction set that `DENSEKD_ISA` names.
///
/// # Panics
/// Where the temperature is not one, which no generator makes, or this CPU does not have that instruction set.
#[allow(clippy::unwrap_used, reason = "a generator that makes an invalid pair is a defect to be seen")]
pub fn row_error(pair: &RowPair) -> RowError {
    row_error_on(Cpu::new().isa().unwrap(), pair)
}

/// The same on this instruction set.
///
/// # Panics
/// Where the temperature is not one, which no generator makes.
#[allow(clippy::unwrap_used, reason = "a generator that makes an invalid pair is a defect to be seen")]
pub fn row_error_on(isa: Isa, pair: &RowPair) -> RowError {
    let loss = RowLoss::new(Softmax::new(Temperature::new(pair.tau).unwrap()), Kl).with_isa(isa);
    let mut gradient = vec![0.0_f32; pair.student.len()];
    let value = loss.gradient(&pair.teacher, &pair.student, Upstream::ONE, &mut gradient).unwrap();
    compare(pair, value, &gradient)
}

/// [`row_error`] of the pair where its rows interleave in memory with others: with themselves, moved on by one entry.
///
/// # Panics
/// Where the temperature is not one, which no generator makes, or this CPU does not have the instruction set that
/// `DENSEKD_ISA` names.
#[allow(clippy::unwrap_used, reason = "a generator that makes an invalid pair is a defect to be seen")]
pub fn column_error(pair: &RowPair) -> RowError {
    let length = pair.student.len();
    let beside =
        |row: &[f32]| -> Vec<f32> { (0..length).flat_map(|i| [row[i], row[(i + 1) % length]]).collect() };
    let (teacher, student) = (beside(&pair.teacher), beside(&pair.student));
    let options = RowOptions {
        tau: Temperature::new(pair.tau).unwrap(),
        tau_square: false,
        divisor: Divisor::Sum,
        ..RowOptions::PI
    };
    let shape = Shape::new([1, length, 1, 2]).unwrap();
    let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
    let (mut values, mut gradient) = ([0.0; 2], vec![0.0_f32; 2 * length]);
    let submission = Submission {
        row_values: Some(&mut values),
        grad_student: Some(gradient.as_mut_slice().into()),
        ..Submission::new(&plan, &teacher[..], &student[..])
    };
    Cpu::new().submit(submission).unwrap();
    let first: Vec<f32> = gradient.into_iter().step_by(2).collect();
    compare(pair, values[0], &first)
}

/// The errors of a value and a gradient.
fn compare(pair: &RowPair, value: f64, gradient: &[f32]) -> RowError {
    let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (teacher, student) = (wide(&pair.teacher), wide(&pair.student));
    let kl = fast::kl_row(&teacher, &student, pair.tau);
    assert!(value >= 0.0 || kl.is_nan(), "{value} instead of {kl}");
    let want = fast::kl_row_gradient(&teacher, &student, pair.tau);
    let largest = want.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    let off = gradient.iter().zip(&want).fold(0.0_f64, |a, (&g, w)| a.max((f64::from(g) - w).abs()));
    let sum: f64 = gradient.iter().copied().map(f64::from).sum();
    let size: f64 = gradient.iter().copied().map(|g| f64::from(g).abs()).sum();
    let floor = 1e-26;
    RowError {
        kl,
        value: if kl > floor { (value / kl - 1.0).abs() } else { 0.0 },
        gradient: if largest > 1e-32 { off / largest } else { 0.0 },
        sum: if largest > 1e-32 { sum.abs() / size } else { 0.0 },
    }
}
