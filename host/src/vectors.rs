//! Test vectors: the format, and what a case expects.
//!
//! The format is described in `golden/README.md` beside the vectors.

use crate::io::Values;
use densekd_core::{
    DType, Divergence, Divisor, Epsilon, Ignore, Norm, RowOptions, Samples, Temperature, Weight,
};
use serde::Deserialize;
use std::num::NonZeroUsize;

/// One case of a vector file.
///
/// ```
/// let file = r#"[{"name":"a","loss":"cwd","preset":null,"options":{"tau":1.0},"shape":[1,1,1,1],"dtype":"f32",
///   "teacher":[0.0],"student":["-inf"],"value":"inf","grad_student":[0.0],
///   "tolerance":{"value":[1e-6,0.0],"gradient":[1e-6,0.0],"scale":"row"},"note":""}]"#;
/// let cases = densekd::vectors::parse(file)?;
/// assert_eq!(cases[0].student, [f64::NEG_INFINITY]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Unique name.
    pub name: String,
    /// The loss: `cwd`, `pi`, ...
    pub loss: String,
    /// The preset whose settings `options` carries.
    #[serde(default)]
    pub preset: Option<String>,
    /// Every option of the loss.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// `[N, C, H, W]`, in this order in memory.
    pub shape: [usize; 4],
    /// The type to store the inputs in.
    pub dtype: String,
    /// The teacher's elements; none where the loss has no teacher.
    #[serde(default, deserialize_with = "numbers")]
    pub teacher: Vec<f64>,
    /// The student's elements.
    #[serde(deserialize_with = "numbers")]
    pub student: Vec<f64>,
    /// A label for every position.
    #[serde(default)]
    pub labels: Option<Vec<i64>>,
    /// 1 for every counted position.
    #[serde(default)]
    pub mask: Option<Vec<u8>>,
    /// The loss.
    #[serde(deserialize_with = "number")]
    pub value: f64,
    /// The gradient to the student for upstream gradient 1.
    #[serde(deserialize_with = "numbers")]
    pub grad_student: Vec<f64>,
    /// The gradient to the teacher, where the loss has one and the case gives it.
    #[serde(default, deserialize_with = "optional_numbers")]
    pub grad_teacher: Option<Vec<f64>>,
    /// What is tolerated in `f32` arithmetic.
    pub tolerance: Tolerance,
    /// Why the case is there.
    #[serde(default)]
    pub note: String,
}

/// What a case tolerates: `|got - want| <= r * scale + a` for `[r, a]`.
///
/// ```
/// use densekd::vectors::{Scale, Tolerance};
/// let tolerance = Tolerance { value: [1e-6, 0.0], gradient: [2e-6, 1e-9], scale: Scale::Row };
/// assert_eq!(tolerance.scale, Scale::Row);
/// ```
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Tolerance {
    /// Of the value, relative to it.
    pub value: [f64; 2],
    /// Of a gradient's entry, relative to `scale`.
    pub gradient: [f64; 2],
    /// What a gradient's entry is measured by.
    pub scale: Scale,
}

/// What a gradient's entry is measured by.
///
/// ```
/// assert_ne!(densekd::vectors::Scale::Row, densekd::vectors::Scale::Tensor);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// The largest entry of the same softmax row.
    Row,
    /// The largest entry of the tensor.
    Tensor,
}

/// Why a case cannot be evaluated.
///
/// ```
/// use densekd::vectors::CaseError;
/// let error = CaseError::Loss { loss: "at".into() };
/// assert!(error.to_string().contains("`at`"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// A loss that this version does not have.
    #[error("loss `{loss}` is not known to this version")]
    Loss {
        /// Its name.
        loss: String,
    },
    /// An option that is missing or has a value that it cannot have.
    #[error("option `{option}` is {found}, but {wanted}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value, as JSON.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// A type that no tensor is stored in.
    #[error("dtype `{dtype}` is not one of f32, f64, f16, bf16")]
    DType {
        /// Its name.
        dtype: String,
    },
    /// A field with another number of entries than the shape.
    #[error("`{field}` has {found} entries, but the shape has {wanted}")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The shape's.
        wanted: usize,
    },
    /// Options that do not go together.
    #[error(transparent)]
    Request(#[from] densekd_core::Error),
}

/// Reads the cases of a file.
///
/// # Errors
/// Where the text is not JSON or not of the format, with line and column.
///
/// ```
/// assert!(densekd::vectors::parse("[]").unwrap().is_empty());
/// assert!(densekd::vectors::parse("{").is_err());
/// ```
pub fn parse(text: &str) -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(text)
}

impl Case {
    /// The case's options as a row loss's, for the losses `cwd` and `pi`; absent ones are the loss's defaults.
    ///
    /// # Errors
    /// [`CaseError`] for another loss or an option that is not what it must be.
    pub fn row_options(&self) -> Result<RowOptions, CaseError> {
        let mut options = match self.loss.as_str() {
            "cwd" => RowOptions::CWD,
            "pi" => RowOptions::PI,
            loss => return Err(CaseError::Loss { loss: loss.to_owned() }),
        };
        let o = Options(&self.options);
        o.number("tau", &mut |x| Temperature::new(x).map(|x| options.tau = x))?;
        o.number("weight", &mut |x| Weight::new(x).map(|x| options.weight = x))?;
        o.number("eps", &mut |x| Epsilon::new(x).map(|x| options.eps = x))?;
        o.name::<Norm>("norm", &mut options.norm)?;
        o.name::<Divergence>("divergence", &mut options.divergence)?;
        o.name::<Divisor>("divisor", &mut options.divisor)?;
        o.name::<Ignore>("ignore", &mut options.ignore)?;
        o.name::<Samples>("samples", &mut options.samples)?;
        o.json("tau_square", "it must be true or false", &mut options.tau_square)?;
        o.json("ignore_index", "it must be an integer", &mut options.ignore_index)?;
        o.json::<NonZeroUsize>("upsample", "it must be an integer of at least 1", &mut options.upsample)?;
        o.json::<Option<NonZeroUsize>>(
            "divisor_channels",
            "it must be null or an integer of at least 1",
            &mut options.divisor_channels,
        )?;
        Ok(options)
    }

    /// A field of the case, stored in its type.
    ///
    /// # Errors
    /// [`CaseError::DType`] and [`CaseError::Length`].
    pub fn values(&self, field: &'static str, numbers: &[f64]) -> Result<Values, CaseError> {
        let wanted = self.shape.iter().product();
        if numbers.len() != wanted {
            return Err(CaseError::Length { field, found: numbers.len(), wanted });
        }
        Ok(Values::from_f64(self.dtype()?, numbers))
    }

    /// The type that the inputs are stored in.
    ///
    /// # Errors
    /// [`CaseError::DType`].
    pub fn dtype(&self) -> Result<DType, CaseError> {
        match self.dtype.as_str() {
            "f32" => Ok(DType::F32),
            "f64" => Ok(DType::F64),
            "f16" => Ok(DType::F16),
            "bf16" => Ok(DType::Bf16),
            dtype => Err(CaseError::DType { dtype: dtype.to_owned() }),
        }
    }
}

struct Options<'a>(&'a serde_json::Map<String, serde_json::Value>);

impl Options<'_> {
    fn json<T: serde::de::DeserializeOwned>(
        &self,
        option: &'static str,
        wanted: &str,
        to: &mut T,
    ) -> Result<(), CaseError> {
        if let Some(value) = self.0.get(option) {
            *to = serde_json::from_value(value.clone()).map_err(|_| CaseError::Option {
                option,
                found: value.to_string(),
                wanted: wanted.to_owned(),
            })?;
        }
        Ok(())
    }

    fn number(
        &self,
        option: &'static str,
        set: &mut dyn FnMut(f64) -> Result<(), densekd_core::Error>,
    ) -> Result<(), CaseError> {
        let mut number = None;
        self.json(option, "it must be a number", &mut number)?;
        Ok(number.map_or(Ok(()), set)?)
    }

    fn name<T: std::str::FromStr<Err = densekd_core::UnknownName>>(
        &self,
        option: &'static str,
        to: &mut T,
    ) -> Result<(), CaseError> {
        let mut name: Option<String> = None;
        self.json(option, "it must be a name", &mut name)?;
        if let Some(found) = name {
            *to = found.parse().map_err(|error: densekd_core::UnknownName| CaseError::Option {
                option,
                found,
                wanted: error.to_string(),
            })?;
        }
        Ok(())
    }
}

/// A number, or the name of one that JSON does not have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Named(Named),
}

#[derive(Deserialize)]
enum Named {
    #[serde(rename = "inf")]
    Infinity,
    #[serde(rename = "-inf")]
    NegativeInfinity,
    #[serde(rename = "nan")]
    NotANumber,
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Finite(x) => x,
            Number::Named(Named::Infinity) => Self::INFINITY,
            Number::Named(Named::NegativeInfinity) => Self::NEG_INFINITY,
            Number::Named(Named::NotANumber) => Self::NAN,
        }
    }
}

fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Number::deserialize(from).map(f64::from)
}

fn optional_numbers<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Vec<f64>>, D::Error> {
    let numbers = Option::<Vec<Number>>::deserialize(from)?;
    Ok(numbers.map(|numbers| numbers.into_iter().map(f64::from).collect()))
}

fn numbers<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    optional_numbers(from).map(Option::unwrap_or_default)
}
