//! A normalisation and a divergence put together by type, on one pair of vectors: what losses of whole maps are made
//! of.

use crate::diverge::{Diverge, DivergeVector};
use crate::map::{Moments, Side, Stretch, sums, update_along};
use crate::normalize::{NormalizeVector, Scaled};
use crate::space::VectorSpace;
use crate::{Error, Isa, Upstream};

/// `diverge(normalize(t), normalize(s))` of one pair of vectors, in `f64`.
///
/// A divergence must be defined on the space that the normalisation ends in; anything else does not compile:
///
/// ```compile_fail
/// use densekd_core::{CentredUnitLength, HalfMse, VectorLoss};
/// let loss = VectorLoss::new(CentredUnitLength, HalfMse); // of vectors of length 1, it is no correlation
/// ```
///
/// ```
/// use densekd_core::{CentredUnitLength, Cosine, Upstream, VectorLoss};
/// let loss = VectorLoss::new(CentredUnitLength, Cosine);
/// let mut gradient = [0.0; 3];
/// let value = loss.gradient(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0], Upstream::ONE, &mut gradient)?;
/// assert!((value - 0.5).abs() < 1e-15);
/// assert!(gradient[1] > 0.0 && gradient.iter().sum::<f64>().abs() < 1e-15);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorLoss<N, D> {
    normalize: N,
    diverge: D,
}

impl<N: NormalizeVector, D: DivergeVector<N::Space>> VectorLoss<N, D> {
    /// Puts the two together.
    pub const fn new(normalize: N, diverge: D) -> Self {
        Self { normalize, diverge }
    }

    /// The vectors' divergence, without any scale; NaN where the lengths differ, 0 for empty vectors.
    pub fn value(&self, teacher: &[f64], student: &[f64]) -> f64 {
        if teacher.len() == student.len() { self.see(teacher, student).1 } else { f64::NAN }
    }

    /// The vectors' divergence, and its gradient to the student times `upstream`.
    ///
    /// # Errors
    /// [`Error::Length`] where the three lengths differ.
    pub fn gradient(
        &self,
        teacher: &[f64],
        student: &[f64],
        upstream: Upstream,
        grad_student: &mut [f64],
    ) -> Result<f64, Error> {
        let wanted = teacher.len();
        for (buffer, found) in [("student", student.len()), ("grad_student", grad_student.len())] {
            if found != wanted {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        let (pair, value) = self.see(teacher, student);
        pair.pull(Side::Student, Self::stretches(teacher, student), grad_student);
        let slope = self.diverge.slope(pair.sum) * upstream.get();
        for g in grad_student {
            *g *= slope;
        }
        Ok(value)
    }

    fn see(&self, teacher: &[f64], student: &[f64]) -> (Pair<N::Space, D>, f64) {
        let [t, s] = [teacher, student].map(|x| self.normalize.scaled(&Moments::of(x)));
        let mut pair = Pair::new(t, s, self.diverge);
        pair.compare(teacher, student);
        let value = self.diverge.finish(pair.sum, t.step() != 0.0 && s.step() != 0.0);
        (pair, value)
    }

    fn stretches<'a>(teacher: &'a [f64], student: &'a [f64]) -> [Stretch<'a>; 2] {
        [teacher, student].map(|x| Stretch::of(Isa::detect(), x))
    }
}

/// A pair of vectors whose scales are known: the sweep over its pieces, and the gradient at any of them.
pub(crate) struct Pair<S, D> {
    pub(crate) teacher: Scaled<S>,
    pub(crate) student: Scaled<S>,
    diverge: D,
    /// The sum of the terms.
    pub(crate) sum: f64,
    /// The sums of cotangent times coordinate, teacher's and student's.
    pub(crate) along: [f64; 2],
}

impl<S, D: Copy> Clone for Pair<S, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, D: Copy> Copy for Pair<S, D> {}

impl<S: VectorSpace, D: Diverge<S>> Pair<S, D> {
    pub(crate) fn new(teacher: Scaled<S>, student: Scaled<S>, diverge: D) -> Self {
        Self { teacher, student, diverge, sum: 0.0, along: [0.0; 2] }
    }

    /// Numbers of [`write`](Self::write).
    pub(crate) const LEN: usize = 9;

    /// From state.
    pub(crate) fn read(diverge: D, from: &[f64]) -> Self {
        match *from {
            [a, b, c, d, e, f, sum, along_t, along_s, ..] => Self {
                teacher: Scaled::from_numbers([a, b, c]),
                student: Scaled::from_numbers([d, e, f]),
                diverge,
                sum,
                along: [along_t, along_s],
            },
            _ => Self::new(Scaled::default(), Scaled::default(), diverge),
        }
    }

    /// Into state.
    pub(crate) fn write(&self, to: &mut [f64]) {
        let scales = self.teacher.numbers().into_iter().chain(self.student.numbers());
        let all = scales.chain([self.sum]).chain(self.along);
        to.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    }

    #[inline(always)]
    fn point(&self, t: f64, s: f64) -> ([f64; 2], S::Point<f64>) {
        let (t, s) = (self.teacher.z(t), self.student.z(s));
        ([t, s], S::point(t, s))
    }

    /// Adds a piece to the sums.
    pub(crate) fn compare(&mut self, teacher: &[f64], student: &[f64]) {
        let this = *self;
        self.add(sums(teacher, student, move |t, s| {
            let ([t, s], x) = this.point(t, s);
            let to_t = this.diverge.teacher_cotangent(x) * t;
            [this.diverge.term(x), to_t, this.diverge.student_cotangent(x) * s]
        }));
    }

    /// Adds the sums of a piece: of its terms, and of cotangent times coordinate of teacher and student.
    pub(crate) fn add(&mut self, [sum, along_t, along_s]: [f64; 3]) {
        self.sum += sum;
        self.along = [self.along[0] + along_t, self.along[1] + along_s];
    }

    /// The gradient of the sum of terms at a piece.
    pub(crate) fn pull(&self, side: Side, pair: [Stretch<'_>; 2], out: &mut [f64]) {
        let (this, [along_t, along_s]) = (*self, self.along);
        match side {
            Side::Teacher => update_along(out, pair, move |_, t, s| {
                let ([t, _], x) = this.point(t, s);
                this.teacher.pull(this.diverge.teacher_cotangent(x), t, along_t)
            }),
            Side::Student => update_along(out, pair, move |_, t, s| {
                let ([_, s], x) = this.point(t, s);
                this.student.pull(this.diverge.student_cotangent(x), s, along_s)
            }),
        }
    }
}
