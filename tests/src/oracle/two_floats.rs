//! Numbers as exact sums of two f64, and sums that remember what they rounded away.

/// `high + low`, low below the last bit of high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TwoFloats {
    /// The nearest float.
    pub(super) high: f64,
    /// The rest.
    pub(super) low: f64,
}

impl TwoFloats {
    /// `a + b`, exact (Knuth's `TwoSum`).
    fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let of_b = high - a;
        let of_a = high - of_b;
        Self { high, low: (a - of_a) + (b - of_b) }
    }

    /// `a - b`, exact.
    pub(super) fn difference(a: f64, b: f64) -> Self {
        Self::sum(a, -b)
    }

    /// `self + x`, to twice the precision of a float.
    pub(super) fn plus(self, x: f64) -> Self {
        let sum = Self::sum(self.high, x);
        Self::sum(sum.high, sum.low + self.low)
    }

    /// `self - other` as one float, accurate however close they are.
    pub(super) fn minus(self, other: Self) -> f64 {
        let high = Self::difference(self.high, other.high);
        let low = Self::difference(self.low, other.low);
        let both = Self::sum(high.high, low.high);
        both.high + (both.low + (high.low + low.low))
    }

    /// `self / x`, to about twice the precision of a float.
    pub(super) fn over(self, x: f64) -> Self {
        let high = self.high / x;
        let rest = high.mul_add(-x, self.high) + self.low;
        Self { high, low: rest / x }
    }
}

/// A sum with the roundings carried beside it (Neumaier).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CompensatedSum {
    sum: f64,
    rest: f64,
}

impl CompensatedSum {
    /// Adds a term.
    pub(super) fn add(&mut self, term: f64) {
        let TwoFloats { high, low } = TwoFloats::sum(self.sum, term);
        self.sum = high;
        self.rest += low;
    }

    /// The sum.
    pub(super) fn total(&self) -> f64 {
        self.sum + self.rest
    }
}
