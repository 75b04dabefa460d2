//! The test vectors, evaluated by a backend: how a server's owner learns to trust it.

use crate::backend::{Backend, BackendError};
use crate::io::Values;
use crate::term::TermSubmission;
use crate::vectors::{Case, CaseError, Scale};
use densekd_core::{DType, Labels, Norm, Options, Order, Projection, Shape, Term};
use serde::Serialize;

/// The vectors that come with the library.
const BUILT_IN: [&str; 13] = [
    include_str!("../golden/cwd.json"),
    include_str!("../golden/pi.json"),
    include_str!("../golden/at.json"),
    include_str!("../golden/la.json"),
    include_str!("../golden/pa.json"),
    include_str!("../golden/ifvd.json"),
    include_str!("../golden/mimic.json"),
    include_str!("../golden/pkd.json"),
    include_str!("../golden/dist.json"),
    include_str!("../golden/dkd.json"),
    include_str!("../golden/rkd.json"),
    include_str!("../golden/smooth_ce.json"),
    include_str!("../golden/ho.json"),
];

/// What became of some cases.
///
/// ```
/// let report = densekd::selftest::run(&densekd::Cpu::new(), &densekd::selftest::built_in());
/// assert_eq!((report.failed, report.unsupported.len()), (0, 0));
/// assert!(report.passed > 70);
/// ```
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Cases within tolerance.
    pub passed: usize,
    /// Cases beyond it, or that could not be evaluated.
    pub failed: usize,
    /// Cases of losses that this version or backend does not have, by name: neither passed nor failed.
    pub unsupported: Vec<String>,
    /// Every case that was evaluated.
    pub cases: Vec<CaseReport>,
}

/// What became of one case.
///
/// ```
/// let report = densekd::selftest::run(&densekd::Cpu::new(), &densekd::selftest::built_in());
/// assert!(report.cases.iter().all(|case| case.ok && case.max_error <= case.tolerance));
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// The case.
    pub name: String,
    /// The largest error of value and gradients, as a share of what is tolerated of each.
    pub max_error: f64,
    /// 1, since errors are shares of their tolerance.
    pub tolerance: f64,
    /// Whether it passed.
    pub ok: bool,
    /// Which quantity was the farthest off, or why the case could not be evaluated.
    pub detail: String,
}

/// The built-in cases: every loss in its variants.
///
/// ```
/// assert!(densekd::selftest::built_in().iter().any(|case| case.name == "cwd-near-1e-20"));
/// ```
pub fn built_in() -> Vec<Case> {
    BUILT_IN.iter().flat_map(|text| crate::vectors::parse(text).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_built_in_file_is_read_whole() {
        let counts = super::BUILT_IN.map(|text| crate::vectors::parse(text).expect("a vector file").len());
        assert_eq!(counts, [57, 15, 10, 7, 7, 6, 5, 6, 4, 5, 6, 2, 10]);
    }

    #[test]
    fn a_gradient_of_another_length_does_not_pass() {
        let mut cases = super::built_in();
        cases.truncate(1);
        cases[0].grad_student.clear();
        assert_eq!(super::run(&crate::Cpu::new(), &cases).failed, 1);
    }
}

/// Evaluates cases on a backend, values and gradients.
///
/// ```
/// let mut wrong = densekd::selftest::built_in();
/// wrong.truncate(1);
/// wrong[0].value *= 1.001;
/// assert_eq!(densekd::selftest::run(&densekd::Cpu::new(), &wrong).failed, 1);
/// ```
pub fn run(backend: &dyn Backend, cases: &[Case]) -> Report {
    let mut report = Report::default();
    for case in cases {
        let outcome = evaluate(backend, case);
        let (max_error, detail) = match outcome {
            Ok(worst) => (worst.error, worst.of),
            Err(Failure::Case(CaseError::Loss { .. }) | Failure::Backend(BackendError::Unsupported(_))) => {
                report.unsupported.push(case.name.clone());
                continue;
            }
            Err(error) => (f64::INFINITY, error.to_string()),
        };
        let ok = max_error <= 1.0;
        report.passed += usize::from(ok);
        report.failed += usize::from(!ok);
        report.cases.push(CaseReport { name: case.name.clone(), max_error, tolerance: 1.0, ok, detail });
    }
    report
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl From<densekd_core::Error> for Failure {
    fn from(error: densekd_core::Error) -> Self {
        Self::Case(error.into())
    }
}

/// The quantity farthest off.
struct Worst {
    error: f64,
    of: String,
}

impl Worst {
    fn see(&mut self, got: f64, want: f64, allowed: f64, of: impl Fn() -> String) {
        let error = if got == want || (got.is_nan() && want.is_nan()) {
            0.0
        } else if got.is_finite() && want.is_finite() && allowed > 0.0 {
            (got - want).abs() / allowed
        } else {
            f64::INFINITY
        };
        if error > self.error {
            *self = Self { error, of: format!("{}: {got:e}, not {want:e}", of()) };
        }
    }
}

fn evaluate(backend: &dyn Backend, case: &Case) -> Result<Worst, Failure> {
    let options = case.options()?;
    let (shape, teacher_shape) =
        (Shape::new(case.shape)?, Shape::new(case.teacher_shape.unwrap_or(case.shape))?);
    let term = Term::new(options, shape, teacher_shape, Order::Nchw)?;
    let teacher =
        case.teacher.as_ref().map(|x| case.values("teacher", x, teacher_shape.len())).transpose()?;
    let student = case.values("student", &case.student, shape.len())?;
    let mut grad_student = case.values("grad_student", &vec![0.0; shape.len()], shape.len())?;
    let mut grad_teacher =
        case.values("grad_teacher", &vec![0.0; teacher_shape.len()], teacher_shape.len())?;
    let [images, height, width] = case.labels_shape.unwrap_or([case.shape[0], case.shape[2], case.shape[3]]);
    let labels = case.labels.as_deref().map(|x| Labels::new(x, images, height, width)).transpose()?;
    let mut grad_weight = vec![0.0; shape.channels() * teacher_shape.channels()];
    let mut grad_bias = vec![0.0; teacher_shape.channels()];
    let projected = case.grad_weight.is_some() || case.grad_bias.is_some();
    let submission = TermSubmission {
        labels,
        mask: case.mask.as_deref(),
        projection: Projection { weight: case.weight.as_deref(), bias: case.bias.as_deref() },
        grad_student: Some(grad_student.as_tensor_mut()),
        grad_teacher: case.grad_teacher.is_some().then(|| grad_teacher.as_tensor_mut()),
        grad_projection: projected.then_some((grad_weight.as_mut_slice(), grad_bias.as_mut_slice())),
        ..TermSubmission::new(&term, teacher.as_ref().map(Values::as_tensor), student.as_tensor())
    };
    let outcome = submission.submit(backend)?;
    backend.synchronise()?;
    let mut worst = Worst { error: 0.0, of: String::new() };
    let [relative, absolute] = case.tolerance.value;
    worst.see(outcome.value(), case.value, relative * case.value.abs() + absolute, || "value".into());
    let (student_rows, teacher_rows) = (Rows::new(&options, shape), Rows::new(&options, teacher_shape));
    gradient(&mut worst, case, &student_rows, "grad_student", &grad_student.to_f64(), &case.grad_student);
    let others = [
        (&teacher_rows, "grad_teacher", grad_teacher.to_f64(), &case.grad_teacher),
        (&Rows::One, "grad_weight", grad_weight, &case.grad_weight),
        (&Rows::One, "grad_bias", grad_bias, &case.grad_bias),
    ];
    for (rows, of, got, want) in others {
        if let Some(want) = want {
            gradient(&mut worst, case, rows, of, &got, want);
        }
    }
    Ok(worst)
}

/// Which entries of a gradient share a softmax row, and with it a scale.
enum Rows {
    One,
    Channels { positions: usize },
    Positions { channels: usize, positions: usize },
}

impl Rows {
    fn new(options: &Options, shape: Shape) -> Self {
        let (channels, positions) = (shape.channels(), shape.positions());
        match options.row().map(|options| options.norm) {
            None => Self::One,
            Some(Norm::Spatial) => Self::Positions { channels, positions },
            Some(_) => Self::Channels { positions },
        }
    }

    const fn of(&self, i: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Channels { positions } => i / *positions,
            Self::Positions { channels, positions } => {
                (i / (*channels * *positions)) * *positions + i % *positions
            }
        }
    }
}

fn gradient(worst: &mut Worst, case: &Case, rows: &Rows, of: &str, got: &[f64], want: &[f64]) {
    if got.len() != want.len() {
        *worst =
            Worst { error: f64::INFINITY, of: format!("{of} has {} entries, not {}", want.len(), got.len()) };
        return;
    }
    let [relative, absolute] = case.tolerance.gradient;
    // What rounding to the stored type adds: its unit roundoff and half its smallest number.
    let (ulp, least, largest) = match got_dtype(case) {
        DType::F16 => (2.0_f64.powi(-11), 2.0_f64.powi(-25), 65504.0),
        DType::Bf16 => (2.0_f64.powi(-8), 2.0_f64.powi(-134), f64::from(half::bf16::MAX)),
        _ => (0.0, 0.0, f64::INFINITY),
    };
    let row_of = |i: usize| rows.of(i);
    let magnitude = |x: f64| if x.is_finite() { x.abs() } else { 0.0 };
    let mut scales = vec![0.0_f64; want.len()];
    for (i, &want) in want.iter().enumerate() {
        let row = if case.tolerance.scale == Scale::Row { row_of(i) } else { 0 };
        scales[row] = scales[row].max(magnitude(want));
    }
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let row = if case.tolerance.scale == Scale::Row { row_of(i) } else { 0 };
        let allowed = relative * scales[row] + absolute + ulp * magnitude(want) + least;
        let exact = case.tolerance.gradient == [0.0, 0.0];
        let want = if want.is_finite() && want.abs() > largest * (1.0 + ulp) {
            want.signum() * f64::INFINITY
        } else {
            want
        };
        worst.see(got, want, if exact { 0.0 } else { allowed }, || format!("{of}[{i}]"));
    }
}

fn got_dtype(case: &Case) -> DType {
    case.dtype().unwrap_or(DType::F32)
}
