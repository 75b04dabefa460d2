//! Rows of up to [`LONGEST`] entries, one row a lane.
//!
//! A batch of neighbouring rows is transposed once, entry by entry a vector. From there on every sum is a lane's own:
//! nothing is added up within a vector, no lane is empty whatever the length, and a batch is [certified](certify) and
//! finished together ([`judge`]), which is how [rows that interleave](crate::row::columns) are done too. Rows that are far
//! from their teacher are done after one sweep ([`apart`]). The student's exponentials are taken once and kept, so
//! that another reference of the log-ratio costs half a sweep, and what the last sweep leaves of every entry is what the
//! gradient is made of ([`gradient`], [`found`]).

mod apart;
mod entry;
mod found;
mod gradient;
mod judge;
mod sweep;
#[cfg(all(test, feature = "simd"))]
mod tests;

pub(in crate::row) use found::Pull;
pub(super) use gradient::gradient;
pub(in crate::row) use judge::{Open, WIDEST, bits, flag, judge};
pub(in crate::row) use sweep::{Moments, References, Sums, depth, measure, opposed, sweep};

use super::{Lanes, Statistics};
use crate::element::Tensor;
use crate::row::two_terms::Scale;
use crate::simd::{Line, Simd, Stored};
use apart::{Apart, SPREAD};
use found::Found;
use gradient::Origin;
use sweep::ones;

/// Entries of the longest row that is taken so; without vectors none is, and the buffers take no room.
pub(crate) const LONGEST: usize = if cfg!(feature = "simd") { 64 } else { 0 };

/// Whether rows of so many entries are taken so.
#[allow(clippy::absurd_extreme_comparisons, reason = "without vectors, where it is 0, no row is")]
pub(crate) const fn takes(len: usize) -> bool {
    len <= LONGEST
}

/// Lanes of the widest vector.
pub(in crate::row) const LANES: usize = 16;

/// Entries of a batch.
const ENTRIES: usize = LONGEST * LANES;

/// One entry of each row of a batch, line by line.
type Lines = [Line; LONGEST];

/// What a batch is worked on in. Made once a job: it takes longer to clear than a batch takes.
pub(crate) struct Buffers {
    teacher: Lines,
    student: Lines,
    /// What the first sweep leaves: 2^x of the student, and the difference of both, less that of the references.
    w: Lines,
    difference: Lines,
    /// What the second does: p - w.
    excess: Lines,
    /// p of rows that are far from their teacher.
    other: Lines,
    /// The gradient of a batch of rows as they lie.
    out: [f32; ENTRIES],
    parts: Parts,
    /// Which rows all of this is of.
    origin: Option<Origin>,
}

/// What a batch leaves beside its lines.
#[derive(Default)]
pub(in crate::row) struct Parts {
    pub(in crate::row) found: Found,
    /// Whether most rows of the last batch were far from their teacher.
    expects_apart: bool,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let zeros = [Line::ZERO; LONGEST];
        Self {
            teacher: zeros,
            student: zeros,
            w: zeros,
            difference: zeros,
            excess: zeros,
            other: zeros,
            out: [0.0; ENTRIES],
            parts: Parts::default(),
            origin: None,
        }
    }

    /// Rows of so many entries.
    #[inline(always)]
    fn batch(&mut self, len: usize) -> (Batch<'_>, &mut Parts) {
        let Self { teacher, student, w, difference, excess, other, out, parts, .. } = self;
        let batch = Batch {
            teacher: teacher.get_mut(..len).unwrap_or_default(),
            student: student.get_mut(..len).unwrap_or_default(),
            w: w.get_mut(..len).unwrap_or_default(),
            difference: difference.get_mut(..len).unwrap_or_default(),
            excess: excess.get_mut(..len).unwrap_or_default(),
            other: other.get_mut(..len).unwrap_or_default(),
            out,
        };
        (batch, parts)
    }
}

/// The lines of a batch.
pub(in crate::row) struct Batch<'b> {
    pub(in crate::row) teacher: &'b mut [Line],
    pub(in crate::row) student: &'b mut [Line],
    pub(in crate::row) w: &'b mut [Line],
    pub(in crate::row) difference: &'b mut [Line],
    /// p - w.
    pub(in crate::row) excess: &'b mut [Line],
    /// p of rows that are far from their teacher, and p - w of those among them that are near.
    pub(in crate::row) other: &'b mut [Line],
    /// A gradient of rows as they lie.
    pub(in crate::row) out: &'b mut [f32],
}

/// References that are tried.
pub(in crate::row) const ATTEMPTS: usize = 4;

/// Which rows were certified; the others' statistics are left as they were.
#[inline(always)]
pub(super) fn statistics<L: Simd>(l: L, rows: Statistics<'_, '_, '_>) -> Lanes {
    let Statistics { tau, teacher, student, mut from, len, to, short: buffers, .. } = rows;
    let nats = 1.0 / tau.get();
    let scale = Scale::new(l, nats);
    let mut done = 0;
    for (i, to) in to.chunks_mut(L::WIDTH).enumerate() {
        let (mut batch, parts) = buffers.batch(len);
        fill(l, (teacher, student), from, &mut batch);
        certify(l, &scale, nats, !(!0 << to.len()), &mut batch, parts, &mut ());
        parts.found.keep(to);
        done |= parts.found.certified << (i * L::WIDTH);
        buffers.origin = Some(Origin::new(tau, (teacher, student), from, len));
        from += len * L::WIDTH;
    }
    done
}

/// What is done beside a batch, some of it between its steps.
pub(in crate::row) trait Meanwhile {
    /// Does some of it.
    fn step<L: Simd>(&mut self, l: L);

    /// Does what is left of it.
    fn rest<L: Simd>(&mut self, l: L);
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    fn step<L: Simd>(&mut self, _: L) {}

    #[inline(always)]
    fn rest<L: Simd>(&mut self, _: L) {}
}

impl<M: Meanwhile> Meanwhile for Option<M> {
    #[inline(always)]
    fn step<L: Simd>(&mut self, l: L) {
        if let Some(meanwhile) = self {
            meanwhile.step(l);
        }
    }

    #[inline(always)]
    fn rest<L: Simd>(&mut self, l: L) {
        if let Some(meanwhile) = self {
            meanwhile.rest(l);
        }
    }
}

/// Leaves what is known of the rows that are asked for, and w and p - w, or p less its share of w where they are far.
#[inline(always)]
pub(in crate::row) fn certify<L: Simd>(
    l: L,
    scale: &Scale<L>,
    nats: f64,
    asked: Lanes,
    batch: &mut Batch<'_>,
    Parts { found, expects_apart }: &mut Parts,
    meanwhile: &mut impl Meanwhile,
) {
    found.clear();
    meanwhile.step(l);
    // Which is tried first depends on the batch before: what a lane is worth does not.
    let mut apart = if *expects_apart { Some(Apart::find(l, scale, nats, batch)) } else { None };
    if apart.as_ref().is_none_or(|apart| apart.certified & asked != asked) {
        let mut at = References::new(l, batch);
        meanwhile.step(l);
        let mut moments = measure(l, scale, &at, batch);
        let mut open = Open::new(l, scale, &at, &moments, asked);
        open.sparing(l, &at);
        if apart.is_none() && moments.is_apart(l, scale, SPREAD) {
            apart = Some(Apart::find(l, scale, nats, batch));
        }
        let far = apart.as_ref().map_or(0, |apart| apart.certified);
        if let Some(apart) = &apart {
            open.without(apart);
        }
        if far != 0 {
            core::mem::swap(&mut batch.excess, &mut batch.other);
        }
        meanwhile.step(l);
        for _ in 0..=ATTEMPTS {
            if open.again == 0 {
                break;
            }
            if open.raised != (0, 0) {
                at = at.with_care(l, batch, open.raised);
                moments = measure(l, scale, &at, batch);
                open.raise(l, &at, &moments);
            }
            let offset = l.load_f32(&open.offset);
            let sums = sweep(l, scale, &at, offset, (moments.is_near(l, scale, offset), true), batch);
            judge(l, nats, &sums, &mut open, found);
            #[cfg(all(test, feature = "simd"))]
            tests::note(&open);
        }
        if far != 0 {
            core::mem::swap(&mut batch.excess, &mut batch.other);
            merge(l, far, batch);
        }
    }
    *expects_apart = false;
    if let Some(apart) = &apart {
        apart.keep(l, nats, asked, found);
        *expects_apart = 2 * (apart.tried & asked).count_ones() > asked.count_ones();
    }
}

/// Brings what is left of near rows to what is left of far ones.
#[inline(always)]
fn merge<L: Simd>(l: L, far: Lanes, batch: &mut Batch<'_>) {
    let far = l.less(l.splat(0.0), ones(l, far));
    for (to, near) in batch.excess.iter_mut().zip(batch.other.iter()) {
        l.store_f32(l.select(far, l.load_f32(&to.0), l.load_f32(&near.0)), &mut to.0);
    }
}

/// Transposes a batch of both.
#[inline(always)]
fn fill<L: Simd>(l: L, (teacher, student): (Tensor<'_>, Tensor<'_>), from: usize, batch: &mut Batch<'_>) {
    for (tensor, to) in [(teacher, &mut *batch.teacher), (student, &mut *batch.student)] {
        match tensor {
            Tensor::F32(x) => transpose(l, x.get(from..).unwrap_or_default(), to),
            Tensor::F16(x) => transpose(l, x.get(from..).unwrap_or_default(), to),
            Tensor::Bf16(x) => transpose(l, x.get(from..).unwrap_or_default(), to),
            // Never asked for: its arithmetic is `f64`.
            Tensor::F64(_) => {}
        }
    }
}

/// Entries left over from whole vectors that are faster copied one by one than in vectors of their own.
const FEW: usize = 4;

/// What lies beyond the last row fills lanes that nobody asks for.
#[inline(always)]
fn transpose<L: Simd, E: Stored>(l: L, rows: &[E], to: &mut [Line]) {
    let len = to.len();
    let rest = left_over::<L>(len);
    // First, so that they have left the store buffer when they are read as a line.
    for (j, line) in to.iter_mut().enumerate().skip(len - rest) {
        for (to, from) in line.0.iter_mut().take(L::WIDTH).zip(rows.iter().skip(j).step_by(len)) {
            *to = from.widen();
        }
    }
    let mut first = 0;
    while first < len - rest {
        // The rows of the next batch, which will be read when this one is done: each is in another page.
        for row in L::WIDTH..2 * L::WIDTH {
            l.prefetch(rows, row * len + first);
        }
        l.transpose(rows.get(first..).unwrap_or_default(), len, to.get_mut(first..).unwrap_or_default());
        first = after::<L>(first, len, rest);
    }
}

/// The entry at which the vectors after these begin: the last of a row end with it.
#[inline(always)]
fn after<L: Simd>(first: usize, len: usize, rest: usize) -> usize {
    let next = first + L::WIDTH;
    if next + L::WIDTH > len && next < len - rest { len - L::WIDTH } else { next }
}

/// Entries that are left over from whole vectors and copied one by one.
#[inline(always)]
fn left_over<L: Simd>(len: usize) -> usize {
    if len > L::WIDTH && len % L::WIDTH <= FEW { len % L::WIDTH } else { 0 }
}

/// The way back: each lane a row of `out`.
#[inline(always)]
fn empty<L: Simd>(l: L, lines: &[Line], out: &mut [f32]) {
    let len = lines.len();
    let rest = left_over::<L>(len);
    let mut first = 0;
    while first < len - rest {
        let to = out.get_mut(first..).unwrap_or_default();
        l.transpose_back(lines.get(first..len - rest).unwrap_or_default(), to, len);
        first = after::<L>(first, len, rest);
    }
    for (j, line) in lines.iter().enumerate().skip(len - rest) {
        for (to, from) in out.iter_mut().skip(j).step_by(len).zip(line.0.iter().take(L::WIDTH)) {
            *to = *from;
        }
    }
}
