//! Test vectors: the format, and what a case expects.
//!
//! The format is described in `golden/README.md` beside the vectors.

use crate::io::Values;
use densekd_core::{DType, Loss, OptionValue, Options};
use serde::Deserialize;

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
    #[serde(default, deserialize_with = "optional_numbers")]
    pub teacher: Option<Vec<f64>>,
    /// The student's elements.
    #[serde(deserialize_with = "numbers")]
    pub student: Vec<f64>,
    /// The teacher's shape, where it differs.
    #[serde(default)]
    pub teacher_shape: Option<[usize; 4]>,
    /// A label for every position of `labels_shape`.
    #[serde(default)]
    pub labels: Option<Vec<i64>>,
    /// `[N, HL, WL]`; the map's where absent.
    #[serde(default)]
    pub labels_shape: Option<[usize; 3]>,
    /// The weight of a 1x1 convolution of the student, `[C_t, C_s]`.
    #[serde(default)]
    pub weight: Option<Vec<f64>>,
    /// Its bias, `[C_t]`.
    #[serde(default)]
    pub bias: Option<Vec<f64>>,
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
    /// The gradient to the 1x1 convolution's weight.
    #[serde(default)]
    pub grad_weight: Option<Vec<f64>>,
    /// The gradient to its bias.
    #[serde(default)]
    pub grad_bias: Option<Vec<f64>>,
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
/// let error = CaseError::Loss { loss: "kdw".into() };
/// assert!(error.to_string().contains("`kdw`"));
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
        option: String,
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
    /// The loss and its options; absent ones are the loss's defaults.
    ///
    /// # Errors
    /// [`CaseError`] for an unknown loss or an option that is not what it must be.
    pub fn options(&self) -> Result<Options, CaseError> {
        let loss: Loss = self.loss.parse().map_err(|_| CaseError::Loss { loss: self.loss.clone() })?;
        let mut options = loss.defaults();
        for (option, found) in &self.options {
            let refused = |wanted: String| CaseError::Option {
                option: option.clone(),
                found: found.to_string(),
                wanted,
            };
            let known = crate::options::field(&options, option);
            let value =
                known.map_or(Some(OptionValue::Null), |field| crate::options::from_json(found, field));
            let value = value.ok_or_else(|| refused("no option is of this kind".into()))?;
            options.set(option, value).map_err(|error| refused(error.to_string()))?;
        }
        Ok(options)
    }

    /// A field of the case with so many entries, stored in its type.
    ///
    /// # Errors
    /// [`CaseError::DType`] and [`CaseError::Length`].
    pub fn values(&self, field: &'static str, numbers: &[f64], wanted: usize) -> Result<Values, CaseError> {
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
