//! Options by name: one list of them for Rust, files, C, Python and the command line.

use crate::{Epsilon, Error, Share, Temperature, UnknownName, Weight};
use core::fmt;
use core::num::{NonZeroU32, NonZeroUsize};

/// The value of an option as files and flags give it.
///
/// ```
/// use densekd_core::{Loss, OptionValue};
/// let mut options = Loss::Cwd.defaults();
/// options.set("tau", OptionValue::Integer(2))?;
/// assert_eq!(options.get("tau"), Some(OptionValue::Number(2.0)));
/// # Ok::<(), densekd_core::OptionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionValue<'a> {
    /// Not given, where an option may be left out.
    Null,
    /// Yes or no.
    Flag(bool),
    /// A whole number, also accepted where a number is wanted.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A name of a choice.
    Name(&'a str),
    /// Two whole numbers: height and width.
    Pair([i64; 2]),
}

impl fmt::Display for OptionValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Number(number) => fmt::Debug::fmt(number, f),
            Self::Name(name) => f.write_str(name),
            Self::Pair(pair) => fmt::Debug::fmt(pair, f),
        }
    }
}

/// An option of a loss: its name, what it means, what it may be.
///
/// ```
/// let fields = densekd_core::Loss::Cwd.defaults().fields();
/// assert!(fields.iter().any(|field| field.name == "tau"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in options, files and reports.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What it may be, in words.
    pub wanted: &'static str,
    /// The names that it may have, where it is a choice.
    pub names: &'static [&'static str],
}

/// Why an option cannot be set.
///
/// ```
/// use densekd_core::{Loss, OptionValue};
/// let error = Loss::Cwd.defaults().set("tau", OptionValue::Flag(true)).unwrap_err();
/// assert_eq!(error.to_string(), "tau must be a finite number above 0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptionError {
    /// The loss has no option of this name.
    Unknown {
        /// Those that it has.
        known: &'static [Field],
    },
    /// The value is of another kind.
    Kind {
        /// The option.
        option: &'static str,
        /// What it may be.
        wanted: &'static str,
    },
    /// A number outside its range.
    Value(Error),
    /// A name that the option does not have.
    Name(UnknownName),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { known } => {
                f.write_str("this loss has no such option, but has ")?;
                for (i, field) in known.iter().enumerate() {
                    f.write_str(if i > 0 { ", " } else { "" })?;
                    f.write_str(field.name)?;
                }
                Ok(())
            }
            Self::Kind { option, wanted } => write!(f, "{option} must be {wanted}"),
            Self::Value(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OptionError {}

/// Why a value is not one of a type: without the option's name, which the type does not know.
pub(crate) enum Refusal {
    Kind,
    Value(Error),
    Name(UnknownName),
}

/// A type that options have.
pub(crate) trait OptionType: Copy {
    const WANTED: &'static str;
    const NAMES: &'static [&'static str] = &[];
    fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal>;
    fn to_value(self) -> OptionValue<'static>;
}

macro_rules! number {
    ($($type:ident: $wanted:literal),+) => {$(
        impl OptionType for $type {
            const WANTED: &'static str = $wanted;
            #[allow(clippy::cast_precision_loss, reason = "a whole number of that size is no setting")]
            fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal> {
                match value {
                    OptionValue::Number(x) => $type::new(x).map_err(Refusal::Value),
                    OptionValue::Integer(x) => $type::new(x as f64).map_err(Refusal::Value),
                    _ => Err(Refusal::Kind),
                }
            }
            fn to_value(self) -> OptionValue<'static> {
                OptionValue::Number(self.get())
            }
        }
    )+};
}

number! {
    Temperature: "a finite number above 0",
    Weight: "a finite number",
    Epsilon: "a finite number of at least 0",
    Share: "a number from 0 to 1"
}

macro_rules! count {
    ($($type:ty => $number:ty),+) => {$(
        impl OptionType for $type {
            const WANTED: &'static str = "an integer of at least 1";
            fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal> {
                let OptionValue::Integer(number) = value else { return Err(Refusal::Kind) };
                <$number>::try_from(number).ok().and_then(Self::new).ok_or(Refusal::Kind)
            }
            fn to_value(self) -> OptionValue<'static> {
                i64::try_from(self.get()).map_or(OptionValue::Null, OptionValue::Integer)
            }
        }
    )+};
}

count!(NonZeroUsize => usize, NonZeroU32 => u32);

impl OptionType for bool {
    const WANTED: &'static str = "true or false";
    fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal> {
        if let OptionValue::Flag(flag) = value { Ok(flag) } else { Err(Refusal::Kind) }
    }
    fn to_value(self) -> OptionValue<'static> {
        OptionValue::Flag(self)
    }
}

impl OptionType for i64 {
    const WANTED: &'static str = "an integer";
    fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal> {
        if let OptionValue::Integer(number) = value { Ok(number) } else { Err(Refusal::Kind) }
    }
    fn to_value(self) -> OptionValue<'static> {
        OptionValue::Integer(self)
    }
}

macro_rules! optional {
    ($($type:ty: $wanted:literal),+) => {$(
        impl OptionType for Option<$type> {
            const WANTED: &'static str = $wanted;
            fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal> {
                if value == OptionValue::Null { Ok(None) } else { <$type>::from_value(value).map(Some) }
            }
            fn to_value(self) -> OptionValue<'static> {
                self.map_or(OptionValue::Null, OptionType::to_value)
            }
        }
    )+};
}

optional! {
    NonZeroUsize: "null or an integer of at least 1",
    Share: "null or a number from 0 to 1"
}

impl OptionType for Option<[NonZeroUsize; 2]> {
    const WANTED: &'static str = "null or two integers of at least 1";
    fn from_value(value: OptionValue<'_>) -> Result<Self, Refusal> {
        let pair = match value {
            OptionValue::Null => return Ok(None),
            OptionValue::Pair(pair) => {
                pair.map(|number| usize::try_from(number).ok().and_then(NonZeroUsize::new))
            }
            _ => return Err(Refusal::Kind),
        };
        match pair {
            [Some(height), Some(width)] => Ok(Some([height, width])),
            _ => Err(Refusal::Kind),
        }
    }
    fn to_value(self) -> OptionValue<'static> {
        let Some(pair) = self else { return OptionValue::Null };
        OptionValue::Pair(pair.map(|number| i64::try_from(number.get()).unwrap_or(i64::MAX)))
    }
}

/// What [`options!`] calls: the value into the field, the refusal under the option's name.
pub(crate) fn assign<T: OptionType>(
    to: &mut T,
    option: &'static str,
    value: OptionValue<'_>,
) -> Result<(), OptionError> {
    *to = T::from_value(value).map_err(|refusal| match refusal {
        Refusal::Kind => OptionError::Kind { option, wanted: T::WANTED },
        Refusal::Value(error) => OptionError::Value(error),
        Refusal::Name(error) => OptionError::Name(error),
    })?;
    Ok(())
}

/// A struct of options whose fields are also known by name.
macro_rules! options {
    ($(#[$doc:meta])* $type:ident {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ty = $default:expr),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $type { $($(#[doc = $help])+ pub $field: $kind),+ }

        impl $type {
            /// The defaults, with weight 1.
            pub const DEFAULT: Self = Self { $($field: $default),+ };

            /// Every option.
            pub const FIELDS: &'static [$crate::Field] = &[$($crate::Field {
                name: stringify!($field),
                help: concat!($($help),+),
                wanted: <$kind as $crate::options::OptionType>::WANTED,
                names: <$kind as $crate::options::OptionType>::NAMES,
            }),+];

            /// The value of the option of this name.
            pub fn get(&self, name: &str) -> Option<$crate::OptionValue<'static>> {
                match name {
                    $(stringify!($field) => Some($crate::options::OptionType::to_value(self.$field)),)+
                    _ => None,
                }
            }

            /// Sets the option of this name.
            ///
            /// # Errors
            /// [`OptionError`](crate::OptionError) where there is none, or it cannot have this value.
            pub fn set(&mut self, name: &str, value: $crate::OptionValue<'_>) -> Result<(), $crate::OptionError> {
                match name {
                    $(stringify!($field) => {
                        $crate::options::assign(&mut self.$field, stringify!($field), value)
                    })+
                    _ => Err($crate::OptionError::Unknown { known: Self::FIELDS }),
                }
            }
        }

        impl Default for $type {
            fn default() -> Self {
                Self::DEFAULT
            }
        }
    };
}
pub(crate) use options;
