//! Gradients by central differences of the value.

use super::case::{Inputs, MapCase, number};
use super::{Number, number_of};

/// A tensor that the value depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The student's map.
    Student,
    /// The teacher's map.
    Teacher,
    /// The weight of the 1x1 convolution.
    Weight,
    /// Its bias.
    Bias,
}

/// (value(x + h d) - value(x - h d)) / 2h for a direction d of a tensor x.
///
/// # Panics
/// Where the question has no such tensor.
pub fn derivative(case: &MapCase, of: Variable, direction: &[f64]) -> f64 {
    let inputs = Inputs::new(case);
    let step = number(2.0_f64.powi(-60));
    let moved = |step: &Number| {
        let mut inputs = inputs.clone();
        let x = tensor(&mut inputs, of);
        assert_eq!(x.len(), direction.len());
        for (x, &d) in x.iter_mut().zip(direction).filter(|(_, d)| **d != 0.0) {
            *x = &*x + step * number(d);
        }
        number_of(case, &inputs)
    };
    ((moved(&step) - moved(&-&step)) / (step * number(2.0))).to_f64()
}

/// The derivatives to some entries of a tensor.
pub fn gradient(case: &MapCase, of: Variable, entries: impl IntoIterator<Item = usize>) -> Vec<f64> {
    let mut direction = vec![0.0; tensor(&mut Inputs::new(case), of).len()];
    let mut along = |i: usize| {
        direction[i] = 1.0;
        let derivative = derivative(case, of, &direction);
        direction[i] = 0.0;
        derivative
    };
    entries.into_iter().map(&mut along).collect()
}

fn tensor(inputs: &mut Inputs, of: Variable) -> &mut Vec<Number> {
    match of {
        Variable::Student => &mut inputs.student.x,
        Variable::Teacher => &mut inputs.teacher.x,
        Variable::Weight => inputs.weight.as_mut().expect("there is a weight"),
        Variable::Bias => inputs.bias.as_mut().expect("there is a bias"),
    }
}
