//! The oracle's questions about losses of whole maps, put to the engine.

use crate::engine::Stored;
use crate::oracle::maps::{MapCase, Setting};
use densekd::{Backend, BackendError, TermSubmission};
use densekd_core::{
    DType, Error, Labels, Loss, OptionError, OptionValue, Options, Order, Outcome, Projection, Shape, Term,
    Upstream,
};

/// Every loss of whole maps.
pub const LOSSES: [&str; 11] =
    ["at", "la", "pa", "ifvd", "mimic", "pkd", "dist", "dkd", "rkd", "smooth_ce", "ho"];

/// The engine's options for the oracle's settings.
///
/// # Errors
/// Those of [`Options::set`].
///
/// # Panics
/// For a loss that the engine does not have.
pub fn options(case: &MapCase) -> Result<Options, OptionError> {
    let loss: Loss = case.loss.parse().unwrap_or_else(|error| panic!("{}: {error}", case.loss));
    let mut options = loss.defaults();
    for (name, setting) in &case.settings {
        options.set(
            name,
            match *setting {
                Setting::Null => OptionValue::Null,
                Setting::Flag(flag) => OptionValue::Flag(flag),
                Setting::Integer(n) => OptionValue::Integer(n),
                Setting::Number(x) => OptionValue::Number(x),
                Setting::Name(name) => OptionValue::Name(name),
                Setting::Pair(pair) => OptionValue::Pair(pair),
            },
        )?;
    }
    Ok(options)
}

/// The loss on the question's shapes.
///
/// # Errors
/// Those of [`Term::new`].
///
/// # Panics
/// For settings that the loss does not have.
pub fn term(case: &MapCase) -> Result<Term, Error> {
    let options = options(case).unwrap_or_else(|error| panic!("{}: {error}", case.loss));
    Term::new(options, Shape::new(case.shape)?, Shape::new(case.teacher_shape)?, Order::Nchw)
}

/// Whether the definitions give the loss a gradient to the teacher.
pub fn has_teacher_gradient(case: &MapCase) -> bool {
    case.teacher.is_some() && case.loss != "dkd"
}

/// How a question is put.
#[derive(Clone, Copy)]
pub struct MapWay<'a> {
    /// What the maps and their gradients are stored in.
    pub dtype: DType,
    /// Who runs it.
    pub backend: &'a dyn Backend,
    /// The gradient from above.
    pub upstream: f64,
}

/// The engine's answer; what was not asked for is empty.
#[derive(Clone, Debug)]
pub struct MapGot {
    /// Sum and divisor.
    pub outcome: Outcome,
    /// The loss.
    pub value: f64,
    /// The gradient to the student.
    pub grad_student: Vec<f64>,
    /// The gradient to the teacher.
    pub grad_teacher: Vec<f64>,
    /// The gradient to the projection's weight.
    pub grad_weight: Vec<f64>,
    /// The gradient to its bias.
    pub grad_bias: Vec<f64>,
}

impl MapGot {
    /// The bits of everything.
    pub fn bits(&self) -> Vec<u64> {
        let numbers = [self.outcome.sum, self.outcome.divisor, self.outcome.scale, self.value];
        let gradients = [&self.grad_student, &self.grad_teacher, &self.grad_weight, &self.grad_bias];
        numbers.iter().chain(gradients.into_iter().flatten()).map(|x| x.to_bits()).collect()
    }
}

/// Puts the question. Numbers are stored in the way's type, each rounded once.
///
/// # Errors
/// What the engine refuses.
///
/// # Panics
/// For an upstream gradient that is not finite.
pub fn ask(case: &MapCase, way: MapWay<'_>) -> Result<MapGot, BackendError> {
    let term = term(case)?;
    let student = Stored::new(way.dtype, &case.student);
    let teacher = case.teacher.as_ref().map(|teacher| Stored::new(way.dtype, teacher));
    let labels = case.labels.as_ref();
    let labels = labels.map(|(labels, [h, w])| Labels::new(labels, case.shape[0], *h, *w)).transpose()?;
    let mask: Option<Vec<u8>> = case.counted.as_ref().map(|x| x.iter().map(|&x| u8::from(x)).collect());
    // NaN stays wherever nothing is written, and no comparison lets it pass.
    let fresh = |len: usize| vec![f64::NAN; len];
    let mut grad_student = Stored::new(way.dtype, &fresh(case.student.len()));
    let teacher_len = if has_teacher_gradient(case) { case.teacher.as_ref().map_or(0, Vec::len) } else { 0 };
    let mut grad_teacher = Stored::new(way.dtype, &fresh(teacher_len));
    let projected = case.weight.is_some() || case.bias.is_some();
    let (inputs, outputs) = (case.shape[1], case.teacher_shape[1]);
    let mut grad_weight = fresh(if projected { inputs * outputs } else { 0 });
    let mut grad_bias = fresh(if projected { outputs } else { 0 });
    let submission = TermSubmission {
        labels,
        mask: mask.as_deref(),
        projection: Projection { weight: case.weight.as_deref(), bias: case.bias.as_deref() },
        upstream: Upstream::new(way.upstream).expect("the upstream gradient is finite"),
        grad_student: Some(grad_student.tensor_mut()),
        grad_teacher: (teacher_len > 0).then(|| grad_teacher.tensor_mut()),
        grad_projection: projected.then_some((&mut grad_weight[..], &mut grad_bias[..])),
        ..TermSubmission::new(&term, teacher.as_ref().map(Stored::tensor), student.tensor())
    };
    let outcome = submission.submit(way.backend)?;
    let (grad_student, grad_teacher) = (grad_student.to_f64(), grad_teacher.to_f64());
    Ok(MapGot { outcome, value: outcome.value(), grad_student, grad_teacher, grad_weight, grad_bias })
}
