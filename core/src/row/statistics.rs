//! What is kept of a row pair between the loss and its gradient.

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

/// The statistics of one row pair: what the gradient needs of the whole row. 48 bytes.
///
/// A caller who runs loss and gradient as two calls (as autograd does) keeps one of these a row; they are
/// opaque, and made and read by the same plan.
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

impl RowStatistics {
    /// KL(teacher || student) of the row in nats, whatever divergence the loss takes; 0 for rows without a
    /// softmax.
    pub fn kl_divergence(&self) -> f64 {
        self.kl
    }

    /// Whether each entry may be evaluated in `f32` about one reference.
    pub(crate) fn is_regular(&self) -> bool {
        matches!(self.kind, Kind::Near | Kind::Full)
    }

    /// Whether the student is -inf throughout while the teacher is not.
    pub(crate) fn student_is_empty(&self) -> bool {
        self.kind == Kind::Split && self.m == f64::NEG_INFINITY
    }
}
