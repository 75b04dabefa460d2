//! The Jensen-Shannon divergence.

use super::{Diverge, times_log};
use crate::arithmetic::Arithmetic;
use crate::space::{Distribution, Probabilities};

/// `1/2 KL(p || m) + 1/2 KL(q || m)` with `m = (p + q) / 2`: symmetric, at most log 2, finite even where one
/// side has no mass.
///
/// Gradient to the student `J((log q - log m) / 2)`, to the teacher the same with p. With `r = log p - log q`
/// and `h = r / 2` a term is `q e^h (h sinh h - cosh h log cosh h)`, at least 0 and about `q r^2 / 8`.
/// Cost: two sweeps, with scalar logarithms. Source: Lin 1991.
///
/// ```
/// use densekd_core::{JensenShannon, RowLoss, Softmax, Temperature};
/// let loss = RowLoss::new(Softmax::new(Temperature::ONE), JensenShannon);
/// let far = loss.value(&[100.0_f32, 0.0], &[0.0, 100.0]);
/// assert!((far - 2.0_f64.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JensenShannon;

/// log cosh h, about h^2 / 2.
fn log_cosh<R: Arithmetic>(h: R) -> R {
    let half = (h / (R::one() + R::one())).sinh();
    ((half + half) * half).ln_1p()
}

/// log(2 / (1 + e^r)): the log-ratio of q to the mixture, at least -r and at most log 2.
fn log_over_mixture<R: Arithmetic>(r: R) -> R {
    let half = r / (R::one() + R::one());
    if r.abs() <= R::one() {
        -half - log_cosh(half)
    } else {
        let softplus = if r > R::zero() { r + (-r).exp().ln_1p() } else { r.exp().ln_1p() };
        R::from_f64(core::f64::consts::LN_2) - softplus
    }
}

impl Diverge<Distribution> for JensenShannon {
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        let r = x.log_ratio;
        let two = R::one() + R::one();
        if r.abs() <= R::one() {
            let h = r / two;
            let log_cosh = log_cosh(h);
            x.q * h.exp() * (h * h.sinh() - log_cosh.exp() * log_cosh)
        } else {
            let (p, q) =
                (times_log(x.p, x.log_p, log_over_mixture(-r)), times_log(x.q, x.log_q, log_over_mixture(r)));
            (p + q) / two
        }
    }

    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        times_log(x.q, x.log_q, log_over_mixture(x.log_ratio)) / (R::one() + R::one())
    }

    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        times_log(x.p, x.log_p, log_over_mixture(-x.log_ratio)) / (R::one() + R::one())
    }
}
