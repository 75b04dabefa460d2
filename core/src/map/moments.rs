//! Mean and spread of a vector, in pieces that may be taken side by side.

use super::{real, sum};

/// How many numbers, their mean, and the sum of their squared distances from it: of a vector, or of pieces of one.
///
/// ```
/// use densekd_core::Moments;
/// let whole = Moments::of(&[1.0, 2.0, 6.0]);
/// let joined = Moments::of(&[1.0]).with(Moments::of(&[2.0, 6.0]));
/// assert_eq!((whole.mean(), whole.spread()), (3.0, 14.0_f64.sqrt()));
/// assert_eq!((joined.mean(), joined.spread()), (whole.mean(), whole.spread()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of a piece, in two passes: an offset of any size costs no digits, and equal numbers have squares of
    /// exactly 0.
    pub fn of(x: &[f64]) -> Self {
        let Some(&first) = x.first() else { return Self::default() };
        let count = real(x.len());
        let mean = first + sum(x, |x| x - first) / count;
        Self { count, mean, squares: sum(x, |x| (x - mean) * (x - mean)) }
    }

    /// Those of both pieces together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
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

    /// How many numbers.
    pub const fn count(&self) -> f64 {
        self.count
    }

    /// Their mean.
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// |x|.
    pub fn norm(&self) -> f64 {
        libm::sqrt(self.squares + self.count * self.mean * self.mean)
    }

    /// |x - mean|.
    pub fn spread(&self) -> f64 {
        libm::sqrt(self.squares)
    }

    /// The standard deviation, over one less than their number; 0 of a single number.
    pub fn deviation(&self) -> f64 {
        if self.count < 2.0 { 0.0 } else { libm::sqrt(self.squares / (self.count - 1.0)) }
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
    fn equal_numbers_have_no_spread() {
        for x in [&[0.1; 1000][..], &[0.1]] {
            let moments = joined(x, 13);
            assert_eq!((moments.mean(), moments.spread(), moments.deviation()), (0.1, 0.0, 0.0));
        }
    }
}
