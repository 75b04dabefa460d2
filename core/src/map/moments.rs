//! Mean and deviation of a channel, in pieces that may be taken side by side.

use super::{real, sum};
use crate::Epsilon;

/// How many numbers, their mean, and the sum of their squared distances from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of a piece, in two passes: an offset of any size costs no digits, and equal numbers have squares of
    /// exactly 0.
    pub(crate) fn of(x: &[f64]) -> Self {
        let Some(&first) = x.first() else { return Self::default() };
        let count = real(x.len());
        let mean = first + sum(x, |x| x - first) / count;
        Self { count, mean, squares: sum(x, |x| (x - mean) * (x - mean)) }
    }

    /// Those of both pieces together.
    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { other } else { self };
        }
        let (apart, share) = (other.mean - self.mean, other.count / count);
        let squares = self.squares + other.squares + apart * apart * self.count * share;
        Self { count, mean: self.mean + apart * share, squares }
    }

    /// As they are kept in state.
    pub(crate) const fn numbers(self) -> [f64; 3] {
        [self.count, self.mean, self.squares]
    }

    /// From state.
    pub(crate) const fn from_numbers([count, mean, squares]: [f64; 3]) -> Self {
        Self { count, mean, squares }
    }

    /// The standardisation of these numbers.
    pub(crate) fn standard(self, eps: Epsilon) -> Standard {
        if self.count < 2.0 || self.squares == 0.0 {
            return Standard { mean: self.mean, step: 0.0, pull: 0.0 };
        }
        let sd = libm::sqrt(self.squares / (self.count - 1.0));
        // An overflow is no reason for a finite answer.
        let sd = if sd.is_finite() { sd } else { f64::NAN };
        Standard { mean: self.mean, step: 1.0 / (sd + eps.get()), pull: 1.0 / (sd * (self.count - 1.0)) }
    }
}

/// z = (x - mean) / (sd + eps), and 0 without gradient where all numbers are equal or there is one only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standard {
    mean: f64,
    /// 1 / (sd + eps).
    step: f64,
    /// 1 / (sd (K - 1)).
    pull: f64,
}

impl Standard {
    /// As it is kept in state.
    pub(crate) const fn numbers(self) -> [f64; 3] {
        [self.mean, self.step, self.pull]
    }

    /// From state.
    pub(crate) const fn from_numbers([mean, step, pull]: [f64; 3]) -> Self {
        Self { mean, step, pull }
    }

    #[inline(always)]
    pub(crate) fn z(&self, x: f64) -> f64 {
        (x - self.mean) * self.step
    }

    /// The gradient to x of what has the gradient g to z, `dot` the sum of g z over the channel. The mean of g is
    /// taken to be 0: it is for differences of standardised numbers, whose means are 0.
    #[inline(always)]
    pub(crate) fn pull(&self, g: f64, z: f64, dot: f64) -> f64 {
        g * self.step - z * dot * self.pull
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(x: &[f64], length: usize) -> Moments {
        x.chunks(length).map(Moments::of).fold(Moments::default(), Moments::with)
    }

    #[test]
    fn pieces_and_offsets_do_not_matter() {
        let x: [f64; 97] = core::array::from_fn(|i| real(i * i % 31));
        let far = x.map(|x| x + 1e6);
        let [_, mean, squares] = Moments::of(&x).numbers();
        for length in [1, 2, 7, 96, 97] {
            let [count, m, s] = joined(&x, length).numbers();
            assert!(
                count == 97.0 && (m - mean).abs() < 1e-13 * mean && (s - squares).abs() < 1e-13 * squares
            );
            let [_, _, s] = joined(&far, length).numbers();
            assert!((s - squares).abs() < 1e-9 * squares);
        }
    }

    #[test]
    fn equal_numbers_have_no_direction() {
        for x in [&[0.1; 1000][..], &[0.1]] {
            let standard = joined(x, 13).standard(Epsilon::ZERO);
            assert_eq!((standard.z(0.1), standard.pull(1.0, 0.0, 0.0)), (0.0, 0.0));
        }
    }
}
