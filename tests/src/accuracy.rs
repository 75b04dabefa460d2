//! How far the engine is from the oracle on one row, in every quantity of the table of tolerances.

use crate::engine::{Way, ask};
use crate::kind::Kind;
use crate::oracle::{Answer, Case};
use crate::terms::terms;
use crate::tolerance::Bound;
use densekd_core::DType;

/// Errors, as shares of the terms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    /// Of the value.
    pub value: f64,
    /// Of the gradient to the student.
    pub student: f64,
    /// Of the gradient to the teacher.
    pub teacher: f64,
    /// Of the gradients' sums.
    pub sum: f64,
}

impl Errors {
    /// The larger of each.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        // NaN is the worst.
        let larger = |a: f64, b: f64| if b <= a { a } else { b };
        Self {
            value: larger(self.value, other.value),
            student: larger(self.student, other.student),
            teacher: larger(self.teacher, other.teacher),
            sum: larger(self.sum, other.sum),
        }
    }

    /// Of the gradients.
    pub fn gradient(self) -> f64 {
        self.student.max(self.teacher)
    }

    /// Whether everything is within a bound.
    pub fn within(self, bound: &Bound) -> bool {
        self.value <= bound.value
            && self.student <= bound.gradient
            && self.teacher <= bound.gradient
            && bound.sum.is_none_or(|sum| self.sum <= sum)
    }
}

/// What is too small to be measured.
#[derive(Clone, Copy, Debug)]
struct Floor {
    /// Values below it: their terms underflow.
    value: f64,
    /// Gradients of which no term is above it.
    gradient: f64,
    /// What a value may be off in absolute terms.
    absolute: f64,
}

fn floor(kind: Kind, dtype: DType) -> Floor {
    let double = dtype == DType::F64 || !kind.is_in_f32();
    // The logarithm of a probability near 1 is as good as that probability: to an ulp of 1, not of itself.
    let of_logarithms =
        kind.is_of_distributions() && !matches!(kind, Kind::Kl | Kind::ReverseKl | Kind::Js | Kind::Mse);
    match (double, of_logarithms) {
        (false, false) => Floor { value: 1e-26, gradient: 1e-32, absolute: 0.0 },
        (false, true) => Floor { value: 1e-26, gradient: 1e-9, absolute: 1e-12 },
        (true, false) => Floor { value: 1e-26, gradient: 1e-20, absolute: 0.0 },
        (true, true) => Floor { value: 1e-26, gradient: 1e-15, absolute: 1e-15 },
    }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()))
}

/// Compares value and both gradients of a map of one finite row with the truth. The gradient from above is for
/// either side a power of two that brings its largest term near 2^10, as a loss scale would, so that no stored
/// entry underflows.
#[allow(clippy::cast_possible_truncation, reason = "exponents are small")]
pub fn errors(kind: Kind, dtype: DType, case: &Case, truth: &Answer) -> Errors {
    let floor = floor(kind, dtype);
    let terms = terms(kind, case, truth);
    let way = Way::plain(dtype);
    let one_sided = |grad_student: bool, size: f64| {
        let upstream =
            if size > floor.gradient { 2.0_f64.powi(10 - size.log2().floor() as i32) } else { 1.0 };
        (ask(case, Way { upstream, grad_student, grad_teacher: !grad_student, ..way }), upstream)
    };
    let (for_student, up_student) = one_sided(true, largest(&terms.student));
    let (for_teacher, up_teacher) = one_sided(false, largest(&terms.teacher));
    let off = ((for_student.value - truth.value).abs() - floor.absolute).max(0.0);
    let value = if terms.value > floor.value { off / terms.value } else { 0.0 };
    let sides = [
        (&for_student.grad_student, up_student, &truth.grad_student, &terms.student),
        (&for_teacher.grad_teacher, up_teacher, &truth.grad_teacher, &terms.teacher),
    ];
    let [(student, sum_student), (teacher, sum_teacher)] = sides.map(|(got, upstream, want, terms)| {
        let size = largest(terms);
        if size <= floor.gradient {
            return (0.0, 0.0);
        }
        let got: Vec<f64> = got.iter().map(|g| g / upstream).collect();
        let off = got.iter().zip(want).fold(0.0, |off: f64, (g, w)| {
            let here = (g - w).abs();
            if here <= off { off } else { here }
        });
        (off / size, got.iter().sum::<f64>().abs() / terms.iter().sum::<f64>())
    });
    Errors { value, student, teacher, sum: sum_student.max(sum_teacher) }
}
