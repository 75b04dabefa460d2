//! All terms at a step: values, weighted values, and the sum of the gradients to every tensor of the student.

use super::error::{ObjectiveError, Place, Problem};
use super::tensors::Tensors;
use super::{Objective, ObjectiveTerm, ProjectStep};
use crate::adapter::{AdaptedMap, AdaptedPair, Adapter, Gradients, Pulled, add};
use crate::backend::Backend;
use crate::io::{Array, Values};
use densekd_core::{OptionValue, Options, Order, Shape, Side, Upstream, Weight};
use std::collections::BTreeMap;

/// What is the same for all terms.
///
/// ```
/// let step = densekd::objective::Step { number: 1000, ..Default::default() };
/// assert_eq!(step.task_loss, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Where the schedules are.
    pub number: u64,
    /// The task's own loss, which is added to the total and has its gradient elsewhere.
    pub task_loss: Option<f64>,
    /// The memory order of all maps.
    pub order: Order,
    /// The gradient from above: multiplies gradients, not values.
    pub upstream: Upstream,
}

impl Default for Step {
    fn default() -> Self {
        Self { number: 0, task_loss: None, order: Order::Nchw, upstream: Upstream::ONE }
    }
}

/// What an objective comes to.
///
/// ```
/// use densekd::objective::{Evaluation, Objective, Step, Tensors};
/// let nothing = (Tensors::default(), Tensors::default());
/// let step = Step { task_loss: Some(2.0), ..Step::default() };
/// let done = Objective::default().evaluate(&nothing.0, &nothing.1, step, &densekd::Cpu::new())?;
/// assert_eq!(done, Evaluation { total: 2.0, terms: vec![], gradients: Default::default() });
/// # Ok::<(), densekd::objective::ObjectiveError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Task loss and weighted terms, added up in order.
    pub total: f64,
    /// Every term.
    pub terms: Vec<TermReport>,
    /// The sum of all terms' gradients, by the student's tensor.
    pub gradients: BTreeMap<String, StudentGradient>,
}

/// What a term comes to.
///
/// ```
/// # use densekd::{Cpu, core::Loss, io::Array};
/// # use densekd::objective::{Objective, ObjectiveTerm, Step, Tensors};
/// # let mut tensors = Tensors::default();
/// # tensors.insert("logits", Array::new([1, 2], vec![0.0_f32, 1.0])?);
/// let objective = Objective { terms: vec![ObjectiveTerm::new("logits", Loss::Pi.defaults())] };
/// let term = &objective.evaluate(&tensors, &tensors, Step::default(), &Cpu::new())?.terms[0];
/// assert_eq!((term.value, term.weight, term.gradient_norms["logits"]), (0.0, 1.0, 0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TermReport {
    /// The term's name.
    pub name: String,
    /// The loss by itself, with weight 1.
    pub value: f64,
    /// What it is multiplied by at this step: the weight times the schedule's factor.
    pub weight: f64,
    /// What it adds to the total.
    pub weighted: f64,
    /// The teacher's shape as the loss sees it, `[N, C, H, W]`.
    pub teacher_shape: Option<[usize; 4]>,
    /// The student's.
    pub student_shape: [usize; 4],
    /// The norm of what the term adds to the gradient of each tensor of the student.
    pub gradient_norms: BTreeMap<String, f64>,
}

/// The gradient to one tensor of the student.
///
/// ```
/// # use densekd::{Cpu, core::Loss, io::Array};
/// # use densekd::objective::{Objective, ObjectiveTerm, Step, Tensors};
/// # let mut tensors = Tensors::default();
/// # tensors.insert("logits", Array::new([1, 2], vec![0.0_f32, 1.0])?);
/// let objective = Objective { terms: vec![ObjectiveTerm::new("logits", Loss::Pi.defaults())] };
/// let gradient = &objective.evaluate(&tensors, &tensors, Step::default(), &Cpu::new())?.gradients["logits"];
/// assert_eq!(gradient.array.as_slice::<f32>(), Some(&[0.0, 0.0][..]));
/// assert!(gradient.norm == 0.0 && !gradient.overflowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StudentGradient {
    /// In the shape and type of that tensor, rounded once after the sum.
    pub array: Array,
    /// The norm before rounding.
    pub norm: f64,
    /// Whether a finite number became infinite.
    pub overflowed: bool,
}

/// A gradient that is being added up, and the tensor that it is to.
struct Sum {
    exact: Vec<f64>,
    like: Array,
}

/// A map as a file has it.
struct Map {
    array: Array,
    shape: Shape,
}

/// A convolution's parameters as the student's tensors have them.
struct Parameters {
    weight: Array,
    bias: Option<Array>,
}

impl Objective {
    /// Evaluates all terms on the tensors of a teacher and a student, with gradients.
    ///
    /// # Errors
    /// [`ObjectiveError`] with the term and the key at fault: a tensor that is missing or of no use, shapes that do not
    /// fit, or what the backend refused.
    pub fn evaluate(
        &self,
        teacher: &Tensors,
        student: &Tensors,
        step: Step,
        backend: &dyn Backend,
    ) -> Result<Evaluation, ObjectiveError> {
        let mut sums = BTreeMap::new();
        let mut terms = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            terms.push(term.evaluate((teacher, student), step, backend, &mut sums)?);
        }
        let total = terms.iter().fold(step.task_loss.unwrap_or(0.0), |total, term| total + term.weighted);
        let mut gradients = BTreeMap::new();
        for (name, Sum { exact, like }) in sums {
            let (values, overflowed) = Values::rounded(like.dtype(), &exact);
            let array = Array::new(like.shape(), values);
            let place = || Place { key: Some(name.clone()), ..Place::default() };
            let array = array.map_err(|error| ObjectiveError::new(place(), Problem::File(error)))?;
            gradients.insert(name, StudentGradient { array, norm: norm(&exact), overflowed });
        }
        Ok(Evaluation { total, terms, gradients })
    }
}

impl ObjectiveTerm {
    pub(super) fn fault(&self, key: &str, problem: impl Into<Problem>) -> ObjectiveError {
        ObjectiveError::new(self.place(key), problem.into())
    }

    fn evaluate(
        &self,
        (teachers, students): (&Tensors, &Tensors),
        step: Step,
        backend: &dyn Backend,
        sums: &mut BTreeMap<String, Sum>,
    ) -> Result<TermReport, ObjectiveError> {
        self.check_positions()?;
        let student = self.map("student", students, &self.student, step.order)?;
        let teacher = self.teacher.as_ref().map(|name| self.map("teacher", teachers, name, step.order));
        let teacher = teacher.transpose()?;
        let parameters =
            self.project.as_ref().map(|project| self.parameters(project, students)).transpose()?;
        let adapter = |side, map: &Map, other: Option<&Map>| {
            self.adapter((side, step.order), map, other, parameters.as_ref())
        };
        let student_adapter = adapter(Side::Student, &student, teacher.as_ref())?;
        let teacher_adapter = teacher.as_ref().map(|teacher| adapter(Side::Teacher, teacher, Some(&student)));
        let teacher_adapter = teacher_adapter.transpose()?;

        let (options, weight) = self.weight(step.number)?;
        let positions = self.positions([students, teachers], student_adapter.to())?;
        let upstream = Upstream::new(weight * step.upstream.get());
        let pair = AdaptedPair {
            options,
            teacher: match (&teacher, &teacher_adapter) {
                (Some(map), Some(adapter)) => Some(AdaptedMap::new(map.array.as_tensor(), adapter)),
                _ => None,
            },
            student: AdaptedMap::new(student.array.as_tensor(), &student_adapter),
            labels: positions.labels().map_err(|error| self.fault("labels", Problem::Request(error)))?,
            mask: positions.mask(),
            upstream: upstream.map_err(|error| self.fault("weight", Problem::Request(error)))?,
        };
        let projected = self.project.as_ref().map(|project| project.side);
        let wanted = Gradients { student: true, teacher: projected == Some(Side::Teacher) };
        let done = pair.evaluate(wanted, backend).map_err(|error| self.fault(self.chosen(), error))?;

        let mut norms = BTreeMap::new();
        let mut keep = |name: &str, exact: &[f64], like: &Array| {
            let sum = sums.entry(name.to_owned());
            let sum = sum.or_insert_with(|| Sum { exact: vec![0.0; exact.len()], like: like.clone() });
            add(&mut sum.exact, exact);
            norms.insert(name.to_owned(), norm(exact));
        };
        let (of_student, of_teacher) = (done.student.map(|x| x.exact), done.teacher.map(|x| x.exact));
        if let Some(gradient) = &of_student {
            keep(&self.student, &gradient.map, &student.array);
        }
        let of_parameters = if projected == Some(Side::Teacher) { of_teacher } else { of_student };
        if let (Some(project), Some(parameters), Some(Pulled { weight, bias, .. })) =
            (&self.project, &parameters, &of_parameters)
        {
            keep(&project.weight, weight, &parameters.weight);
            if let (Some(name), Some(like)) = (&project.bias, &parameters.bias) {
                keep(name, bias, like);
            }
        }
        let value = done.outcome.value();
        Ok(TermReport {
            name: self.name.clone(),
            value,
            weight,
            weighted: weight * value,
            teacher_shape: teacher_adapter.map(|adapter| adapter.to().dims()),
            student_shape: student_adapter.to().dims(),
            gradient_norms: norms,
        })
    }

    /// The key that chose the loss.
    const fn chosen(&self) -> &'static str {
        if self.preset.is_some() { "preset" } else { "loss" }
    }

    /// The options with weight 1, and the weight at a step.
    fn weight(&self, step: u64) -> Result<(Options, f64), ObjectiveError> {
        let mut options = self.options;
        let Some(OptionValue::Number(weight)) = options.get("weight") else {
            return Ok((options, self.schedule.at(step)));
        };
        let fault = |error| self.fault("weight", Problem::Option(error));
        options.set("weight", OptionValue::Number(Weight::ONE.get())).map_err(fault)?;
        Ok((options, weight * self.schedule.at(step)))
    }

    fn map(&self, key: &str, from: &Tensors, name: &str, order: Order) -> Result<Map, ObjectiveError> {
        let array = from.tensor(name).map_err(|problem| self.fault(key, problem))?;
        let dims = array.dims(order).ok_or_else(|| {
            let wanted = match order {
                Order::Nchw => "a map is [N, C, H, W], [C, H, W] or logits [N, C]",
                Order::Nhwc => "a map is [N, H, W, C], [H, W, C] or logits [N, C]",
            };
            let found = array.shape().to_vec();
            self.fault(key, Problem::Shape { name: name.to_owned(), found, wanted: wanted.to_owned() })
        })?;
        let shape = Shape::new(dims).map_err(|error| self.fault(key, Problem::Request(error)))?;
        Ok(Map { array, shape })
    }

    fn parameters(&self, project: &ProjectStep, from: &Tensors) -> Result<Parameters, ObjectiveError> {
        let read = |key, name| from.tensor(name).map_err(|problem| self.fault(key, problem));
        let weight = read("project.weight", &project.weight)?;
        let bias = project.bias.as_ref().map(|name| read("project.bias", name)).transpose()?;
        Ok(Parameters { weight, bias })
    }

    fn adapter(
        &self,
        (side, order): (Side, Order),
        map: &Map,
        other: Option<&Map>,
        parameters: Option<&Parameters>,
    ) -> Result<Adapter, ObjectiveError> {
        let request = |key: &'static str| move |error| self.fault(key, Problem::Request(error));
        let mut adapter = Adapter::new(map.shape, order);
        let project = self.project.as_ref().filter(|project| project.side == side);
        if let (Some(project), Some(Parameters { weight, bias })) = (project, parameters) {
            let inputs = map.shape.channels();
            if !matches!(*weight.shape(), [_, i] | [_, i, 1, 1] if i == inputs) {
                let wanted = format!("a 1x1 convolution of {inputs} channels is [C_out, {inputs}]");
                let (name, found) = (project.weight.clone(), weight.shape().to_vec());
                return Err(self.fault("project.weight", Problem::Shape { name, found, wanted }));
            }
            let bias = bias.as_ref().map(Array::to_f64);
            adapter = adapter.with_projection(weight.to_f64(), bias).map_err(request("project"))?;
        }
        if let Some(resize) = self.resize.filter(|resize| resize.side == side) {
            let other = other.ok_or_else(|| self.fault("resize", Problem::NoPartner))?;
            let [_, _, height, width] = other.shape.dims();
            adapter = adapter.with_resize(resize.mode, [height, width]).map_err(request("resize"))?;
        }
        Ok(adapter)
    }
}

/// The root of the sum of squares, which neither overflow nor vanish.
fn norm(numbers: &[f64]) -> f64 {
    let largest = numbers.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let unit = if largest > 0.0 && largest.is_finite() { largest } else { 1.0 };
    unit * numbers.iter().map(|x| (x / unit) * (x / unit)).sum::<f64>().sqrt()
}
