//! How a row or a vector is made comparable, one normalisation a file.

mod centred_unit;
mod mean;
mod raw;
mod softmax;
mod standardise;
mod unit;
mod vector;

pub use centred_unit::CentredUnitLength;
pub use mean::MeanOverPositions;
pub use raw::Raw;
pub use softmax::Softmax;
pub use standardise::Standardise;
pub use unit::UnitLength;
pub use vector::{NormalizeVector, Scaled};

use crate::Temperature;
use crate::arithmetic::Arithmetic;
use crate::row::{Kind, RowState, RowStatistics, Workspace};
use crate::space::{RowSpace, Space};
use mean::MeanState;
use raw::RawState;

/// A function of one position, evaluated over a row: a term, a cotangent or a gradient.
pub trait PerPosition<S: Space> {
    /// The value at one position.
    fn at<R: Arithmetic>(&self, point: S::Point<R>) -> R;
}

/// A normalisation of row pairs: its statistics, its points, and how a cotangent is pulled back through it.
///
/// The three passes of the engine are these: *statistics* sees every entry once and ends in 48 bytes a row;
/// *terms* and *gradient* see the entries again as points of [`Normalize::Space`].
pub trait Normalize: Copy + Send + Sync {
    /// The space its rows lie in: what a [`crate::Diverge`] must be defined on.
    type Space: RowSpace;
    /// The running state of a row.
    type State: Copy + Default + Sync + Into<State>;

    /// Adds a block of counted entries, at most 256, of equal length.
    fn push<R: Arithmetic>(&self, state: &mut Self::State, t: &[R], s: &[R], workspace: &mut Workspace<R>);

    /// Adds what the state of another part of the row has seen; one of another normalisation has seen nothing.
    fn merge(&self, state: &mut Self::State, other: &State);

    /// Puts a state that was merged from parts in order, so that the gradient keeps its last digits.
    fn settle(&self, _state: &mut Self::State) {}

    /// The state of which these are the statistics, of a regular row, where there is one.
    fn known(&self, _statistics: &RowStatistics) -> Option<Self::State> {
        None
    }

    /// A state to sweep the row with once more before it is finished, where its gradient asks for it.
    fn again(&self, _state: &Self::State) -> Option<Self::State> {
        None
    }

    /// The row's statistics.
    fn finish(&self, state: &Self::State) -> RowStatistics;

    /// `out[i] = scale * f(point i)` over a block; `counted` is 1 or 0 a position.
    fn evaluate<R: Arithmetic>(
        &self,
        statistics: &RowStatistics,
        block: Block<'_, R>,
        scale: f64,
        f: &impl PerPosition<Self::Space>,
        out: &mut [R],
    );

    /// The temperature, where this is the softmax.
    fn temperature(&self) -> Option<Temperature> {
        None
    }

    /// What a term counts in the row's value.
    fn share(&self, _statistics: &RowStatistics) -> f64 {
        1.0
    }

    /// What a cotangent is multiplied by on its way to the logits.
    fn pull(&self, _statistics: &RowStatistics) -> f64 {
        1.0
    }
}

/// The running state of a row under any normalisation.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// Under [`Softmax`].
    Softmax(RowState),
    /// Under [`MeanOverPositions`].
    Mean(MeanState),
    /// Under [`Raw`].
    Raw(RawState),
}

/// A block of a row pair.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a, R> {
    /// The teacher's entries.
    pub teacher: &'a [R],
    /// The student's entries.
    pub student: &'a [R],
    /// 1, or 0 where an `ignore = after` mask drops the position's term.
    pub counted: &'a [R],
}

impl<R: Arithmetic> Block<'_, R> {
    #[inline(always)]
    pub(crate) fn triples(&self) -> impl Iterator<Item = (R, R, R)> {
        self.teacher.iter().zip(self.student).zip(self.counted).map(|((&t, &s), &c)| (t, s, c))
    }
}

/// Each normalisation's state is one of them.
macro_rules! state {
    ($name:ident($type:ident)) => {
        impl From<$type> for State {
            fn from(state: $type) -> Self {
                Self::$name(state)
            }
        }
    };
}

state!(Softmax(RowState));
state!(Mean(MeanState));
state!(Raw(RawState));

/// What rows of plain numbers have met: the rules for entries that are not finite are those of a softmax.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    not_a_number: bool,
    teacher: bool,
}

impl Met {
    /// NaN and +inf make the row NaN; a teacher that is -inf throughout has nothing to say.
    fn see(&mut self, t: f64, s: f64) {
        self.not_a_number |= t.is_nan() || s.is_nan() || t == f64::INFINITY || s == f64::INFINITY;
        self.teacher |= t > f64::NEG_INFINITY;
    }

    fn merge(&mut self, other: Self) {
        self.not_a_number |= other.not_a_number;
        self.teacher |= other.teacher;
    }

    fn kind(self) -> Kind {
        match self {
            Self { not_a_number: true, .. } => Kind::NotANumber,
            Self { teacher: false, .. } => Kind::Zero,
            Self { teacher: true, .. } => Kind::Full,
        }
    }
}
