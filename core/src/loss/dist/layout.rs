//! What dist keeps, and where.

use crate::Shape;
use crate::loss::pearson::{Comoments, Pearson, SUMS};
use crate::map::{Samples, Stripes};

/// What is kept of a row: of both softmaxes their largest logits and one over their sums, the three numbers that its
/// gradients are made of, and of teacher and student <y, g>, g the gradient to y.
pub(super) const ROW: usize = 4 + SUMS;

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

/// How the state is laid out: the value, the columns, then stripes of rows with the sum of theirs, what they add to each
/// column, and a tile's exponentials.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) stripes: Stripes,
}

impl Plan {
    pub(super) fn new(shape: Shape) -> Self {
        let (channels, samples) = (shape.channels(), Samples::new(shape));
        let own = 1 + channels * (Comoments::LEN + 2 * samples.width());
        Self { shape, stripes: Stripes::new(samples, own, ROW) }
    }

    pub(super) const fn samples(&self) -> &Samples {
        &self.stripes.samples
    }

    /// Numbers before the stripes.
    pub(super) const fn head(&self) -> usize {
        1 + self.shape.channels() * Column::LEN
    }

    pub(super) fn len(&self) -> usize {
        self.head() + self.stripes.len()
    }

    /// A stripe's own numbers: the sum of its rows, the columns, the exponentials of teacher and student.
    pub(super) fn own(&self) -> [usize; 4] {
        let channels = self.shape.channels();
        let terms = channels * self.samples().width();
        [1, channels * Comoments::LEN, terms, terms]
    }
}
