//! A shape and its numbers, in memory or in a mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use densekd_core::{DType, Element, Order, Tensor};
use half::{bf16, f16};

use super::entry::{Bytes, Entry};
use super::file::FileBytes;
use super::kind::{Float, Kind};
use super::values::{self, Values};
use super::{Error, TensorPath};

/// A range of a mapped file, found to be aligned for its numbers.
#[derive(Clone, Debug)]
struct Mapped {
    file: Arc<FileBytes>,
    range: Range<usize>,
    float: Float,
}

impl Mapped {
    /// `None` where the numbers cannot be used in place.
    fn new(float: Float, file: &Arc<FileBytes>, range: &Range<usize>) -> Option<Self> {
        let bytes = &file[range.clone()];
        let fits = match float {
            Float::F32 => bytemuck::try_cast_slice::<_, f32>(bytes).is_ok(),
            Float::F64 => bytemuck::try_cast_slice::<_, f64>(bytes).is_ok(),
            Float::F16 => bytemuck::try_cast_slice::<_, f16>(bytes).is_ok(),
            Float::Bf16 => bytemuck::try_cast_slice::<_, bf16>(bytes).is_ok(),
        };
        let in_place = fits && matches!(**file, FileBytes::Map(_)) && cfg!(target_endian = "little");
        in_place.then(|| Self { file: Arc::clone(file), range: range.clone(), float })
    }

    fn as_tensor(&self) -> Tensor<'_> {
        // The casts cannot panic: `new` tried the same on the same bytes, which do not move.
        let bytes = &self.file[self.range.clone()];
        match self.float {
            Float::F32 => Tensor::F32(bytemuck::cast_slice(bytes)),
            Float::F64 => Tensor::F64(bytemuck::cast_slice(bytes)),
            Float::F16 => Tensor::F16(bytemuck::cast_slice(bytes)),
            Float::Bf16 => Tensor::Bf16(bytemuck::cast_slice(bytes)),
        }
    }
}

#[derive(Clone)]
enum Numbers {
    Owned(Arc<Values>),
    Mapped(Mapped),
}

/// Numbers of one type in C order with their shape.
///
/// A clone shares the numbers.
///
/// ```
/// use densekd::io::Array;
/// use half::f16;
///
/// let array = Array::new([1, 2, 1, 2], vec![f16::ONE; 4])?;
/// assert_eq!(array.shape(), [1, 2, 1, 2]);
/// assert_eq!(array.dtype().name(), "f16");
/// assert_eq!(array.as_slice::<f16>(), Some(&[f16::ONE; 4][..]));
/// assert_eq!(array.as_slice::<f32>(), None);
/// # Ok::<(), densekd::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Array {
    shape: Vec<usize>,
    numbers: Numbers,
}

impl Array {
    /// From a shape and as many numbers as it wants, by a `Vec` of `f32`, `f64`, `f16` or `bf16`.
    ///
    /// # Errors
    ///
    /// Where the product of the shape is not the number of values.
    pub fn new(shape: impl Into<Vec<usize>>, values: impl Into<Values>) -> Result<Self, Error> {
        let (shape, values) = (shape.into(), values.into());
        let found = values.as_tensor().len();
        let wanted = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        if wanted != Some(found) {
            return Err(Error::Shape { shape, found });
        }
        Ok(Self { shape, numbers: Numbers::Owned(Arc::new(values)) })
    }

    pub(super) fn from_entry(entry: Entry) -> Result<Self, Error> {
        let Entry { at, kind, dtype: found, shape, bytes } = entry;
        let Kind::Float(float) = kind else { return Err(no_float(at, found)) };
        let mapped = match &bytes {
            Bytes::Within(file, range) => Mapped::new(float, file, range),
            Bytes::Unpacked(_) => None,
        };
        let owned = || Numbers::Owned(Arc::new(Values::from_le_bytes(float, bytes.as_slice())));
        let numbers = mapped.map_or_else(owned, Numbers::Mapped);
        Ok(Self { shape, numbers })
    }

    /// The dimensions, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// `[N, C, H, W]` of a map's dimensions as they lie in this memory order: of one image where there are three,
    /// of logits where there are two; none where they are no map's.
    ///
    /// ```
    /// use densekd::core::Order;
    /// use densekd::io::Array;
    ///
    /// let image = Array::new([4, 5, 3], vec![0.0_f32; 60])?;
    /// assert_eq!(image.dims(Order::Nhwc), Some([1, 3, 4, 5]));
    /// assert_eq!(Array::new([7], vec![0.0_f32; 7])?.dims(Order::Nchw), None);
    /// # Ok::<(), densekd::io::Error>(())
    /// ```
    pub fn dims(&self, order: Order) -> Option<[usize; 4]> {
        match (self.shape(), order) {
            (&[n, c, h, w], Order::Nchw) | (&[n, h, w, c], Order::Nhwc) => Some([n, c, h, w]),
            (&[c, h, w], Order::Nchw) | (&[h, w, c], Order::Nhwc) => Some([1, c, h, w]),
            (&[n, c], _) => Some([n, c, 1, 1]),
            _ => None,
        }
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> DType {
        self.as_tensor().dtype()
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.as_tensor().len()
    }

    /// Whether a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers, to be read by a backend.
    pub fn as_tensor(&self) -> Tensor<'_> {
        match &self.numbers {
            Numbers::Owned(values) => values.as_tensor(),
            Numbers::Mapped(mapped) => mapped.as_tensor(),
        }
    }

    /// The numbers, if they are of type `E`.
    pub fn as_slice<E: Element>(&self) -> Option<&[E]> {
        self.as_tensor().as_slice()
    }

    /// The numbers, exactly, but for bits of a NaN.
    pub fn to_f64(&self) -> Vec<f64> {
        values::to_f64(self.as_tensor())
    }

    /// Whether the numbers lie in a mapped file, which must then stay as it is (see [`io`](super)).
    pub const fn is_mapped(&self) -> bool {
        matches!(self.numbers, Numbers::Mapped(_))
    }
}

fn no_float(at: TensorPath, found: String) -> Error {
    let fix = match at.format() {
        super::path::Format::Safetensors => "save t.float(), or give it where labels are wanted",
        _ => "save a.astype('<f4'), or give it where labels are wanted",
    };
    Error::Dtype { at, found, wanted: "f32, f64, f16 or bf16", fix }
}

/// Shape and type, as the numbers may be millions.
impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} {:?}, mapped: {})", self.dtype(), self.shape, self.is_mapped())
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.as_tensor() == other.as_tensor()
    }
}
