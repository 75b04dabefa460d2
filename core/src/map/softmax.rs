//! Softmaxes over channels, many positions at a time.

use super::{PIECE, Samples, Sweep, View, real, sweep};
use crate::logarithm::ln_lanes;
use crate::simd::Doubles;
use core::ops::Range;

/// log sum e^(x / tau) of some logits, of several positions side by side. They go in as they stand; inside they are
/// quarters, so that no difference of two overflows, and `scale` is 4 / tau.
pub(crate) struct LogSumExp<L: Doubles> {
    /// The largest logit, in quarters; NaN is passed over.
    pub(crate) top: L::D,
    /// The sum in units of the largest term: 0 where there is none but -inf, else at least 1; NaN after NaN or +inf.
    pub(crate) sum: L::D,
}

impl<L: Doubles> LogSumExp<L> {
    #[inline(always)]
    pub(crate) fn is_empty(&self, l: L) -> L::T {
        l.equal(self.sum, l.splat(0.0))
    }

    /// The logarithm of e^(x / tau) over the sum, for an x that is no part of it.
    #[inline(always)]
    pub(crate) fn log_odds(&self, l: L, scale: f64, x: L::D) -> L::D {
        let odds = (x * l.splat(0.25) - self.top) * l.splat(scale) - ln_lanes(l, self.sum);
        let odds = l.select(self.is_empty(l), l.splat(f64::INFINITY), odds);
        l.select(l.equal(x, l.splat(f64::NEG_INFINITY)), x, odds)
    }
}

/// The softmaxes of a tile's positions, each over the channels other than the position's own.
pub(crate) struct Softmaxes<'a> {
    /// The channel that is left out; -1 where none is.
    pub(crate) class: &'a [f64],
    /// That channel's logit; 0 where there is none.
    pub(crate) own: &'a mut [f64],
    /// [`LogSumExp::top`] and [`LogSumExp::sum`].
    pub(crate) top: &'a mut [f64],
    pub(crate) sum: &'a mut [f64],
}

impl Softmaxes<'_> {
    /// Two sweeps over the channels of a tile: largest logits, then sums. `beside` sees each channel in the second
    /// one, with the own logits.
    pub(crate) fn take(
        self,
        scale: f64,
        samples: &Samples,
        (view, tile): (View<'_>, &Range<usize>),
        mut beside: impl FnMut(f64, &[f64], &[f64]),
    ) {
        let Self { class, own, top, sum } = self;
        let channels = view.shape().channels();
        let mut buffer = [0.0; PIECE];
        own.fill(0.0);
        top.fill(f64::NEG_INFINITY);
        sum.fill(0.0);
        for c in 0..channels {
            let x = samples.read(view, c, tile, &mut buffer);
            sweep(view.isa(), [x, class], [&mut *top, &mut *own], Tops { c: real(c) });
        }
        for c in 0..channels {
            let x = samples.read(view, c, tile, &mut buffer);
            sweep(view.isa(), [x, class, &*top], [&mut *sum], Sums { c: real(c), scale });
            beside(real(c), x, own);
        }
    }
}

/// The exponentials of a tile's logits over all channels, each taken once.
pub(crate) struct Exponentials<'a> {
    /// [`LogSumExp::top`], and the sum; NaN where a logit is no finite number.
    pub(crate) top: &'a mut [f64],
    pub(crate) sum: &'a mut [f64],
    /// Channel by channel e^((x - top) / tau).
    pub(crate) terms: &'a mut [f64],
}

impl Exponentials<'_> {
    /// Reads a tile's channels: largest logits, then exponentials from what was read.
    pub(crate) fn take(self, scale: f64, samples: &Samples, (view, tile): (View<'_>, &Range<usize>)) {
        let Self { top, sum, terms } = self;
        let mut buffer = [0.0; PIECE];
        top.fill(f64::NEG_INFINITY);
        sum.fill(0.0);
        for (c, terms) in terms.chunks_mut(tile.len().max(1)).enumerate() {
            let x = samples.read(view, c, tile, &mut buffer);
            sweep(view.isa(), [x], [terms, &mut *top], Quarters);
        }
        for (c, terms) in terms.chunks_mut(tile.len().max(1)).enumerate() {
            samples.expect(view, c, &(tile.end..tile.end + tile.len()));
            sweep(view.isa(), [&*top], [terms, &mut *sum], Terms { scale });
        }
    }
}

/// Quarters of logits, and the largest of them.
#[derive(Clone, Copy)]
struct Quarters;

impl Sweep<1, 2> for Quarters {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x]: [L::D; 1], [quarter, top]: &mut [L::D; 2], _: &mut [L::D; 0]) {
        *quarter = x * l.splat(0.25);
        *top = l.above(*quarter, *top);
    }
}

/// Exponentials in the place of quarters of logits, and their sum.
#[derive(Clone, Copy)]
struct Terms {
    scale: f64,
}

impl Sweep<1, 2> for Terms {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [top]: [L::D; 1], [x, sum]: &mut [L::D; 2], _: &mut [L::D; 0]) {
        let term = l.exp((*x - top) * l.splat(self.scale));
        // No number of what is not finite: -inf would hide in a term of 0.
        *sum = l.fma(*x, l.splat(0.0), *sum) + term;
        *x = term;
    }
}

/// The softmax at a logit, from the largest quarter and what multiplies e^((x - top) / tau).
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) scale: f64,
}

impl Share {
    #[inline(always)]
    pub(crate) fn of<L: Doubles>(self, l: L, x: L::D, [top, per_sum]: [L::D; 2]) -> L::D {
        l.exp((x * l.splat(0.25) - top) * l.splat(self.scale)) * per_sum
    }
}

/// Largest and own logits, from logits and classes.
#[derive(Clone, Copy)]
struct Tops {
    c: f64,
}

impl Sweep<2, 2> for Tops {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x, class]: [L::D; 2], [top, own]: &mut [L::D; 2], _: &mut [L::D; 0]) {
        let is_own = l.equal(class, l.splat(self.c));
        // Neither is chosen from what stands in memory: a compiler makes that a masked store, which takes some CPUs long.
        let (none, zero) = (l.splat(f64::NEG_INFINITY), l.splat(0.0));
        *top = l.above(l.select(is_own, none, x * l.splat(0.25)), *top);
        *own = *own + l.select(is_own, x, zero);
    }
}

/// Sums, from logits, classes and largest logits.
#[derive(Clone, Copy)]
struct Sums {
    c: f64,
    scale: f64,
}

impl Sweep<3, 1> for Sums {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x, class, top]: [L::D; 3], [sum]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let is_own = l.equal(class, l.splat(self.c));
        *sum = *sum + l.select(is_own, l.splat(0.0), term(l, self.scale, x, top));
    }
}

/// A logit's term of a sum: none of -inf.
#[inline(always)]
pub(crate) fn term<L: Doubles>(l: L, scale: f64, x: L::D, top: L::D) -> L::D {
    let term = l.exp((x * l.splat(0.25) - top) * l.splat(scale));
    l.select(l.equal(x, l.splat(f64::NEG_INFINITY)), l.splat(0.0), term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::{Simd, Vectors, on};

    /// [`LogSumExp::log_odds`] of a logit beside others, and the sum.
    struct Odds<'a> {
        others: &'a [f64],
        x: f64,
    }

    impl Vectors for Odds<'_> {
        type Output = [f64; 2];

        #[inline(always)]
        fn run<L: Simd>(self, l: L) -> [f64; 2] {
            let l = l.doubles();
            let (mut of, own) = ([l.splat(f64::NEG_INFINITY), l.splat(0.0)], l.splat(-1.0));
            for x in self.others {
                Tops { c: 0.0 }.at(l, [l.splat(*x), own], &mut of, &mut []);
            }
            let ([top, _], mut sum) = (of, [l.splat(0.0)]);
            for x in self.others {
                let x = [l.splat(*x), own, top];
                Sums { c: 0.0, scale: 4.0 }.at(l, x, &mut sum, &mut []);
            }
            let [sum] = sum;
            let odds = LogSumExp { top, sum }.log_odds(l, 4.0, l.splat(self.x));
            [odds, sum].map(|x| l.lanes(x)[5])
        }
    }

    #[test]
    fn what_is_not_finite_follows_the_rules() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for isa in Isa::available() {
            let of = |others: &[f64], x: f64| on(isa, Odds { others, x });
            for junk in [&[0.0, nan, 1.0][..], &[inf, 0.0], &[-inf, inf], &[inf, inf]] {
                assert!(of(junk, 0.0)[1].is_nan(), "{junk:?}");
            }
            assert_eq!(of(&[-inf, -inf], 1.0), [inf, 0.0]);
            assert_eq!(of(&[f64::MAX, -f64::MAX, -inf], -inf), [-inf, 1.0]);
        }
    }
}
