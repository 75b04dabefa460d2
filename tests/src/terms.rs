//! How large the terms are that a row's value and gradients are sums of: what rounding is measured by.
//!
//! Of KL divergences these are the value and the gradient to the student themselves, whose terms do not
//! cancel. Where a definition subtracts (the pull `p_i (g_i - sum_j p_j g_j)` of a row with one large
//! probability; terms of either sign), no arithmetic that follows it can be closer than a share of what it
//! subtracts. Two digits are enough of a measure, so this is plain `f64`.

use crate::kind::Kind;
use crate::oracle::{Answer, Case, fast};

/// The size of what is summed.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Of the value.
    pub value: f64,
    /// Of each entry of the gradient to the student.
    pub student: Vec<f64>,
    /// Of each entry of the gradient to the teacher.
    pub teacher: Vec<f64>,
}

/// One position of two distributions.
#[derive(Clone, Copy)]
struct Point {
    p: f64,
    q: f64,
    /// q - p.
    excess: f64,
    log_p: f64,
    log_q: f64,
    /// |log p - log q|.
    ratio: f64,
    /// 1 where the term counts.
    counted: f64,
}

fn log_softmax(row: &[f64], tau: f64) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let z: f64 = row.iter().map(|x| ((x - largest) / tau).exp()).sum();
    row.iter().map(|x| (x - largest) / tau - z.ln()).collect()
}

fn points(case: &Case) -> Vec<Point> {
    let tau = case.options.tau;
    let (log_p, log_q) = (log_softmax(&case.teacher, tau), log_softmax(&case.student, tau));
    // q - p of close rows, which the difference of two logarithms would lose.
    let gradient = fast::kl_row_gradient(&case.teacher, &case.student, tau);
    let at = |i: usize| {
        let (log_p, log_q) = (log_p[i], log_q[i]);
        let (p, q, excess) = (log_p.exp(), log_q.exp(), gradient[i] * tau);
        let close = (log_p - log_q).abs() < 1e-3 && q > 0.0;
        let ratio = if close { (-excess / q).ln_1p() } else { log_p - log_q };
        let counted = f64::from(u8::from(case.counted.as_ref().is_none_or(|counted| counted[i])));
        Point { p, q, excess, log_p, log_q, ratio: ratio.abs(), counted }
    };
    (0..case.student.len()).map(at).collect()
}

/// `mass_i (|g_i| + sum_j mass_j |g_j|) / tau`, where the pull back through a softmax is `mass_i (g_i - sum_j
/// mass_j g_j) / tau`.
fn pulled(
    points: &[Point],
    tau: f64,
    mass: impl Fn(&Point) -> f64,
    size: impl Fn(&Point) -> f64,
) -> Vec<f64> {
    let total: f64 = points.iter().map(|x| mass(x) * size(x)).sum();
    points.iter().map(|x| mass(x) * (size(x) + total) / tau).collect()
}

/// The terms of a map of one finite row.
pub fn terms(kind: Kind, case: &Case, truth: &Answer) -> Terms {
    let sizes = |x: &[f64]| x.iter().map(|x| x.abs()).collect::<Vec<f64>>();
    let (value, of_student, of_teacher) =
        (truth.value.abs(), sizes(&truth.grad_student), sizes(&truth.grad_teacher));
    if !kind.is_of_distributions() {
        return Terms { value, student: of_student, teacher: of_teacher };
    }
    let (points, tau, eps) = (points(case), case.options.tau, case.options.eps);
    let student = |size: &dyn Fn(&Point) -> f64| pulled(&points, tau, |x| x.q, size);
    let teacher = |size: &dyn Fn(&Point) -> f64| pulled(&points, tau, |x| x.p, size);
    let sum = |term: &dyn Fn(&Point) -> f64| points.iter().map(|x| x.p * term(x)).sum::<f64>();
    let counted = sum(&|x| x.counted);
    // -p/(q + eps), of eps or of none.
    let over = |x: &Point| x.p / (x.q + eps);
    let after = || points.iter().map(|x| (x.counted * x.p + x.q * counted) / tau).collect();
    let over_mixture = |of: f64, x: &Point| (of - (0.5 * (x.log_p.exp() + x.log_q.exp())).ln()).abs() / 2.0;
    match kind {
        Kind::Kl => Terms { value, student: of_student, teacher: teacher(&|x| x.ratio) },
        Kind::ReverseKl => Terms { value, student: student(&|x| x.ratio), teacher: of_teacher },
        Kind::Js => Terms {
            value,
            // Of close rows half the log-ratio's half; of others what the definition says.
            student: student(&|x| if x.ratio < 1e-3 { x.ratio / 4.0 } else { over_mixture(x.log_q, x) }),
            teacher: teacher(&|x| if x.ratio < 1e-3 { x.ratio / 4.0 } else { over_mixture(x.log_p, x) }),
        },
        Kind::Ce => Terms { value, student: of_student, teacher: teacher(&|x| -x.log_q) },
        Kind::Mse => Terms {
            value,
            student: student(&|x| 2.0 * x.excess.abs()),
            teacher: teacher(&|x| 2.0 * x.excess.abs()),
        },
        Kind::KlEps => Terms {
            value: sum(&|x| ((x.p + eps) / (x.q + eps)).ln().abs()),
            student: student(&over),
            teacher: teacher(&|x| ((x.p + eps) / (x.q + eps)).ln().abs() + x.p / (x.p + eps)),
        },
        Kind::CeEps => Terms {
            // q + eps is rounded, near 1 too, where its logarithm is near 0.
            value: sum(&|x| (x.q + eps).ln().abs() + 1.0),
            student: student(&over),
            teacher: teacher(&|x| (x.q + eps).ln().abs() + 1.0),
        },
        Kind::KlAfter => Terms {
            value: sum(&|x| x.counted * x.ratio),
            student: after(),
            teacher: teacher(&|x| x.counted * (x.ratio + 1.0)),
        },
        Kind::CeAfter => Terms { value, student: after(), teacher: teacher(&|x| x.counted * -x.log_q) },
        Kind::ChannelMean | Kind::None => unreachable!("they were answered above"),
    }
}
