//! The spaces that a normalisation can end in. A divergence names the space it is defined on, so a KL
//! divergence of something that is not a distribution does not compile.
//!
//! | space | what lies in it | ends in it | divergences on it |
//! | --- | --- | --- | --- |
//! | [`Distribution`] | rows of probabilities | [`Softmax`](crate::Softmax) | KL and its relatives, squared |
//! | [`Real`] | plain numbers | [`Raw`](crate::Raw), [`MeanOverPositions`](crate::MeanOverPositions) | squared, [`SmoothL1`](crate::SmoothL1) |
//! | [`Unit`] | vectors of length 1 | [`UnitLength`](crate::UnitLength) | squared, [`Euclidean`](crate::Euclidean), [`Cosine`](crate::Cosine) |
//! | [`Standardised`] | vectors of mean 0 and deviation 1 | [`Standardise`](crate::Standardise) | squared, [`HalfMse`](crate::HalfMse) |
//! | [`CentredUnit`] | vectors of mean 0 and length 1 | [`CentredUnitLength`](crate::CentredUnitLength) | [`Cosine`](crate::Cosine) |
//! | [`Score`] | a discriminator's verdicts | the caller's discriminator | [`Wasserstein`](crate::Wasserstein), [`Hinge`](crate::Hinge) |

use crate::arithmetic::Arithmetic;
use crate::map::Side;

/// A space of normalised rows or vectors. Sealed.
pub trait Space: sealed::Sealed + 'static {
    /// What is known of one position of a teacher/student pair.
    type Point<R: Arithmetic>: Copy;

    /// The gradient to the student at one position, from the cotangent there and the row's sum of cotangents.
    fn pull_student<R: Arithmetic>(point: Self::Point<R>, cotangent: R, total: R) -> R;

    /// The same for the teacher.
    fn pull_teacher<R: Arithmetic>(point: Self::Point<R>, cotangent: R, total: R) -> R;
}

/// The spaces of rows, which the engine sweeps. Sealed: [`Distribution`] and [`Real`].
pub trait RowSpace: Space {}

impl RowSpace for Distribution {}
impl RowSpace for Real {}

/// The spaces of vectors whose coordinates do not depend on each other once the vector's length or spread is known.
/// Sealed: [`Real`], [`Unit`], [`Standardised`] and [`CentredUnit`].
pub trait VectorSpace: Space {
    /// One position of a pair of vectors.
    fn point(teacher: f64, student: f64) -> Self::Point<f64>;
}

/// Rows that are probability distributions.
#[derive(Clone, Copy, Debug)]
pub struct Distribution;

/// Rows and vectors of plain real numbers.
#[derive(Clone, Copy, Debug)]
pub struct Real;

/// Vectors of length 1, or of no direction at all.
#[derive(Clone, Copy, Debug)]
pub struct Unit;

/// Vectors of mean 0 and standard deviation 1, or without spread at all.
#[derive(Clone, Copy, Debug)]
pub struct Standardised;

/// Vectors of mean 0 and length 1, or without spread at all.
#[derive(Clone, Copy, Debug)]
pub struct CentredUnit;

/// A discriminator's verdicts on maps.
#[derive(Clone, Copy, Debug)]
pub struct Score;

/// One position of two distributions, p the teacher's and q the student's.
#[derive(Clone, Copy, Debug)]
pub struct Probabilities<R> {
    /// The teacher's probability.
    pub p: R,
    /// The student's probability.
    pub q: R,
    /// p - q, with full relative accuracy however close they are.
    pub excess: R,
    /// log p - log q, with full relative accuracy however close they are; 0 where both are 0.
    pub log_ratio: R,
    /// log p.
    pub log_p: R,
    /// log q.
    pub log_q: R,
    /// 1, or 0 where an `ignore = after` mask drops this position's term.
    pub counted: R,
}

/// One position of two rows or vectors of real numbers.
#[derive(Clone, Copy, Debug)]
pub struct Difference<R> {
    /// student - teacher.
    pub difference: R,
}

/// One position of two vectors that were brought to a length or a spread.
#[derive(Clone, Copy, Debug)]
pub struct Coordinates<R> {
    /// The teacher's coordinate.
    pub teacher: R,
    /// The student's coordinate.
    pub student: R,
}

/// One score, and whose map it is of: a discriminator wants it high of the teacher's and low of the student's.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<R> {
    /// What the discriminator says.
    pub score: R,
    /// Whose map it says it of.
    pub side: Side,
}

impl<R: Arithmetic> Coordinates<R> {
    /// student - teacher.
    #[inline(always)]
    pub fn difference(self) -> R {
        self.student - self.teacher
    }
}

impl Space for Distribution {
    type Point<R: Arithmetic> = Probabilities<R>;

    #[inline(always)]
    fn pull_student<R: Arithmetic>(x: Probabilities<R>, cotangent: R, total: R) -> R {
        cotangent - x.q * total
    }

    #[inline(always)]
    fn pull_teacher<R: Arithmetic>(x: Probabilities<R>, cotangent: R, total: R) -> R {
        cotangent - x.p * total
    }
}

impl VectorSpace for Real {
    #[inline(always)]
    fn point(teacher: f64, student: f64) -> Difference<f64> {
        Difference { difference: student - teacher }
    }
}

/// Where numbers do not depend on each other, nothing of a cotangent is lost.
macro_rules! nothing_is_lost {
    ($($space:ident: $point:ident),+) => {$(
        impl Space for $space {
            type Point<R: Arithmetic> = $point<R>;

            #[inline(always)]
            fn pull_student<R: Arithmetic>(_x: $point<R>, cotangent: R, _total: R) -> R {
                cotangent
            }

            #[inline(always)]
            fn pull_teacher<R: Arithmetic>(_x: $point<R>, cotangent: R, _total: R) -> R {
                cotangent
            }
        }
    )+};
}

nothing_is_lost!(Real: Difference, Score: Verdict);

/// Along a vector whose length or spread is given there is nothing to gain: what of the cotangents points along it,
/// `total` times the vector, is lost.
macro_rules! along_is_lost {
    ($($space:ident),+) => {$(
        impl Space for $space {
            type Point<R: Arithmetic> = Coordinates<R>;

            #[inline(always)]
            fn pull_student<R: Arithmetic>(x: Coordinates<R>, cotangent: R, total: R) -> R {
                cotangent - x.student * total
            }

            #[inline(always)]
            fn pull_teacher<R: Arithmetic>(x: Coordinates<R>, cotangent: R, total: R) -> R {
                cotangent - x.teacher * total
            }
        }

        impl VectorSpace for $space {
            #[inline(always)]
            fn point(teacher: f64, student: f64) -> Coordinates<f64> {
                Coordinates { teacher, student }
            }
        }
    )+};
}

along_is_lost!(Unit, Standardised, CentredUnit);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Distribution {}
    impl Sealed for super::Real {}
    impl Sealed for super::Unit {}
    impl Sealed for super::Standardised {}
    impl Sealed for super::CentredUnit {}
    impl Sealed for super::Score {}
}
