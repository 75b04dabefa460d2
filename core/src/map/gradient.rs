//! The gradient of a band of a map: its pieces by the formula, scaled, rounded once and written in the order of memory.

use super::view::{PIECE, head, place, walk};
use super::{At, MapPlan, Maps, Side};
use crate::Order;
use crate::access::{LINE, LentCells, Place, Sink, round_into};
use crate::arithmetic::Arithmetic as _;
use crate::element::TensorMut;
use crate::simd::{Simd, Stored, Vectors, on};
use core::ops::Range;

/// What the bands of a side share.
pub(super) struct Gradient<'a> {
    pub(super) plan: &'a MapPlan,
    pub(super) maps: Maps<'a>,
    pub(super) state: &'a [f64],
    pub(super) side: Side,
    pub(super) scale: f64,
}

impl Gradient<'_> {
    /// Writes one of [`MapPlan::bands`]; whether a finite number became infinite.
    pub(super) fn write(&self, band: Range<usize>, sink: &mut dyn Sink) -> bool {
        let isa = self.maps.isa;
        if self.plan.order() == Order::Nchw && isa.has_vectors() {
            let row = band.start / self.plan.shape(self.side).positions().max(1);
            let place = Place { row, from: 0, index: band.start, stride: 1 };
            if let Some(LentCells { cells, streams }) = sink.lend(place, band.len()) {
                return match cells {
                    TensorMut::F32(cells) => on(isa, Lent { gradient: self, band, cells, streams }),
                    TensorMut::F16(cells) => on(isa, Lent { gradient: self, band, cells, streams }),
                    TensorMut::Bf16(cells) => on(isa, Lent { gradient: self, band, cells, streams }),
                    TensorMut::F64(cells) => self.write_f64(band, cells),
                };
            }
        }
        let (mut buffer, mut overflowed) = ([0.0; PIECE], false);
        for (at, place) in self.pieces(band) {
            let out = head(&mut buffer, &at.positions);
            self.fill(&at, out);
            overflowed |= sink.store_f64(place, out);
        }
        overflowed
    }

    fn write_f64(&self, band: Range<usize>, cells: &mut [f64]) -> bool {
        for (at, place) in self.pieces(band.clone()) {
            let from = place.index - band.start;
            self.fill(&at, cells.get_mut(from..from + at.positions.len()).unwrap_or_default());
        }
        false
    }

    /// The pieces of a band and where they stand.
    fn pieces(&self, band: Range<usize>) -> impl Iterator<Item = (At, Place)> + use<> {
        let (side, order, shape) = (self.side, self.plan.order(), self.plan.shape(self.side));
        let (channels, m) = (shape.channels(), shape.positions().max(1));
        let n = band.start / (channels * m).max(1);
        let local = |flat: usize| flat - n * channels * m;
        let (rows, positions) = match order {
            Order::Nchw => (local(band.start) / m..local(band.end).div_ceil(m), 0..m),
            Order::Nhwc => (0..channels, local(band.start) / channels..local(band.end).div_ceil(channels)),
        };
        walk(order, rows, positions).map(move |(c, positions)| {
            let place = place(shape, order, (n, c, positions.start));
            (At { side, n, c, positions }, place)
        })
    }

    /// The gradient at a piece.
    fn fill(&self, at: &At, out: &mut [f64]) {
        self.pull(at, out);
        scaled(out, self.scale);
    }

    /// The gradient at a piece before its scale; 0 where that is 0, whatever the formula says.
    fn pull(&self, at: &At, out: &mut [f64]) {
        if self.scale == 0.0 {
            out.fill(0.0);
        } else {
            self.plan.formula().pull(&self.maps, self.state, at, out);
        }
    }
}

#[inline(always)]
fn scaled(out: &mut [f64], scale: f64) {
    if scale != 0.0 {
        for x in out {
            *x *= scale;
        }
    }
}

/// A band whose memory the sink lends.
struct Lent<'a, E> {
    gradient: &'a Gradient<'a>,
    band: Range<usize>,
    cells: &'a mut [E],
    streams: bool,
}

impl<E: Stored> Vectors for Lent<'_, E> {
    /// Whether a finite number became infinite.
    type Output = bool;

    #[inline(always)]
    fn run<L: Simd>(self, l: L) -> bool {
        let Self { gradient, band, cells, streams } = self;
        let mut waiting = Waiting { numbers: [0.0; PIECE + MOST], count: 0, from: 0 };
        let mut overflowed = false;
        for (at, place) in gradient.pieces(band.clone()) {
            let from = place.index - band.start;
            if from != waiting.from + waiting.count {
                overflowed |= waiting.write(l, cells, streams, waiting.count);
                waiting.from = from;
            }
            let out = waiting.room(at.positions.len());
            gradient.pull(&at, out);
            scaled(out, gradient.scale);
            waiting.count += at.positions.len();
            overflowed |= waiting.write(l, cells, streams, waiting.whole_lines(cells, streams));
        }
        overflowed |= waiting.write(l, cells, streams, waiting.count);
        if streams {
            // Of all pieces at once: each alone would wait for memory.
            l.fence();
        }
        overflowed
    }
}

/// Numbers that a cache line has at most.
const MOST: usize = 16;

/// Numbers that are not written yet. Those of a line wait for each other where they pass the caches: a line that is
/// written in two parts would be read first, and all that follows would wait for it.
struct Waiting {
    numbers: [f64; PIECE + MOST],
    count: usize,
    /// The cell of the first.
    from: usize,
}

impl Waiting {
    /// Room for so many more.
    #[inline(always)]
    fn room(&mut self, count: usize) -> &mut [f64] {
        self.numbers.get_mut(self.count..self.count + count).unwrap_or_default()
    }

    /// How many there are up to the end of the last whole line; all where lines do not matter.
    #[inline(always)]
    fn whole_lines<E: Stored>(&self, cells: &[E], streams: bool) -> usize {
        if E::IS_HALF || !streams {
            return self.count;
        }
        let cells = cells.get(self.from..).unwrap_or_default();
        let ahead = cells.as_ptr().align_offset(LINE).min(self.count);
        self.count - (self.count - ahead) % (LINE / size_of::<E>())
    }

    /// Writes the first so many; whether a finite number became infinite.
    #[inline(always)]
    fn write<L: Simd, E: Stored>(&mut self, l: L, cells: &mut [E], streams: bool, count: usize) -> bool {
        let cells = cells.get_mut(self.from..self.from + count).unwrap_or_default();
        let (numbers, rest) = self.numbers.split_at_mut_checked(count).unwrap_or_default();
        let overflowed = if E::IS_HALF {
            // Rounded once: what is left of a number here has the same nearest half.
            let mut halves = [0.0; PIECE + MOST];
            halves.iter_mut().zip(&*numbers).for_each(|(to, x)| *to = x.before_half());
            round_into(l, cells, &halves, streams)
        } else {
            round_into(l, cells, numbers, streams)
        };
        let rest = rest.get(..self.count - count).unwrap_or_default();
        numbers.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        (self.count, self.from) = (self.count - count, self.from + count);
        overflowed
    }
}
