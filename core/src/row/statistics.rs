//! What is kept of a row pair between the loss and its gradient.

use crate::Temperature;

/// How a row's entries are to be evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not filled yet.
    #[default]
    Unset,
    /// No counted entry, or a teacher without a distribution: value and gradient 0.
    Zero,
    /// NaN or +inf somewhere: value and gradient NaN.
    NotANumber,
    /// One counted entry: both distributions are the constant 1.
    Single,
    /// All log-ratios within 1: one exponential an entry.
    Near,
    /// The same of a row that one sweep about one reference has found: its gradient is made of what that sweep knew of each
    /// entry.
    SweptNear,
    /// The same where all log-ratios are within 1/8 bit of that reference.
    SweptTiny,
    /// Any finite row.
    Full,
    /// Any finite row, whose divergence sits so far below its largest entry that the last digits of `f32`'s exponents
    /// matter.
    Deep,
    /// A row with shared or teacher-only -inf, or beyond the safe range of `f32`: evaluated in `f64`.
    Careful,
    /// A row in which the student is -inf where the teacher is not: two separate references.
    Split,
}

impl Kind {
    /// Whether all log-ratios are within 1.
    pub(crate) const fn is_near(self) -> bool {
        matches!(self, Self::Near | Self::SweptNear | Self::SweptTiny)
    }
}

/// The statistics of one row pair: what the gradient needs of the whole row. 48 bytes.
///
/// A caller who runs loss and gradient as two calls (as autograd does) keeps one of these a row; they are
/// opaque, and made and read by the same plan. Backends exchange them as [`RowSums`].
///
/// ```
/// use densekd_core::RowStatistics;
/// let kept = vec![RowStatistics::default(); 19];
/// assert_eq!(std::mem::size_of_val(&kept[0]), 48);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowStatistics {
    /// The student's reference, in quarter units.
    pub(crate) m: f64,
    /// The student's sum of exponentials about `m`.
    pub(crate) z: f64,
    /// The log-ratio's reference in quarter units; the teacher's reference of a split row.
    pub(crate) d: f64,
    /// The rest of the log-ratio in nats; the teacher's sum of a split row.
    pub(crate) l: f64,
    /// The row's KL divergence in nats.
    pub(crate) kl: f64,
    pub(crate) kind: Kind,
}

/// The statistics of a softmax's row pair in numbers that every machine understands.
///
/// ```
/// use densekd_core::{RowState, RowStatistics, Temperature};
/// let mut row = RowState::new();
/// row.push(Temperature::ONE, &[0.0_f32, 1.0], &[0.0, 1.0 - f32::EPSILON]);
/// let sums = row.finish(Temperature::ONE).sums(Temperature::ONE).expect("a finished row");
/// assert!((sums.student.0 + sums.student.1.ln() - (0.0_f64.exp() + 1.0_f64.exp()).ln()).abs() < 1e-6);
/// let read = RowStatistics::from_sums(Temperature::ONE, &sums);
/// assert_eq!(read.kl_divergence(), sums.kl);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowSums {
    /// A reference near the largest of the teacher's logits, in their unit, and the sum of e^((t - reference) / tau).
    /// The reference is infinite in a row of NaN, and -inf in one that has nothing to compare: no counted entry, one
    /// whose two logits are more than a million nats apart, or a teacher that is -inf throughout.
    pub teacher: (f64, f64),
    /// The same of the student.
    pub student: (f64, f64),
    /// tau log(sum e^(t / tau) / sum e^(s / tau)) in the logits' unit, to its own digits: rows that are close need
    /// more of them than the sums have.
    pub log_ratio: f64,
    /// The row's KL divergence in nats.
    pub kl: f64,
}

/// Nats that a log-ratio may have beside which the last digits of entries still matter little.
const APART: f64 = 1e6;

impl RowStatistics {
    /// The row's sums, at the temperature of its plan; `None` where the statistics were never filled.
    pub fn sums(&self, tau: Temperature) -> Option<RowSums> {
        let (m, d) = (4.0 * self.m, 4.0 * self.d);
        let log_ratio = d + self.l * tau.get();
        let nothing = |reference| (reference, 0.0);
        let (teacher, student, log_ratio) = match self.kind {
            Kind::Unset => return None,
            Kind::NotANumber => (nothing(f64::INFINITY), nothing(f64::INFINITY), 0.0),
            Kind::Zero => (nothing(f64::NEG_INFINITY), nothing(f64::NEG_INFINITY), 0.0),
            Kind::Single if !(log_ratio.abs() / tau.get() <= APART) => {
                (nothing(f64::NEG_INFINITY), nothing(f64::NEG_INFINITY), 0.0)
            }
            Kind::Split => ((d, self.l), (m, self.z), d - m + tau.get() * libm::log(self.l / self.z)),
            Kind::Single
            | Kind::Near
            | Kind::SweptNear
            | Kind::SweptTiny
            | Kind::Full
            | Kind::Deep
            | Kind::Careful => ((m + log_ratio, self.z), (m, self.z), log_ratio),
        };
        Some(RowSums { teacher, student, log_ratio, kl: self.kl })
    }

    /// The statistics of a row at the temperature of its plan, from the sums that another machine took of it. Its
    /// entries are evaluated in `f64`.
    pub fn from_sums(tau: Temperature, sums: &RowSums) -> Self {
        let RowSums { teacher: (t, of_t), student: (s, of_s), log_ratio, kl } = *sums;
        if t.is_nan() || t == f64::INFINITY {
            return Self { kl: f64::NAN, kind: Kind::NotANumber, ..Self::default() };
        }
        if t == f64::NEG_INFINITY {
            return Self { kind: Kind::Zero, ..Self::default() };
        }
        // Rows that one reference and a log-ratio do not hold.
        if !(log_ratio.abs() / tau.get() <= APART && kl <= 1e3) {
            return Self { m: 0.25 * s, z: of_s, d: 0.25 * t, l: of_t, kl, kind: Kind::Split };
        }
        Self { m: 0.25 * s, z: of_s, d: 0.25 * log_ratio, l: 0.0, kl, kind: Kind::Careful }
    }

    /// KL(teacher || student) of the row in nats, whatever divergence the loss takes; 0 for rows without a
    /// softmax.
    pub fn kl_divergence(&self) -> f64 {
        self.kl
    }

    /// Whether each entry may be evaluated in `f32` about one reference.
    pub(crate) fn is_regular(&self) -> bool {
        self.kind.is_near() || self.kind == Kind::Full
    }

    /// Whether the student is -inf throughout while the teacher is not.
    pub(crate) fn student_is_empty(&self) -> bool {
        self.kind == Kind::Split && self.m == f64::NEG_INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowState;

    #[test]
    fn a_row_of_one_entry_is_told_from_one_of_none() {
        let tau = Temperature::ONE;
        let of = |teacher: &[f64], student: &[f64]| {
            let mut row = RowState::new();
            row.push(tau, teacher, student);
            let statistics = row.finish(tau);
            (statistics, statistics.sums(tau).expect("a finished row"))
        };
        let (none, sums) = of(&[], &[]);
        assert_eq!((none.kind, sums.teacher.0), (Kind::Zero, f64::NEG_INFINITY));
        for (t, s) in [(3.0, -1.0), (0.0, 0.0), (4e5, -4e5)] {
            let (one, sums) = of(&[t], &[s]);
            assert_eq!((one.kind, sums.kl), (Kind::Single, 0.0));
            assert_eq!((sums.teacher, sums.student, sums.log_ratio), ((t, 1.0), (s, 1.0), t - s));
        }
        let (apart, sums) = of(&[1e30], &[-1e30]);
        assert_eq!((apart.kind, sums.teacher.0), (Kind::Single, f64::NEG_INFINITY));
    }
}
