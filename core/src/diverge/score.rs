//! The games that a discriminator's scores are played by.

use super::Diverge;
use crate::arithmetic::Arithmetic;
use crate::map::Side;
use crate::space::{Score, Verdict};

/// `mean(student) - mean(teacher)`: the difference of a critic's verdicts, which it makes as small as it can.
///
/// Gradient 1 to the student's scores, -1 to the teacher's. Source: arXiv 1701.07875; with a gradient penalty,
/// arXiv 1704.00028.
///
/// ```
/// use densekd_core::{Diverge, Side, Verdict, Wasserstein};
/// assert_eq!(Wasserstein.term(Verdict { score: 2.0_f64, side: Side::Teacher }), -2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wasserstein;

/// `mean(max(0, 1 + student)) + mean(max(0, 1 - teacher))`: scores beyond -1 and 1 do not count.
///
/// Gradient 1 and -1 where they count, 0 at the corner. Source: arXiv 1805.08318.
///
/// ```
/// use densekd_core::{Diverge, Hinge, Side, Verdict};
/// let sure = Verdict { score: -1.0_f64, side: Side::Student };
/// assert_eq!((Hinge.term(sure), Hinge.student_cotangent(sure)), (0.0, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hinge;

impl Diverge<Score> for Wasserstein {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Verdict<R>) -> R {
        match x.side {
            Side::Teacher => -x.score,
            Side::Student => x.score,
        }
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, _x: Verdict<R>) -> R {
        R::one()
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, _x: Verdict<R>) -> R {
        -R::one()
    }
}

impl Diverge<Score> for Hinge {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Verdict<R>) -> R {
        let margin = R::one() + Wasserstein.term(x);
        // NaN stays.
        if margin <= R::zero() { R::zero() } else { margin }
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Verdict<R>) -> R {
        let margin = self.term(x);
        if margin > R::zero() { R::one() } else { margin }
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Verdict<R>) -> R {
        -self.student_cotangent(x)
    }
}
