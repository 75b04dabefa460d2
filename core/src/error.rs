//! One type for each way in which a request can be wrong. Every other layer (files, C, Python, the command
//! line) maps this list and adds its own.

use crate::{Divergence, Divisor, Norm};
use core::fmt;

/// What was wrong with a request, with the value found and the way out in its text.
///
/// Nothing is written to any output when one of these is returned.
///
/// ```
/// use densekd_core::{Error, Temperature};
/// let error = Temperature::new(0.0).unwrap_err();
/// assert_eq!(error, Error::Temperature { found: 0.0 });
/// assert_eq!(error.code(), "temperature");
/// assert!(error.to_string().contains("tau is 0"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The temperature is not finite, not above 0, or so small that its reciprocal is not a number.
    Temperature {
        /// The temperature given.
        found: f64,
    },
    /// The weight is not finite.
    Weight {
        /// The weight given.
        found: f64,
    },
    /// The epsilon inside the logarithms is not finite or negative.
    Epsilon {
        /// The epsilon given.
        found: f64,
    },
    /// A share is not from 0 to 1.
    Share {
        /// The share given.
        found: f64,
    },
    /// The upstream gradient is not finite.
    Upstream {
        /// The upstream gradient given.
        found: f64,
    },
    /// A dimension is 0.
    EmptyDimension {
        /// The shape given, `[N, C, H, W]`.
        shape: [usize; 4],
    },
    /// The number of elements does not fit in an address.
    TooLarge {
        /// The shape given, `[N, C, H, W]`.
        shape: [usize; 4],
    },
    /// Teacher and student have different shapes.
    ShapeMismatch {
        /// The teacher's shape, `[N, C, H, W]`.
        teacher: [usize; 4],
        /// The student's shape, `[N, C, H, W]`.
        student: [usize; 4],
    },
    /// A buffer does not have the length that the plan asks for.
    Length {
        /// Which buffer.
        buffer: &'static str,
        /// Its length.
        found: usize,
        /// The length asked for.
        wanted: usize,
    },
    /// Logarithmic divergences need a distribution, and this normalisation does not make one.
    NotADistribution {
        /// The normalisation given.
        norm: Norm,
        /// The divergence given.
        divergence: Divergence,
    },
    /// `eps` stands inside logarithms that this divergence does not have.
    EpsilonUnused {
        /// The divergence given.
        divergence: Divergence,
    },
    /// `ignore = after` is defined for KL divergence and cross-entropy with `eps = 0` on a distribution.
    IgnoreAfter {
        /// The divergence given.
        divergence: Divergence,
    },
    /// Labels or a mask together with `upsample`.
    MaskWithUpsample,
    /// `upsample` with a normalisation other than `spatial`, or a factor of 0.
    Upsample {
        /// The normalisation given.
        norm: Norm,
        /// The factor given.
        factor: usize,
    },
    /// A loss of positions is divided by something other than `sum`, `batch` or `batch_positions`.
    Divisor {
        /// The divisor given.
        found: Divisor,
    },
    /// A gradient was asked of statistics that belong to another plan or were not filled.
    Statistics {
        /// The row whose statistics do not fit.
        row: usize,
    },
    /// The loss compares with a teacher, and none was given.
    TeacherMissing,
    /// The loss has no gradient to the teacher.
    TeacherGradient,
    /// The loss takes classes from labels, and none were given.
    LabelsMissing,
    /// A label that is neither a class nor the ignore index.
    Label {
        /// The label.
        found: i64,
        /// Where it stands in `[N, HL, WL]`.
        position: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// A map is too small for a pixel with all 8 neighbours, or for any pair of pixels.
    Border {
        /// H of the map.
        height: usize,
        /// W of the map.
        width: usize,
    },
    /// The loss does not take this input.
    Unused {
        /// The input.
        input: &'static str,
    },
    /// A prepared teacher was made for another temperature or another shape.
    Prepared,
    /// The gradient cannot take the student's place.
    InPlace {
        /// What is asked for besides.
        asked: &'static str,
    },
}

impl Error {
    /// A short stable name for machines, the same in every language and in JSON.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Temperature { .. } => "temperature",
            Self::Weight { .. } => "weight",
            Self::Epsilon { .. } => "epsilon",
            Self::Share { .. } => "share",
            Self::Upstream { .. } => "upstream",
            Self::EmptyDimension { .. } => "empty_dimension",
            Self::TooLarge { .. } => "too_large",
            Self::ShapeMismatch { .. } => "shape_mismatch",
            Self::Length { .. } => "length",
            Self::NotADistribution { .. } => "not_a_distribution",
            Self::EpsilonUnused { .. } => "epsilon_unused",
            Self::IgnoreAfter { .. } => "ignore_after",
            Self::MaskWithUpsample => "mask_with_upsample",
            Self::Upsample { .. } => "upsample",
            Self::Divisor { .. } => "divisor",
            Self::Statistics { .. } => "statistics",
            Self::TeacherMissing => "teacher_missing",
            Self::TeacherGradient => "teacher_gradient",
            Self::LabelsMissing => "labels_missing",
            Self::Label { .. } => "label",
            Self::Border { .. } => "border",
            Self::Unused { .. } => "unused",
            Self::Prepared => "prepared",
            Self::InPlace { .. } => "in_place",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temperature { found } => {
                write!(f, "tau is {found:?}, but a temperature is a finite number above 0: try --tau 4")
            }
            Self::Weight { found } => write!(f, "weight is {found:?}, but it must be finite"),
            Self::Epsilon { found } => write!(f, "eps is {found:?}, but it must be finite and at least 0"),
            Self::Share { found } => write!(f, "a share is {found:?}, but it must be from 0 to 1"),
            Self::Upstream { found } => {
                write!(f, "the upstream gradient is {found:?}, but it must be finite: skip this step")
            }
            Self::EmptyDimension { shape } => {
                write!(
                    f,
                    "shape {shape:?} ([N, C, H, W]) has no elements: every dimension must be at least 1"
                )
            }
            Self::TooLarge { shape } => write!(f, "shape {shape:?} ([N, C, H, W]) does not fit in memory"),
            Self::ShapeMismatch { teacher, student } => {
                write!(f, "teacher is {teacher:?} but student is {student:?}: ")?;
                f.write_str(if teacher[1] == student[1] {
                    "resize one of them first"
                } else {
                    "align the channels first, for instance by a 1x1 convolution"
                })
            }
            Self::Length { buffer, found, wanted } => {
                write!(f, "{buffer} holds {found} elements, but the plan asks for {wanted}")
            }
            Self::NotADistribution { norm, divergence } => write!(
                f,
                "{divergence} compares distributions, but norm {norm} does not make one: use divergence mse, or \
                 norm channel or spatial"
            ),
            Self::EpsilonUnused { divergence } => {
                write!(
                    f,
                    "eps stands inside the logarithms of kl and ce, and {divergence} has none: set eps to 0"
                )
            }
            Self::IgnoreAfter { divergence } => write!(
                f,
                "ignore after is defined for kl and ce with eps 0 on norm channel or spatial, not for {divergence} \
                 as given: use ignore before"
            ),
            Self::MaskWithUpsample => {
                f.write_str("labels or a mask cannot be combined with upsample: resize the maps first")
            }
            Self::Upsample { norm, factor } => write!(
                f,
                "upsample {factor} with norm {norm} is not defined: the factor must be at least 1 and the norm spatial"
            ),
            Self::Divisor { found } => {
                write!(f, "divisor {found} is not defined for this loss: use sum, batch or batch_positions")
            }
            Self::Statistics { row } => {
                write!(f, "the statistics of row {row} were not made by this plan: run the loss first")
            }
            Self::TeacherMissing => f.write_str("this loss compares with a teacher: give its map"),
            Self::TeacherGradient => {
                f.write_str("this loss has no gradient to the teacher: ask for the student's alone")
            }
            Self::LabelsMissing => f.write_str("this loss takes classes from labels: give them ([N, H, W])"),
            Self::Label { found, position, classes } => write!(
                f,
                "label {found} at {position} is neither a class (0 to {}) nor ignore_index: correct it, or set ignore_index",
                classes.saturating_sub(1)
            ),
            Self::Border { height, width } => write!(
                f,
                "a map of {height} x {width} has no pixel with all its neighbours: use border clip, or a map of at least \
                 3 x 3 (2 pixels with clip)"
            ),
            Self::Unused { input } => write!(f, "this loss does not take {input}: leave it out"),
            Self::Prepared => f.write_str(
                "the prepared teacher was made for another temperature or shape: prepare it with this plan",
            ),
            Self::InPlace { asked } => write!(
                f,
                "the gradient cannot take the student's place with {asked}: keep the student, and give the gradient a \
                 tensor of its own"
            ),
        }
    }
}

impl core::error::Error for Error {}
