//! Numbers of a type known at run time, without a shape.

use densekd_core::{DType, Element, Tensor, TensorMut};
use half::{bf16, f16};

use super::kind::Float;

/// Numbers by their type, owned; made from a `Vec` of any of the four types.
///
/// ```
/// use densekd::core::DType;
/// use densekd::io::Values;
///
/// assert_eq!(Values::from(vec![0.5_f64]), Values::F64(vec![0.5]));
/// assert_eq!(Values::from_f64(DType::F16, &[0.1]).to_f64(), [0.0999755859375]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers of [`DType::F32`].
    F32(Vec<f32>),
    /// Numbers of [`DType::F64`].
    F64(Vec<f64>),
    /// Numbers of [`DType::F16`].
    F16(Vec<f16>),
    /// Numbers of [`DType::Bf16`].
    Bf16(Vec<bf16>),
}

macro_rules! from_vec {
    ($($number:ty => $variant:ident),*) => {$(
        impl From<Vec<$number>> for Values {
            fn from(numbers: Vec<$number>) -> Self {
                Self::$variant(numbers)
            }
        }
    )*};
}

from_vec!(f32 => F32, f64 => F64, f16 => F16, bf16 => Bf16);

impl Values {
    /// Each number rounded once.
    ///
    /// ```
    /// use densekd::core::DType;
    /// use densekd::io::Values;
    ///
    /// assert_eq!(Values::from_f64(DType::F32, &[0.5, 1e39]), Values::F32(vec![0.5, f32::INFINITY]));
    /// ```
    pub fn from_f64(dtype: DType, numbers: &[f64]) -> Self {
        fn narrow<E: Element>(numbers: &[f64]) -> Vec<E> {
            numbers.iter().map(|&x| E::narrow(x)).collect()
        }
        match dtype {
            DType::F64 => Self::F64(numbers.to_vec()),
            DType::F16 => Self::F16(narrow(numbers)),
            DType::Bf16 => Self::Bf16(narrow(numbers)),
            _ => Self::F32(narrow(numbers)),
        }
    }

    /// The same, and whether a finite number was too large for the type.
    ///
    /// ```
    /// use densekd::{core::DType, io::Values};
    /// assert!(Values::rounded(DType::F16, &[1e6]).1 && !Values::rounded(DType::F32, &[1e6]).1);
    /// ```
    pub fn rounded(dtype: DType, numbers: &[f64]) -> (Self, bool) {
        let values = Self::from_f64(dtype, numbers);
        let overflowed = values.to_f64().iter().zip(numbers).any(|(x, y)| y.is_finite() && !x.is_finite());
        (values, overflowed)
    }

    /// As many zeros, to be written by a backend.
    ///
    /// ```
    /// use densekd::core::DType;
    /// use densekd::io::Values;
    ///
    /// assert_eq!(Values::zeros(DType::F32, 2), Values::F32(vec![0.0, 0.0]));
    /// ```
    pub fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F64 => Self::F64(vec![0.0; len]),
            DType::F16 => Self::F16(vec![f16::ZERO; len]),
            DType::Bf16 => Self::Bf16(vec![bf16::ZERO; len]),
            _ => Self::F32(vec![0.0; len]),
        }
    }

    /// The numbers, exactly, but for bits of a NaN.
    ///
    /// ```
    /// use densekd::io::Values;
    ///
    /// assert_eq!(Values::from(vec![0.5_f32, -2.0]).to_f64(), [0.5, -2.0]);
    /// ```
    pub fn to_f64(&self) -> Vec<f64> {
        to_f64(self.as_tensor())
    }

    /// The numbers, to be read by a backend.
    ///
    /// ```
    /// use densekd::io::Values;
    ///
    /// let values = Values::from(vec![0.5_f32, 1.0]);
    /// assert_eq!(values.as_tensor().as_slice::<f32>(), Some(&[0.5, 1.0][..]));
    /// ```
    pub fn as_tensor(&self) -> Tensor<'_> {
        match self {
            Self::F32(numbers) => Tensor::F32(numbers),
            Self::F64(numbers) => Tensor::F64(numbers),
            Self::F16(numbers) => Tensor::F16(numbers),
            Self::Bf16(numbers) => Tensor::Bf16(numbers),
        }
    }

    /// The numbers, to be written by a backend.
    ///
    /// ```
    /// use densekd::core::DType;
    /// use densekd::io::Values;
    ///
    /// let mut gradient = Values::zeros(DType::F16, 3);
    /// assert_eq!(gradient.as_tensor_mut().len(), 3);
    /// ```
    pub fn as_tensor_mut(&mut self) -> TensorMut<'_> {
        match self {
            Self::F32(numbers) => TensorMut::F32(numbers),
            Self::F64(numbers) => TensorMut::F64(numbers),
            Self::F16(numbers) => TensorMut::F16(numbers),
            Self::Bf16(numbers) => TensorMut::Bf16(numbers),
        }
    }

    pub(super) fn from_le_bytes(float: Float, bytes: &[u8]) -> Self {
        match float {
            Float::F32 => Self::F32(bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect()),
            Float::F64 => Self::F64(bytes.as_chunks().0.iter().copied().map(f64::from_le_bytes).collect()),
            Float::F16 => Self::F16(bytes.as_chunks().0.iter().copied().map(f16::from_le_bytes).collect()),
            Float::Bf16 => Self::Bf16(bytes.as_chunks().0.iter().copied().map(bf16::from_le_bytes).collect()),
        }
    }
}

pub(super) fn to_f64(tensor: Tensor<'_>) -> Vec<f64> {
    fn widen<E: Element>(numbers: &[E]) -> Vec<f64> {
        numbers.iter().map(|x| x.widen()).collect()
    }
    match tensor {
        Tensor::F32(x) => widen(x),
        Tensor::F64(x) => widen(x),
        Tensor::F16(x) => widen(x),
        Tensor::Bf16(x) => widen(x),
    }
}
