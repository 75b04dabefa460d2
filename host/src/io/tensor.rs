//! A shape and its numbers, in memory or in a mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use densekd_core::DType;
use half::{bf16, f16};

use super::entry::{Bytes, Entry};
use super::file::FileBytes;
use super::kind::{Float, Kind};
use super::{Error, TensorPath};

/// The numbers of a [`Tensor`], borrowed, by their type.
///
/// ```
/// use densekd::io::{Data, Tensor};
///
/// let tensor = Tensor::new([2], vec![1.0_f32, 2.0])?;
/// let sum = match tensor.data() {
///     Data::F32(x) => x.iter().copied().map(f64::from).sum::<f64>(),
///     Data::F64(x) => x.iter().sum(),
///     Data::F16(x) => x.iter().copied().map(f64::from).sum(),
///     Data::Bf16(x) => x.iter().copied().map(f64::from).sum(),
/// };
/// assert_eq!(sum, 3.0);
/// # Ok::<(), densekd::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// Numbers of [`DType::F32`].
    F32(&'a [f32]),
    /// Numbers of [`DType::F64`].
    F64(&'a [f64]),
    /// Numbers of [`DType::F16`].
    F16(&'a [f16]),
    /// Numbers of [`DType::Bf16`].
    Bf16(&'a [bf16]),
}

/// The numbers of a [`Tensor`], owned, by their type; made from a `Vec` of any of the four.
///
/// ```
/// use densekd::io::Values;
///
/// assert_eq!(Values::from(vec![0.5_f64]), Values::F64(vec![0.5]));
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

mod sealed {
    pub trait Sealed {}
}

/// The number types that a [`Tensor`] may hold: `f32`, `f64`, [`half::f16`] and [`half::bf16`].
pub trait Stored: Copy + sealed::Sealed {
    /// The name of the type.
    const DTYPE: DType;

    /// The numbers, if they are of this type.
    ///
    /// ```
    /// use densekd::io::{Data, Stored};
    ///
    /// assert_eq!(f32::of(Data::F32(&[1.0])), Some(&[1.0_f32][..]));
    /// assert_eq!(f64::of(Data::F32(&[1.0])), None);
    /// ```
    fn of(data: Data<'_>) -> Option<&[Self]>;
}

macro_rules! stored {
    ($($number:ty => $variant:ident),*) => {$(
        impl sealed::Sealed for $number {}

        impl Stored for $number {
            const DTYPE: DType = DType::$variant;

            fn of(data: Data<'_>) -> Option<&[Self]> {
                if let Data::$variant(numbers) = data { Some(numbers) } else { None }
            }
        }

        impl From<Vec<$number>> for Values {
            fn from(numbers: Vec<$number>) -> Self {
                Self::$variant(numbers)
            }
        }
    )*};
}

stored!(f32 => F32, f64 => F64, f16 => F16, bf16 => Bf16);

impl Values {
    fn as_data(&self) -> Data<'_> {
        match self {
            Self::F32(numbers) => Data::F32(numbers),
            Self::F64(numbers) => Data::F64(numbers),
            Self::F16(numbers) => Data::F16(numbers),
            Self::Bf16(numbers) => Data::Bf16(numbers),
        }
    }

    fn from_le_bytes(float: Float, bytes: &[u8]) -> Self {
        match float {
            Float::F32 => Self::F32(bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect()),
            Float::F64 => Self::F64(bytes.as_chunks().0.iter().copied().map(f64::from_le_bytes).collect()),
            Float::F16 => Self::F16(bytes.as_chunks().0.iter().copied().map(f16::from_le_bytes).collect()),
            Float::Bf16 => Self::Bf16(bytes.as_chunks().0.iter().copied().map(bf16::from_le_bytes).collect()),
        }
    }
}

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

    fn as_data(&self) -> Data<'_> {
        // The casts cannot panic: `new` tried the same on the same bytes, which do not move.
        let bytes = &self.file[self.range.clone()];
        match self.float {
            Float::F32 => Data::F32(bytemuck::cast_slice(bytes)),
            Float::F64 => Data::F64(bytemuck::cast_slice(bytes)),
            Float::F16 => Data::F16(bytemuck::cast_slice(bytes)),
            Float::Bf16 => Data::Bf16(bytemuck::cast_slice(bytes)),
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
/// use densekd::io::Tensor;
/// use half::f16;
///
/// let tensor = Tensor::new([1, 2, 1, 2], vec![f16::ONE; 4])?;
/// assert_eq!(tensor.shape(), [1, 2, 1, 2]);
/// assert_eq!(tensor.dtype().name(), "f16");
/// assert_eq!(tensor.as_slice::<f16>(), Some(&[f16::ONE; 4][..]));
/// assert_eq!(tensor.as_slice::<f32>(), None);
/// # Ok::<(), densekd::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    numbers: Numbers,
}

impl Tensor {
    /// From a shape and as many numbers as it wants, by a `Vec` of `f32`, `f64`, `f16` or `bf16`.
    ///
    /// # Errors
    ///
    /// Where the product of the shape is not the number of values.
    pub fn new(shape: impl Into<Vec<usize>>, values: impl Into<Values>) -> Result<Self, Error> {
        let (shape, values) = (shape.into(), values.into());
        let found = values.as_data().len();
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

    /// The type of the numbers.
    pub fn dtype(&self) -> DType {
        match self.data() {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::F16(_) => DType::F16,
            Data::Bf16(_) => DType::Bf16,
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.data().len()
    }

    /// Whether a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers by their type.
    pub fn data(&self) -> Data<'_> {
        match &self.numbers {
            Numbers::Owned(values) => values.as_data(),
            Numbers::Mapped(mapped) => mapped.as_data(),
        }
    }

    /// The numbers, if they are of type `E`.
    pub fn as_slice<E: Stored>(&self) -> Option<&[E]> {
        E::of(self.data())
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

impl Data<'_> {
    /// How many numbers there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F64(numbers) => numbers.len(),
            Self::F16(numbers) => numbers.len(),
            Self::Bf16(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Shape and type, as the numbers may be millions.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?}, mapped: {})", self.dtype(), self.shape, self.is_mapped())
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.data() == other.data()
    }
}
