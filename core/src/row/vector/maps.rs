//! How the sweeps read a pair of maps: as they are stored, or widened where one is of another type than the other.

use super::sample::{Sample, ask, take};
use super::sums::BLOCK;
use crate::element::Tensor;
use crate::simd::{Simd, Stored};
use core::ops::Range;

/// A teacher and a student in memory.
pub(super) trait Maps {
    /// The numbers that a sweep loads.
    type E: Stored;

    /// Entries of the most that may be asked for at a time.
    fn most(&self) -> usize;

    /// The same where nothing is summed.
    fn most_lent(&self) -> usize;

    /// A range of both.
    fn pair<L: Simd>(&mut self, l: L, range: Range<usize>) -> (&[Self::E], &[Self::E]);

    /// A sample of the row of `len` entries that begins there.
    fn sample(&self, from: usize, len: usize) -> Sample;

    /// Asks for the cache lines of a sample.
    fn ask<L: Simd>(&self, l: L, from: usize, len: usize);
}

/// Maps of one half type.
pub(super) struct Halves<'a, E> {
    pub(super) teacher: &'a [E],
    pub(super) student: &'a [E],
}

impl<E: Stored> Maps for Halves<'_, E> {
    type E = E;

    #[inline(always)]
    fn most(&self) -> usize {
        BLOCK
    }

    #[inline(always)]
    fn most_lent(&self) -> usize {
        usize::MAX
    }

    #[inline(always)]
    fn pair<L: Simd>(&mut self, _: L, range: Range<usize>) -> (&[E], &[E]) {
        (self.teacher.get(range.clone()).unwrap_or_default(), self.student.get(range).unwrap_or_default())
    }

    #[inline(always)]
    fn sample(&self, from: usize, len: usize) -> Sample {
        let mut to = Sample::EMPTY;
        take(self.teacher, from, len, &mut to.teacher);
        take(self.student, from, len, &mut to.student);
        to
    }

    #[inline(always)]
    fn ask<L: Simd>(&self, l: L, from: usize, len: usize) {
        ask(l, self.teacher, from, len);
        ask(l, self.student, from, len);
    }
}

/// Maps of `f32`, or of two types.
pub(super) struct Singles<'a> {
    teacher: Tensor<'a>,
    student: Tensor<'a>,
    /// Where halves are widened; none where both are lent.
    buffers: Option<[[f32; WIDENED]; 2]>,
}

/// Entries that are widened at a time.
const WIDENED: usize = 1024;

impl<'a> Singles<'a> {
    pub(super) const fn new(teacher: Tensor<'a>, student: Tensor<'a>) -> Self {
        let lent = matches!((teacher, student), (Tensor::F32(_), Tensor::F32(_)));
        let buffers = if lent { None } else { Some([[0.0; WIDENED]; 2]) };
        Self { teacher, student, buffers }
    }
}

impl Maps for Singles<'_> {
    type E = f32;

    #[inline(always)]
    fn most(&self) -> usize {
        if self.buffers.is_some() { WIDENED } else { BLOCK }
    }

    #[inline(always)]
    fn most_lent(&self) -> usize {
        if self.buffers.is_some() { WIDENED } else { usize::MAX }
    }

    #[inline(always)]
    fn pair<L: Simd>(&mut self, l: L, range: Range<usize>) -> (&[f32], &[f32]) {
        let Some([for_t, for_s]) = &mut self.buffers else {
            let (Tensor::F32(t), Tensor::F32(s)) = (self.teacher, self.student) else {
                return (&[], &[]);
            };
            return (t.get(range.clone()).unwrap_or_default(), s.get(range).unwrap_or_default());
        };
        (piece(l, self.teacher, range.clone(), for_t), piece(l, self.student, range, for_s))
    }

    #[inline(always)]
    fn sample(&self, from: usize, len: usize) -> Sample {
        let mut sample = Sample::EMPTY;
        for (tensor, to) in [(self.teacher, &mut sample.teacher), (self.student, &mut sample.student)] {
            match tensor {
                Tensor::F32(x) => take(x, from, len, to),
                Tensor::F16(x) => take(x, from, len, to),
                Tensor::Bf16(x) => take(x, from, len, to),
                // Never asked for: its arithmetic is `f64`.
                Tensor::F64(_) => {}
            }
        }
        sample
    }

    #[inline(always)]
    fn ask<L: Simd>(&self, l: L, from: usize, len: usize) {
        for tensor in [self.teacher, self.student] {
            match tensor {
                Tensor::F32(x) => ask(l, x, from, len),
                Tensor::F16(x) => ask(l, x, from, len),
                Tensor::Bf16(x) => ask(l, x, from, len),
                Tensor::F64(_) => {}
            }
        }
    }
}

/// A piece of a tensor as `f32`: lent, or widened into the buffer.
#[inline(always)]
pub(super) fn piece<'b, L: Simd, const N: usize>(
    l: L,
    tensor: Tensor<'b>,
    range: Range<usize>,
    buffer: &'b mut [f32; N],
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
fn widen<'b, L: Simd, E: Stored, const N: usize>(l: L, from: &[E], buffer: &'b mut [f32; N]) -> &'b [f32] {
    let mut both = (buffer.chunks_mut(L::WIDTH), from.chunks(L::WIDTH));
    while let (Some(to), Some(from)) = (both.0.next(), both.1.next()) {
        l.store_f32(E::load(l, from), to);
    }
    buffer.get(..from.len()).unwrap_or_default()
}
