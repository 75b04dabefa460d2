//! What a loss reads of a row, however it is stored.

use crate::Element;

/// A row's numbers as `f32`, one after another.
///
/// Slices of `f32`, `f16` and `bf16` are rows, and so is what int8 networks store ([`super::Quantized`]). A row of one's own
/// is read where it lies, entry by entry: once of the teacher's where it is an ordinary one, twice of the student's, and up to
/// eleven times; some of its entries once more.
///
/// ```
/// use densekd_core::single::{Polynomial, Row, RowKl};
/// /// Numbers in reverse.
/// struct Reverse<'a>(&'a [f32]);
/// impl Row for Reverse<'_> {
///     fn entries(&self) -> usize {
///         self.0.len()
///     }
///     fn values(&self, len: usize) -> impl Iterator<Item = f32> {
///         self.0.iter().rev().take(len).copied()
///     }
/// }
/// let loss = RowKl::<Polynomial>::new(1.0).expect("a temperature");
/// assert_eq!(loss.value(&Reverse(&[1.0, 2.0]), &[2.0_f32, 1.0]), 0.0);
/// ```
pub trait Row {
    /// How many there are.
    fn entries(&self) -> usize;

    /// The first `len` of them, `len` being at most [`Self::entries`]: the same each time.
    fn values(&self, len: usize) -> impl Iterator<Item = f32>;

    /// Every so many-th of them, from the first on: what a first guess is made of. A row that can pass over numbers unseen
    /// saves some time.
    fn some(&self, len: usize, step: usize) -> impl Iterator<Item = f32> {
        self.values(len).step_by(step)
    }
}

/// As much of a row as is asked for.
#[inline(always)]
pub(super) fn first<E>(row: &[E], len: usize) -> &[E] {
    row.get(..len.min(row.len())).unwrap_or(row)
}

impl<E: Element> Row for [E] {
    #[inline(always)]
    fn entries(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        first(self, len).iter().map(|x| x.widen())
    }

    #[inline(always)]
    fn some(&self, len: usize, step: usize) -> impl Iterator<Item = f32> {
        first(self, len).iter().step_by(step).map(|x| x.widen())
    }
}

impl<E: Element, const N: usize> Row for [E; N] {
    #[inline(always)]
    fn entries(&self) -> usize {
        N
    }

    #[inline(always)]
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        self.as_slice().values(len)
    }

    #[inline(always)]
    fn some(&self, len: usize, step: usize) -> impl Iterator<Item = f32> {
        self.as_slice().some(len, step)
    }
}

impl<R: Row + ?Sized> Row for &R {
    #[inline(always)]
    fn entries(&self) -> usize {
        (**self).entries()
    }

    #[inline(always)]
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        (**self).values(len)
    }

    #[inline(always)]
    fn some(&self, len: usize, step: usize) -> impl Iterator<Item = f32> {
        (**self).some(len, step)
    }
}
