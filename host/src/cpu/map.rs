//! Map losses over threads: chunks of state and bands of gradients side by side, products by a matrix library.

use super::Crew;
use crate::backend::MapSubmission;
use crate::sinks::STREAMED;
use densekd_core::{
    Alone, Element, Error, Executor, MapCall, MapPlan, Matrix, Outcome, Overflowed, Side, Slab, TensorMut,
    Upstream,
};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder as _};
use rayon::prelude::*;
use std::ops::Range;

/// On these threads, with matrixmultiply's kernels.
impl Executor for Crew {
    fn chunks(&self, buffer: &mut [f64], len: usize, work: &(dyn Fn(usize, &mut [f64]) + Sync)) {
        match self {
            Self::Caller => Alone.chunks(buffer, len, work),
            Self::All => {
                buffer.par_chunks_mut(len.max(1)).enumerate().for_each(|(i, chunk)| work(i, chunk));
            }
        }
    }

    fn multiply_add(&self, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f64]) {
        let shape = (a.rows(), b.columns());
        match (view(a), view(b), ArrayViewMut2::from_shape(shape, &mut *out)) {
            (Some(a), Some(b), Ok(mut out)) if a.ncols() == b.nrows() => {
                general_mat_mul(1.0, &a, &b, 1.0, &mut out);
            }
            // Sizes that do not fit are the core's to define.
            _ => Alone.multiply_add(a, b, out),
        }
    }
}

fn view(matrix: Matrix<'_>) -> Option<ArrayView2<'_, f64>> {
    let [row_stride, column_stride] = matrix.strides();
    let shape = (matrix.rows(), matrix.columns()).strides((row_stride, column_stride));
    ArrayView2::from_shape(shape, matrix.data()).ok()
}

/// Runs a map loss on the caller's thread, or on those of the pool that it is called in.
pub(super) fn run(call: &MapCall<'_>, submission: MapSubmission<'_>, crew: Crew) -> Result<Outcome, Error> {
    let MapSubmission { plan, upstream, grad_student, grad_teacher, grad_projection, .. } = submission;
    let mut state = vec![0.0; plan.scratch()];
    if grad_student.is_none() && grad_teacher.is_none() && grad_projection.is_none() {
        return call.value(&mut state, &crew);
    }
    let outcome = call.measure(&mut state, &crew)?;
    let pass = Pass { call, plan, outcome: &outcome, upstream, state: &state, crew };
    let student = pass.gradient(Side::Student, grad_student)?;
    let teacher = pass.gradient(Side::Teacher, grad_teacher)?;
    if let Some(gradients) = grad_projection {
        call.pull_projection((&outcome, upstream), &state, gradients, &crew)?;
    }
    Ok(Outcome { overflowed: Overflowed { student, teacher }, ..outcome })
}

/// What the bands of a gradient share.
struct Pass<'a> {
    call: &'a MapCall<'a>,
    plan: &'a MapPlan,
    outcome: &'a Outcome,
    upstream: Upstream,
    state: &'a [f64],
    crew: Crew,
}

impl Pass<'_> {
    /// Whether a finite number became infinite.
    fn gradient(&self, side: Side, gradient: Option<TensorMut<'_>>) -> Result<bool, Error> {
        match gradient {
            None => Ok(false),
            Some(TensorMut::F32(x)) => self.bands(side, x),
            Some(TensorMut::F64(x)) => self.bands(side, x),
            Some(TensorMut::F16(x)) => self.bands(side, x),
            Some(TensorMut::Bf16(x)) => self.bands(side, x),
        }
    }

    fn bands<E: Element>(&self, side: Side, gradient: &mut [E]) -> Result<bool, Error> {
        let streams = size_of_val(&*gradient) >= STREAMED;
        let mut rest = gradient;
        let mut tasks = Vec::new();
        for band in self.plan.bands(side) {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(band.len());
            tasks.push((band, head));
            rest = tail;
        }
        let pull = |(band, slab): (Range<usize>, _)| {
            let slab = Slab::new(slab, band.start);
            let mut sink = if streams { slab.streaming() } else { slab };
            self.call.pull((self.outcome, self.upstream), self.state, side, band, &mut sink)
        };
        let overflowed: Result<Vec<bool>, _> = match self.crew {
            Crew::Caller => tasks.into_iter().map(pull).collect(),
            Crew::All => tasks.into_par_iter().map(pull).collect(),
        };
        let overflowed = overflowed?;
        Ok(overflowed.contains(&true))
    }
}
