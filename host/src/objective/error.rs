//! What can be wrong with an objective: where it stands, what it is, and the way out.

use crate::backend::BackendError;
use crate::io;
use densekd_core::{self as core, OptionError, UnknownName};
use std::fmt;
use std::path::PathBuf;

/// Why an objective could not be read or evaluated.
///
/// ```
/// use densekd::objective::Objective;
/// let text = "[[term]]\nname = \"logits\"\nloss = \"cwd\"\nstudent = \"logits\"\ntaau = 2.0\n";
/// let error = Objective::parse(text, "kd.toml").unwrap_err();
/// assert!(error.to_string().starts_with("kd.toml:5:1: `taau` of term `logits`: this loss has no such option"));
/// ```
#[derive(Debug)]
pub struct ObjectiveError(Box<(Place, Problem)>);

impl ObjectiveError {
    pub(super) fn new(place: Place, problem: Problem) -> Self {
        Self(Box::new((place, problem)))
    }

    /// Where.
    pub const fn place(&self) -> &Place {
        &self.0.0
    }

    /// What.
    pub const fn problem(&self) -> &Problem {
        &self.0.1
    }
}

/// Where something of an objective stands.
///
/// ```
/// use densekd::objective::Place;
/// let place = Place { term: Some("logits".into()), key: Some("tau".into()), ..Place::default() };
/// assert_eq!(place.to_string(), "`tau` of term `logits`");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, with line and column (counted in characters, from 1), where it was read from one.
    pub file: Option<(PathBuf, usize, usize)>,
    /// The term's name.
    pub term: Option<String>,
    /// The key, as in `resize.mode`.
    pub key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.key.is_some() || self.term.is_some();
        if let Some((file, line, column)) = &self.file {
            write!(f, "{}:{line}:{column}{}", file.display(), if named { ": " } else { "" })?;
        }
        match (&self.key, &self.term) {
            (Some(key), Some(term)) => write!(f, "`{key}` of term `{term}`"),
            (Some(key), None) => write!(f, "`{key}`"),
            (None, Some(term)) => write!(f, "term `{term}`"),
            (None, None) => Ok(()),
        }
    }
}

/// What is wrong at a place.
///
/// ```
/// use densekd::objective::{Objective, Problem};
/// let error = Objective::parse("", "kd.toml").unwrap_err();
/// assert!(matches!(error.problem(), Problem::NoTerms));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("it cannot be read ({0}); check the path")]
    Read(std::io::Error),
    /// The file is no TOML.
    #[error("this is no TOML: {0}")]
    Syntax(String),
    /// There is nothing to evaluate.
    #[error("there is no term: begin one with a line [[term]]")]
    NoTerms,
    /// A key that has no meaning here.
    #[error("there is no such key: use one of {0}")]
    UnknownKey(String),
    /// A key that must be there.
    #[error("it is missing: add {0}")]
    Missing(&'static str),
    /// A value of another kind.
    #[error("it must be {0}")]
    Kind(&'static str),
    /// Neither or both of `loss` and `preset`.
    #[error(
        "give exactly one of loss and preset: `densekd list losses` and `densekd list presets` name them"
    )]
    LossOrPreset,
    /// No preset has this name.
    #[error("no preset is named `{0}`: `densekd list presets` names them")]
    Preset(String),
    /// `align_corners` where there are no corners to align.
    #[error("align_corners belongs to bilinear, not to {0}: leave it out")]
    AlignCorners(&'static str),
    /// Two terms have one name.
    #[error("another term has this name ({0}): rename one of them")]
    Duplicate(Place),
    /// A name that a choice does not have.
    #[error(transparent)]
    Name(UnknownName),
    /// An option that the loss does not have, or that cannot have this value.
    #[error(transparent)]
    Option(OptionError),
    /// Options that do not go together, or maps that the loss is not defined on.
    #[error(transparent)]
    Request(core::Error),
    /// A tensor that cannot be read.
    #[error(transparent)]
    File(io::Error),
    /// No file or tensor of this name.
    #[error("{from} holds no tensor `{name}`, but {found}: correct the name")]
    NoTensor {
        /// The tensor.
        name: String,
        /// Where it was looked for.
        from: String,
        /// What is there instead, in words.
        found: String,
    },
    /// A folder with several files that could be meant.
    #[error("{from} holds {found}, each of which is `{name}`: move all but one away")]
    Ambiguous {
        /// The tensor.
        name: String,
        /// The folder.
        from: String,
        /// The files.
        found: String,
    },
    /// A tensor that is no map.
    #[error("`{name}` is {found:?}, but {wanted}: reshape it before it is saved")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What would do, in words.
        wanted: String,
    },
    /// A mask with a number other than 0 and 1.
    #[error(
        "`{name}` holds {found} at [n, y, x] = {position:?}, but a mask is 1 where a position counts and 0 elsewhere: \
         class labels go to labels"
    )]
    MaskValue {
        /// The mask.
        name: String,
        /// The number.
        found: i64,
        /// Where it stands.
        position: [usize; 3],
    },
    /// A resize to the size of a map that is not there.
    #[error(
        "there is no teacher whose height and width the map could take: name one by teacher, or leave resize out"
    )]
    NoPartner,
    /// The backend refused.
    #[error(transparent)]
    Backend(BackendError),
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Request(error) => Self::Request(error),
            error => Self::Backend(error),
        }
    }
}

impl fmt::Display for ObjectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.problem())
    }
}

impl std::error::Error for ObjectiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.problem())
    }
}
