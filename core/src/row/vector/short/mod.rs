//! Rows of up to [`LONGEST`] entries, one row a lane.
//!
//! A batch of neighbouring rows is transposed once, entry by entry a vector. From there on every sum is a lane's own:
//! nothing is added up within a vector, no lane is empty whatever the length, and a batch is certified and
//! finished together ([`judge`]). The student's exponentials are taken once and kept, so that another reference of
//! the log-ratio costs half a sweep. The gradient has no sums and takes the rows as they lie ([`gradient`]).

mod entry;
mod gradient;
mod judge;
mod sweep;
#[cfg(all(test, feature = "simd"))]
mod tests;

pub(super) use gradient::gradient;

use super::{Lanes, Statistics};
use crate::element::Tensor;
use crate::row::RowStatistics;
use crate::simd::{Simd, Stored};
use core::ops::Range;
use entry::Scale;
use judge::{Open, judge};
use sweep::{measure, references, sweep};

/// Entries of the longest row that is taken so; without vectors none is, and the buffers take no room.
pub(crate) const LONGEST: usize = if cfg!(feature = "simd") { 64 } else { 0 };

/// Lanes of the widest vector.
const LANES: usize = 16;

/// One entry of each row of a batch.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Column([f32; LANES]);

impl Column {
    const ZERO: Self = Self([0.0; LANES]);
}

/// An entry of a batch: as it was read, and what the first sweep leaves of it.
#[derive(Clone, Copy)]
struct Entry {
    teacher: Column,
    student: Column,
    /// 2^x of the student.
    w: Column,
    /// Of teacher and student, less that of the references.
    difference: Column,
}

/// What a batch is worked on in. Made once a job: it takes longer to clear than a batch takes.
pub(crate) struct Buffers {
    entries: [Entry; LONGEST],
    out: [f32; LONGEST * LANES],
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let zero = Column::ZERO;
        let entry = Entry { teacher: zero, student: zero, w: zero, difference: zero };
        Self { entries: [entry; LONGEST], out: [0.0; LONGEST * LANES] }
    }
}

/// References that are tried.
const ATTEMPTS: usize = 4;

/// Which rows were certified; the others' statistics are left as they were.
#[inline(always)]
pub(super) fn statistics<L: Simd>(l: L, rows: Statistics<'_, '_>) -> Lanes {
    let Statistics { tau, teacher, student, mut from, len, to, short: buffers } = rows;
    let nats = 1.0 / tau.get();
    let scale = Scale::new(l, nats);
    let mut done = 0;
    for (i, to) in to.chunks_mut(L::WIDTH).enumerate() {
        let entries = buffers.entries.get_mut(..len).unwrap_or_default();
        let range = from..from + len * to.len();
        fill_any::<L, false>(l, teacher, range.clone(), entries);
        fill_any::<L, true>(l, student, range, entries);
        done |= batch(l, &scale, nats, entries, to) << (i * L::WIDTH);
        from += len * L::WIDTH;
    }
    done
}

#[inline(always)]
fn batch<L: Simd>(
    l: L,
    scale: &Scale<L>,
    nats: f64,
    entries: &mut [Entry],
    to: &mut [RowStatistics],
) -> Lanes {
    let at = references(l, scale, entries);
    let deep = at.is_deep(l);
    let moments = if deep {
        measure::<L, true>(l, scale, &at, entries)
    } else {
        measure::<L, false>(l, scale, &at, entries)
    };
    let mut open = Open::new(l, scale, &at, &moments, to.len());
    for _ in 0..ATTEMPTS {
        let offset = l.load_f32(&open.offset);
        let sums = match (moments.is_near(l, scale, offset), deep) {
            (true, false) => sweep::<L, true, false>(l, scale, &at, offset, entries),
            (true, true) => sweep::<L, true, true>(l, scale, &at, offset, entries),
            (false, false) => sweep::<L, false, false>(l, scale, &at, offset, entries),
            (false, true) => sweep::<L, false, true>(l, scale, &at, offset, entries),
        };
        judge(l, nats, &sums, &mut open);
        #[cfg(all(test, feature = "simd"))]
        tests::note(&open);
        if open.again == 0 {
            break;
        }
    }
    for (i, (to, found)) in to.iter_mut().zip(&open.found).enumerate() {
        if open.certified >> i & 1 == 1 {
            *to = *found;
        }
    }
    open.certified
}

/// Transposes a batch of rows into the teacher's columns, or the student's.
#[inline(always)]
fn fill_any<L: Simd, const STUDENT: bool>(
    l: L,
    tensor: Tensor<'_>,
    rows: Range<usize>,
    entries: &mut [Entry],
) {
    match tensor {
        Tensor::F32(x) => fill::<L, _, STUDENT>(l, x, rows, entries),
        Tensor::F16(x) => fill::<L, _, STUDENT>(l, x, rows, entries),
        Tensor::Bf16(x) => fill::<L, _, STUDENT>(l, x, rows, entries),
        // Never asked for: its arithmetic is `f64`.
        Tensor::F64(_) => {}
    }
}

/// Columns left over from whole vectors that are faster copied one by one than in a vector of their own.
const FEW: usize = 4;

#[inline(always)]
fn fill<L: Simd, E: Stored, const STUDENT: bool>(
    l: L,
    tensor: &[E],
    rows: Range<usize>,
    entries: &mut [Entry],
) {
    let len = entries.len();
    let data = tensor.get(rows.clone()).unwrap_or_default();
    let rest = len % L::WIDTH;
    // First, so that they have left the store buffer when they are read as a column.
    if len > L::WIDTH && rest <= FEW {
        for (j, entry) in entries.iter_mut().enumerate().skip(len - rest) {
            let column = entry.column::<STUDENT>();
            for (to, from) in column.0.iter_mut().zip(data.iter().skip(j).step_by(len)) {
                *to = from.widen();
            }
        }
    }
    let mut first = 0;
    while first < len {
        let mut square = l.square();
        for (i, row) in square.as_mut().iter_mut().enumerate() {
            // Beyond the end of a row come the next ones, in columns that there are not.
            let row_from = (rows.start + i * len + first).min(rows.end);
            *row = E::load(l, tensor.get(row_from..).unwrap_or_default());
        }
        let square = l.transpose(square);
        let to = entries.get_mut(first..).unwrap_or_default();
        for (entry, column) in to.iter_mut().zip(square.as_ref()) {
            l.store_f32(*column, &mut entry.column::<STUDENT>().0);
        }
        // The last vector of a row ends with it.
        first += L::WIDTH;
        if first + L::WIDTH > len && len > L::WIDTH {
            first = if first + FEW >= len { len } else { len - L::WIDTH };
        }
    }
}

impl Entry {
    #[inline(always)]
    fn column<const STUDENT: bool>(&mut self) -> &mut Column {
        if STUDENT { &mut self.student } else { &mut self.teacher }
    }
}
