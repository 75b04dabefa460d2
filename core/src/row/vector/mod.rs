//! The statistics of rows that lie in memory, in vectors of `f32`, and the gradient from them.
//!
//! What a sweep finds it certifies from the row's own data: finite sums, a reference of the log-ratio near enough
//! ([`conclusive`], [`is_centred`]), differences that kept their digits, exponents that kept theirs. What cannot
//! be certified after a few references is `None`, and belongs to the exact arithmetic of
//! [`RowState`](super::RowState), which also defines what rows with entries that are not finite are worth.

mod entry;
mod gradient;
mod kept;
mod kinds;
mod maps;
mod position;
mod reference;
mod sample;
pub(super) mod short;
mod steps;
mod sums;
#[cfg(test)]
mod tests;

pub(crate) use gradient::Gradient;
pub(crate) use kept::{Kept, room as kept_room};
pub(crate) use short::{Buffers as ShortRows, takes as are_short};

use super::part::conclusive;
use super::state::{FAR, RowState, is_centred};
use super::statistics::{Kind as RowKind, RowStatistics};
use crate::Temperature;
use crate::arithmetic::log1p_excess;
use crate::element::Tensor;
use crate::isa::Isa;
use crate::simd::{Simd, Vectors, on};
use kept::Planes;
use kinds::{COARSE, Kind, NEAR, SHARE, TINY, log2_above, sweep};
use maps::{Halves, Maps, Singles};
use position::Folded;
use reference::Reference;
use sums::{Sums, block};

/// A bit for each of up to sixteen neighbouring rows.
pub(crate) type Lanes = u32;

/// The statistics of neighbouring rows, where they can be certified.
pub(crate) struct Statistics<'a, 's, 'm> {
    pub(crate) tau: Temperature,
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    /// The first row's place in both.
    pub(crate) from: usize,
    pub(crate) len: usize,
    /// One a row.
    pub(crate) to: &'s mut [RowStatistics],
    pub(crate) short: &'s mut ShortRows,
    pub(crate) kept: &'s mut Kept<'m>,
}

impl Vectors for Statistics<'_, '_, '_> {
    /// Which rows were certified; the others' statistics are left as they were.
    type Output = Lanes;

    #[inline(always)]
    fn run<L: Simd>(self, l: L) -> Lanes {
        let c = 1.0 / self.tau.get();
        // The constants of the sweep, products of powers of c, are then far from the ends of `f32`.
        if !(MILDEST..=STEEPEST).contains(&c) || self.len < 2 {
            return 0;
        }
        if short::takes(self.len) {
            return short::statistics(l, self);
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

impl Statistics<'_, '_, '_> {
    /// On an instruction set. Not generic and not inlined, so that it is compiled once, with this crate.
    #[inline(never)]
    pub(crate) fn run_on(self, isa: Isa) -> Lanes {
        on(isa, self)
    }

    #[inline(always)]
    fn rows<L: Simd, M: Maps>(self, l: L, c: f64, maps: M) -> Lanes {
        let Self { tau, from, len, to, kept, .. } = self;
        let folded = &Folded::new(c);
        let mut row = Row { l, c, folded, maps, from, len };
        let mut done = 0;
        kept.clear();
        // Step by step for all, so that the waits of one row's few numbers are filled with another's; and each step stands
        // once, since all kinds of blocks are compiled into it.
        let mut tries = [const { None }; ROWS];
        let mut swept = [Err(Move::GiveUp); ROWS];
        for (to, from) in to.chunks_mut(ROWS).zip((from..).step_by(len * ROWS)) {
            for (i, to) in tries.iter_mut().take(to.len()).enumerate() {
                row.from = from + i * len;
                *to = row.head();
            }
            for _ in 0..ATTEMPTS {
                for (i, (of, sums)) in tries.iter_mut().zip(&mut swept).enumerate() {
                    if let Some(of) = of {
                        row.from = from + i * len;
                        *sums = row.sweep(of, kept.planes(i));
                    }
                }
                for (i, (to, (of, sums))) in to.iter_mut().zip(tries.iter_mut().zip(&swept)).enumerate() {
                    let Some(at) = of else { continue };
                    let next = match sums {
                        Ok(swept) => row.judge(&at.at, &swept.sums).map(|()| certified(tau, &at.at, swept)),
                        Err(next) => Err(*next),
                    };
                    match next {
                        Ok(statistics) => {
                            if let Some(statistics) = statistics {
                                *to = statistics;
                                done |= 1 << i;
                                kept.keep(i);
                            }
                            *of = None;
                        }
                        Err(next) => {
                            if !row.moved(at, next) {
                                *of = None;
                            }
                        }
                    }
                }
                if tries.iter().all(Option::is_none) {
                    break;
                }
            }
            tries.fill_with(|| None);
        }
        done
    }
}

/// Rows that go together: those of a tile.
const ROWS: usize = 16;

/// Nats a unit between which rows are swept here.
const MILDEST: f64 = 1e-4;
const STEEPEST: f64 = 1e4;

/// References that are tried.
const ATTEMPTS: usize = 5;

/// |D| beside the root mean square of r, or the mean of |e^r - 1| where it is large, from which differences are taken
/// exactly.
const EXACT_FROM: f64 = 3.0;

/// The share of the sum of |p - w| that the sum of p - w may have in a row of large log-ratios.
const SHARED: f64 = 0.5;

/// Why a sweep was broken off, or what is to be moved before the next.
#[derive(Clone, Copy)]
enum Move {
    /// The log-ratio's reference by so many nats.
    Ratio(f64),
    /// The student's reference by so many bits.
    Level(f64),
    /// Differences are to be exact.
    Exact,
    /// The error of exponents is to be measured: every block in full.
    Full,
    /// Nothing helps.
    GiveUp,
}

struct Row<'c, L, M> {
    l: L,
    c: f64,
    folded: &'c Folded,
    maps: M,
    from: usize,
    len: usize,
}

/// What a row is swept about next.
struct Try {
    at: Reference,
    /// D before it was rounded.
    d: f64,
    /// Of the first block.
    kind: Kind,
    /// Whether every block is taken in full.
    in_full: bool,
}

impl<L: Simd, M: Maps> Row<'_, L, M> {
    /// Moves the references; whether there is anything left to try.
    #[inline(always)]
    fn moved(&self, of: &mut Try, next: Move) -> bool {
        let (mut m, mut exact) = (of.at.m, of.at.exact);
        match next {
            Move::Ratio(nats) => of.d = of.at.d() + nats / self.c,
            Move::Level(bits) => m = of.at.raised(bits),
            Move::Exact => exact = true,
            Move::Full => of.in_full = true,
            Move::GiveUp => return false,
        }
        of.at = Reference::new::<L>(self.c, m, of.d, exact);
        of.d.is_finite() && m.is_finite()
    }

    /// References from a sample: the log-ratio, exact where all differences are equal, and a student's reference between
    /// the mean and the largest.
    #[inline(always)]
    fn head(&mut self) -> Option<Try> {
        let Self { l, c, maps, from, len, .. } = self;
        maps.ask(*l, *from + *len, *len);
        let sample = maps.sample(*from, *len);
        let (top, first) = (sample.top(*l), sample.first());
        // Beyond, sums of inputs and references could overflow.
        if !(top.abs() <= 1e30 && first.abs() <= 1e30) {
            return None;
        }
        let at = Reference::new::<L>(*c, top, first, true);
        let moments = sample.moments(*l, &at);
        let d = at.d() + moments.log_ratio(*c);
        if !d.is_finite() {
            return None;
        }
        let spread = *c * libm::sqrt(moments.variance);
        let kind = if spread <= TINY / 4.0 {
            Kind::Tiny
        } else if spread <= NEAR / 3.0 {
            Kind::Near
        } else if spread >= 0.7 && *len >= COARSE {
            Kind::Coarse
        } else {
            Kind::Full
        };
        let exact = d.abs() * *c > 0.75 * EXACT_FROM * spread;
        let at = Reference::new::<L>(*c, at.raised(0.5 * log2_above(moments.weight)), d, exact);
        Some(Try { at, d, kind, in_full: false })
    }

    /// The row's sums about a reference, which is raised where a block is far above it, and what its gradient is made of
    /// where it was swept as one.
    #[inline(always)]
    fn sweep(
        &mut self,
        Try { at, kind, in_full, .. }: &mut Try,
        mut planes: Option<Planes<'_>>,
    ) -> Result<Swept, Move> {
        let mut kind = *kind;
        let mut total = Sums::default();
        let (mut as_one, mut is_one) = (None, !at.exact);
        let mut from = 0;
        while from < self.len {
            let n = (self.len - from).min(block::<L>()).min(self.maps.most());
            let to = planes
                .as_mut()
                .and_then(|(w, excess)| w.get_mut(from..from + n).zip(excess.get_mut(from..from + n)));
            let (sums, swept_as) = self.block((from, n), at, &mut kind, *in_full, to);
            if !(sums.z.is_finite() && sums.e.is_finite() && sums.g.is_finite()) {
                return Err(Move::GiveUp);
            }
            #[allow(clippy::cast_precision_loss, reason = "at most 4096")]
            let mean = sums.z / n as f64;
            if mean > HIGHEST {
                let raised = Reference::new::<L>(self.c, at.raised(libm::log2(mean)), at.d(), at.exact);
                // The step may be below the last digit of a large reference, which then stays where it is.
                if !(raised.m > at.m) {
                    return Err(Move::GiveUp);
                }
                total.lower(f64::from(raised.m - at.m) * f64::from(at.bits), at.shift / raised.shift);
                *at = raised;
                is_one &= from == 0;
                continue;
            }
            is_one &= *as_one.get_or_insert(swept_as) == swept_as;
            total.add(&sums);
            from += n;
        }
        Ok(Swept { sums: total, as_one: as_one.filter(|_| is_one) })
    }

    /// Whether the sums hold about these references.
    #[inline(always)]
    fn judge(&self, at: &Reference, sums: &Sums) -> Result<(), Move> {
        let Sums { z, e, g, .. } = *sums;
        if g == 0.0 && e == 0.0 && sums.spread == 0.0 {
            return if at.exact || at.d == 0.0 { Ok(()) } else { Err(Move::Exact) };
        }
        // Below, squares of differences have underflowed.
        if !(z > 1e-30 && g >= 1e-30 * z) {
            return Err(Move::GiveUp);
        }
        // Roundings of equal terms come together: a mean that most entries share is to be small beside them.
        let large = sums.spread > NEAR && is_large(sums);
        let shared = sums.spread > NEAR && e.abs() > SHARED * sums.size;
        if large {
            // Centred or not, nothing of it is lost.
        } else if shared || !conclusive(z, e, g) || !is_centred(z, e, sums.largest / sums.top.max(1e-30)) {
            let nats = libm::log1p(e / z);
            return Err(if nats.is_finite() { Move::Ratio(nats) } else { Move::GiveUp });
        }
        // A few far entries say nothing of what the others' differences must keep.
        let most = if sums.spread > NEAR { sums.size / z } else { 1.0 };
        let spread = libm::sqrt(2.0 * g / z).min(most);
        if !at.exact && at.d().abs() * self.c > EXACT_FROM * spread {
            return Err(Move::Exact);
        }
        // The exponents' last digits: those near the largest entries are what a peaked row's value hangs on.
        let error = libm::sqrt(sums.far * sums.farthest).max(0.2 * sums.far);
        if !(error <= FAR * g) {
            if sums.is_bound {
                return Err(Move::Full);
            }
            let level = libm::log2(z);
            return Err(if level.abs() > 0.5 { Move::Level(level) } else { Move::GiveUp });
        }
        Ok(())
    }

    #[inline(always)]
    fn block(
        &mut self,
        (from, n): (usize, usize),
        at: &Reference,
        kind: &mut Kind,
        in_full: bool,
        mut to: Option<Planes<'_>>,
    ) -> (Sums, Kind) {
        let Self { l, folded, maps, .. } = self;
        let start = self.from + from;
        let (t, s) = maps.pair(*l, start..start + n);
        loop {
            if in_full || *kind == Kind::Coarse && n < COARSE {
                *kind = Kind::Full;
            }
            let planes = to.as_mut().map(|(w, excess)| (&mut **w, &mut **excess));
            match sweep::<L, M::E>(*l, *kind, (t, s), at, folded, planes) {
                Err(next) => *kind = next,
                Ok(sums) => {
                    #[cfg(test)]
                    tests::note(*kind, at.exact);
                    let swept_as = *kind;
                    *kind = match *kind {
                        Kind::Near if sums.spread <= TINY => Kind::Tiny,
                        Kind::Full if sums.spread <= NEAR => Kind::Near,
                        Kind::Full if sums.g >= SHARE * (2.0 * sums.z + sums.e) => Kind::Coarse,
                        same => same,
                    };
                    return (sums, swept_as);
                }
            }
        }
    }
}

/// The KL divergence of sums.
#[inline(always)]
fn divergence(z: f64, e: f64, g: f64) -> f64 {
    let mean = e / z;
    (g / z) / (1.0 + mean) - log1p_excess(mean)
}

/// Whether the roundings of sums are small beside the KL divergence whatever the references, and beside the largest
/// |p - q|, of which that about the final log-ratio falls short by the mean of the others at most.
#[inline(always)]
fn is_large(sums: &Sums) -> bool {
    let mean = sums.e / sums.z;
    mean > -0.75
        && mean < 3.0
        && sums.largest >= (mean.abs() + 0.2 * (1.0 + mean)) * sums.top
        && divergence(sums.z, sums.e, sums.g) >= 2.0 * SHARE
}

/// What a row's sweep has found.
#[derive(Clone, Copy)]
struct Swept {
    sums: Sums,
    /// What all blocks were swept as, where it was one kind about one reference and differences were not exact.
    as_one: Option<Kind>,
}

impl Swept {
    /// How the row's gradient is made where all log-ratios are near: of what the sweep made, unless the mean that is then
    /// taken off would be so large beside its largest entry, or the sum of all, that its rounding could show.
    #[inline(always)]
    fn kind(&self, kl: f64) -> RowKind {
        let Sums { z, e, spread, largest, top, .. } = self.sums;
        let mean = e.abs() / z;
        let is_centred = mean * top <= 0.5 * largest && mean * spread <= 8.0 * kl;
        match self.as_one {
            Some(Kind::Near) if is_centred => RowKind::SweptNear,
            Some(Kind::Tiny) if is_centred => RowKind::SweptTiny,
            _ => RowKind::Near,
        }
    }
}

#[inline(always)]
fn certified(tau: Temperature, at: &Reference, swept: &Swept) -> Option<RowStatistics> {
    let sums = &swept.sums;
    let apart = at.d().abs() * at.c > 1e5;
    let [z, e, g] = [sums.z, sums.e, sums.g].map(|x| x * at.shift);
    let state = RowState::swept((f64::from(at.m) * 0.25, at.d() * 0.25), (z, e, g), sums.spread);
    let mut statistics = state.finish(tau);
    if statistics.kind == RowKind::Near {
        statistics.kind = swept.kind(statistics.kl);
    }
    (!apart && statistics.is_regular()).then_some(statistics)
}

/// The mean of a block's exponentials above which its reference is raised.
const HIGHEST: f64 = 4.0;
