//! Maps read in pieces of a channel, in either memory order.

use super::{Stretch, larger};
use crate::access::{Place, load_f64, prefetch};
use crate::element::Tensor;
use crate::isa::Isa;
use crate::{Order, Shape};
use core::ops::Range;

/// Numbers that are read at once: what the buffers of a formula hold.
pub(crate) const PIECE: usize = 256;

/// Channels from one whose piece is read to the one whose piece memory is asked for.
pub(crate) const SOON: usize = 4;

/// A tensor as `[N, C, M]`, M the positions, read as `f64` whatever it is stored in.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    cells: Tensor<'a>,
    shape: Shape,
    order: Order,
    isa: Isa,
}

impl<'a> View<'a> {
    pub(crate) fn new(cells: Tensor<'a>, shape: Shape, order: Order, isa: Isa) -> Self {
        Self { cells, shape, order, isa }
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// What kernels over its numbers run on.
    pub(crate) const fn isa(self) -> Isa {
        self.isa
    }

    /// As many positions of a channel as the buffer has, from position `from` on.
    pub(crate) fn positions<'b>(self, n: usize, c: usize, from: usize, buffer: &'b mut [f64]) -> &'b [f64]
    where
        'a: 'b,
    {
        load_f64(self.isa, self.cells, place(self.shape, self.order, (n, c, from)), buffer)
    }

    /// Some of an image's numbers, channel after channel and at most [`PIECE`]; asks for as many that follow.
    pub(crate) fn numbers<'b>(
        self,
        n: usize,
        numbers: &Range<usize>,
        buffer: &'b mut [f64; PIECE],
    ) -> &'b [f64]
    where
        'a: 'b,
    {
        let (channels, m) = (self.shape.channels(), self.shape.positions());
        let buffer = head(buffer, numbers);
        if self.order == Order::Nchw || channels == 1 || m == 1 {
            let first = place(self.shape, Order::Nchw, (n, 0, numbers.start));
            let next = first.index + numbers.len();
            prefetch(self.isa, self.cells, next..next + numbers.len());
            return load_f64(self.isa, self.cells, first, buffer);
        }
        let mut rest = &mut *buffer;
        for (c, columns) in runs(numbers.clone(), m) {
            let here = rest.split_off_mut(..columns.len()).unwrap_or_default();
            // Channels lie side by side, so that nothing is lent.
            self.positions(n, c, columns.start, here);
        }
        buffer
    }

    /// Some positions of a channel as they are stored.
    pub(crate) fn stretch(self, n: usize, c: usize, positions: &Range<usize>) -> Stretch<'a> {
        let place = place(self.shape, self.order, (n, c, positions.start));
        Stretch::new(self.isa, self.cells, place, positions.len())
    }

    /// Asks for some positions of a channel, where they lie side by side.
    pub(crate) fn expect(self, n: usize, c: usize, positions: &Range<usize>) {
        let Place { index, stride, .. } = place(self.shape, self.order, (n, c, positions.start));
        if stride == 1 {
            prefetch(self.isa, self.cells, index..index + positions.len());
        }
    }

    /// The same channel of as many images as the buffer has, from `first` on, of a map that has one position.
    pub(crate) fn images<'b>(self, first: usize, c: usize, buffer: &'b mut [f64]) -> &'b [f64]
    where
        'a: 'b,
    {
        let place = place(self.shape, self.order, (first, c, 0));
        load_f64(self.isa, self.cells, Place { stride: self.shape.channels(), ..place }, buffer)
    }

    /// Stretches of some channels of an image, each channel's in order.
    pub(crate) fn walk(self, channels: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        turns(self.order, channels, 0..self.shape.positions())
    }

    /// Every number of an image, in pieces that do not depend on the memory order.
    pub(crate) fn each(self, n: usize, mut f: impl FnMut(&[f64])) {
        let mut buffer = [0.0; PIECE];
        for piece in pieces(0..self.shape.positions()) {
            for c in 0..self.shape.channels() {
                self.expect(n, c + SOON, &piece);
                f(self.positions(n, c, piece.start, head(&mut buffer, &piece)));
            }
        }
    }

    /// The largest magnitude of an image; NaN where one of its numbers is.
    pub(crate) fn largest(self, n: usize) -> f64 {
        let mut largest = 0.0_f64;
        self.each(n, |x| largest = x.iter().copied().fold(largest, larger));
        largest
    }

    /// One number.
    pub(crate) fn at(self, n: usize, c: usize, position: usize) -> f64 {
        let mut one = [0.0];
        self.positions(n, c, position, &mut one).first().copied().unwrap_or(f64::NAN)
    }
}

/// Where position `from` of channel `c` of image `n` stands, and how far the next one is.
pub(crate) fn place(shape: Shape, order: Order, (n, c, from): (usize, usize, usize)) -> Place {
    let (channels, m) = (shape.channels(), shape.positions());
    let row = n * channels + c;
    match order {
        Order::Nchw => Place { row, from, index: row * m + from, stride: 1 },
        Order::Nhwc => Place { row, from, index: (n * m + from) * channels + c, stride: channels },
    }
}

/// A range in pieces of at most [`PIECE`].
pub(crate) fn pieces(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    aligned(range, PIECE)
}

/// A range cut at the multiples of a length.
fn aligned(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let Range { start, end } = range;
    let parts = start / length..if start < end { end.div_ceil(length) } else { 0 };
    parts.map(move |i| (i * length).max(start)..((i + 1) * length).min(end))
}

/// A range of positions as rows of a map: each row's number and its columns.
pub(crate) fn runs(positions: Range<usize>, width: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let width = width.max(1);
    (positions.start / width..positions.end.div_ceil(width)).map(move |row| {
        let start = row * width;
        (row, positions.start.max(start) - start..positions.end.min(start + width) - start)
    })
}

/// Positions of some channels, each channel's in order, the channels in turns that read memory as it lies: of many
/// positions where those are side by side, of a piece where channels are.
fn turns(
    order: Order,
    channels: Range<usize>,
    positions: Range<usize>,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let turn = match order {
        Order::Nchw => 32 * PIECE,
        Order::Nhwc => PIECE,
    };
    aligned(positions, turn).flat_map(move |turn| channels.clone().map(move |c| (c, turn.clone())))
}

/// [`turns`] in pieces.
pub(crate) fn walk(
    order: Order,
    channels: Range<usize>,
    positions: Range<usize>,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    turns(order, channels, positions).flat_map(|(c, turn)| pieces(turn).map(move |piece| (c, piece)))
}

/// As much of the buffer as a piece has.
pub(crate) fn head<'b>(buffer: &'b mut [f64; PIECE], piece: &Range<usize>) -> &'b mut [f64] {
    buffer.get_mut(..piece.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::real;
    use core::array::from_fn;

    #[test]
    fn numbers_of_an_image_are_the_same_in_either_order() {
        const MOST: usize = 2048;
        for [n, c, h, w] in [[2, 3, 5, 7], [3, 40, 1, 17], [2, 300, 1, 1], [2, 1, 20, 30], [1, 2, 23, 23]] {
            let (m, image) = (h * w, c * h * w);
            let shape = Shape::new([n, c, h, w]).expect("a shape");
            let rows: [f64; MOST] = from_fn(real);
            let narrow: [f32; MOST] = from_fn(|at| u16::try_from(at).expect("fewer than 65536").into());
            let pixels: [f64; MOST] = from_fn(|at| real(at / image * image + at % c * m + at % image / c));
            let maps = [
                (Tensor::F64(&rows), Order::Nchw),
                (Tensor::F64(&pixels), Order::Nhwc),
                (Tensor::F32(&narrow), Order::Nchw),
            ];
            for (isa, (cells, order)) in Isa::available().flat_map(|isa| maps.map(|map| (isa, map))) {
                let (view, mut buffer) = (View::new(cells, shape, order, isa), [0.0; PIECE]);
                for (i, piece) in (0..n).flat_map(|i| pieces(0..image).map(move |piece| (i, piece))) {
                    let want = &rows[i * image..][piece.clone()];
                    assert_eq!(view.numbers(i, &piece, &mut buffer), want, "{order:?} {shape:?}");
                }
            }
        }
    }
}
