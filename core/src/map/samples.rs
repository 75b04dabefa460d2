//! The positions of all images as samples, in tiles whose channels stay in a cache from one sweep to the next.

use super::{PIECE, SOON, View, cut};
use crate::Shape;
use core::num::NonZeroUsize;
use core::ops::Range;

/// Numbers of a map that a tile has at most, where it has more positions than [`LEAST`].
const TILE: usize = 1 << 15;

/// Positions that are worth the way to them.
const LEAST: usize = 16;

/// All N H W positions in tiles of equal length, by the shape alone, of one image each where images are large. An
/// image's last tile, or the last of all, may be shorter.
#[derive(Clone, Copy)]
pub(crate) struct Samples {
    count: usize,
    /// Positions of an image.
    image: NonZeroUsize,
    /// Positions that are cut into tiles by themselves: an image's, or all.
    group: NonZeroUsize,
    width: NonZeroUsize,
}

impl Samples {
    pub(crate) fn new(shape: Shape) -> Self {
        let (count, image) = (shape.images() * shape.positions(), shape.positions());
        let most = (TILE / shape.channels().max(1)).clamp(LEAST, PIECE);
        // A power of 2, so that tiles and pieces have their ends in common.
        let width = 1 << most.ilog2();
        // Room for a whole tile at each image's end is little of a large one.
        let group = if image >= 4 * width { image } else { count };
        let [image, group, width] =
            [image, group, width].map(|length| NonZeroUsize::new(length).unwrap_or(NonZeroUsize::MIN));
        Self { count, image, group, width }
    }

    /// All positions.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Positions of a tile, at most [`PIECE`].
    pub(crate) const fn width(&self) -> usize {
        self.width.get()
    }

    /// How many tiles there are.
    pub(crate) fn tiles(&self) -> usize {
        self.count / self.group * self.a_group().get()
    }

    /// Numbers of a state that keeps so many of every position.
    pub(crate) fn state(&self, numbers: usize) -> usize {
        self.tiles() * self.width() * numbers
    }

    /// Tiles of a group.
    fn a_group(&self) -> NonZeroUsize {
        NonZeroUsize::MIN.saturating_add((self.group.get() - 1) / self.width)
    }

    /// The positions of a tile.
    pub(crate) fn tile(&self, i: usize) -> Range<usize> {
        let (group, width) = (self.group.get(), self.width());
        let (start, from) = (i / self.a_group() * group, i % self.a_group() * width);
        start + from..start + (from + width).min(group)
    }

    /// The tiles that some positions of image `n` lie in: which, the share of its positions, and of those asked for.
    pub(crate) fn over(
        &self,
        n: usize,
        positions: &Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> + use<> {
        let samples = *self;
        let image = n * self.image.get();
        let (from, to) = (image + positions.start, image + positions.end);
        let (group, within) = (from / self.group, from % self.group);
        let first = group * self.a_group().get();
        (within / self.width..(within + positions.len() + self.width() - 1) / self.width).map(move |i| {
            let tile = samples.tile(first + i);
            let (start, end) = (from.max(tile.start), to.min(tile.end));
            (first + i, start - tile.start..end - tile.start, start - from..end - from)
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
        self.fields(state.get(i * self.width() * K..).unwrap_or_default(), i, of_tile)
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

    /// Some positions of a channel, at most [`PIECE`]; says which will be read a little later where channels are read in turn,
    /// and then those of the next positions.
    pub(crate) fn read<'b>(
        &self,
        view: View<'b>,
        c: usize,
        samples: &Range<usize>,
        buffer: &'b mut [f64; PIECE],
    ) -> &'b [f64] {
        let (soon, channels) = (c + SOON, view.shape().channels());
        if soon < channels {
            self.expect(view, soon, samples);
        } else {
            self.expect(view, (soon - channels).min(c), &(samples.end..samples.end + samples.len()));
        }
        let (first, last) = (samples.start / self.image, samples.end.saturating_sub(1) / self.image);
        let buffer = buffer.get_mut(..samples.len()).unwrap_or_default();
        if first == last {
            return view.positions(first, c, samples.start % self.image, buffer);
        }
        if self.image == NonZeroUsize::MIN {
            return view.images(first, c, buffer);
        }
        self.gather(view, c, samples.start, buffer);
        buffer
    }

    /// Says that some positions of a channel will be read soon, where they are of one image.
    pub(crate) fn expect(&self, view: View<'_>, c: usize, samples: &Range<usize>) {
        let (n, from) = (samples.start / self.image, samples.start % self.image);
        if samples.end <= self.count && from + samples.len() <= self.image.get() {
            view.expect(n, c, &(from..from + samples.len()));
        }
    }

    /// Positions of several images.
    #[inline(never)]
    fn gather(&self, view: View<'_>, c: usize, from: usize, mut to: &mut [f64]) {
        let (mut from, mut part) = (from, [0.0; PIECE]);
        while !to.is_empty() {
            let (n, start) = (from / self.image, from % self.image);
            let length = (self.image.get() - start).min(to.len());
            let x = view.positions(n, c, start, part.get_mut(..length).unwrap_or_default());
            let here = to.split_off_mut(..length).unwrap_or_default();
            here.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
            from += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_in_one_tile_and_found_there() {
        let shapes =
            [([3, 1, 7, 100], 256), ([2, 19, 11, 100], 256), ([5, 700, 1, 1], 32), ([40, 3000, 1, 3], 16)];
        for (shape, widths) in shapes {
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
            assert_eq!(samples.tile(samples.tiles() - 1).end, samples.count());
        }
    }
}
