//! Positions of a channel as they are stored, and the loops over them: what they read is widened in registers where it
//! lies together, so that a sweep costs what memory costs.

use super::{PIECE, head, pieces};
use crate::access::{Place, load_f64};
use crate::element::{Element, Tensor};
use crate::isa::{Isa, Kernel, dispatch_on};

/// Numbers that are taken at once. Partial sums are as many, so that every machine rounds them the same way.
const LANES: usize = 16;

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

    /// The first number.
    pub(crate) fn first(&self) -> Option<f64> {
        let mut one = [0.0];
        if self.length == 0 { None } else { self.load(0, &mut one).first().copied() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }
}

/// What is done with the numbers that stand beside each other in some stretches, and in their order.
trait Work<const I: usize> {
    /// The next numbers, of equal length: any but the last time a multiple of [`LANES`]. Implementations are
    /// `#[inline(always)]`.
    fn take<E: Element>(&mut self, x: [&[E]; I]);
}

struct Take<'a, E, W, const I: usize> {
    work: &'a mut W,
    x: [&'a [E]; I],
}

impl<E: Element, W: Work<I>, const I: usize> Kernel for Take<'_, E, W, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.work.take(self.x);
    }
}

/// Takes all numbers of stretches of equal length.
fn along<const I: usize>(stretches: [Stretch<'_>; I], work: &mut impl Work<I>) {
    let Some(&Stretch { isa, length, .. }) = stretches.first() else { return };
    if let Some(x) = all_side_by_side::<f32, I>(&stretches) {
        return dispatch_on(isa, Take { work, x });
    }
    if let Some(x) = all_side_by_side::<f64, I>(&stretches) {
        return dispatch_on(isa, Take { work, x });
    }
    let mut buffers = [[0.0; PIECE]; I];
    for piece in pieces(0..length) {
        let mut x: [&[f64]; I] = [&[]; I];
        for ((x, stretch), buffer) in x.iter_mut().zip(&stretches).zip(&mut buffers) {
            *x = stretch.load(piece.start, head(buffer, &piece));
        }
        dispatch_on(isa, Take { work, x });
    }
}

fn all_side_by_side<'a, E: Element, const I: usize>(stretches: &[Stretch<'a>; I]) -> Option<[&'a [E]; I]> {
    let mut all: [&[E]; I] = [&[]; I];
    for (x, stretch) in all.iter_mut().zip(stretches) {
        *x = stretch.side_by_side()?;
    }
    Some(all)
}

/// The numbers of the next block, number by number; where the streams end, those that there are, and how many.
#[inline(always)]
fn block<E: Element, const I: usize>(x: &mut [&[E]; I]) -> ([[f64; LANES]; I], usize) {
    let mut out = [[0.0; LANES]; I];
    let mut count = LANES;
    for (out, x) in out.iter_mut().zip(x) {
        if let Some((now, rest)) = x.split_first_chunk::<LANES>() {
            for i in 0..LANES {
                out[i] = now[i].widen();
            }
            *x = rest;
        } else {
            count = x.len();
            out.iter_mut().zip(x.iter()).for_each(|(out, x)| *out = x.widen());
            *x = &[];
        }
    }
    (out, count)
}

/// Of each stream the number in a lane.
#[inline(always)]
fn lane<const I: usize>(x: &[[f64; LANES]; I], i: usize) -> [f64; I] {
    let mut out = [0.0; I];
    for (out, x) in out.iter_mut().zip(x) {
        *out = x[i % LANES];
    }
    out
}

/// Replaces each number by what `f` makes of it and of those beside it. Asked of zeros, too, where the streams end.
pub(crate) fn update_along<const I: usize>(
    out: &mut [f64],
    x: [Stretch<'_>; I],
    f: impl Fn(f64, [f64; I]) -> f64 + Copy,
) {
    along(x, &mut Update { out, f });
}

struct Update<'a, F> {
    out: &'a mut [f64],
    f: F,
}

impl<F: Fn(f64, [f64; I]) -> f64 + Copy, const I: usize> Work<I> for Update<'_, F> {
    #[inline(always)]
    fn take<E: Element>(&mut self, mut x: [&[E]; I]) {
        let f = self.f;
        let length = x.first().map_or(0, |x| x.len());
        let Some(here) = self.out.split_off_mut(..length.min(self.out.len())) else { return };
        let (blocks, rest) = here.as_chunks_mut::<LANES>();
        for out in blocks {
            let (x, _) = block(&mut x);
            for i in 0..LANES {
                out[i] = f(out[i], lane(&x, i));
            }
        }
        if !rest.is_empty() {
            let (x, _) = block(&mut x);
            let mut whole = [0.0; LANES];
            whole.iter_mut().zip(&*rest).for_each(|(to, from)| *to = *from);
            for i in 0..LANES {
                whole[i] = f(whole[i], lane(&x, i));
            }
            rest.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        }
    }
}

/// Sums of what `f` makes of the numbers beside each other. Asked of zeros, too, where the streams end.
pub(crate) struct Sums<F, const K: usize> {
    lanes: [[f64; LANES]; K],
    f: F,
}

impl<F: Copy, const K: usize> Sums<F, K> {
    pub(crate) const fn new(f: F) -> Self {
        Self { lanes: [[0.0; LANES]; K], f }
    }

    /// Adds those of some stretches of equal length.
    pub(crate) fn add<const I: usize>(&mut self, x: [Stretch<'_>; I])
    where
        F: Fn([f64; I]) -> [f64; K],
    {
        along(x, self);
    }

    pub(crate) fn total(&self) -> [f64; K] {
        self.lanes.map(|lanes| lanes.iter().sum())
    }
}

impl<F: Fn([f64; I]) -> [f64; K] + Copy, const I: usize, const K: usize> Work<I> for Sums<F, K> {
    #[inline(always)]
    fn take<E: Element>(&mut self, mut x: [&[E]; I]) {
        let (f, mut lanes) = (self.f, self.lanes);
        let length = x.first().map_or(0, |x| x.len());
        for _ in 0..length / LANES {
            let (x, _) = block(&mut x);
            for i in 0..LANES {
                let terms = f(lane(&x, i));
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[i] += term;
                }
            }
        }
        if length % LANES > 0 {
            let (x, count) = block(&mut x);
            for i in 0..LANES {
                let terms = f(lane(&x, i));
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[i] += if i < count { term } else { 0.0 };
                }
            }
        }
        self.lanes = lanes;
    }
}
