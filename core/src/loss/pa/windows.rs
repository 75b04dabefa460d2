//! Windows of a map, and what is pooled of them.

use super::PaOptions;
use crate::Shape;
use crate::map::{PIECE, View, head, pieces, runs, sum};
use core::num::NonZeroUsize;
use core::ops::Range;

/// Windows that tile a map; the last of a row or of a column has the cells that are left.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    height: usize,
    width: usize,
    /// Height and width of a window.
    window: [NonZeroUsize; 2],
    /// How many one below the other.
    rows: NonZeroUsize,
    /// How many side by side.
    pub(super) columns: NonZeroUsize,
}

impl PaOptions {
    /// Height and width of the windows that tile a map of this shape: from 1 to the map's own.
    ///
    /// ```
    /// use densekd_core::{PaOptions, Shape};
    /// let window = PaOptions::DEFAULT.window(Shape::new([1, 8, 5, 7])?);
    /// assert_eq!(window.map(|length| length.get()), [2, 3]);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is from 0 to that length"
    )]
    pub fn window(&self, shape: Shape) -> [NonZeroUsize; 2] {
        let [_, _, height, width] = shape.dims();
        let of = |len: usize| move |share: f64| libm::floor(len as f64 * share) as usize;
        let share = self.pool_scale.get();
        let [h, w] = match self.kernel {
            Some([h, w]) => [h.get().min(height), w.get().min(width)],
            None => [of(height)(share), of(width)(share)],
        };
        [h, w].map(|len| NonZeroUsize::new(len).unwrap_or(NonZeroUsize::MIN))
    }
}

impl Windows {
    pub(super) fn new(options: &PaOptions, shape: Shape) -> Self {
        let ([_, _, height, width], window) = (shape.dims(), options.window(shape));
        let count = |len: usize, window| NonZeroUsize::MIN.saturating_add(len.saturating_sub(1) / window);
        let [h, w] = window;
        Self { height, width, window, rows: count(height, h), columns: count(width, w) }
    }

    /// Windows of an image.
    pub(super) const fn count(&self) -> usize {
        self.rows.get() * self.columns.get()
    }

    /// Rows and columns of the map that a row, and a column, of windows has.
    fn span(len: usize, window: NonZeroUsize, i: usize) -> Range<usize> {
        let start = (i * window.get()).min(len);
        start..(start + window.get()).min(len)
    }

    /// How many cells a window of an image has.
    pub(super) fn cells(&self, node: usize) -> usize {
        let [h, w] = self.window;
        let rows = Self::span(self.height, h, node / self.columns);
        rows.len() * Self::span(self.width, w, node % self.columns).len()
    }

    /// Some positions by the windows that they are in: the window, and its share of them row by row.
    pub(super) fn parts(self, positions: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [h, w] = self.window;
        runs(positions, self.width).flat_map(move |(y, columns)| {
            let (first, start) = (y / h * self.columns.get(), y * self.width);
            let last = columns.end.saturating_sub(1) / w;
            (columns.start / w..=last).map(move |i| {
                let span = Self::span(self.width, w, i);
                (first + i, start + columns.start.max(span.start)..start + columns.end.min(span.end))
            })
        })
    }

    /// Pools a row of windows, counted over all images: for each window a number a channel.
    pub(super) fn pool<P: Pool>(&self, view: View<'_>, row: usize, out: &mut [f64]) {
        let ([h, w], channels) = (self.window, view.shape().channels().max(1));
        let (n, rows) = (row / self.rows, Self::span(self.height, h, row % self.rows));
        // Whole windows to a piece, or one window in pieces.
        let group = (PIECE / w).max(1);
        let (mut buffer, mut pooled) = ([0.0; PIECE], [P::NOTHING; PIECE]);
        for first in (0..self.columns.get()).step_by(group) {
            let columns = first * w.get()..((first + group) * w.get()).min(self.width);
            for c in 0..channels {
                pooled.fill(P::NOTHING);
                for y in rows.clone() {
                    for piece in pieces(columns.clone()) {
                        let start = y * self.width + piece.start;
                        let x = view.positions(n, c, start, head(&mut buffer, &piece));
                        let starts = (start..).step_by(w.get());
                        let cells = x.chunks(w.get()).zip(starts);
                        pooled.iter_mut().zip(cells).for_each(|(pooled, (x, start))| pooled.add(x, start));
                    }
                }
                let out = out.get_mut(first * channels + c..).unwrap_or_default().iter_mut();
                out.step_by(channels)
                    .zip(&pooled)
                    .take(group)
                    .for_each(|(out, pooled)| *out = pooled.result());
            }
        }
    }
}

/// Cells that are worth a loop over vectors.
const MANY: usize = 16;

/// What is kept of a window while its cells go by, in row-major order.
pub(super) trait Pool: Copy {
    const NOTHING: Self;

    /// Cells that follow each other, the first at this position of the map.
    fn add(&mut self, x: &[f64], start: usize);

    fn result(&self) -> f64;
}

/// The position of the first of the largest cells.
#[derive(Clone, Copy)]
pub(super) struct Maximum {
    largest: f64,
    position: Option<usize>,
}

impl Pool for Maximum {
    const NOTHING: Self = Self { largest: f64::NEG_INFINITY, position: None };

    fn add(&mut self, x: &[f64], start: usize) {
        // A larger one than all before is rare, and quick to rule out.
        let largest = self.largest;
        let exceed = |x: f64| if x <= largest { 0.0 } else { 1.0 };
        if x.len() >= MANY && self.position.is_some() && (largest.is_nan() || sum(x, exceed) == 0.0) {
            return;
        }
        for (&x, position) in x.iter().zip(start..) {
            // NaN is the largest of all.
            if self.position.is_none() || x > self.largest || (x.is_nan() && !self.largest.is_nan()) {
                *self = Self { largest: x, position: Some(position) };
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "positions beyond 2^53 are beyond any memory")]
    fn result(&self) -> f64 {
        self.position.unwrap_or(0) as f64
    }
}

/// The mean of the cells.
#[derive(Clone, Copy)]
pub(super) struct Mean {
    sum: f64,
    count: usize,
}

impl Pool for Mean {
    const NOTHING: Self = Self { sum: 0.0, count: 0 };

    fn add(&mut self, x: &[f64], _start: usize) {
        self.sum += if x.len() < MANY { x.iter().sum() } else { sum(x, |x| x) };
        self.count += x.len();
    }

    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
    fn result(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// A position as [`Maximum`] gives it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made of a position")]
pub(super) fn position(number: f64) -> usize {
    number as usize
}
