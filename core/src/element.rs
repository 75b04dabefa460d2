//! Stored numbers: what a tensor holds. No arithmetic exists on them.

use crate::arithmetic::Arithmetic;
use crate::halves::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use core::fmt;
use core::ops::Range;
use half::{bf16, f16};

/// The number types a tensor may be stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl DType {
    /// The name used in files, options and reports: `f32`, `f64`, `f16`, `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of one stored number.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stored number: `f32`, `f64`, `f16` or `bf16`. It can be widened and narrowed, and nothing else, so that
/// arithmetic in half precision cannot be written. Sealed.
///
/// ```
/// use densekd_core::Element;
/// let x = half::f16::from_f32(1.5);
/// assert_eq!(x.widen::<f32>(), 1.5);
/// assert_eq!(half::bf16::narrow(1.0_f32 / 3.0).to_f32(), 0.333_984_38);
/// ```
pub trait Element: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// Its name and size.
    const DTYPE: DType;

    /// The same value; exact but for `f64` in `f32` arithmetic, which is never asked for by a plan.
    fn widen<R: Arithmetic>(self) -> R;

    /// The nearest stored value, rounded once.
    fn narrow<R: Arithmetic>(x: R) -> Self;

    /// The slice as a tensor of known type.
    fn tensor(data: &[Self]) -> Tensor<'_>;

    /// The elements of a tensor, where they are of this type.
    fn slice(tensor: Tensor<'_>) -> Option<&[Self]>;

    /// The slice as a tensor of known type, to be written.
    fn tensor_mut(data: &mut [Self]) -> TensorMut<'_>;

    /// The slice itself, where it is stored as `f32`.
    fn as_f32(_data: &[Self]) -> Option<&[f32]> {
        None
    }

    /// The slice itself, where it is stored as `f64`.
    fn as_f64(_data: &[Self]) -> Option<&[f64]> {
        None
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A dense tensor's elements, in the memory order that the plan names.
///
/// ```
/// use densekd_core::{DType, Tensor};
/// let tensor = Tensor::from(&[1.0_f32, 2.0][..]);
/// assert_eq!((tensor.len(), tensor.dtype()), (2, DType::F32));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tensor<'a> {
    /// `f32` elements.
    F32(&'a [f32]),
    /// `f64` elements.
    F64(&'a [f64]),
    /// `f16` elements.
    F16(&'a [f16]),
    /// `bf16` elements.
    Bf16(&'a [bf16]),
}

impl<'a> Tensor<'a> {
    /// The elements, where they are stored as `E`.
    ///
    /// ```
    /// use densekd_core::Tensor;
    /// let tensor = Tensor::from(&[1.0_f32, 2.0][..]);
    /// assert_eq!(tensor.as_slice::<f32>(), Some(&[1.0, 2.0][..]));
    /// assert_eq!(tensor.as_slice::<f64>(), None);
    /// ```
    pub fn as_slice<E: Element>(self) -> Option<&'a [E]> {
        E::slice(self)
    }

    /// How many elements there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F64(x) => x.len(),
            Self::F16(x) => x.len(),
            Self::Bf16(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements from one on.
    pub(crate) fn tail(self, at: usize) -> Self {
        match self {
            Self::F32(x) => Self::F32(x.get(at..).unwrap_or_default()),
            Self::F64(x) => Self::F64(x.get(at..).unwrap_or_default()),
            Self::F16(x) => Self::F16(x.get(at..).unwrap_or_default()),
            Self::Bf16(x) => Self::Bf16(x.get(at..).unwrap_or_default()),
        }
    }

    /// The type they are stored in.
    pub const fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::F16(_) => DType::F16,
            Self::Bf16(_) => DType::Bf16,
        }
    }
}

impl<'a, E: Element> From<&'a [E]> for Tensor<'a> {
    fn from(data: &'a [E]) -> Self {
        E::tensor(data)
    }
}

/// A dense tensor's elements, to be written.
///
/// ```
/// use densekd_core::{DType, TensorMut};
/// let mut gradient = [0.0_f64; 4];
/// assert_eq!(TensorMut::from(&mut gradient[..]).dtype(), DType::F64);
/// ```
#[derive(Debug)]
pub enum TensorMut<'a> {
    /// `f32` elements.
    F32(&'a mut [f32]),
    /// `f64` elements.
    F64(&'a mut [f64]),
    /// `f16` elements.
    F16(&'a mut [f16]),
    /// `bf16` elements.
    Bf16(&'a mut [bf16]),
}

impl TensorMut<'_> {
    /// The same elements, to be read.
    pub fn as_tensor(&self) -> Tensor<'_> {
        match self {
            Self::F32(x) => Tensor::F32(x),
            Self::F64(x) => Tensor::F64(x),
            Self::F16(x) => Tensor::F16(x),
            Self::Bf16(x) => Tensor::Bf16(x),
        }
    }

    /// Some of the elements, to be written.
    pub(crate) fn part(&mut self, range: Range<usize>) -> TensorMut<'_> {
        match self {
            Self::F32(x) => TensorMut::F32(x.get_mut(range).unwrap_or_default()),
            Self::F64(x) => TensorMut::F64(x.get_mut(range).unwrap_or_default()),
            Self::F16(x) => TensorMut::F16(x.get_mut(range).unwrap_or_default()),
            Self::Bf16(x) => TensorMut::Bf16(x.get_mut(range).unwrap_or_default()),
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.as_tensor().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type they are stored in.
    pub fn dtype(&self) -> DType {
        self.as_tensor().dtype()
    }
}

impl<'a, E: Element> From<&'a mut [E]> for TensorMut<'a> {
    fn from(data: &'a mut [E]) -> Self {
        E::tensor_mut(data)
    }
}

macro_rules! element {
    ($type:ty, $dtype:ident, $widen:expr, $narrow:expr) => {
        impl sealed::Sealed for $type {}

        impl Element for $type {
            const DTYPE: DType = DType::$dtype;

            #[inline(always)]
            fn widen<R: Arithmetic>(self) -> R {
                ($widen)(self)
            }

            #[inline(always)]
            fn narrow<R: Arithmetic>(x: R) -> Self {
                ($narrow)(x)
            }

            fn tensor(data: &[Self]) -> Tensor<'_> {
                Tensor::$dtype(data)
            }

            fn slice(tensor: Tensor<'_>) -> Option<&[Self]> {
                if let Tensor::$dtype(data) = tensor { Some(data) } else { None }
            }

            fn tensor_mut(data: &mut [Self]) -> TensorMut<'_> {
                TensorMut::$dtype(data)
            }

            element!(@view $dtype);
        }
    };
    (@view F32) => {
        fn as_f32(data: &[f32]) -> Option<&[f32]> {
            Some(data)
        }
    };
    (@view F64) => {
        fn as_f64(data: &[f64]) -> Option<&[f64]> {
            Some(data)
        }
    };
    (@view $other:ident) => {};
}

element!(f32, F32, R::from_f32, |x: R| f32::from_f64(x.to_double()));
element!(f64, F64, R::from_f64, R::to_double);
element!(f16, F16, |x: f16| R::from_f32(f16_to_f32(x)), |x: R| f32_to_f16(x.before_half()));
element!(bf16, Bf16, |x: bf16| R::from_f32(bf16_to_f32(x)), |x: R| f32_to_bf16(x.before_half()));
