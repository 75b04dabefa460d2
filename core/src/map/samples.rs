//! The positions of all images as samples, in tiles whose channels stay in a cache from one sweep to the next.

use super::{PIECE, View, cut};
use crate::Shape;
use core::ops::Range;

/// Numbers of a map that a tile has at most, where it has more positions than [`LEAST`].
const TILE: usize = 1 << 15;

/// Positions that are worth the way to them.
const LEAST: usize = 16;

/// All N H W positions in tiles of equal length, by the shape alone; the last may be shorter.
#[derive(Clone, Copy)]
pub(crate) struct Samples {
    count: usize,
    /// Positions of an image.
    image: usize,
    width: usize,
}

impl Samples {
    pub(crate) fn new(shape: Shape) -> Self {
        let most = (TILE / shape.channels().max(1)).clamp(LEAST, PIECE);
        // A power of 2, so that tiles and pieces have their ends in common.
        let width = 1 << most.ilog2();
        Self { count: shape.images() * shape.positions(), image: shape.positions().max(1), width }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Positions of a tile, at most [`PIECE`].
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    pub(crate) const fn tiles(&self) -> usize {
        self.count.div_ceil(self.width)
    }

    /// The positions of a tile.
    pub(crate) fn tile(&self, i: usize) -> Range<usize> {
        let from = (i * self.width).min(self.count);
        from..(from + self.width).min(self.count)
    }

    /// The tiles that some positions of image `n` lie in: which, the share of its positions, and of those asked for.
    pub(crate) fn over(
        &self,
        n: usize,
        positions: &Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> + use<> {
        let (samples, width) = (*self, self.width.max(1));
        let (from, to) = (n * self.image + positions.start, n * self.image + positions.end);
        (from / width..to.div_ceil(width)).map(move |i| {
            let tile = samples.tile(i);
            let (start, end) = (from.max(tile.start), to.min(tile.end));
            (i, start - tile.start..end - tile.start, start - from..end - from)
        })
    }

    /// What is kept of some positions of a tile, from the state of all: `K` numbers a position, number by number
    /// within a tile.
    pub(crate) fn kept<'s, const K: usize>(
        &self,
        state: &'s [f64],
        i: usize,
        of_tile: &Range<usize>,
    ) -> [&'s [f64]; K] {
        self.fields(state.get(i * self.width * K..).unwrap_or_default(), i, of_tile)
    }

    /// The same from the tile's own state.
    pub(crate) fn fields<'s, const K: usize>(
        &self,
        tile: &'s [f64],
        i: usize,
        of_tile: &Range<usize>,
    ) -> [&'s [f64]; K] {
        cut(tile, [self.tile(i).len(); K]).map(|field| field.get(of_tile.clone()).unwrap_or_default())
    }

    /// Some positions of a channel, at most [`PIECE`].
    pub(crate) fn read<'b>(
        &self,
        view: View<'b>,
        c: usize,
        samples: &Range<usize>,
        buffer: &'b mut [f64; PIECE],
    ) -> &'b [f64] {
        let (first, last) = (samples.start / self.image, samples.end.saturating_sub(1) / self.image);
        let buffer = buffer.get_mut(..samples.len()).unwrap_or_default();
        if first == last {
            return view.positions(first, c, samples.start % self.image, buffer);
        }
        if self.image == 1 {
            return view.images(first, c, buffer);
        }
        let (mut rest, mut from) = (&mut *buffer, samples.start);
        while from < samples.end {
            let (n, start) = (from / self.image, from % self.image);
            let mut lent = [0.0; PIECE];
            let (here, tail) =
                core::mem::take(&mut rest).split_at_mut((self.image - start).min(samples.end - from));
            let lent = lent.get_mut(..here.len()).unwrap_or_default();
            let x = view.positions(n, c, start, lent);
            here.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
            from += here.len();
            rest = tail;
        }
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_in_one_tile_and_found_there() {
        for (shape, widths) in [([3, 1, 7, 100], 256), ([5, 700, 1, 1], 32), ([40, 3000, 1, 3], 16)] {
            let samples = Samples::new(Shape::new(shape).expect("a shape"));
            assert_eq!(samples.width(), widths);
            let [images, _, h, w] = shape;
            let mut next = 0;
            for n in 0..images {
                let mut found = 0;
                for (i, of_tile, of_asked) in samples.over(n, &(0..h * w)) {
                    let tile = samples.tile(i);
                    assert_eq!((tile.start + of_tile.start, of_asked.start), (next, found));
                    assert_eq!(of_tile.len(), of_asked.len());
                    next += of_tile.len();
                    found = of_asked.end;
                }
                assert_eq!(found, h * w);
            }
            assert_eq!(next, samples.count());
        }
    }
}
