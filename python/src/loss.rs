//! A loss and its options, as an object of Python.

use crate::backend::{cpu, exception};
use crate::tensor::{Array, ArrayMut, order};
use crate::{launch, options, rows};
use densekd::TermSubmission;
use densekd::core::{Labels, Loss, Options, Preset, Projection, Shape, Term, Upstream};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// A loss and its options.
#[pyclass(name = "Loss", module = "densekd", frozen, eq)]
#[derive(Clone, PartialEq)]
pub(crate) struct PyLoss(Options);

#[pymethods]
impl PyLoss {
    /// The loss of this name with these options; the others are the paper's.
    #[new]
    #[pyo3(signature = (name, /, **options))]
    fn new(name: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let loss: Loss = name.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?;
        Self::with(loss.defaults(), options)
    }

    /// The settings that a published code uses, with these options instead of its own.
    #[staticmethod]
    #[pyo3(signature = (name, /, **options))]
    fn preset(name: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let preset = Preset::named(name).ok_or_else(|| {
            PyValueError::new_err(format!("no preset is named {name:?}: densekd.presets() lists them"))
        })?;
        Self::with(preset.options, options)
    }

    /// The loss's name.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.loss().name()
    }

    /// Every option with its value.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options::all(py, &self.0)
    }

    /// Whether the loss compares with a teacher.
    #[getter]
    fn takes_teacher(&self) -> bool {
        self.0.takes_teacher()
    }

    /// Whether the loss takes classes from labels, which it then cannot do without.
    #[getter]
    fn takes_labels(&self) -> bool {
        self.0.takes_labels()
    }

    /// Whether positions can be left out.
    #[getter]
    fn takes_mask(&self) -> bool {
        self.0.takes_mask()
    }

    /// Whether the loss takes a 1x1 convolution of the student.
    #[getter]
    fn takes_projection(&self) -> bool {
        self.0.takes_projection()
    }

    /// The formula in full, with its divisor and these settings.
    fn explain(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let options: Vec<_> = options::all(py, &self.0)?
            .iter()
            .map(|(name, value)| Ok(format!(", {name}={}", value.repr()?)))
            .collect::<PyResult<_>>()?;
        Ok(format!("Loss('{}'{})", self.name(), options.concat()))
    }

    /// As `pickle` and `copy` make it again.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        Ok((PyTuple::new(py, [self.name()])?, options::all(py, &self.0)?))
    }

    /// Evaluates the loss on arrays in place; gradients, times `upstream`, go to the arrays that are given for them.
    /// Without the interpreter's lock while it works.
    #[pyo3(signature = (
        student, teacher=None, *, labels=None, mask=None, weight=None, bias=None, upstream=1.0,
        grad_student=None, grad_teacher=None, grad_weight=None, grad_bias=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keywords of Python")]
    fn submit(
        &self,
        py: Python<'_>,
        student: &Bound<'_, PyAny>,
        teacher: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        mask: Option<&Bound<'_, PyAny>>,
        weight: Option<&Bound<'_, PyAny>>,
        bias: Option<&Bound<'_, PyAny>>,
        upstream: f64,
        grad_student: Option<&Bound<'_, PyAny>>,
        grad_teacher: Option<&Bound<'_, PyAny>>,
        grad_weight: Option<&Bound<'_, PyAny>>,
        grad_bias: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<f64> {
        let array = |name, object: Option<&Bound<'_, PyAny>>| {
            object.map(|object| Array::new(name, object)).transpose()
        };
        let student = Array::new("student", student)?;
        let teacher = array("teacher", teacher)?;
        let (labels, mask) = (array("labels", labels)?, array("mask", mask)?);
        let (weight, bias) = (array("weight", weight)?, array("bias", bias)?);
        let mut read = vec![&student];
        read.extend([&teacher, &labels, &mask, &weight, &bias].into_iter().flatten());
        let written = |name, object, before: &[_]| ArrayMut::if_given(name, object, &read, before);
        let mut grad_student = written("grad_student", grad_student, &[])?;
        let mut grad_teacher = written("grad_teacher", grad_teacher, &[&grad_student])?;
        let mut grad_weight = written("grad_weight", grad_weight, &[&grad_student, &grad_teacher])?;
        let mut grad_bias = written("grad_bias", grad_bias, &[&grad_student, &grad_teacher, &grad_weight])?;

        let term = term(self.0, (&student, &grad_student), (teacher.as_ref(), &grad_teacher))?;

        let labels = labels.as_ref().map(labels_of).transpose()?;
        let projection = Projection {
            weight: weight.as_ref().map(Array::to_f64).transpose()?,
            bias: bias.as_ref().map(Array::to_f64).transpose()?,
        };
        let grad_projection = match (&mut grad_weight, &mut grad_bias) {
            (None, None) => None,
            (Some(weight), Some(bias)) => Some((weight.to_f64_mut()?, bias.to_f64_mut()?)),
            _ => return Err(PyValueError::new_err("grad_weight and grad_bias are given together")),
        };
        let submission = TermSubmission {
            labels,
            mask: mask.as_ref().map(Array::to_mask).transpose()?,
            projection,
            upstream: Upstream::new(upstream).map_err(exception)?,
            grad_student: grad_student.as_mut().map(ArrayMut::to_tensor_mut).transpose()?,
            grad_teacher: grad_teacher.as_mut().map(ArrayMut::to_tensor_mut).transpose()?,
            grad_projection,
            ..TermSubmission::new(
                &term,
                teacher.as_ref().map(Array::to_tensor).transpose()?,
                student.to_tensor()?,
            )
        };
        let cpu = cpu()?;
        let outcome = py.detach(|| submission.submit(&*cpu)).map_err(exception)?;
        Ok(outcome.value())
    }

    /// Bytes of workspace that [`launch`](Self::launch) takes for arrays like these.
    #[pyo3(signature = (student, teacher=None))]
    fn workspace(&self, student: &Bound<'_, PyAny>, teacher: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        launch::workspace(self.0, student, teacher)
    }

    /// Starts the loss on arrays of one CUDA device, in the order of a stream (`CUstream`, 0 for the default one), and
    /// returns before it is done what the sum is to be multiplied by. All arrays must stay until the stream has done it.
    ///
    /// `totals` is float64 `[2]`: the sum goes to the first; the second begins with a uint32, bit 0 set where a finite
    /// gradient to the student became infinite, bit 1 where one to the teacher did. `mask` is uint8 or bool on the
    /// device, `counted` the same mask in the main memory; `labels` are int64 on the device, `known_labels` the same labels
    /// in the main memory.
    #[pyo3(signature = (
        student, teacher=None, *, workspace, totals, labels=None, known_labels=None, mask=None, counted=None,
        upstream=1.0, stream=0, grad_student=None, grad_teacher=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keywords of Python")]
    fn launch(
        &self,
        py: Python<'_>,
        student: &Bound<'_, PyAny>,
        teacher: Option<&Bound<'_, PyAny>>,
        workspace: &Bound<'_, PyAny>,
        totals: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
        known_labels: Option<&Bound<'_, PyAny>>,
        mask: Option<&Bound<'_, PyAny>>,
        counted: Option<&Bound<'_, PyAny>>,
        upstream: f64,
        stream: usize,
        grad_student: Option<&Bound<'_, PyAny>>,
        grad_teacher: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<f64> {
        let call = launch::Call {
            student,
            teacher,
            workspace,
            totals,
            labels,
            mask,
            known_labels,
            counted,
            upstream,
            stream,
            grad_student,
            grad_teacher,
        };
        launch::launch(py, self.0, &call)
    }

    /// What the sum over the rows of a map of this shape is multiplied by: weight and tau^2 over the divisor.
    fn scale(&self, shape: [usize; 4]) -> PyResult<f64> {
        rows::scale(self.0, shape)
    }

    /// Writes the sums of every row of a softmax's KL divergence to float64 `[rows, 6]`.
    fn row_sums(
        &self,
        py: Python<'_>,
        student: &Bound<'_, PyAny>,
        teacher: &Bound<'_, PyAny>,
        sums: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        rows::sums(py, self.0, student, teacher, sums)
    }

    /// Writes the gradient to the student of rows whose sums are known, times `upstream`.
    fn gradient_of_sums(
        &self,
        py: Python<'_>,
        student: &Bound<'_, PyAny>,
        teacher: &Bound<'_, PyAny>,
        sums: &Bound<'_, PyAny>,
        upstream: f64,
        grad_student: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        rows::gradient(py, self.0, (student, teacher), sums, upstream, grad_student)
    }
}

/// Labels `[N, H, W]`, or of images alone `[N]`.
pub(crate) fn labels_of(labels: &Array) -> PyResult<Labels<'_>> {
    let [images, height, width] = match *labels.shape() {
        [images, height, width] => [images, height, width],
        [images] => [images, 1, 1],
        ref shape => {
            return Err(PyValueError::new_err(format!("labels have shape {shape:?}: wanted [N, H, W]")));
        }
    };
    Labels::new(labels.to_labels()?, images, height, width).map_err(exception)
}

/// The loss on the shapes of maps, each with its gradient.
pub(crate) fn term(
    options: Options,
    (student, grad_student): (&Array, &Option<ArrayMut>),
    (teacher, grad_teacher): (Option<&Array>, &Option<ArrayMut>),
) -> PyResult<Term> {
    for (map, gradient) in [(Some(student), grad_student), (teacher, grad_teacher)] {
        if let (Some(map), Some(gradient)) = (map, gradient)
            && map.shape() != gradient.array().shape()
        {
            let (found, wanted) = (gradient.array().shape(), map.shape());
            return Err(PyValueError::new_err(format!("a gradient of shape {found:?}, not {wanted:?}")));
        }
    }
    let gradients = [grad_student, grad_teacher].into_iter().flatten().map(ArrayMut::array);
    let maps: Vec<_> = [student].into_iter().chain(teacher).chain(gradients).collect();
    let shape = |map: &Array| Shape::new(map.map()?).map_err(exception);
    let of_student = shape(student)?;
    let of_teacher = teacher.map_or(Ok(of_student), shape)?;
    Term::new(options, of_student, of_teacher, order(&maps)?).map_err(exception)
}

impl PyLoss {
    fn with(mut options: Options, given: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        if let Some(given) = given {
            options::set(&mut options, given)?;
        }
        Ok(Self(options))
    }
}
