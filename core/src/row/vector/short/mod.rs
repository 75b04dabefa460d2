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

pub(in crate::row) use gradient::Rows;
pub(super) use gradient::gradient;
pub(in crate::row) use judge::{Open, judge};
pub(in crate::row) use sweep::{Moments, References, Sums, depth, measure, opposed, sweep};

use super::{Lanes, Statistics};
use crate::element::Tensor;
use crate::row::RowStatistics;
use crate::row::two_terms::Scale;
use crate::simd::{Line, Simd, Stored};
use sweep::references;

/// Entries of the longest row that is taken so; without vectors none is, and the buffers take no room.
pub(crate) const LONGEST: usize = if cfg!(feature = "simd") { 64 } else { 0 };

/// Whether rows of so many entries are taken so.
#[allow(clippy::absurd_extreme_comparisons, reason = "without vectors, where it is 0, no row is")]
pub(super) const fn takes(len: usize) -> bool {
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
    /// Rows of a batch as they lie: widened, and the gradient.
    wide: [[f32; ENTRIES]; 2],
    out: [f32; ENTRIES],
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let zeros = [Line::ZERO; LONGEST];
        let out = [0.0; ENTRIES];
        Self { teacher: zeros, student: zeros, w: zeros, difference: zeros, wide: [[0.0; ENTRIES]; 2], out }
    }

    /// Rows of so many entries.
    #[inline(always)]
    fn batch(&mut self, len: usize) -> Batch<'_> {
        Batch {
            teacher: self.teacher.get_mut(..len).unwrap_or_default(),
            student: self.student.get_mut(..len).unwrap_or_default(),
            w: self.w.get_mut(..len).unwrap_or_default(),
            difference: self.difference.get_mut(..len).unwrap_or_default(),
            excess: &mut [],
        }
    }
}

/// The lines of a batch.
pub(in crate::row) struct Batch<'b> {
    pub(in crate::row) teacher: &'b mut [Line],
    pub(in crate::row) student: &'b mut [Line],
    pub(in crate::row) w: &'b mut [Line],
    pub(in crate::row) difference: &'b mut [Line],
    /// p - w, where it is kept.
    pub(in crate::row) excess: &'b mut [Line],
}

/// References that are tried.
pub(in crate::row) const ATTEMPTS: usize = 4;

/// Which rows were certified; the others' statistics are left as they were.
#[inline(always)]
pub(super) fn statistics<L: Simd>(l: L, rows: Statistics<'_, '_>) -> Lanes {
    let Statistics { tau, teacher, student, mut from, len, to, short: buffers } = rows;
    let nats = 1.0 / tau.get();
    let scale = Scale::new(l, nats);
    let mut done = 0;
    for (i, to) in to.chunks_mut(L::WIDTH).enumerate() {
        let mut batch = buffers.batch(len);
        fill_any(l, teacher, from, batch.teacher);
        fill_any(l, student, from, batch.student);
        done |= certify(l, &scale, nats, &mut batch, to) << (i * L::WIDTH);
        from += len * L::WIDTH;
    }
    done
}

#[inline(always)]
fn certify<L: Simd>(
    l: L,
    scale: &Scale<L>,
    nats: f64,
    batch: &mut Batch<'_>,
    to: &mut [RowStatistics],
) -> Lanes {
    let at = references(l, scale, batch);
    let deep = at.is_deep(l);
    let moments = if deep {
        measure::<L, true>(l, scale, &at, batch)
    } else {
        measure::<L, false>(l, scale, &at, batch)
    };
    let mut open = Open::new(l, scale, &at, &moments, to.len());
    for _ in 0..ATTEMPTS {
        let offset = l.load_f32(&open.offset);
        let sums = match (moments.is_near(l, scale, offset), deep) {
            (true, false) => sweep::<L, true, false, false>(l, scale, &at, offset, batch),
            (true, true) => sweep::<L, true, true, false>(l, scale, &at, offset, batch),
            (false, false) => sweep::<L, false, false, false>(l, scale, &at, offset, batch),
            (false, true) => sweep::<L, false, true, false>(l, scale, &at, offset, batch),
        };
        judge(l, nats, &sums, &mut open);
        #[cfg(all(test, feature = "simd"))]
        tests::note(&open);
        if open.again == 0 {
            break;
        }
    }
    open.keep(to);
    open.certified
}

/// Transposes a batch of rows.
#[inline(always)]
fn fill_any<L: Simd>(l: L, tensor: Tensor<'_>, from: usize, to: &mut [Line]) {
    match tensor {
        Tensor::F32(x) => fill(l, x.get(from..).unwrap_or_default(), to),
        Tensor::F16(x) => fill(l, x.get(from..).unwrap_or_default(), to),
        Tensor::Bf16(x) => fill(l, x.get(from..).unwrap_or_default(), to),
        // Never asked for: its arithmetic is `f64`.
        Tensor::F64(_) => {}
    }
}

/// Entries left over from whole vectors that are faster copied one by one than in vectors of their own.
const FEW: usize = 4;

/// What lies beyond the last row fills lanes that nobody asks for.
#[inline(always)]
fn fill<L: Simd, E: Stored>(l: L, rows: &[E], to: &mut [Line]) {
    let len = to.len();
    let rest = if len > L::WIDTH && len % L::WIDTH <= FEW { len % L::WIDTH } else { 0 };
    // First, so that they have left the store buffer when they are read as a line.
    for (j, line) in to.iter_mut().enumerate().skip(len - rest) {
        for (to, from) in line.0.iter_mut().take(L::WIDTH).zip(rows.iter().skip(j).step_by(len)) {
            *to = from.widen();
        }
    }
    let mut first = 0;
    while first < len - rest {
        l.transpose(rows.get(first..).unwrap_or_default(), len, to.get_mut(first..).unwrap_or_default());
        first += L::WIDTH;
        // The last vector of a row ends with it.
        if first + L::WIDTH > len && first < len - rest {
            first = len - L::WIDTH;
        }
    }
}
