//! No normalisation: rows stay as they are.

use super::{Block, Normalize, PerPosition};
use crate::arithmetic::Arithmetic;
use crate::row::{Kind, RowStatistics, Workspace};
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
    type State = ();

    fn push<R: Arithmetic>(&self, _state: &mut (), _t: &[R], _s: &[R], _workspace: &mut Workspace<R>) {}

    fn finish(&self, _state: &()) -> RowStatistics {
        RowStatistics { kind: Kind::Full, ..RowStatistics::default() }
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
            *out = R::from_f64(scale) * f.at(Difference { difference: s - t });
        }
    }
}
