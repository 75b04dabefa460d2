//! Numbers by class and channel, so laid out that pixels of many classes are added up without waiting for each other.

use crate::isa::{Kernel, dispatch};
use crate::map::{SOON, View};
use core::ops::Range;

/// Channels whose numbers of one class stand side by side.
const LANES: usize = 8;

/// Pixels that are added up at once.
pub(super) const PIXELS: usize = 128;

/// For every [`LANES`] channels, for every class and one more for the pixels without any, a number a channel.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// How many classes there are.
    pub(super) classes: usize,
}

impl Table {
    /// Numbers of a table of so many channels; none where there is no such number.
    pub(super) fn len(self, channels: usize) -> Option<usize> {
        let classes = self.classes.checked_add(1)?;
        channels.checked_next_multiple_of(LANES)?.checked_mul(classes)
    }

    /// Where the numbers of a class stand among those of their channels. It is kept as the bits of a number.
    #[allow(clippy::cast_possible_truncation, reason = "as many bits as were put in")]
    fn place(number: f64) -> usize {
        number.to_bits() as usize
    }

    /// As [`place`](Self::place) reads it.
    pub(super) const fn mark(class: usize) -> f64 {
        f64::from_bits((class * LANES) as u64)
    }

    /// The class of a pixel that is marked so.
    pub(super) fn class(self, mark: f64) -> Option<usize> {
        Some(Self::place(mark) / LANES).filter(|&class| class < self.classes)
    }

    fn row(self) -> usize {
        ((self.classes + 1) * LANES).max(1)
    }

    /// The numbers of [`LANES`] channels by class; the last are of no class.
    pub(super) fn rows(self, table: &mut [f64]) -> impl Iterator<Item = impl Iterator<Item = &mut [f64]>> {
        table.chunks_mut(self.row()).map(|row| row.chunks_mut(LANES))
    }

    /// A channel's number of each pixel's class.
    pub(super) fn spread(self, table: &[f64], c: usize, marks: &[f64], out: &mut [f64]) {
        let from = c / LANES * self.row() + c % LANES;
        let table = table.get(from..from + self.row() - c % LANES).unwrap_or_default();
        for (out, mark) in out.iter_mut().zip(marks) {
            *out = table.get(Self::place(*mark)).copied().unwrap_or(0.0);
        }
    }

    /// Adds weighted pixels, [`PIXELS`] at most, to their classes.
    pub(super) fn add(
        self,
        table: &mut [f64],
        (view, n, pixels): (View<'_>, usize, &Range<usize>),
        (marks, weights): (&[f64], &[f64]),
    ) {
        let mut numbers = [[0.0; PIXELS]; LANES];
        let mut buffer = [0.0; PIXELS];
        for (i, rows) in table.chunks_mut(self.row()).enumerate() {
            for (numbers, c) in numbers.iter_mut().zip(i * LANES..) {
                view.expect(n, c + SOON, pixels);
                let x = match buffer.get_mut(..pixels.len()) {
                    Some(buffer) if c < view.shape().channels() => view.positions(n, c, pixels.start, buffer),
                    _ => &[0.0; PIXELS],
                };
                numbers.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
            }
            dispatch(Add { rows, numbers: &numbers, marks, weights });
        }
    }
}

struct Add<'a> {
    rows: &'a mut [f64],
    numbers: &'a [[f64; PIXELS]; LANES],
    marks: &'a [f64],
    weights: &'a [f64],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (i, (mark, weight)) in (0..PIXELS).zip(self.marks.iter().zip(self.weights)) {
            let sums = self.rows.get_mut(Table::place(*mark)..).and_then(<[f64]>::first_chunk_mut::<LANES>);
            let Some(sums) = sums else { continue };
            // On a copy: nothing that is added could be one of the sums.
            let mut more = *sums;
            for (sum, numbers) in more.iter_mut().zip(self.numbers) {
                *sum += weight * numbers[i];
            }
            *sums = more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, Order, Shape};

    #[test]
    fn every_pixel_is_added_to_its_class() {
        let (shape, table) = (Shape::new([1, 11, 2, 3]).expect("a shape"), Table { classes: 2 });
        let x: [f64; 66] = core::array::from_fn(|i| f64::from(u8::try_from(i).expect("few")));
        let marks = [0, 1, 2, 1, 0, 1].map(Table::mark);
        assert_eq!(marks.map(|mark| table.class(mark)), [Some(0), Some(1), None, Some(1), Some(0), Some(1)]);
        let mut sums = [0.0; 48];
        assert_eq!(table.len(11), Some(48));
        let view = View::new(x[..].into(), shape, Order::Nchw, Isa::detect());
        table.add(&mut sums, (view, 0, &(0..6)), (&marks, &[1.0, 1.0, 1.0, 2.0, 1.0, 1.0]));
        for c in 0..11 {
            let mut out = [0.0; 6];
            table.spread(&sums, c, &marks, &mut out);
            let x = &x[c * 6..];
            let (first, second) = (x[0] + x[4], x[1] + 2.0 * x[3] + x[5]);
            assert_eq!(out, [first, second, x[2], second, first, second]);
        }
    }
}
