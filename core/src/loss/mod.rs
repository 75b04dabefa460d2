//! Every loss by name. A map loss is one file here: its options, its source and its formula.

mod at;
mod dist;
mod dkd;
mod ho;
mod ifvd;
mod la;
mod mimic;
mod pa;
mod pearson;
mod pkd;
mod rkd;
mod smooth_ce;

pub use at::{AtMode, AtOptions};
pub use dist::DistOptions;
pub use dkd::DkdOptions;
pub use ho::{HoAdversary, HoOptions, HoRole};
pub use ifvd::IfvdOptions;
pub use la::{LaBorder, LaMode, LaOptions};
pub use mimic::MimicOptions;
pub use pa::{PaEpsMode, PaOptions, PaPool};
pub use pkd::PkdOptions;
pub use rkd::RkdOptions;
pub use smooth_ce::SmoothCeOptions;

use crate::map::{Explain, Formula, MapPlan, Needs, Shapes};
use crate::names::UnknownName;
use crate::{Error, Field, OptionError, OptionValue, Order, Plan, Preset, Recipe, RowOptions, Shape};
use core::fmt;

/// What a loss is, in words.
///
/// ```
/// assert!(densekd_core::Loss::At.about().summary.contains("attention"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The name used in options and reports.
    pub name: &'static str,
    /// The loss in one line.
    pub summary: &'static str,
    /// Where the formula comes from.
    pub source: &'static str,
}

/// The registry: a map loss is known everywhere by its line here.
macro_rules! losses {
    ($($(#[$doc:meta])* $variant:ident: $options:ty),+ $(,)?) => {
        /// A named loss.
        ///
        /// ```
        /// use densekd_core::Loss;
        /// assert_eq!("cwd".parse(), Ok(Loss::Cwd));
        /// assert!("kdw".parse::<Loss>().unwrap_err().to_string().starts_with("loss must be one of cwd, pi"));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Loss {
            /// Channel-wise distillation.
            Cwd,
            /// Pixel-wise distillation.
            Pi,
            $($(#[$doc])* $variant),+
        }

        impl Loss {
            /// Every loss.
            pub const ALL: &'static [Self] = &[Self::Cwd, Self::Pi, $(Self::$variant),+];

            /// Every name, in the order of [`Self::ALL`].
            pub const NAMES: &'static [&'static str] =
                &[CWD.name, PI.name, $(<$options>::ABOUT.name),+];

            /// What it is.
            pub const fn about(self) -> &'static About {
                match self {
                    Self::Cwd => &CWD,
                    Self::Pi => &PI,
                    $(Self::$variant => &<$options>::ABOUT),+
                }
            }

            /// The defaults, with weight 1.
            pub const fn defaults(self) -> Options {
                match self {
                    Self::Cwd => Options::Cwd(RowOptions::CWD),
                    Self::Pi => Options::Pi(RowOptions::PI),
                    $(Self::$variant => Options::Map(MapOptions::$variant(<$options>::DEFAULT))),+
                }
            }
        }

        /// The presets of each map loss.
        pub(crate) const MAP_PRESETS: &[&[Preset]] = &[$(<$options>::PRESETS),+];

        /// The options of a map loss.
        ///
        /// ```
        /// use densekd_core::{AtOptions, MapOptions};
        /// assert_eq!(MapOptions::At(AtOptions::DEFAULT).loss().name(), "at");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum MapOptions { $($(#[$doc])* $variant($options)),+ }

        impl MapOptions {
            /// The loss that they are of.
            pub const fn loss(&self) -> Loss {
                match self { $(Self::$variant(_) => Loss::$variant),+ }
            }

            /// Every option.
            pub const fn fields(&self) -> &'static [Field] {
                match self { $(Self::$variant(_) => <$options>::FIELDS),+ }
            }

            /// The value of the option of this name.
            pub fn get(&self, name: &str) -> Option<OptionValue<'static>> {
                match self { $(Self::$variant(options) => options.get(name)),+ }
            }

            /// Sets the option of this name.
            ///
            /// # Errors
            /// [`OptionError`] where there is none, or it cannot have this value.
            pub fn set(&mut self, name: &str, value: OptionValue<'_>) -> Result<(), OptionError> {
                match self { $(Self::$variant(options) => options.set(name, value)),+ }
            }

            fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$variant(options) => options.explain(f)),+ }
            }

            pub(crate) const fn formula(&self) -> &dyn Formula {
                match self { $(Self::$variant(options) => options),+ }
            }
        }
    };
}

losses! {
    /// Attention transfer.
    At: AtOptions,
    /// Local affinity.
    La: LaOptions,
    /// Pair-wise affinity.
    Pa: PaOptions,
    /// Intra-class feature variation.
    Ifvd: IfvdOptions,
    /// Feature mimicking.
    Mimic: MimicOptions,
    /// Pearson correlation of channels.
    Pkd: PkdOptions,
    /// Holistic distillation.
    Ho: HoOptions,
    /// Relations between classes and between positions.
    Dist: DistOptions,
    /// Decoupled distillation.
    Dkd: DkdOptions,
    /// Relations between images.
    Rkd: RkdOptions,
    /// Cross-entropy with smoothed labels.
    SmoothCe: SmoothCeOptions,
}

const CWD: About = About {
    name: "cwd",
    summary: "channel-wise distillation: KL divergence of each channel's softmax over positions",
    source: "arXiv 2011.13256",
};

const PI: About = About {
    name: "pi",
    summary: "pixel-wise distillation: KL divergence of each position's softmax over channels",
    source: "arXiv 1503.02531, on pixels arXiv 1903.04197",
};

impl Loss {
    /// The name used in options and reports.
    pub const fn name(self) -> &'static str {
        self.about().name
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for Loss {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let named = Self::ALL.iter().find(|loss| loss.name() == name);
        named.copied().ok_or(UnknownName { option: "loss", names: Self::NAMES })
    }
}

/// A loss and its settings, whichever family it is of.
///
/// ```
/// use densekd_core::{Loss, OptionValue};
/// let mut options = Loss::At.defaults();
/// options.set("p", OptionValue::Integer(4))?;
/// assert_eq!(options.loss(), Loss::At);
/// assert_eq!(options.get("p"), Some(OptionValue::Integer(4)));
/// assert!(options.set("tau", OptionValue::Integer(4)).is_err());
/// # Ok::<(), densekd_core::OptionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Options {
    /// Channel-wise distillation.
    Cwd(RowOptions),
    /// Pixel-wise distillation.
    Pi(RowOptions),
    /// A loss of whole maps.
    Map(MapOptions),
}

impl Options {
    /// The loss that they are of.
    pub const fn loss(&self) -> Loss {
        match self {
            Self::Cwd(_) => Loss::Cwd,
            Self::Pi(_) => Loss::Pi,
            Self::Map(options) => options.loss(),
        }
    }

    /// Every option.
    pub const fn fields(&self) -> &'static [Field] {
        match self {
            Self::Cwd(_) | Self::Pi(_) => RowOptions::FIELDS,
            Self::Map(options) => options.fields(),
        }
    }

    /// The value of the option of this name.
    pub fn get(&self, name: &str) -> Option<OptionValue<'static>> {
        match self {
            Self::Cwd(options) | Self::Pi(options) => options.get(name),
            Self::Map(options) => options.get(name),
        }
    }

    /// Sets the option of this name.
    ///
    /// # Errors
    /// [`OptionError`] where there is none, or it cannot have this value.
    pub fn set(&mut self, name: &str, value: OptionValue<'_>) -> Result<(), OptionError> {
        match self {
            Self::Cwd(options) | Self::Pi(options) => options.set(name, value),
            Self::Map(options) => options.set(name, value),
        }
    }

    /// Those of a row loss.
    pub const fn row(&self) -> Option<&RowOptions> {
        match self {
            Self::Cwd(options) | Self::Pi(options) => Some(options),
            Self::Map(_) => None,
        }
    }

    /// Whether the loss compares with a teacher.
    ///
    /// ```
    /// assert!(densekd_core::Loss::At.defaults().takes_teacher());
    /// ```
    pub fn takes_teacher(&self) -> bool {
        self.needs().teacher
    }

    /// Whether the loss takes classes from labels, which it then cannot do without.
    ///
    /// ```
    /// assert!(!densekd_core::Loss::At.defaults().takes_labels());
    /// ```
    pub fn takes_labels(&self) -> bool {
        self.needs().labels
    }

    /// Whether positions can be left out: by a mask, or by labels with the ignore index.
    ///
    /// ```
    /// use densekd_core::Loss;
    /// assert!(Loss::Cwd.defaults().takes_mask() && Loss::Ifvd.defaults().takes_mask());
    /// assert!(!Loss::At.defaults().takes_mask());
    /// ```
    pub fn takes_mask(&self) -> bool {
        self.row().is_some() || self.takes_labels()
    }

    /// Whether the loss takes a 1x1 convolution of the student.
    ///
    /// ```
    /// assert!(!densekd_core::Loss::At.defaults().takes_projection());
    /// ```
    pub fn takes_projection(&self) -> bool {
        self.needs().projection
    }

    fn needs(&self) -> Needs {
        match self {
            Self::Cwd(_) | Self::Pi(_) => Needs::TEACHER,
            Self::Map(options) => options.formula().needs(),
        }
    }
}

/// The formula in full, with its divisor and these settings.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cwd(options) | Self::Pi(options) => options.explain(f),
            Self::Map(options) => options.explain(f),
        }
    }
}

/// A loss on a pair of shapes, of either family.
///
/// ```
/// use densekd_core::{Loss, Order, Shape, Term};
/// let shape = Shape::new([2, 19, 8, 8])?;
/// assert!(matches!(Term::new(Loss::Cwd.defaults(), shape, shape, Order::Nchw)?, Term::Row(_)));
/// assert!(matches!(Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)?, Term::Map(_)));
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// A row loss.
    Row(Plan),
    /// A loss of whole maps.
    Map(MapPlan),
}

impl Term {
    /// Checks that the options go together and that the loss is defined on the shapes.
    ///
    /// # Errors
    /// Those of [`Recipe::new`] and [`Plan::new`]; [`Error::ShapeMismatch`], [`Error::Border`].
    pub fn new(options: Options, student: Shape, teacher: Shape, order: Order) -> Result<Self, Error> {
        let shapes = Shapes { teacher, student };
        match options {
            Options::Cwd(options) | Options::Pi(options) => {
                shapes.same()?;
                Ok(Self::Row(Plan::new(Recipe::new(options)?, student, order)?))
            }
            Options::Map(options) => Ok(Self::Map(MapPlan::new(options, shapes, order)?)),
        }
    }
}
