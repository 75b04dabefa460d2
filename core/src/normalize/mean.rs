//! A row's mean: one number a row.

use super::{Block, Met, Normalize, PerPosition, State};
use crate::Temperature;
use crate::arithmetic::Arithmetic;
use crate::row::{RowStatistics, Workspace};
use crate::space::{Difference, Real};

/// The mean over counted positions, divided by the temperature (`norm channel_mean`).
///
/// ```
/// use densekd_core::{MeanOverPositions, Mse, RowLoss, Temperature};
/// let loss = RowLoss::new(MeanOverPositions::new(Temperature::ONE), Mse);
/// assert_eq!(loss.value(&[1.0_f32, 2.0], &[2.0, 4.0]), 2.25);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanOverPositions {
    temperature: Temperature,
}

impl MeanOverPositions {
    /// A mean whose unit is the temperature.
    pub const fn new(temperature: Temperature) -> Self {
        Self { temperature }
    }
}

/// What entries are multiplied by, exactly, so that no sum of them overflows.
const SMALL: f64 = 1.0 / 1_099_511_627_776.0;

/// A running sum of differences and its count.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanState {
    sum: f64,
    count: f64,
    met: Met,
}

impl Normalize for MeanOverPositions {
    type Space = Real;
    type State = MeanState;

    fn push<R: Arithmetic>(&self, state: &mut MeanState, t: &[R], s: &[R], _workspace: &mut Workspace<R>) {
        for (t, s) in t.iter().zip(s).map(|(t, s)| (t.to_double(), s.to_double())) {
            state.met.see(t, s);
            state.sum += s * SMALL - t * SMALL;
            state.count += 1.0;
        }
    }

    fn merge(&self, state: &mut MeanState, other: &State) {
        if let State::Mean(other) = other {
            state.met.merge(other.met);
            state.sum += other.sum;
            state.count += other.count;
        }
    }

    fn finish(&self, state: &MeanState) -> RowStatistics {
        let d = state.sum / state.count / self.temperature.get() / SMALL;
        RowStatistics { d, z: state.count, kind: state.met.kind(), ..RowStatistics::default() }
    }

    fn evaluate<R: Arithmetic>(
        &self,
        statistics: &RowStatistics,
        _block: Block<'_, R>,
        scale: f64,
        f: &impl PerPosition<Real>,
        out: &mut [R],
    ) {
        out.fill(R::from_f64(scale * f.at(Difference { difference: statistics.d })));
    }

    fn share(&self, statistics: &RowStatistics) -> f64 {
        if statistics.z > 0.0 { 1.0 / statistics.z } else { 0.0 }
    }

    fn pull(&self, statistics: &RowStatistics) -> f64 {
        self.share(statistics) / self.temperature.get()
    }
}
