//! The gradient of a row pair's KL divergence to the student's logits, from the row's statistics.

use super::entry::{Again, Entry, Far, Full, Kept as KeptEntry, Near};
use super::kept::Kept;
use super::maps::{Halves, Maps, Singles};
use super::position::Folded;
use super::reference::{Reference, exp, single};
use super::{EXACT_FROM, Lanes, MILDEST, STEEPEST, ShortRows, short};
use crate::Temperature;
use crate::access::{LINE, LentCells, Place, Sink};
use crate::element::{DType, Element as _, Tensor, TensorMut};
use crate::isa::Isa;
use crate::row::statistics::{Kind, RowStatistics};
use crate::simd::{Four, Part, Simd, Stored, Vectors, foresee_page, on};

/// `scale * (q - p)` of neighbouring rows whose statistics are about one reference.
pub(crate) struct Gradient<'a, 's, 'm> {
    pub(crate) tau: Temperature,
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    /// Of the first row.
    pub(crate) place: Place,
    pub(crate) len: usize,
    /// One a row.
    pub(crate) statistics: &'s [RowStatistics],
    pub(crate) scale: f64,
    pub(crate) sink: &'s mut dyn Sink,
    pub(crate) short: &'s mut ShortRows,
    pub(crate) kept: &'s mut Kept<'m>,
}

/// Entries that are stored at a time where the sink has no memory to lend.
const BUFFER: usize = 1024;

/// Factors between which no product of a gradient is subnormal that is not so in truth.
pub(super) const SMALLEST: f64 = 1e-30;
pub(super) const LARGEST: f64 = 1e30;

impl Vectors for Gradient<'_, '_, '_> {
    /// Which rows were written, and whether a finite number of them became infinite.
    type Output = (Lanes, bool);

    #[inline(always)]
    fn run<L: Simd>(self, l: L) -> (Lanes, bool) {
        let c = 1.0 / self.tau.get();
        if !(MILDEST..=STEEPEST).contains(&c) {
            return (0, false);
        }
        if short::takes(self.len) {
            return short::gradient(l, self);
        }
        match (self.teacher, self.student) {
            (Tensor::F16(teacher), Tensor::F16(student)) if L::WIDENS => {
                self.rows(l, c, Halves { teacher, student })
            }
            (Tensor::Bf16(teacher), Tensor::Bf16(student)) if L::WIDENS => {
                self.rows(l, c, Halves { teacher, student })
            }
            (teacher, student) => self.rows(l, c, Singles::new(teacher, student)),
        }
    }
}

impl Gradient<'_, '_, '_> {
    /// On an instruction set. Not generic and not inlined, so that it is compiled once, with this crate.
    #[inline(never)]
    pub(crate) fn run_on(self, isa: Isa) -> (Lanes, bool) {
        on(isa, self)
    }

    #[inline(always)]
    fn rows<L: Simd, M: Maps>(mut self, l: L, c: f64, mut maps: M) -> (Lanes, bool) {
        let mut buffer = [0.0_f32; BUFFER];
        let folded = &Folded::new(c);
        let (mut done, mut overflowed) = (0, false);
        for (i, statistics) in self.statistics.iter().enumerate() {
            if let Some(row) = RowReference::new::<L>(c, statistics, self.scale) {
                overflowed |= self.row(l, &mut maps, (&row, folded, i), &mut buffer);
                done |= 1 << i;
            }
            self.place.row += 1;
            self.place.index += self.len;
        }
        (done, overflowed)
    }

    #[inline(always)]
    fn row<L: Simd, M: Maps>(
        &mut self,
        l: L,
        maps: &mut M,
        (row, folded, lane): (&RowReference, &Folded, usize),
        buffer: &mut [f32; BUFFER],
    ) -> bool {
        let Self { place, len, sink, kept, .. } = self;
        let kept = kept.entries(lane).filter(|_| matches!(row.form, Form::Swept { .. }));
        let (mut from, mut overflowed) = (0, false);
        // A gradient of another type than the maps is rounded by the sink.
        let fits = |to: &TensorMut<'_>| [DType::F32, M::E::DTYPE].contains(&to.dtype());
        // One pass where the sink lends its memory, else one a buffer; its calls stand once, since all forms are compiled
        // into each.
        while from < *len {
            let place = Place { from, index: place.index + from, ..*place };
            let lent = sink.lend(place, *len - from).filter(|lent| fits(&lent.cells));
            let is_lent = lent.is_some();
            let (to, pass) = if let Some(LentCells { cells, streams }) = lent {
                (cells, Pass { row, folded, kept: None, streams })
            } else {
                let n = (*len - from).min(BUFFER);
                let to = TensorMut::F32(buffer.get_mut(..n).unwrap_or_default());
                (to, Pass { row, folded, kept: None, streams: false })
            };
            let n = to.len();
            let kept = kept.and_then(|(w, excess)| excess.get(from..from + n).zip(w.get(from..from + n)));
            let pass = Pass { kept, ..pass };
            let range = place.index..place.index + n;
            overflowed |= match to {
                TensorMut::F32(to) => pass.run(l, maps, range, to),
                to if M::E::IS_HALF => M::E::cells(to).is_some_and(|to| pass.run(l, maps, range, to)),
                _ => false,
            };
            if !is_lent {
                overflowed |= sink.store_f32(place, buffer.get(..n).unwrap_or_default());
            }
            from += n;
        }
        overflowed
    }
}

/// The KL divergence from which a row is tried as one of large |p - q|.
const FAR: f64 = 0.5;

/// What a row's gradient is measured from.
pub(super) struct RowReference {
    pub(super) at: Reference,
    form: Form,
    /// Less the rest of the log-ratio, in nats and two terms: in one it would be off the same way everywhere.
    pub(super) less: (f32, f32),
    /// What w (e^r - 1) is multiplied by.
    pub(super) factor: f32,
    /// What the teacher's own exponentials are.
    pub(super) fix: f32,
    /// What w (e^r - 1), in units of the inputs and about the sweep's log-ratio, and w are multiplied by.
    pub(super) parts: (f32, f32),
}

/// How an entry is evaluated.
#[derive(Clone, Copy)]
enum Form {
    /// By one exponential, |r| being at most 1; differences are exact or not.
    Near { exact: bool },
    /// Of what one sweep has made; all |r| are tiny or not.
    Swept { tight: bool },
    /// By two where some |p - q| is about as large as any q, which the pass itself sees, else with care for each.
    Full { far: bool },
}

impl RowReference {
    /// None where the row is not for `f32`.
    #[inline(always)]
    fn new<L: Simd>(c: f64, statistics: &RowStatistics, scale: f64) -> Option<Self> {
        if !statistics.is_regular() {
            return None;
        }
        let RowStatistics { m, z, d, l: rest, kl, kind } = *statistics;
        let (m, d) = (4.0 * m, 4.0 * d);
        let is_exact = d.abs() * c > EXACT_FROM * libm::sqrt(2.0 * kl);
        let (form, exact) = match kind {
            Kind::Near => (Form::Near { exact: is_exact }, is_exact),
            Kind::SweptNear => (Form::Swept { tight: false }, false),
            Kind::SweptTiny => (Form::Swept { tight: true }, false),
            _ => (Form::Full { far: kl >= FAR }, true),
        };
        let at = Reference::new::<L>(c, single(m), d, exact);
        let factor = -scale * at.shift / z;
        // What D lost with its second term.
        let rest = rest + c * (d - at.d());
        let holds = (SMALLEST..=LARGEST).contains(&factor.abs());
        let share = exp(-rest);
        let fix = single(at.fix * share);
        let parts = (single(factor * share * c), single(-factor * share * libm::expm1(rest)));
        let less = (single(-rest), single(-rest - f64::from(single(-rest))));
        holds.then_some(Self { at, form, less, factor: single(factor), fix, parts })
    }
}

/// A pass over a row, or a piece of it.
#[derive(Clone, Copy)]
struct Pass<'r> {
    row: &'r RowReference,
    folded: &'r Folded,
    /// What the sweep has kept of it: w (e^r - 1), and w.
    kept: Option<(&'r [f32], &'r [f32])>,
    /// Whether the gradient is written past the caches.
    streams: bool,
}

impl Pass<'_> {
    /// Whether a finite number became infinite.
    #[inline(always)]
    fn run<L: Simd, M: Maps, O: Stored>(
        &self,
        l: L,
        maps: &mut M,
        range: core::ops::Range<usize>,
        to: &mut [O],
    ) -> bool {
        let Self { row, folded, kept, .. } = *self;
        let tile = Four::of(l);
        if let Some(kept) = kept {
            let peaks = l.call(self.piece(KeptEntry::new(tile, row), kept, to));
            return peaks.overflows::<O>();
        }
        let most = maps.most_lent();
        let mut start = range.start;
        let mut overflowed = false;
        for to in to.chunks_mut(most) {
            let pair = maps.pair(l, start..start + to.len());
            let peaks = match self.row.form {
                Form::Swept { tight: false } => {
                    l.call(self.piece(Again::<_, false>::new(tile, row, folded), pair, to))
                }
                Form::Swept { tight: true } => {
                    l.call(self.piece(Again::<_, true>::new(tile, row, folded), pair, to))
                }
                Form::Near { exact: false } => l.call(self.piece(Near::<_, false>::new(tile, row), pair, to)),
                Form::Near { exact: true } => l.call(self.piece(Near::<_, true>::new(tile, row), pair, to)),
                Form::Full { far } => {
                    // No closure: one is not inlined.
                    let tried =
                        if far { Some(l.call(self.piece(Far::new(tile, row), pair, to))) } else { None };
                    match tried {
                        Some(peaks) if peaks.are_far() => peaks,
                        _ => l.call(self.piece(Full::new(tile, row), pair, to)),
                    }
                }
            };
            overflowed |= peaks.overflows::<O>();
            start += to.len();
        }
        overflowed
    }

    #[inline(always)]
    fn piece<'p, F, E, O>(&self, entry: F, from: (&'p [E], &'p [E]), to: &'p mut [O]) -> Piece<'p, F, E, O> {
        Piece { entry, from, to, streams: self.streams, factor: self.row.factor }
    }
}

/// Entries of one form.
struct Piece<'p, F, E, O> {
    entry: F,
    from: (&'p [E], &'p [E]),
    to: &'p mut [O],
    streams: bool,
    factor: f32,
}

impl<L: Simd, F: Entry<Four<L>>, E: Stored, O: Stored> Part<L> for Piece<'_, F, E, O> {
    type Output = Peaks;

    #[inline(always)]
    fn run(self, l: L) -> Peaks {
        let Self { entry, from: (t, s), to, streams, factor } = self;
        let tile = Four::of(l);
        let head = if streams { to.as_ptr().align_offset(LINE).min(to.len()) } else { 0 };
        let (first_t, t) = t.split_at_checked(head).unwrap_or_default();
        let (first_s, s) = s.split_at_checked(head).unwrap_or_default();
        let (first, to) = to.split_at_mut_checked(head).unwrap_or_default();
        let width = Four::<L>::WIDTH;
        let (whole_t, whole_s) = (t.chunks_exact(width), s.chunks_exact(width));
        let (last_t, last_s) = (whole_t.remainder(), whole_s.remainder());
        let mut whole = (whole_t, whole_s, to.chunks_exact_mut(width));
        let zero = l.splat(0.0);
        let (mut largest, mut weight, mut sizes, mut weights) = (zero, zero, zero, zero);
        while let (Some(t), Some(s), Some(to)) = (whole.0.next(), whole.1.next(), whole.2.next()) {
            foresee_page(l, to);
            let (w, v) = entry.at(tile, E::load(tile, t), E::load(tile, s));
            if F::IS_TRIED || O::IS_HALF {
                largest = tile.largest_magnitude_of_four(largest, v);
            }
            if F::IS_TRIED {
                weight = tile.largest_of_four(weight, w);
                sizes = sizes + tile.sum_of_four(tile.abs(v));
                weights = weights + tile.sum_of_four(w);
            }
            if streams { O::stream(tile, v, to) } else { O::store(tile, v, to) }
        }
        for (t, s, to) in [(first_t, first_s, first), (last_t, last_s, whole.2.into_remainder())] {
            if !to.is_empty() {
                let (w, v) = entry.at(tile, E::load(tile, t), E::load(tile, s));
                // No closure: one that is called twice is not inlined.
                let (present, none) = (tile.first(to.len()), tile.splat(0.0));
                largest = tile.largest_magnitude_of_four(largest, tile.select(present, v, none));
                weight = tile.largest_of_four(weight, tile.select(present, w, none));
                O::store(tile, v, to);
            }
        }
        if streams {
            l.fence();
        }
        let unit = factor.abs();
        Peaks {
            largest: l.largest(largest),
            weight: unit * l.largest(weight),
            sizes: l.sum(sizes),
            weights: f64::from(unit) * l.sum(weights),
        }
    }
}

/// The largest number that was written and the largest w in its unit, and the sums of whole tiles.
#[derive(Clone, Copy)]
struct Peaks {
    largest: f32,
    weight: f32,
    sizes: f64,
    weights: f64,
}

impl Peaks {
    /// Whether |p - q| is as large as the roundings of p and q allow: the largest beside the largest, so that each entry
    /// is right, and all beside all, so that their sum is 0.
    fn are_far(self) -> bool {
        self.largest >= 0.5 * self.weight && self.sizes >= 0.5 * self.weights
    }

    /// Whether a finite number became infinite.
    fn overflows<O: Stored>(self) -> bool {
        O::IS_HALF && !(self.largest < O::LIMIT)
    }
}
