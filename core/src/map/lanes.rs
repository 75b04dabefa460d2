//! Loops over a piece in the widest form that the CPU has. Sums go in fixed lanes, so that every machine rounds
//! them the same way.

use crate::isa::{Kernel, dispatch};

/// Partial sums that are taken side by side.
const LANES: usize = 16;

/// The sums of what `f` makes of each pair of numbers. Where the slices differ in length, the longer one's rest is
/// not read.
#[inline]
pub(crate) fn sums<const K: usize>(x: &[f64], y: &[f64], f: impl Fn(f64, f64) -> [f64; K]) -> [f64; K] {
    dispatch(Sums { x, y, f })
}

/// The sum of what `f` makes of each number.
#[inline]
pub(crate) fn sum(x: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let [sum] = sums(x, x, |x, _| [f(x)]);
    sum
}

/// Replaces each number by what `f` makes of it and the numbers beside it.
#[inline]
pub(crate) fn update(out: &mut [f64], x: &[f64], y: &[f64], f: impl Fn(f64, f64, f64) -> f64) {
    update_with(out, x.iter().zip(y), |out, (x, y)| f(out, *x, *y));
}

/// Replaces each number by what `f` makes of it and of what stands beside it in other streams.
#[inline]
pub(crate) fn update_with<T>(out: &mut [f64], x: impl Iterator<Item = T>, f: impl Fn(f64, T) -> f64) {
    dispatch(Update { out, x, f });
}

/// What is made of the numbers that stand beside each other in some streams, whatever stands before and after.
pub(crate) trait Lanewise<const O: usize, const I: usize> {
    /// The outputs, from those that stood there and the inputs. Implementations are `#[inline(always)]` and free of
    /// branches; they are asked of zeros, too, where a piece ends.
    fn at(&self, out: [f64; O], x: [f64; I]) -> [f64; O];
}

/// Runs along some streams, as far as the shortest. Its blocks are to lie on the stack once: where a form is picked at
/// run time that is a function of its own already, and one call is enough.
#[cfg_attr(all(feature = "simd", target_arch = "x86_64"), inline)]
#[cfg_attr(not(all(feature = "simd", target_arch = "x86_64")), inline(never))]
pub(crate) fn lanewise<const O: usize, const I: usize>(
    out: [&mut [f64]; O],
    x: [&[f64]; I],
    f: &impl Lanewise<O, I>,
) {
    dispatch(Along { out, x, f });
}

/// Numbers of a stream that are taken at once. Few enough for a cache; more than a compiler would write out one by
/// one, for what it writes out it does not make vectors of.
const BLOCK: usize = 64;

struct Along<'a, const O: usize, const I: usize, F> {
    out: [&'a mut [f64]; O],
    x: [&'a [f64]; I],
    f: &'a F,
}

impl<const O: usize, const I: usize, F: Lanewise<O, I>> Kernel for Along<'_, O, I, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { out: mut outs, x: xs, f } = self;
        let lengths = xs.iter().map(|x| x.len()).chain(outs.iter().map(|out| out.len()));
        let length = lengths.min().unwrap_or(0);
        for from in (0..length / BLOCK).map(|block| block * BLOCK) {
            // Outputs of our own, which no input can be a part of: nothing has to be looked up in order.
            let mut out = [[0.0; BLOCK]; O];
            for (out, stream) in out.iter_mut().zip(&outs) {
                let Some(chunk) = chunk(stream, from) else { return };
                *out = *chunk;
            }
            let mut x = [&[0.0; BLOCK]; I];
            for (x, stream) in x.iter_mut().zip(xs) {
                let Some(chunk) = chunk(stream, from) else { return };
                *x = chunk;
            }
            block(f, &mut out, x, BLOCK);
            for (to, out) in outs.iter_mut().zip(&out) {
                if let Some(to) = to.get_mut(from..).and_then(<[f64]>::first_chunk_mut) {
                    *to = *out;
                }
            }
        }
        let rest = length - length % BLOCK..length;
        if rest.is_empty() {
            return;
        }
        let copy = |from: &[f64]| {
            let mut to = [0.0; BLOCK];
            let from = from.get(rest.clone()).unwrap_or_default();
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            to
        };
        let mut out = outs.each_ref().map(|out| copy(out));
        let x = xs.map(copy);
        block(f, &mut out, x.each_ref(), rest.len().next_multiple_of(8));
        for (to, out) in outs.iter_mut().zip(&out) {
            let to = to.get_mut(rest.clone()).unwrap_or_default();
            to.iter_mut().zip(out).for_each(|(to, out)| *to = *out);
        }
    }
}

#[inline(always)]
fn chunk(stream: &[f64], from: usize) -> Option<&[f64; BLOCK]> {
    stream.get(from..)?.first_chunk()
}

#[inline(always)]
fn block<const O: usize, const I: usize>(
    f: &impl Lanewise<O, I>,
    out: &mut [[f64; BLOCK]; O],
    x: [&[f64; BLOCK]; I],
    length: usize,
) {
    for i in 0..length.min(BLOCK) {
        let (mut here, mut given) = ([0.0; O], [0.0; I]);
        for (here, out) in here.iter_mut().zip(out.iter()) {
            *here = out[i];
        }
        for (given, x) in given.iter_mut().zip(x) {
            *given = x[i];
        }
        for (out, result) in out.iter_mut().zip(f.at(here, given)) {
            out[i] = result;
        }
    }
}

struct Sums<'a, F> {
    x: &'a [f64],
    y: &'a [f64],
    f: F,
}

impl<const K: usize, F: Fn(f64, f64) -> [f64; K]> Kernel for Sums<'_, F> {
    type Output = [f64; K];

    #[inline(always)]
    fn run(self) -> [f64; K] {
        let mut lanes = [[0.0; LANES]; K];
        let (x, y) = (self.x.as_chunks::<LANES>(), self.y.as_chunks::<LANES>());
        for (x, y) in x.0.iter().zip(y.0) {
            for i in 0..LANES {
                let terms = (self.f)(x[i], y[i]);
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[i] += term;
                }
            }
        }
        let mut sums = lanes.map(|lanes| lanes.iter().sum::<f64>());
        let read = x.0.len().min(y.0.len()) * LANES;
        let rest = self.x.iter().skip(read).zip(self.y.iter().skip(read));
        for (x, y) in rest {
            for (sum, term) in sums.iter_mut().zip((self.f)(*x, *y)) {
                *sum += term;
            }
        }
        sums
    }
}

struct Update<'a, X, F> {
    out: &'a mut [f64],
    x: X,
    f: F,
}

impl<X: Iterator, F: Fn(f64, X::Item) -> f64> Kernel for Update<'_, X, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            *out = (self.f)(*out, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::real;

    #[test]
    fn every_number_is_taken_once() {
        let x: [f64; 53] = core::array::from_fn(real);
        for length in [0, 1, 15, 16, 17, 32, 53] {
            let x = &x[..length];
            let (want, squares) = (x.iter().sum::<f64>(), x.iter().map(|x| x * x).sum::<f64>());
            assert_eq!(sums(x, x, |x, y| [x, x * y]), [want, squares]);
            assert_eq!(sum(x, |x| x), want);
            let mut out = [1.0; 53];
            update(&mut out[..length], x, x, |out, x, y| out + x * y);
            assert_eq!(out.iter().sum::<f64>(), 53.0 + squares);
        }
    }
}
