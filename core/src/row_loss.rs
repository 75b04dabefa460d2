//! A normalisation and a divergence put together by type, on one row.

use crate::access::{Sink, with_reader};
use crate::arithmetic::Arithmetic;
use crate::call::Outputs;
use crate::diverge::Diverge;
use crate::element::{DType, Element};
use crate::engine::{self, Memory, Rows, Student};
use crate::isa::Isa;
use crate::mask::Mask;
use crate::normalize::Normalize;
use crate::plan::Plan;
use crate::recipe::{Norm, Recipe, RowOptions};
use crate::shape::{Order, Shape};
use crate::{Error, Slab, Upstream};

/// `diverge(normalize(t), normalize(s))` of one row pair: the composition in its smallest form.
///
/// A divergence must be defined on the space that the normalisation ends in; anything else does not compile:
///
/// ```compile_fail
/// use densekd_core::{Kl, Raw, RowLoss};
/// let loss = RowLoss::new(Raw, Kl); // raw numbers are not a distribution
/// ```
///
/// ```
/// use densekd_core::{Kl, RowLoss, Softmax, Temperature, Upstream};
/// let loss = RowLoss::new(Softmax::new(Temperature::new(2.0)?), Kl);
/// let mut gradient = [0.0_f32; 3];
/// let value = loss.gradient(&[1.0_f32, 2.0, 3.0], &[3.0, 2.0, 1.0], Upstream::ONE, &mut gradient)?;
/// assert!(value > 0.0 && gradient[0] > 0.0 && gradient[2] < 0.0);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowLoss<N, D> {
    normalize: N,
    diverge: D,
    isa: Option<Isa>,
}

impl<N: Normalize, D: Diverge<N::Space>> RowLoss<N, D> {
    /// Puts the two together.
    pub const fn new(normalize: N, diverge: D) -> Self {
        Self { normalize, diverge, isa: None }
    }

    /// The same on an instruction set of the caller's choice; the plain form where this CPU does not have it.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// The row's divergence, without any scale; NaN where the lengths differ, 0 for an empty row.
    pub fn value<E: Element>(&self, teacher: &[E], student: &[E]) -> f64 {
        self.run(teacher, student, Outputs::default(), 1.0).unwrap_or(f64::NAN)
    }

    /// The row's divergence, and its gradient to the student's logits times `upstream`.
    ///
    /// # Errors
    /// [`Error::Length`] where the three lengths differ, [`Error::EmptyDimension`] for an empty row.
    pub fn gradient<E: Element>(
        &self,
        teacher: &[E],
        student: &[E],
        upstream: Upstream,
        grad_student: &mut [E],
    ) -> Result<f64, Error> {
        if grad_student.len() != student.len() {
            let (found, wanted) = (grad_student.len(), student.len());
            return Err(Error::Length { buffer: "grad_student", found, wanted });
        }
        let sink: &mut dyn Sink = &mut Slab::new(grad_student, 0);
        let outputs = Outputs { grad_student: Some(sink), ..Outputs::default() };
        self.run(teacher, student, outputs, upstream.get())
    }

    fn run<E: Element>(&self, t: &[E], s: &[E], mut outputs: Outputs<'_>, scale: f64) -> Result<f64, Error> {
        if t.len() != s.len() {
            return Err(Error::Length { buffer: "student", found: s.len(), wanted: t.len() });
        }
        let recipe = Recipe::new(RowOptions { norm: Norm::Channel, ..RowOptions::CWD })?;
        let plan = Plan::new(recipe, Shape::new([1, 1, 1, t.len()])?, Order::Nchw)?;
        let partial = if E::DTYPE == DType::F64 || !D::IN_F32 {
            self.read::<E, f64>(&plan, t, s, &mut outputs, scale)
        } else {
            self.read::<E, f32>(&plan, t, s, &mut outputs, scale)
        };
        Ok(partial)
    }

    fn read<E: Element, R: Arithmetic>(
        &self,
        plan: &Plan,
        t: &[E],
        s: &[E],
        outputs: &mut Outputs<'_>,
        scale: f64,
    ) -> f64 {
        let memory =
            Memory { teacher: t.into(), student: s.into(), isa: self.isa.unwrap_or_else(Isa::detect) };
        let memory = (R::UNIT == R::one()).then_some(memory);
        with_reader::<R, _>(t.into(), |teacher| {
            with_reader::<R, _>(s.into(), |student| {
                let rows =
                    Rows { plan, teacher, student, mask: Mask::ALL, memory, origin: 0, entries: 0..t.len() };
                let pair = (&self.normalize, &self.diverge);
                engine::run(&rows, 0..1, pair, outputs, scale, Student::Kept).sum
            })
        })
    }
}
