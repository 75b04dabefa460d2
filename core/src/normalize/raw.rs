//! No normalisation: rows stay as they are.

use super::{Block, Met, Normalize, PerPosition, State};
use crate::arithmetic::Arithmetic;
use crate::row::{RowStatistics, Workspace};
use crate::space::{Difference, Real};

/// The row itself (`norm none`). The temperature does not enter.
///
/// ```
/// use densekd_core::{Mse, Raw, RowLoss};
/// assert_eq!(RowLoss::new(Raw, Mse).value(&[1.0_f32, 2.0], &[2.0, 4.0]), 5.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Raw;

impl Normalize for Raw {
    type Space = Real;
    type State = RawState;

    fn push<R: Arithmetic>(&self, state: &mut RawState, t: &[R], s: &[R], _workspace: &mut Workspace<R>) {
        for (t, s) in t.iter().zip(s) {
            state.met.see(t.to_double(), s.to_double());
        }
    }

    fn merge(&self, state: &mut RawState, other: &State) {
        if let State::Raw(other) = other {
            state.met.merge(other.met);
        }
    }

    fn finish(&self, state: &RawState) -> RowStatistics {
        RowStatistics { kind: state.met.kind(), ..RowStatistics::default() }
    }

    fn evaluate<R: Arithmetic>(
        &self,
        _statistics: &RowStatistics,
        block: Block<'_, R>,
        scale: f64,
        f: &impl PerPosition<Real>,
        out: &mut [R],
    ) {
        for (out, (t, s, _)) in out.iter_mut().zip(block.triples()) {
            let shared = t == R::neg_infinity() && s == t;
            let difference = if shared { R::zero() } else { s - t };
            *out = R::from_f64(scale) * f.at(Difference { difference });
        }
    }
}

/// What a raw row has met.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawState {
    met: Met,
}
