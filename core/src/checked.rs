//! Numbers that were checked when they were made.

use crate::Error;

macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $error:ident, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            /// Checks the number.
            ///
            /// # Errors
            #[doc = concat!("[`Error::", stringify!($error), "`] where it is not what the type says.")]
            pub fn new(value: f64) -> Result<Self, Error> {
                let ok: fn(f64) -> bool = $ok;
                if ok(value) { Ok(Self(value)) } else { Err(Error::$error { found: value }) }
            }

            /// A literal of this crate, which a test checks.
            pub(crate) const fn literal(value: f64) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> f64 {
                self.0
            }
        }
    };
}

checked! {
    /// A softmax temperature: finite and above 0 (from 2.3e-308, so that its reciprocal is a number).
    ///
    /// ```
    /// use densekd_core::Temperature;
    /// assert_eq!(Temperature::new(4.0)?.get(), 4.0);
    /// assert!(Temperature::new(f64::NAN).is_err());
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    Temperature, Temperature, |x| x.is_finite() && x >= 4.0 / f64::MAX
}

checked! {
    /// The weight of a term: any finite number.
    ///
    /// ```
    /// use densekd_core::Weight;
    /// assert!(Weight::new(3.0).is_ok() && Weight::new(f64::INFINITY).is_err());
    /// ```
    Weight, Weight, f64::is_finite
}

checked! {
    /// A number added inside logarithms: finite, at least 0.
    ///
    /// ```
    /// use densekd_core::Epsilon;
    /// assert!(Epsilon::new(1e-5).is_ok() && Epsilon::new(-1.0).is_err());
    /// ```
    Epsilon, Epsilon, |x| x.is_finite() && x >= 0.0
}

checked! {
    /// The gradient that arrives from above (1, or a loss scale): any finite number.
    ///
    /// ```
    /// use densekd_core::Upstream;
    /// assert!(Upstream::new(65536.0).is_ok() && Upstream::new(f64::NAN).is_err());
    /// ```
    Upstream, Upstream, f64::is_finite
}

checked! {
    /// A share: from 0 to 1.
    ///
    /// ```
    /// use densekd_core::Share;
    /// assert!(Share::new(0.1).is_ok() && Share::new(1.5).is_err());
    /// ```
    Share, Share, |x| (0.0..=1.0).contains(&x)
}

impl Weight {
    /// The weight 1.
    pub const ONE: Self = Self::literal(1.0);
}

impl Epsilon {
    /// No epsilon.
    pub const ZERO: Self = Self::literal(0.0);
}

impl Upstream {
    /// The upstream gradient 1.
    pub const ONE: Self = Self::literal(1.0);
}

impl Temperature {
    /// The temperature 1: a plain softmax.
    pub const ONE: Self = Self::literal(1.0);
    /// The temperature 4, the default of channel-wise distillation.
    pub const FOUR: Self = Self::literal(4.0);
}
