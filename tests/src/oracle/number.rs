//! Real numbers long enough to be exact for every purpose here, with the infinities and NaN.

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Neg, Sub};

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;

/// Bits of every number's significand.
///
/// A divergence loses the square of the distance: with logits that differ by 1e-42 (f32 subnormals) it is
/// 1e-84, what is summed is 1e-42, and 16 digits of it need 100 decimal places. 512 bits give 154, enough
/// for divergences down to 1e-130 with logits of any size that still carry mass.
pub const BITS: usize = 512;

/// Arguments below this have an exponential under 10^-2171: no product with what f64 inputs can make brings
/// it back into the range of f64, and the exponent of the big float stays small.
const NO_EXPONENTIAL: f64 = -5000.0;

/// Sums that stay below 2^-440 (4e-133) although their terms were not are the rounding of those terms.
const NOISE_EXPONENT: isize = -440;

type Real = FBig<HalfEven, 2>;

/// A real number of [`BITS`] bits, an infinity or NaN; arithmetic follows IEEE 754 where it is not real.
#[derive(Clone, Debug)]
pub(super) enum Number {
    /// Not a number.
    Nan,
    /// Plus or minus infinity.
    Infinite {
        /// Whether it is minus infinity.
        negative: bool,
    },
    /// A real number.
    Finite(Real),
}

use Number::{Finite, Infinite, Nan};

impl From<f64> for Number {
    /// Exact.
    fn from(x: f64) -> Self {
        Self::with_bits(x, BITS)
    }
}

impl From<usize> for Number {
    /// Exact.
    fn from(n: usize) -> Self {
        Finite(Real::from(n).with_precision(BITS).value())
    }
}

impl Number {
    /// Exact, and with so many bits (at least the 53 of an f64) in what is computed from it and its like.
    pub(super) fn with_bits(x: f64, bits: usize) -> Self {
        match Real::try_from(x) {
            Ok(real) if x.is_finite() => Finite(real.with_precision(bits).value()),
            _ if x.is_infinite() => Infinite { negative: x < 0.0 },
            _ => Nan,
        }
    }

    /// 0.
    pub(super) fn zero() -> Self {
        Self::from(0.0)
    }

    /// 1.
    pub(super) fn one() -> Self {
        Self::from(1.0)
    }

    /// -inf, the logarithm of 0.
    pub(super) const MINUS_INFINITY: Self = Infinite { negative: true };

    /// The nearest f64; infinite beyond the range.
    pub(super) fn to_f64(&self) -> f64 {
        match self {
            Nan => f64::NAN,
            Infinite { negative } => {
                if *negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            // The sum has no minus zero.
            Finite(x) => x.to_f64().value() + 0.0,
        }
    }

    /// Whether it is a real number.
    pub(super) fn is_finite(&self) -> bool {
        matches!(self, Finite(_))
    }

    /// Whether it is NaN.
    pub(super) fn is_nan(&self) -> bool {
        matches!(self, Nan)
    }

    /// Whether it is -inf.
    pub(super) fn is_minus_infinity(&self) -> bool {
        matches!(self, Infinite { negative: true })
    }

    /// Whether it is +inf.
    pub(super) fn is_plus_infinity(&self) -> bool {
        matches!(self, Infinite { negative: false })
    }

    /// Whether it is 0.
    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Finite(x) if *x == Real::ZERO)
    }

    /// Whether it is below 0.
    pub(super) fn is_negative(&self) -> bool {
        match self {
            Nan => false,
            Infinite { negative } => *negative,
            Finite(x) => *x < Real::ZERO,
        }
    }

    /// The larger of two numbers, NaN if one is.
    pub(super) fn max(self, other: &Self) -> Self {
        match &self - other {
            // Equal infinities.
            Nan if !self.is_nan() && !other.is_nan() => self,
            difference if difference.is_negative() => other.clone(),
            difference if difference.is_nan() => Nan,
            _ => self,
        }
    }

    /// e^x for x <= 0 (or a little above).
    pub(super) fn exp(&self) -> Self {
        match self {
            Nan => Nan,
            Infinite { negative: true } => Self::zero(),
            Infinite { negative: false } => self.clone(),
            Finite(x) if x.to_f64().value() < NO_EXPONENTIAL => Self::zero(),
            // e^0 is exact, of no bits at all, and nothing could be divided by it.
            Finite(x) => Finite(x.exp().with_precision(x.precision()).value()),
        }
    }

    /// log x; -inf for 0.
    pub(super) fn ln(&self) -> Self {
        match self {
            _ if self.is_zero() => Self::MINUS_INFINITY,
            _ if self.is_nan() || self.is_negative() => Nan,
            Finite(x) => Finite(x.ln()),
            infinite => infinite.clone(),
        }
    }

    /// The root of x >= 0.
    pub(super) fn sqrt(&self) -> Self {
        match self {
            _ if self.is_zero() => self.clone(),
            _ if self.is_nan() || self.is_negative() => Nan,
            Finite(x) => x.context().sqrt(x.repr()).map_or(Nan, |root| Finite(root.value())),
            infinite => infinite.clone(),
        }
    }

    /// The magnitude.
    pub(super) fn abs(&self) -> Self {
        if self.is_negative() { -self } else { self.clone() }
    }

    /// x^n by repeated multiplication.
    pub(super) fn power(&self, n: usize) -> Self {
        (1..n).fold(self.clone(), |power, _| power * self)
    }

    /// 0 for what is left when terms cancel that exact arithmetic would cancel.
    pub(super) fn without_noise(self) -> Self {
        let noise = Real::from_parts(1.into(), NOISE_EXPONENT);
        match self {
            Finite(x) if x < noise && x > -noise => Self::zero(),
            other => other,
        }
    }
}

fn add(a: &Number, b: &Number) -> Number {
    match (a, b) {
        (Finite(a), Finite(b)) => Finite(a + b),
        (Infinite { negative: a }, Infinite { negative: b }) if a != b => Nan,
        (Nan, _) | (_, Nan) => Nan,
        (Infinite { negative }, _) | (_, Infinite { negative }) => Infinite { negative: *negative },
    }
}

fn sub(a: &Number, b: &Number) -> Number {
    add(a, &-b)
}

fn mul(a: &Number, b: &Number) -> Number {
    match (a, b) {
        (Finite(a), Finite(b)) => Finite(a * b),
        (Nan, _) | (_, Nan) => Nan,
        _ if a.is_zero() || b.is_zero() => Nan,
        _ => Infinite { negative: a.is_negative() != b.is_negative() },
    }
}

fn div(a: &Number, b: &Number) -> Number {
    match (a, b) {
        (_, Finite(_)) if b.is_zero() => Nan,
        (Finite(a), Finite(b)) => Finite(a / b),
        (Infinite { .. }, Finite(_)) => Infinite { negative: a.is_negative() != b.is_negative() },
        (Finite(_), Infinite { .. }) => Number::zero(),
        _ => Nan,
    }
}

impl Neg for &Number {
    type Output = Number;

    fn neg(self) -> Number {
        match self {
            Nan => Nan,
            Infinite { negative } => Infinite { negative: !negative },
            Finite(x) => Finite(-x),
        }
    }
}

impl Neg for Number {
    type Output = Self;

    fn neg(self) -> Self {
        -&self
    }
}

/// An operator between numbers and references to them, so that formulas stay legible.
macro_rules! operator {
    ($($operator:ident $method:ident),*) => {$(
        impl $operator<&Number> for &Number {
            type Output = Number;

            fn $method(self, other: &Number) -> Number {
                $method(self, other)
            }
        }

        impl $operator<Number> for &Number {
            type Output = Number;

            fn $method(self, other: Number) -> Number {
                $method(self, &other)
            }
        }

        impl $operator<&Number> for Number {
            type Output = Number;

            fn $method(self, other: &Number) -> Number {
                $method(&self, other)
            }
        }

        impl $operator for Number {
            type Output = Number;

            fn $method(self, other: Number) -> Number {
                $method(&self, &other)
            }
        }
    )*};
}

operator!(Add add, Sub sub, Mul mul, Div div);

impl Sum for Number {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        // Not from 0: it would bring its own bits.
        terms.reduce(|sum, term| sum + term).unwrap_or_else(Self::zero)
    }
}
