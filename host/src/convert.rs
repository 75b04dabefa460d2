//! Numbers of a type known at run time, made and read as `f64`.

use crate::io::{self, Data, Values};
use densekd_core::{DType, Element, Order, Tensor, TensorMut};
use half::{bf16, f16};

/// Rounds each number once.
pub(crate) fn from_f64(dtype: DType, numbers: &[f64]) -> Values {
    fn narrow<E: Element>(numbers: &[f64]) -> Vec<E> {
        numbers.iter().map(|&x| E::narrow(x)).collect()
    }
    match dtype {
        DType::F64 => Values::F64(numbers.to_vec()),
        DType::F16 => Values::F16(narrow::<f16>(numbers)),
        DType::Bf16 => Values::Bf16(narrow::<bf16>(numbers)),
        _ => Values::F32(narrow::<f32>(numbers)),
    }
}

/// The numbers, exactly.
pub(crate) fn to_f64(tensor: Tensor<'_>) -> Vec<f64> {
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

/// The numbers, to be read by a backend.
pub(crate) fn as_tensor(values: &Values) -> Tensor<'_> {
    match values {
        Values::F32(x) => Tensor::F32(x),
        Values::F64(x) => Tensor::F64(x),
        Values::F16(x) => Tensor::F16(x),
        Values::Bf16(x) => Tensor::Bf16(x),
    }
}

/// The numbers, to be written by a backend.
pub(crate) fn as_tensor_mut(values: &mut Values) -> TensorMut<'_> {
    match values {
        Values::F32(x) => TensorMut::F32(x),
        Values::F64(x) => TensorMut::F64(x),
        Values::F16(x) => TensorMut::F16(x),
        Values::Bf16(x) => TensorMut::Bf16(x),
    }
}

/// The numbers of a file, to be read by a backend.
///
/// ```
/// use densekd::{core, io};
/// let tensor = io::Tensor::new([2], vec![1.0_f32, 2.0])?;
/// assert_eq!(core::Tensor::from(&tensor).len(), 2);
/// # Ok::<(), io::Error>(())
/// ```
impl<'a> From<&'a io::Tensor> for Tensor<'a> {
    fn from(tensor: &'a io::Tensor) -> Self {
        match tensor.data() {
            Data::F32(x) => Self::F32(x),
            Data::F64(x) => Self::F64(x),
            Data::F16(x) => Self::F16(x),
            Data::Bf16(x) => Self::Bf16(x),
        }
    }
}

/// Rounds each number once; whether a finite one became infinite.
pub(crate) fn round(dtype: DType, numbers: &[f64]) -> (Values, bool) {
    fn overflowed<E: Element>(rounded: &[E], numbers: &[f64]) -> bool {
        let infinite = |(x, y): (&E, &f64)| y.is_finite() && !x.widen::<f64>().is_finite();
        rounded.iter().zip(numbers).any(infinite)
    }
    let values = from_f64(dtype, numbers);
    let overflowed = match &values {
        Values::F32(x) => overflowed(x, numbers),
        Values::F64(_) => false,
        Values::F16(x) => overflowed(x, numbers),
        Values::Bf16(x) => overflowed(x, numbers),
    };
    (values, overflowed)
}

/// `[N, C, H, W]` of a map's dimensions as a file has them in this memory order: of one image where there are three,
/// of logits where there are two.
///
/// ```
/// use densekd::core::Order;
/// assert_eq!(densekd::map_dims(&[4, 5, 3], Order::Nhwc), Some([1, 3, 4, 5]));
/// assert_eq!(densekd::map_dims(&[8, 10], Order::Nhwc), Some([8, 10, 1, 1]));
/// assert_eq!(densekd::map_dims(&[7], Order::Nchw), None);
/// ```
pub const fn map_dims(dims: &[usize], order: Order) -> Option<[usize; 4]> {
    match (dims, order) {
        (&[n, c, h, w], Order::Nchw) | (&[n, h, w, c], Order::Nhwc) => Some([n, c, h, w]),
        (&[c, h, w], Order::Nchw) | (&[h, w, c], Order::Nhwc) => Some([1, c, h, w]),
        (&[n, c], _) => Some([n, c, 1, 1]),
        _ => None,
    }
}
