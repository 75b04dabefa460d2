//! State by stripes of tiles, each worked on by one thread: what a stripe has, and what is kept of its positions.

use super::{Executor, Samples};
use core::ops::Range;

/// How the state of a loss of samples is laid out: stripe by stripe, numbers of its own and then those of its tiles.
#[derive(Clone, Copy)]
pub(crate) struct Stripes {
    pub(crate) samples: Samples,
    /// Tiles of a stripe.
    tiles: usize,
    /// Numbers of a stripe.
    own: usize,
    /// Numbers that are kept of a position.
    kept: usize,
}

/// What becomes of the numbers of positions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// They are there for the gradient.
    Rows,
    /// A tile's may stand where the last one's stood, so that little memory is touched.
    Nothing,
}

impl Stripes {
    /// Stripes that are worked on side by side.
    const MOST: usize = 32;
    /// Tiles that are worth the memory of a stripe.
    const LEAST: usize = 8;

    pub(crate) fn new(samples: Samples, own: usize, kept: usize) -> Self {
        let tiles = samples.tiles().div_ceil(Self::MOST).max(Self::LEAST);
        Self { samples, tiles, own, kept }
    }

    fn tile_len(&self) -> usize {
        self.samples.width() * self.kept
    }

    fn stripe_len(&self) -> usize {
        (self.own + self.tiles.min(self.samples.tiles()) * self.tile_len()).max(1)
    }

    /// Numbers of all stripes.
    pub(crate) fn len(&self) -> usize {
        self.samples.tiles().div_ceil(self.tiles.max(1)) * self.stripe_len()
    }

    /// Calls `work` with each stripe's own numbers and its [`Tiles`](StripeTiles).
    pub(crate) fn each(
        &self,
        state: &mut [f64],
        on: &dyn Executor,
        work: impl Fn(&mut [f64], StripeTiles<'_>) + Sync,
    ) {
        on.chunks(state, self.stripe_len(), &|i, state| {
            let (own, rows) = state.split_at_mut(self.own.min(state.len()));
            work(own, StripeTiles { stripes: *self, first: i * self.tiles, rows });
        });
    }

    /// Each stripe's own numbers.
    pub(crate) fn own<'s>(&self, state: &'s [f64]) -> impl Iterator<Item = &'s [f64]> + use<'s> {
        let own = self.own;
        state.chunks(self.stripe_len()).map(move |stripe| stripe.get(..own).unwrap_or_default())
    }

    /// What is kept of some positions of a tile: `K` numbers a position, number by number within a tile.
    pub(crate) fn kept<'s, const K: usize>(
        &self,
        state: &'s [f64],
        i: usize,
        of_tile: &Range<usize>,
    ) -> [&'s [f64]; K] {
        let tiles = self.tiles.max(1);
        let from = i / tiles * self.stripe_len() + self.own + i % tiles * self.tile_len();
        self.samples.fields(state.get(from..).unwrap_or_default(), i, of_tile)
    }
}

/// The tiles of a stripe.
pub(crate) struct StripeTiles<'a> {
    stripes: Stripes,
    first: usize,
    rows: &'a mut [f64],
}

impl StripeTiles<'_> {
    /// Calls `work` with the positions of each tile and their numbers.
    pub(crate) fn each(self, keep: Keep, mut work: impl FnMut(Range<usize>, &mut [f64])) {
        let Self { stripes: Stripes { samples, tiles, .. }, first, rows } = self;
        let length = self.stripes.tile_len();
        for i in 0..tiles.min(samples.tiles().saturating_sub(first)) {
            let at = if keep == Keep::Rows { i * length } else { 0 };
            work(samples.tile(first + i), rows.get_mut(at..at + length).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::Shape;
    use crate::map::{Alone, real};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::vec;

    #[test]
    fn what_is_kept_of_a_position_is_found_again() {
        for shape in [[3, 1, 7, 100], [2, 19, 11, 100], [5, 700, 1, 1], [40, 3000, 1, 3]] {
            let samples = Samples::new(Shape::new(shape).expect("a shape"));
            let stripes = Stripes::new(samples, 3, 2);
            let mut state = vec![0.0; stripes.len()];
            let number = |i: usize| real(i) + 1.0;
            stripes.each(&mut state, &Alone, |own, tiles| {
                own.fill(-1.0);
                tiles.each(Keep::Rows, |tile, rows| {
                    for (i, position) in tile.clone().enumerate() {
                        (rows[i], rows[tile.len() + i]) = (number(position), -number(position));
                    }
                });
            });
            assert!(stripes.own(&state).all(|own| own == [-1.0; 3]));
            for i in 0..samples.tiles() {
                let tile = samples.tile(i);
                let [first, second] = stripes.kept(&state, i, &(0..tile.len()));
                assert_eq!((first.len(), second.len()), (tile.len(), tile.len()));
                for (position, (first, second)) in tile.zip(first.iter().zip(second)) {
                    assert_eq!((*first, *second), (number(position), -number(position)));
                }
            }
        }
    }

    #[test]
    fn what_is_not_kept_stands_in_one_place() {
        let samples = Samples::new(Shape::new([1, 19, 11, 100]).expect("a shape"));
        let stripes = Stripes::new(samples, 0, 1);
        let mut state = vec![0.0; stripes.len()];
        let seen = AtomicUsize::new(0);
        stripes.each(&mut state, &Alone, |_, tiles| {
            tiles.each(Keep::Nothing, |tile, rows| {
                assert_eq!(rows.first().copied(), Some(if tile.start == 0 { 0.0 } else { 1.0 }));
                rows.fill(1.0);
                seen.fetch_add(tile.len(), Ordering::Relaxed);
            });
        });
        assert_eq!(seen.into_inner(), 1100);
        assert_eq!(state.iter().filter(|&&x| x == 1.0).count(), samples.width());
    }
}
