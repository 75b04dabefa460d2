//! The sums of a softmax's rows, for maps of which every process has a part.
//!
//! A row's sums are six numbers: the teacher's reference and its sum of exponentials, the student's, the log-ratio of the
//! two sums, and the KL divergence. See [`RowSums`].

use crate::backend::{cpu, exception};
use crate::tensor::{Array, ArrayMut, order};
use densekd::core::{Options, Order, Plan, RowStatistics, RowSums, Shape, Temperature, Term, Upstream};
use densekd::{Backend, Statistics, Submission};
use pyo3::exceptions::{PyNotImplementedError, PyValueError};
use pyo3::prelude::*;

/// Numbers of a row.
const NUMBERS: usize = 6;

fn plan(options: Options, shape: [usize; 4], order: Order) -> PyResult<Plan> {
    let shape = Shape::new(shape).map_err(exception)?;
    match Term::new(options, shape, shape, order).map_err(exception)? {
        Term::Row(plan) => Ok(plan),
        Term::Map(_) => Err(PyNotImplementedError::new_err(format!(
            "{} has no rows whose sums could be put together",
            options.loss().name()
        ))),
    }
}

fn tau(plan: &Plan) -> Temperature {
    plan.recipe().options().tau
}

/// The scale over the divisor.
pub(crate) fn scale(options: Options, shape: [usize; 4]) -> PyResult<f64> {
    let plan = plan(options, shape, Order::Nchw)?;
    Ok(plan.recipe().scale() / plan.divisor(&densekd::core::Mask::ALL))
}

pub(crate) fn sums(
    py: Python<'_>,
    options: Options,
    student: &Bound<'_, PyAny>,
    teacher: &Bound<'_, PyAny>,
    sums: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (student, teacher) = (Array::new("student", student)?, Array::new("teacher", teacher)?);
    let mut sums = ArrayMut::new("sums", sums, &[&student, &teacher])?;
    let plan = plan(options, student.map()?, order(&[&student, &teacher])?)?;
    let mut kept = vec![RowStatistics::default(); plan.rows()];
    let submission = Submission {
        statistics: Statistics::Write(&mut kept),
        ..Submission::new(&plan, teacher.to_tensor()?, student.to_tensor()?)
    };
    let cpu = cpu()?;
    py.detach(|| cpu.submit(submission)).map_err(exception)?;
    for (to, kept) in rows(sums.to_f64_mut()?, &plan)?.zip(&kept) {
        let of = kept.sums(tau(&plan)).ok_or_else(|| {
            PyNotImplementedError::new_err(
                "this divergence or norm keeps no sums: wanted a softmax's kl or ce",
            )
        })?;
        to.copy_from_slice(&[of.teacher.0, of.teacher.1, of.student.0, of.student.1, of.log_ratio, of.kl]);
    }
    Ok(())
}

fn rows<'a>(sums: &'a mut [f64], plan: &Plan) -> PyResult<impl Iterator<Item = &'a mut [f64]>> {
    if sums.len() != plan.rows() * NUMBERS {
        let (found, wanted) = (sums.len(), plan.rows() * NUMBERS);
        return Err(PyValueError::new_err(format!("sums are {found} numbers: wanted {wanted}")));
    }
    Ok(sums.chunks_exact_mut(NUMBERS))
}

pub(crate) fn gradient(
    py: Python<'_>,
    options: Options,
    (student, teacher): (&Bound<'_, PyAny>, &Bound<'_, PyAny>),
    sums: &Bound<'_, PyAny>,
    upstream: f64,
    grad_student: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (student, teacher) = (Array::new("student", student)?, Array::new("teacher", teacher)?);
    let sums = Array::new("sums", sums)?;
    let mut gradient = ArrayMut::new("grad_student", grad_student, &[&student, &teacher, &sums])?;
    if gradient.array().shape() != student.shape() {
        let (found, wanted) = (gradient.array().shape(), student.shape());
        return Err(PyValueError::new_err(format!("grad_student has shape {found:?}, not {wanted:?}")));
    }
    let plan = plan(options, student.map()?, order(&[&student, &teacher, gradient.array()])?)?;
    let kept: Vec<_> = rows(&mut sums.to_f64()?.to_vec(), &plan)?
        .map(|of| {
            let &mut [t, of_t, s, of_s, log_ratio, kl] = of else { return RowStatistics::default() };
            let sums = RowSums { teacher: (t, of_t), student: (s, of_s), log_ratio, kl };
            RowStatistics::from_sums(tau(&plan), &sums)
        })
        .collect();
    let submission = Submission {
        statistics: Statistics::Read(&kept),
        upstream: Upstream::new(upstream).map_err(exception)?,
        grad_student: Some(gradient.to_tensor_mut()?),
        ..Submission::new(&plan, teacher.to_tensor()?, student.to_tensor()?)
    };
    let cpu = cpu()?;
    py.detach(|| cpu.submit(submission)).map_err(exception)?;
    Ok(())
}
