//! The spaces that a normalisation can end in. A divergence names the space it is defined on, so a KL
//! divergence of something that is not a distribution does not compile.

use crate::arithmetic::Arithmetic;

/// A space of normalised rows. Sealed: [`Distribution`] and [`Real`].
pub trait Space: sealed::Sealed + 'static {
    /// What is known of one position of a teacher/student row pair.
    type Point<R: Arithmetic>: Copy;

    /// The gradient to the student at one position, from the cotangent there and the row's sum of cotangents.
    fn pull_student<R: Arithmetic>(point: Self::Point<R>, cotangent: R, total: R) -> R;

    /// The same for the teacher.
    fn pull_teacher<R: Arithmetic>(point: Self::Point<R>, cotangent: R, total: R) -> R;
}

/// Rows that are probability distributions.
#[derive(Clone, Copy, Debug)]
pub struct Distribution;

/// Rows of plain real numbers.
#[derive(Clone, Copy, Debug)]
pub struct Real;

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

/// One position of two real rows.
#[derive(Clone, Copy, Debug)]
pub struct Difference<R> {
    /// student - teacher.
    pub difference: R,
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

impl Space for Real {
    type Point<R: Arithmetic> = Difference<R>;

    #[inline(always)]
    fn pull_student<R: Arithmetic>(_x: Difference<R>, cotangent: R, _total: R) -> R {
        cotangent
    }

    #[inline(always)]
    fn pull_teacher<R: Arithmetic>(_x: Difference<R>, cotangent: R, _total: R) -> R {
        cotangent
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Distribution {}
    impl Sealed for super::Real {}
}
