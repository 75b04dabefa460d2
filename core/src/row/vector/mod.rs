//! The statistics of rows that lie in memory, in vectors of `f32`, and the gradient from them.
//!
//! What a sweep finds it certifies from the row's own data: finite sums, a reference of the log-ratio near enough
//! ([`conclusive`], [`is_centred`]), differences that kept their digits, exponents that kept theirs. What cannot
//! be certified after a few references is `None`, and belongs to the exact arithmetic of
//! [`RowState`](super::RowState), which also defines what rows with entries that are not finite are worth.

mod gradient;
mod kinds;
mod position;
mod short;
mod sums;
#[cfg(test)]
mod tests;

pub(crate) use gradient::Gradient;
pub(crate) use short::Buffers as ShortRows;

use super::part::conclusive;
use super::state::{FAR, RowState, is_centred};
use super::statistics::RowStatistics;
use crate::Temperature;
use crate::arithmetic::log1p_excess;
use crate::element::Tensor;
use crate::simd::{Simd, Stored, Vectors};
use core::ops::Range;
use kinds::{COARSE, Kind, NEAR, SHARE, TINY, sweep};
use sums::{BLOCK, Sums, VECTORS};

/// Where a sweep measures from, as the vectors hold it: in `f32`, with what each rounding moved made good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    /// Nats a unit of the inputs.
    c: f64,
    nats: f32,
    nats_low: f32,
    /// Bits a unit.
    bits: f32,
    /// The student's reference in units of the inputs, and in bits.
    m: f32,
    m_bits: f32,
    /// The teacher's, about m + D.
    m_teacher: f32,
    m_teacher_bits: f32,
    /// D, and the rest of it, which is 0 where differences are taken in one rounding.
    d: f32,
    d_low: f32,
    /// What the teacher's exponentials are off for the rounding of its reference.
    fix: f64,
    /// What all exponentials are off, about m.
    shift: f64,
    exact: bool,
}

/// The nearest `f32`.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
const fn single(x: f64) -> f32 {
    x as f32
}

impl Reference {
    /// `m` and `d` in units of the inputs, `c` nats a unit.
    fn new<L: Simd>(c: f64, m: f32, d: f64, exact: bool) -> Self {
        let bits = single(c * core::f64::consts::LOG2_E);
        let per_unit = f64::from(bits);
        let high = single(d);
        let low = if exact { single(d - f64::from(high)) } else { 0.0 };
        let whole = f64::from(high) + f64::from(low);
        let m_teacher = single(f64::from(m) + whole);
        let (m_bits, m_teacher_bits) =
            (single(per_unit * f64::from(m)), single(per_unit * f64::from(m_teacher)));
        // Where exponents are 0 in truth, in units of the inputs.
        let origin = |x: f32, in_bits: f32| {
            if L::FUSED { f64::from(in_bits) / per_unit } else { f64::from(x) }
        };
        let (student, teacher) = (origin(m, m_bits), origin(m_teacher, m_teacher_bits));
        Self {
            c,
            nats: single(c),
            nats_low: single(c - f64::from(single(c))),
            bits,
            m,
            m_bits,
            m_teacher,
            m_teacher_bits,
            d: high,
            d_low: low,
            fix: exp((teacher - student - whole) * c),
            shift: exp((student - f64::from(m)) * c),
            exact,
        }
    }

    /// A student's reference so many bits higher.
    fn raised(&self, bits: f64) -> f32 {
        single(f64::from(self.m) + bits / f64::from(self.bits))
    }

    /// D in units of the inputs.
    fn d(&self) -> f64 {
        f64::from(self.d) + f64::from(self.d_low)
    }
}

/// e^x of what is mostly a rounding.
#[inline(always)]
fn exp(x: f64) -> f64 {
    if x.abs() <= 1e-3 { 1.0 + x * (1.0 + x * (0.5 + x / 6.0)) } else { libm::exp(x) }
}

/// A bit for each of up to sixteen neighbouring rows.
pub(crate) type Lanes = u32;

/// The statistics of neighbouring rows, where they can be certified.
pub(crate) struct Statistics<'a, 's> {
    pub(crate) tau: Temperature,
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    /// The first row's place in both.
    pub(crate) from: usize,
    pub(crate) len: usize,
    /// One a row.
    pub(crate) to: &'s mut [RowStatistics],
    pub(crate) short: &'s mut ShortRows,
}

impl Vectors for Statistics<'_, '_> {
    /// Which rows were certified; the others' statistics are left as they were.
    type Output = Lanes;

    #[inline(always)]
    fn run<L: Simd>(self, l: L) -> Lanes {
        let Self { tau, teacher, student, from, len, .. } = self;
        let c = 1.0 / tau.get();
        // The constants of the sweep, products of powers of c, are then far from the ends of `f32`.
        if !(MILDEST..=STEEPEST).contains(&c) || len < 2 {
            return 0;
        }
        if len <= short::LONGEST {
            return short::statistics(l, self);
        }
        let to = self.to;
        let mut row =
            Row { l, c, tau, teacher, student, from, len, coarse: true, buffers: [[0.0; BLOCK]; 2] };
        let mut done = 0;
        for (i, to) in to.iter_mut().enumerate() {
            if let Some(statistics) = row.statistics() {
                *to = statistics;
                done |= 1 << i;
            }
            row.from += len;
        }
        done
    }
}

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
    /// No block is to be coarse, whose exponents' roundings are those of two sums.
    Full,
    /// Nothing helps.
    GiveUp,
}

struct Row<'a, L> {
    l: L,
    c: f64,
    tau: Temperature,
    teacher: Tensor<'a>,
    student: Tensor<'a>,
    from: usize,
    len: usize,
    coarse: bool,
    buffers: [[f32; BLOCK]; 2],
}

/// A piece of a tensor as `f32`: lent, or widened into the buffer.
#[inline(always)]
pub(super) fn piece<'b, L: Simd>(
    l: L,
    tensor: Tensor<'b>,
    range: Range<usize>,
    buffer: &'b mut [f32; BLOCK],
) -> &'b [f32] {
    match tensor {
        Tensor::F32(x) => x.get(range).unwrap_or_default(),
        Tensor::F16(x) => widen(l, x.get(range).unwrap_or_default(), buffer),
        Tensor::Bf16(x) => widen(l, x.get(range).unwrap_or_default(), buffer),
        // Never asked for: its arithmetic is `f64`.
        Tensor::F64(_) => &[],
    }
}

#[inline(always)]
fn widen<'b, L: Simd, E: Stored>(l: L, from: &[E], buffer: &'b mut [f32; BLOCK]) -> &'b [f32] {
    let mut both = (buffer.chunks_mut(L::WIDTH), from.chunks(L::WIDTH));
    while let (Some(to), Some(from)) = (both.0.next(), both.1.next()) {
        l.prefetch(from, 512);
        l.store_f32(E::load(l, from), to);
    }
    buffer.get(..from.len()).unwrap_or_default()
}

/// What a sample of the row says.
struct Head {
    d: f64,
    m: f32,
    kind: Kind,
    exact: bool,
}

/// Entries of a sample.
const SAMPLE: usize = 16;

impl<L: Simd> Row<'_, L> {
    #[inline(always)]
    fn statistics(&mut self) -> Option<RowStatistics> {
        let Head { mut d, mut m, kind, mut exact } = self.head()?;
        self.coarse = true;
        for _ in 0..ATTEMPTS {
            let mut at = Reference::new::<L>(self.c, m, d, exact);
            match self.sweep(&mut at, kind) {
                Ok(sums) => return self.certified(&at, &sums),
                Err(Move::Ratio(nats)) => d = at.d() + nats / self.c,
                Err(Move::Level(bits)) => m = at.raised(bits),
                Err(Move::Exact) => exact = true,
                Err(Move::Full) => self.coarse = false,
                Err(Move::GiveUp) => return None,
            }
            if !(d.is_finite() && m.is_finite()) {
                return None;
            }
        }
        None
    }

    /// References from sixteen entries that lie evenly in the row: the log-ratio of their sums, exact where all
    /// differences are equal, and a student's reference between their mean and their largest.
    #[inline(always)]
    fn head(&mut self) -> Option<Head> {
        let Self { l, c, teacher, student, from, len, .. } = self;
        let n = (*len).min(SAMPLE);
        let stride = (*len / SAMPLE).max(1);
        let mut sample = [[0.0_f32; SAMPLE]; 2];
        let [t, s] = &mut sample;
        for (i, (t, s)) in t.iter_mut().zip(s.iter_mut()).take(n).enumerate() {
            let at = *from + i * stride;
            (*t, *s) = (teacher.get_f32(at)?, student.get_f32(at)?);
        }
        let (t, s) = (t.get(..n)?, s.get(..n)?);
        let top = s.iter().fold(f32::NEG_INFINITY, |top, &s| if s > top { s } else { top });
        let first = f64::from(*t.first()?) - f64::from(*s.first()?);
        // Beyond, sums of inputs and references could overflow.
        if !(top.abs() <= 1e30 && first.abs() <= 1e30) {
            return None;
        }
        let at = Reference::new::<L>(*c, top, first, true);
        let sums = sweep(*l, Kind::Full, (t, s), &at).ok()?;
        let mean = sums.e / sums.z;
        let ratio = libm::log1p(mean);
        if !ratio.is_finite() {
            return None;
        }
        let spread = libm::sqrt(2.0 * ((sums.g / sums.z) / (1.0 + mean) - log1p_excess(mean)).max(0.0));
        let kind = if spread <= TINY / 4.0 {
            Kind::Tiny
        } else if spread <= NEAR / 3.0 {
            Kind::Near
        } else if spread >= 0.7 && *len >= COARSE {
            Kind::Coarse
        } else {
            Kind::Full
        };
        let d = at.d() + ratio / *c;
        #[allow(clippy::cast_precision_loss, reason = "at most 16")]
        let level = libm::log2(sums.z / n as f64);
        let exact = d.abs() * *c > 0.75 * EXACT_FROM * spread;
        Some(Head { d, m: at.raised(0.5 * level), kind, exact })
    }

    /// The row's sums about a reference, which is raised where a block is far above it.
    #[inline(always)]
    fn sweep(&mut self, at: &mut Reference, mut kind: Kind) -> Result<Sums, Move> {
        let mut total = Sums::default();
        let mut from = 0;
        while from < self.len {
            let n = (self.len - from).min(VECTORS * L::WIDTH);
            let sums = self.block(from, n, at, &mut kind);
            if !(sums.z.is_finite() && sums.e.is_finite() && sums.g.is_finite()) {
                return Err(Move::GiveUp);
            }
            #[allow(clippy::cast_precision_loss, reason = "at most 1024")]
            let mean = sums.z / n as f64;
            if mean > HIGHEST {
                let raised = Reference::new::<L>(self.c, at.raised(libm::log2(mean)), at.d(), at.exact);
                // The step may be below the last digit of a large reference, which then stays where it is.
                if !(raised.m > at.m) {
                    return Err(Move::GiveUp);
                }
                total.lower(f64::from(raised.m - at.m) * f64::from(at.bits), at.shift / raised.shift);
                *at = raised;
                continue;
            }
            total.add(&sums);
            from += n;
        }
        self.judge(at, &total)?;
        Ok(total)
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
        let shared = sums.spread > NEAR && e.abs() > SHARED * sums.size;
        if shared || !conclusive(z, e, g) || !is_centred(z, e, sums.largest / sums.top.max(1e-30)) {
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
            if sums.spread == f64::INFINITY {
                return Err(Move::Full);
            }
            let level = libm::log2(z);
            return Err(if level.abs() > 0.5 { Move::Level(level) } else { Move::GiveUp });
        }
        Ok(())
    }

    #[inline(always)]
    fn block(&mut self, from: usize, n: usize, at: &Reference, kind: &mut Kind) -> Sums {
        let Self { l, teacher, student, coarse, buffers: [for_t, for_s], .. } = self;
        let start = self.from + from;
        let t = piece(*l, *teacher, start..start + n, for_t);
        let s = piece(*l, *student, start..start + n, for_s);
        loop {
            if *kind == Kind::Coarse && !(*coarse && n >= COARSE) {
                *kind = Kind::Full;
            }
            match sweep(*l, *kind, (t, s), at) {
                Err(next) => *kind = next,
                Ok(sums) => {
                    #[cfg(test)]
                    tests::note(*kind, at.exact);
                    *kind = match *kind {
                        Kind::Near if sums.spread <= TINY => Kind::Tiny,
                        Kind::Full if sums.spread <= NEAR => Kind::Near,
                        Kind::Full if sums.g >= SHARE * (2.0 * sums.z + sums.e) => Kind::Coarse,
                        same => same,
                    };
                    return sums;
                }
            }
        }
    }

    #[inline(always)]
    fn certified(&self, at: &Reference, sums: &Sums) -> Option<RowStatistics> {
        let apart = at.d().abs() * self.c > 1e5;
        let [z, e, g] = [sums.z, sums.e, sums.g].map(|x| x * at.shift);
        let spread = sums.spread;
        let state = RowState::swept((f64::from(at.m) * 0.25, at.d() * 0.25), (z, e, g), spread);
        let statistics = state.finish(self.tau);
        (!apart && statistics.is_regular()).then_some(statistics)
    }
}

/// The mean of a block's exponentials above which its reference is raised.
const HIGHEST: f64 = 4.0;
