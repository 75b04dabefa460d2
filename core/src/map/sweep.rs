//! Loops over a piece in vectors of eight, for what is done with every number of a map.

use crate::isa::Isa;
use crate::simd::{Doubles, EIGHT, Simd, Vectors, on};

/// What is made of the numbers that stand beside each other in some streams: numbers in their place, and sums.
pub(crate) trait Sweep<const I: usize, const O: usize, const K: usize = 0>: Copy {
    /// The outputs in the place of those that stood there, and what is added to the sums. Implementations are
    /// `#[inline(always)]`; they are asked of zeros, too, where a piece ends.
    fn at<L: Doubles>(&self, l: L, x: [L::D; I], out: &mut [L::D; O], sums: &mut [L::D; K]);
}

/// Runs along some streams, as far as the shortest; the sums.
pub(crate) fn sweep<const I: usize, const O: usize, const K: usize>(
    isa: Isa,
    x: [&[f64]; I],
    out: [&mut [f64]; O],
    f: impl Sweep<I, O, K>,
) -> [f64; K] {
    on(isa, Along { x, out, f })
}

struct Along<'a, F, const I: usize, const O: usize, const K: usize> {
    x: [&'a [f64]; I],
    out: [&'a mut [f64]; O],
    f: F,
}

impl<F: Sweep<I, O, K>, const I: usize, const O: usize, const K: usize> Vectors for Along<'_, F, I, O, K> {
    type Output = [f64; K];

    #[inline(always)]
    fn run<L: Simd>(self, l: L) -> [f64; K] {
        along(l.doubles(), self)
    }
}

#[inline(always)]
fn along<L: Doubles, F: Sweep<I, O, K>, const I: usize, const O: usize, const K: usize>(
    l: L,
    Along { x, mut out, f }: Along<'_, F, I, O, K>,
) -> [f64; K] {
    let mut length = usize::MAX;
    for x in &x {
        length = length.min(x.len());
    }
    for out in &out {
        length = length.min(out.len());
    }
    let (whole, rest) = (length / EIGHT, length - length % EIGHT..length);
    let zero = l.splat(0.0);
    let mut sums = [zero; K];
    eights(l, (&x, &mut out), whole, f, &mut sums);
    if !rest.is_empty() {
        let (mut here, mut there, before) = ([zero; I], [zero; O], sums);
        for (here, x) in here.iter_mut().zip(&x) {
            *here = l.load(&padded(x.get(rest.clone())));
        }
        for (there, out) in there.iter_mut().zip(&out) {
            *there = l.load(&padded(out.get(rest.clone())));
        }
        f.at(l, here, &mut there, &mut sums);
        let counted = l.less(l.load(&FIRST), l.splat(super::real(rest.len())));
        for (sum, before) in sums.iter_mut().zip(before) {
            *sum = l.select(counted, *sum, before);
        }
        for (there, out) in there.iter().zip(&mut out) {
            let out = out.get_mut(rest.clone()).unwrap_or_default();
            out.iter_mut().zip(l.lanes(*there)).for_each(|(to, from)| *to = from);
        }
    }
    let mut totals = [0.0; K];
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = l.sum(sum);
    }
    totals
}

/// The whole vectors.
#[inline(always)]
fn eights<L: Doubles, F: Sweep<I, O, K>, const I: usize, const O: usize, const K: usize>(
    l: L,
    (x, out): (&[&[f64]; I], &mut [&mut [f64]; O]),
    count: usize,
    f: F,
    sums: &mut [L::D; K],
) {
    // Of one length that the compiler sees, so that nothing is checked in the loop.
    let (mut from, mut to): ([&[[f64; EIGHT]]; I], [&mut [[f64; EIGHT]]; O]) =
        ([&[]; I], [(); O].map(|()| &mut [][..]));
    for (from, x) in from.iter_mut().zip(x) {
        let Some(x) = x.as_chunks().0.get(..count) else { return };
        *from = x;
    }
    for (to, out) in to.iter_mut().zip(out) {
        let Some(out) = out.as_chunks_mut().0.get_mut(..count) else { return };
        *to = out;
    }
    let zero = l.splat(0.0);
    for i in 0..count {
        let (mut here, mut there) = ([zero; I], [zero; O]);
        for (here, from) in here.iter_mut().zip(&from) {
            let Some(from) = from.get(i) else { return };
            *here = l.load(from);
        }
        for (there, to) in there.iter_mut().zip(&to) {
            let Some(to) = to.get(i) else { return };
            *there = l.load(to);
        }
        f.at(l, here, &mut there, sums);
        for (there, to) in there.iter().zip(&mut to) {
            let Some(to) = to.get_mut(i) else { return };
            l.store(*there, to);
        }
    }
}

/// The lanes' numbers.
const FIRST: [f64; EIGHT] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];

/// Fewer than [`EIGHT`] numbers and zeros.
#[inline(always)]
fn padded(from: Option<&[f64]>) -> [f64; EIGHT] {
    let mut to = [0.0; EIGHT];
    to.iter_mut().zip(from.unwrap_or_default()).for_each(|(to, from)| *to = *from);
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::real;

    /// The product with the place, and its sum.
    #[derive(Clone, Copy)]
    struct Products;

    impl Sweep<2, 1, 2> for Products {
        #[inline(always)]
        fn at<L: Doubles>(&self, l: L, [x, y]: [L::D; 2], [out]: &mut [L::D; 1], [xy, ones]: &mut [L::D; 2]) {
            *out = l.fma(x, y, *out);
            *xy = *xy + x * y;
            *ones = *ones + l.splat(1.0);
        }
    }

    #[test]
    fn every_number_is_taken_once() {
        let x: [f64; 53] = core::array::from_fn(real);
        for isa in Isa::available() {
            for length in [0, 1, 7, 8, 9, 32, 53] {
                let mut out = [1.0; 53];
                let (some, all) = (&x[..length], &x[..]);
                let [sum, count] = sweep(isa, [some, all], [&mut out], Products);
                assert_eq!((sum, count), (some.iter().map(|x| x * x).sum(), real(length)));
                for (i, out) in out.iter().enumerate() {
                    assert_eq!(*out, if i < length { 1.0 + x[i] * x[i] } else { 1.0 });
                }
            }
        }
    }
}
