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
