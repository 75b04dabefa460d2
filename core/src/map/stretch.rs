//! Positions of a channel as they are stored, and the loops over them: what they read is widened in registers where it
//! lies together, so that a sweep costs what memory costs.

use super::{PIECE, pieces};
use crate::access::{LINE, Place, load_f64};
use crate::element::{Element, Tensor};
use crate::isa::Isa;
use crate::simd::{Simd, Vectors, Widened, on};
use core::ops::Range;
use half::{bf16, f16};

/// How many numbers before they are read memory is asked for them: what is swept while it answers.
pub(super) const AHEAD: usize = 2048;

/// Some positions of a channel.
#[derive(Clone, Copy)]
pub(crate) struct Stretch<'a> {
    isa: Isa,
    cells: Tensor<'a>,
    place: Place,
    length: usize,
}

impl<'a> Stretch<'a> {
    pub(crate) fn new(isa: Isa, cells: Tensor<'a>, place: Place, length: usize) -> Self {
        Self { isa, cells, place, length }
    }

    /// Numbers that lie together in a slice.
    pub(crate) fn of(isa: Isa, numbers: &'a [f64]) -> Self {
        let place = Place { row: 0, from: 0, index: 0, stride: 1 };
        Self { isa, cells: numbers.into(), place, length: numbers.len() }
    }

    /// The numbers themselves, where they are stored in this type and lie together.
    fn side_by_side<E: Element>(&self) -> Option<&'a [E]> {
        let cells = self.cells.as_slice::<E>()?;
        if self.place.stride == 1 { cells.get(self.place.index..)?.get(..self.length) } else { None }
    }

    /// The same numbers in `f64`, some of them.
    fn load<'b>(&self, from: usize, buffer: &'b mut [f64]) -> &'b [f64]
    where
        'a: 'b,
    {
        let place = Place {
            from: self.place.from + from,
            index: self.place.index + from * self.place.stride,
            ..self.place
        };
        load_f64(self.isa, self.cells, place, buffer)
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }
}

/// What is done with the numbers that stand beside each other in some stretches, in their order.
pub(crate) trait Work<const I: usize> {
    /// The next numbers, of equal length: all of them, or [`PIECE`] at a time. Implementations are
    /// `#[inline(always)]`.
    fn take<L: Simd, E: Widened>(&mut self, l: L, x: [&[E]; I]);
}

struct Take<'a, E, W, const I: usize> {
    work: &'a mut W,
    x: [&'a [E]; I],
}

impl<E: Widened, W: Work<I>, const I: usize> Vectors for Take<'_, E, W, I> {
    type Output = ();

    #[inline(always)]
    fn run<L: Simd>(self, l: L) {
        self.work.take(l, self.x);
    }
}

/// Takes all numbers of stretches of equal length.
pub(crate) fn along<const I: usize>(stretches: [Stretch<'_>; I], work: &mut impl Work<I>) {
    let done = stored_as::<f32, I>(&stretches, work)
        || stored_as::<f16, I>(&stretches, work)
        || stored_as::<bf16, I>(&stretches, work)
        || stored_as::<f64, I>(&stretches, work);
    if !done {
        widened(&stretches, work);
    }
}

/// The same where they are all stored in this type and lie together.
fn stored_as<E: Widened, const I: usize>(stretches: &[Stretch<'_>; I], work: &mut impl Work<I>) -> bool {
    let (Some(first), Some(x)) = (stretches.first(), all_side_by_side::<E, I>(stretches)) else {
        return false;
    };
    on(first.isa, Take { work, x });
    true
}

/// The same of numbers that are widened first.
fn widened<const I: usize>(stretches: &[Stretch<'_>; I], work: &mut impl Work<I>) {
    let Some(&Stretch { isa, length, .. }) = stretches.first() else { return };
    // Buffers are cleared, which would take longer than a few numbers do.
    if length <= FEW {
        buffered(isa, stretches, 0..length, work, &mut [[0.0; FEW]; I]);
        return;
    }
    let mut buffers = [[0.0; PIECE]; I];
    for piece in pieces(0..length) {
        buffered(isa, stretches, piece, work, &mut buffers);
    }
}

/// Numbers of a stretch that is taken through small buffers.
const FEW: usize = 64;

/// A piece of stretches, widened first.
fn buffered<const I: usize, const N: usize>(
    isa: Isa,
    stretches: &[Stretch<'_>; I],
    piece: Range<usize>,
    work: &mut impl Work<I>,
    buffers: &mut [[f64; N]; I],
) {
    let mut x: [&[f64]; I] = [&[]; I];
    for ((x, stretch), buffer) in x.iter_mut().zip(stretches).zip(buffers) {
        *x = stretch.load(piece.start, buffer.get_mut(..piece.len()).unwrap_or_default());
    }
    on(isa, Take { work, x });
}

fn all_side_by_side<'a, E: Element, const I: usize>(stretches: &[Stretch<'a>; I]) -> Option<[&'a [E]; I]> {
    let mut all: [&[E]; I] = [&[]; I];
    for (x, stretch) in all.iter_mut().zip(stretches) {
        *x = stretch.side_by_side()?;
    }
    Some(all)
}

/// Replaces each number by what `f` makes of it and of those beside it.
pub(crate) fn update_along<F: Copy, const I: usize>(out: &mut [f64], x: [Stretch<'_>; I], f: F)
where
    for<'a> Update<'a, F>: Work<I>,
{
    // Halves are widened by what the instruction set has for it, which loops of numbers do not get.
    let mut work = Update { out, f };
    if !stored_as::<f32, I>(&x, &mut work) && !stored_as::<f64, I>(&x, &mut work) {
        widened(&x, &mut work);
    }
}

/// Each number and what becomes of it.
pub(crate) struct Update<'a, F> {
    out: &'a mut [f64],
    f: F,
}

impl<F: Copy> Update<'_, F> {
    /// The next numbers.
    fn next(&mut self, length: usize) -> (&mut [f64], F) {
        (self.out.split_off_mut(..length.min(self.out.len())).unwrap_or_default(), self.f)
    }
}

/// Asks for what will be read soon.
#[inline(always)]
fn expect<L: Simd, E: Element>(l: L, x: &[E]) {
    for line in x.chunks((LINE / size_of::<E>()).max(1)) {
        l.prefetch(line, AHEAD);
    }
}

impl<F: Fn(f64, f64) -> f64 + Copy> Work<1> for Update<'_, F> {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, [x]: [&[E]; 1]) {
        expect(l, x);
        let (out, f) = self.next(x.len());
        for (out, x) in out.iter_mut().zip(x) {
            *out = f(*out, x.widen());
        }
    }
}

impl<F: Fn(f64, f64, f64) -> f64 + Copy> Work<2> for Update<'_, F> {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, [x, y]: [&[E]; 2]) {
        expect(l, x);
        expect(l, y);
        let (out, f) = self.next(x.len());
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = f(*out, x.widen(), y.widen());
        }
    }
}
