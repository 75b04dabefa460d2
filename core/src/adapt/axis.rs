//! Which cells of a line an enlarged or reduced line's cell is made of, and by which weights: the one definition
//! that a resize, its transpose and the losses that enlarge a map read.

use super::ResizeMode;

/// The largest extent that is resized: products of two of them fit 64 bits.
pub(crate) const MAX_EXTENT: usize = 1 << 30;

/// One axis of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    from: u64,
    to: u64,
    mode: ResizeMode,
}

/// Neighbouring input cells and their weights, none of which is 0: what stands beside a cell that has no share
/// cannot reach it, were it NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Taps {
    first: usize,
    count: usize,
    /// The first cell's weight.
    head: f64,
    /// Every other cell's weight.
    rest: f64,
}

impl Taps {
    pub(crate) fn iter(self) -> impl Iterator<Item = (usize, f64)> {
        let weight = move |k| if k == 0 { self.head } else { self.rest };
        (0..self.count).map(move |k| (self.first + k, weight(k)))
    }
}

impl Axis {
    /// Extents from 1 to [`MAX_EXTENT`], which the caller has checked.
    pub(crate) const fn new(from: usize, to: usize, mode: ResizeMode) -> Self {
        Self { from: from as u64, to: to as u64, mode }
    }

    /// The cells that output `i` is made of.
    pub(crate) fn taps(self, i: usize) -> Taps {
        let (i, from, to) = (i as u64, self.from, self.to.max(1));
        match self.mode {
            ResizeMode::Nearest => Self::equal(i * from / to, 1),
            ResizeMode::Area => {
                let first = i * from / to;
                Self::equal(first, ((i + 1) * from).div_ceil(to) - first)
            }
            ResizeMode::Bilinear { align_corners: true } if to == 1 => Self::equal(0, 1),
            ResizeMode::Bilinear { align_corners: true } => self.between(i * (from - 1), to - 1),
            // The centre (i + 1/2) from / to - 1/2, over a denominator of 2 to, not left of the first centre.
            ResizeMode::Bilinear { align_corners: false } => {
                self.between(((2 * i + 1) * from).saturating_sub(to), 2 * to)
            }
        }
    }

    /// The two cells around the coordinate `over / under`.
    #[allow(clippy::cast_precision_loss, reason = "twice the largest extent has 32 bits")]
    fn between(self, over: u64, under: u64) -> Taps {
        let low = over.checked_div(under).unwrap_or_default();
        let part = over.checked_rem(under).unwrap_or_default();
        if part == 0 || low + 1 >= self.from {
            return Self::equal(low.min(self.from.saturating_sub(1)), 1);
        }
        let rest = part as f64 / under as f64;
        Taps { head: 1.0 - rest, rest, ..Self::equal(low, 2) }
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "cells of a line whose length is a usize of few bits"
    )]
    fn equal(first: u64, count: u64) -> Taps {
        let weight = 1.0 / count.max(1) as f64;
        Taps { first: first as usize, count: count as usize, head: weight, rest: weight }
    }
}
