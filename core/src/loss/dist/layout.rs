//! What dist keeps, and where.

use crate::Shape;
use crate::loss::pearson::{Comoments, Pearson};
use crate::map::Samples;
use core::ops::Range;

/// What is kept of a row: of both softmaxes their largest logits and sums, its correlation, and of teacher and
/// student <y, g>, g the gradient to y.
pub(super) const ROW: usize = 6 + Pearson::LEN;

/// A class's positions.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// Teacher, student.
    pub(super) mean: [f64; 2],
    pub(super) pearson: Pearson,
}

impl Column {
    pub(super) const LEN: usize = 2 + Pearson::LEN;

    pub(super) fn read(from: &[f64]) -> Self {
        match *from {
            [t, s, unit_t, unit_s, slope_t, slope_s, miss, ..] => {
                let pearson = Pearson::from_numbers([unit_t, unit_s, slope_t, slope_s, miss]);
                Self { mean: [t, s], pearson }
            }
            _ => Self { mean: [0.0; 2], pearson: Pearson::from_numbers([f64::NAN; Pearson::LEN]) },
        }
    }

    pub(super) fn write(self, to: &mut [f64]) {
        let from = self.mean.into_iter().chain(self.pearson.numbers());
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    }
}

/// How the state is laid out: the value, the columns, then stripes of rows with what they add to each column.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) samples: Samples,
    /// Tiles of a stripe.
    pub(super) stripe: usize,
}

impl Plan {
    /// Stripes that are worked on side by side.
    const STRIPES: usize = 32;

    pub(super) fn new(shape: Shape) -> Self {
        let samples = Samples::new(shape);
        Self { shape, samples, stripe: samples.tiles().div_ceil(Self::STRIPES).max(1) }
    }

    pub(super) const fn head(&self) -> usize {
        1 + self.shape.channels() * Column::LEN
    }

    pub(super) fn tile_len(&self) -> usize {
        (self.samples.width() * ROW).max(1)
    }

    pub(super) fn stripe_len(&self) -> usize {
        (self.stripe * self.tile_len() + self.shape.channels() * Comoments::LEN).max(1)
    }

    pub(super) fn len(&self) -> usize {
        self.head() + self.samples.tiles().div_ceil(self.stripe.max(1)) * self.stripe_len()
    }

    /// The tiles of a stripe and the state of each.
    pub(super) fn tiles(
        self,
        stripe: usize,
        state: &mut [f64],
    ) -> impl Iterator<Item = (Range<usize>, &mut [f64])> {
        let rows = state.get_mut(..self.stripe * self.tile_len()).unwrap_or_default();
        let tiles = rows.chunks_mut(self.tile_len()).zip(stripe * self.stripe..self.samples.tiles());
        tiles.map(move |(state, i)| (self.samples.tile(i), state))
    }

    /// The state of a tile.
    pub(super) fn tile<'a>(&self, state: &'a [f64], i: usize) -> &'a [f64] {
        let (stripe, within) = (i / self.stripe.max(1), i % self.stripe.max(1));
        let from = self.head() + stripe * self.stripe_len() + within * self.tile_len();
        state.get(from..).unwrap_or_default()
    }
}
