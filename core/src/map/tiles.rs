//! Positions in groups that are worked on side by side, whatever the memory order.

use super::PIECE;
use crate::Shape;
use core::ops::Range;

/// The positions of every image in groups of equal length, at most [`PIECE`]; an image's last may be shorter.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    images: usize,
    positions: usize,
    an_image: usize,
    width: usize,
}

/// Some positions of an image.
#[derive(Clone)]
pub(crate) struct Tile {
    pub(crate) n: usize,
    pub(crate) positions: Range<usize>,
}

impl Tiles {
    pub(crate) fn new(shape: Shape) -> Self {
        let (images, positions) = (shape.images(), shape.positions());
        let an_image = positions.div_ceil(PIECE).max(1);
        Self { images, positions, an_image, width: positions.div_ceil(an_image).max(1) }
    }

    pub(crate) const fn count(&self) -> usize {
        self.images * self.an_image
    }

    /// Positions of all tiles but the last ones.
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn tile(&self, i: usize) -> Tile {
        let an_image = self.an_image.max(1);
        let from = i % an_image * self.width;
        Tile { n: i / an_image, positions: from..(from + self.width).min(self.positions) }
    }

    /// The tiles that some positions of an image lie in, with the share of them that each has.
    pub(crate) fn over(
        &self,
        n: usize,
        positions: Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (first, width) = (n * self.an_image, self.width.max(1));
        (positions.start / width..positions.end.div_ceil(width))
            .map(move |i| (first + i, positions.start.max(i * width)..positions.end.min((i + 1) * width)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_in_one_tile_and_found_there() {
        for (h, w) in [(1, 1), (1, 255), (16, 16), (1, 257), (7, 100), (32, 33)] {
            let tiles = Tiles::new(Shape::new([2, 3, h, w]).expect("a shape"));
            let mut next = (0, 0);
            for i in 0..tiles.count() {
                let Tile { n, positions } = tiles.tile(i);
                assert!(!positions.is_empty() && positions.len() <= tiles.width() && tiles.width() <= PIECE);
                assert_eq!((n, positions.start), next);
                next = if positions.end == h * w { (n + 1, 0) } else { (n, positions.end) };
                for position in positions {
                    let mut over = tiles.over(n, position..h * w);
                    assert_eq!(over.next().map(|(tile, part)| (tile, part.start)), Some((i, position)));
                }
            }
            assert_eq!(next, (2, 0));
            let whole: usize = tiles.over(1, 0..h * w).map(|(_, part)| part.len()).sum();
            assert_eq!(whole, h * w);
        }
    }
}
