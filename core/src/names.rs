//! Choices by name: one list of names for Rust, files, C, Python and the command line.

use core::fmt;

/// A name that an option does not have, with those that it has.
///
/// ```
/// use densekd_core::Norm;
/// let error = "pixel".parse::<Norm>().unwrap_err();
/// assert_eq!(error.to_string(), "norm must be one of channel, spatial, channel_mean, none");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The option.
    pub option: &'static str,
    /// Its names.
    pub names: &'static [&'static str],
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be one of ", self.option)?;
        for (i, name) in self.names.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownName {}

macro_rules! choice {
    ($(#[$doc:meta])* $type:ident, $option:literal { $($(#[$item:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$item])* $variant),+ }

        impl $type {
            /// Every choice.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Every name, in the order of [`Self::ALL`].
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name used in options, files and reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::options::OptionType for $type {
            const WANTED: &'static str = "one of its names";
            const NAMES: &'static [&'static str] = Self::NAMES;
            fn from_value(value: $crate::OptionValue<'_>) -> Result<Self, $crate::options::Refusal> {
                match value {
                    $crate::OptionValue::Name(name) => name.parse().map_err($crate::options::Refusal::Name),
                    _ => Err($crate::options::Refusal::Kind),
                }
            }
            fn to_value(self) -> $crate::OptionValue<'static> {
                $crate::OptionValue::Name(self.name())
            }
        }

        impl core::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownName { option: $option, names: Self::NAMES }),
                }
            }
        }
    };
}
pub(crate) use choice;
