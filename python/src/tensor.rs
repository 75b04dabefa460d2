//! Tensors of other libraries, in their own memory, by `DLPack`.

#![allow(unsafe_code, reason = "memory of another library")]

#[cfg(feature = "cuda")]
use densekd::core::DType;
use densekd::core::{Order, Tensor, TensorMut};
use dlpark::DlpackFlags;
use dlpark::ffi::{DLDataType, DLDevice, DLDeviceType};
use dlpark::python::{ImportedDlpack, from_dlpack};
use half::{bf16, f16};
use pyo3::exceptions::{PyBufferError, PyNotImplementedError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::ops::Range;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    U8,
}

impl Stored {
    const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I64 => "int64",
            Self::U8 => "uint8 or bool",
        }
    }
}

/// Where elements are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The main memory.
    Host,
    /// That of a CUDA device of this number.
    Cuda(u32),
}

impl Memory {
    fn of(device: DLDevice) -> Option<Self> {
        match device.device_type {
            DLDeviceType::CPU | DLDeviceType::CUDAHOST => Some(Self::Host),
            DLDeviceType::CUDA => u32::try_from(device.device_id).ok().map(Self::Cuda),
            _ => None,
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host => f.write_str("the CPU"),
            Self::Cuda(ordinal) => write!(f, "CUDA device {ordinal}"),
        }
    }
}

/// A tensor whose elements lie together in one of the orders that losses take. It holds on to the memory.
pub(crate) struct Array {
    name: &'static str,
    memory: Memory,
    stored: Stored,
    shape: Vec<usize>,
    /// Whether they lie in the order of the dimensions, and with the second dimension fastest.
    rows: bool,
    channels_last: bool,
    first: *const u8,
    len: usize,
    read_only: bool,
    _owner: ImportedDlpack,
}

// SAFETY: the pointer is to memory that `_owner` keeps and any thread may read, or an address of a device's; who writes
// to it has an exclusive `Array`, see `to_mut`.
unsafe impl Send for Array {}
// SAFETY: shared, it is only read.
unsafe impl Sync for Array {}

impl Array {
    /// Takes a tensor of this name, without a copy.
    pub(crate) fn new(name: &'static str, object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if !object.hasattr(pyo3::intern!(object.py(), "__dlpack__"))? {
            let found = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{name} is of type {found}, not an array with DLPack")));
        }
        let owner = from_dlpack(object.as_borrowed(), None, None)?;
        let read_only = owner.flags().contains(DlpackFlags::READ_ONLY);
        let tensor = owner.validate().map_err(|error| PyBufferError::new_err(format!("{name}: {error}")))?;
        let memory = Memory::of(tensor.device()).ok_or_else(|| {
            PyNotImplementedError::new_err(format!(
                "{name} is on device {:?}: losses run on CPUs and CUDA devices, move it there",
                tensor.device().device_type
            ))
        })?;
        let stored = stored(tensor.dtype()).ok_or_else(|| {
            let DLDataType { code, bits, lanes } = tensor.dtype();
            PyTypeError::new_err(format!(
                "{name} has elements of a type (DLPack code {}, {bits} bits, {lanes} lanes) that no loss takes",
                code.0
            ))
        })?;
        let whole = |&size: &i64| usize::try_from(size);
        let shape: Vec<usize> = tensor
            .shape()
            .iter()
            .map(whole)
            .collect::<Result<_, _>>()
            .map_err(|_| PyValueError::new_err(format!("{name} has shape {:?}", tensor.shape())))?;
        let strides = tensor
            .strides_or_compact()
            .map_err(|error| PyBufferError::new_err(format!("{name}: {error}")))?;
        let axes: Vec<usize> = (0..shape.len()).collect();
        let channels_last: Vec<usize> = match axes.as_slice() {
            [first, second, rest @ ..] => [&[*first], rest, &[*second]].concat(),
            axes => axes.to_vec(),
        };
        let len = tensor.num_elements();
        let (rows, channels_last) =
            (lies_in(&axes, &shape, &strides), lies_in(&channels_last, &shape, &strides));
        if !rows && !channels_last {
            return Err(PyValueError::new_err(format!(
                "{name} of shape {shape:?} has strides {strides:?}: its elements must lie together, channels first or \
                 last (`contiguous`)"
            )));
        }
        // SAFETY: the producer says that its data begin so many bytes behind the pointer; DLPack holds it to that.
        let first = unsafe { tensor.offset_bytes_ptr() }
            .map_err(|error| PyBufferError::new_err(format!("{name}: {error}")))?;
        if len > 0 && (first.is_null() || !first.addr().is_multiple_of(stored.size())) {
            return Err(PyBufferError::new_err(format!("{name} is not aligned to its elements")));
        }
        Ok(Self { name, memory, stored, shape, rows, channels_last, first, len, read_only, _owner: owner })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The bytes that it takes.
    fn bytes(&self) -> Range<usize> {
        let first = self.first.addr();
        first..first + self.len * self.stored.size()
    }

    /// Batch, channels, height, width; missing dimensions are 1, a single one beside them is the width.
    pub(crate) fn map(&self) -> PyResult<[usize; 4]> {
        match *self.shape.as_slice() {
            [n, c] => Ok([n, c, 1, 1]),
            [n, c, length] => Ok([n, c, 1, length]),
            [n, c, height, width] => Ok([n, c, height, width]),
            _ => Err(PyValueError::new_err(format!(
                "{} has shape {:?}: wanted [N, C], [N, C, L] or [N, C, H, W]",
                self.name, self.shape
            ))),
        }
    }

    fn wrong_type(&self, wanted: &str) -> PyErr {
        PyTypeError::new_err(format!("{} is of {}: wanted {wanted}", self.name, self.stored.name()))
    }

    /// Whether there are elements to be lent as a slice, which only those in the main memory can be.
    fn lends(&self) -> PyResult<bool> {
        match self.memory {
            Memory::Host => Ok(self.len > 0),
            Memory::Cuda(_) => Err(PyNotImplementedError::new_err(format!(
                "{} is on {}: what is called works on the CPU, `Loss.launch` and densekd.torch on CUDA devices",
                self.name, self.memory
            ))),
        }
    }

    /// The elements as one slice.
    ///
    /// # Safety
    /// `T` is the type that they are stored in.
    unsafe fn slice<T>(&self) -> PyResult<&[T]> {
        if !self.lends()? {
            return Ok(&[]);
        }
        // SAFETY: `len` elements of this type lie together in the main memory from `first` on, aligned, as `new` and `lends`
        // have checked; `_owner` keeps them for as long as `self`, and what `to_mut` lends is disjoint, see `ArrayMut::new`.
        Ok(unsafe { std::slice::from_raw_parts(self.first.cast(), self.len) })
    }

    /// The elements of a map.
    pub(crate) fn to_tensor(&self) -> PyResult<Tensor<'_>> {
        Ok(match self.stored {
            // SAFETY: the type is that of the variant.
            Stored::F32 => unsafe { self.slice::<f32>() }?.into(),
            // SAFETY: as above.
            Stored::F64 => unsafe { self.slice::<f64>() }?.into(),
            // SAFETY: as above.
            Stored::F16 => unsafe { self.slice::<f16>() }?.into(),
            // SAFETY: as above.
            Stored::Bf16 => unsafe { self.slice::<bf16>() }?.into(),
            Stored::I64 | Stored::U8 => {
                return Err(self.wrong_type("float32, float64, float16 or bfloat16"));
            }
        })
    }

    /// The elements of labels, `[N, H, W]`.
    pub(crate) fn to_labels(&self) -> PyResult<&[i64]> {
        match self.stored {
            // SAFETY: the type is that of the variant.
            Stored::I64 => unsafe { self.slice() },
            _ => Err(self.wrong_type("int64")),
        }
    }

    /// The elements of a mask.
    pub(crate) fn to_mask(&self) -> PyResult<&[u8]> {
        match self.stored {
            // SAFETY: the type is that of the variant; a bool of DLPack is a byte.
            Stored::U8 => unsafe { self.slice() },
            _ => Err(self.wrong_type("uint8 or bool")),
        }
    }

    /// The elements of a 1x1 convolution.
    pub(crate) fn to_f64(&self) -> PyResult<&[f64]> {
        match self.stored {
            // SAFETY: the type is that of the variant.
            Stored::F64 => unsafe { self.slice() },
            _ => Err(self.wrong_type("float64")),
        }
    }
}

/// What a launch on a device asks.
#[cfg(feature = "cuda")]
impl Array {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn memory(&self) -> Memory {
        self.memory
    }

    /// The type of a map's elements.
    pub(crate) fn dtype(&self) -> PyResult<DType> {
        Ok(match self.stored {
            Stored::F32 => DType::F32,
            Stored::F64 => DType::F64,
            Stored::F16 => DType::F16,
            Stored::Bf16 => DType::Bf16,
            Stored::I64 | Stored::U8 => return Err(self.wrong_type("float32, float64, float16 or bfloat16")),
        })
    }

    /// Where the elements begin, of an array on a device.
    pub(crate) fn address(&self) -> PyResult<u64> {
        match self.memory {
            Memory::Cuda(_) => Ok(self.first.addr() as u64),
            Memory::Host => Err(PyValueError::new_err(format!("{} is on {}", self.name, self.memory))),
        }
    }

    /// The same where there are at least so many bytes from a multiple of 16 on.
    pub(crate) fn room(&self, wanted: usize) -> PyResult<u64> {
        let (address, found) = (self.address()?, self.len * self.stored.size());
        if found < wanted || !address.is_multiple_of(16) {
            return Err(PyValueError::new_err(format!(
                "{} has {found} bytes at address {address:#x}: wanted {wanted} at a multiple of 16",
                self.name
            )));
        }
        Ok(address)
    }

    /// The address of labels.
    pub(crate) fn labels_address(&self) -> PyResult<u64> {
        if self.stored == Stored::I64 { self.address() } else { Err(self.wrong_type("int64")) }
    }

    /// The address of a mask.
    pub(crate) fn mask_address(&self) -> PyResult<u64> {
        if self.stored == Stored::U8 { self.address() } else { Err(self.wrong_type("uint8 or bool")) }
    }
}

/// A tensor to be written to, disjoint from everything else in its call.
pub(crate) struct ArrayMut(Array);

impl ArrayMut {
    /// Takes a tensor of this name to be written to; `others` are what the same call reads and writes.
    pub(crate) fn new(name: &'static str, object: &Bound<'_, PyAny>, others: &[&Array]) -> PyResult<Self> {
        let array = Array::new(name, object)?;
        if array.read_only {
            return Err(PyValueError::new_err(format!("{name} is read-only")));
        }
        let own = array.bytes();
        for other in others {
            let bytes = other.bytes();
            let there = array.memory == other.memory;
            if there && own.start < bytes.end && bytes.start < own.end {
                return Err(PyValueError::new_err(format!("{name} shares memory with {}", other.name)));
            }
        }
        Ok(Self(array))
    }

    /// The same where there is one; `before` are others that are written.
    pub(crate) fn if_given(
        name: &'static str,
        object: Option<&Bound<'_, PyAny>>,
        read: &[&Array],
        before: &[&Option<Self>],
    ) -> PyResult<Option<Self>> {
        let others = before.iter().filter_map(|array| Some(array.as_ref()?.array()));
        let others: Vec<_> = read.iter().copied().chain(others).collect();
        object.map(|object| Self::new(name, object, &others)).transpose()
    }

    pub(crate) fn array(&self) -> &Array {
        &self.0
    }

    /// # Safety
    /// `T` is the type that the elements are stored in.
    unsafe fn slice_mut<T>(&mut self) -> PyResult<&mut [T]> {
        if !self.0.lends()? {
            return Ok(&mut []);
        }
        // SAFETY: as for `Array::slice`; nothing else that a call reads or writes overlaps it, as `new` has checked, and
        // the library that owns it has lent it for the call.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.first.cast_mut().cast(), self.0.len) })
    }

    /// The elements of a map.
    pub(crate) fn to_tensor_mut(&mut self) -> PyResult<TensorMut<'_>> {
        Ok(match self.0.stored {
            // SAFETY: the type is that of the variant.
            Stored::F32 => unsafe { self.slice_mut::<f32>() }?.into(),
            // SAFETY: as above.
            Stored::F64 => unsafe { self.slice_mut::<f64>() }?.into(),
            // SAFETY: as above.
            Stored::F16 => unsafe { self.slice_mut::<f16>() }?.into(),
            // SAFETY: as above.
            Stored::Bf16 => unsafe { self.slice_mut::<bf16>() }?.into(),
            Stored::I64 | Stored::U8 => {
                return Err(self.0.wrong_type("float32, float64, float16 or bfloat16"));
            }
        })
    }

    /// The elements of a 1x1 convolution's gradient, or of rows.
    pub(crate) fn to_f64_mut(&mut self) -> PyResult<&mut [f64]> {
        match self.0.stored {
            // SAFETY: the type is that of the variant.
            Stored::F64 => unsafe { self.slice_mut() },
            _ => Err(self.0.wrong_type("float64")),
        }
    }
}

/// The order that all maps of a call lie in.
pub(crate) fn order(maps: &[&Array]) -> PyResult<Order> {
    if maps.iter().all(|map| map.rows) {
        return Ok(Order::Nchw);
    }
    if maps.iter().all(|map| map.channels_last) {
        return Ok(Order::Nhwc);
    }
    let said: Vec<_> = maps
        .iter()
        .map(|map| format!("{} channels {}", map.name, if map.rows { "first" } else { "last" }))
        .collect();
    Err(PyValueError::new_err(format!("maps lie in different orders: {}", said.join(", "))))
}

fn stored(dtype: DLDataType) -> Option<Stored> {
    Some(match dtype {
        DLDataType::F32 => Stored::F32,
        DLDataType::F64 => Stored::F64,
        DLDataType::F16 => Stored::F16,
        DLDataType::BF16 => Stored::Bf16,
        DLDataType::I64 => Stored::I64,
        DLDataType::U8 | DLDataType::BOOL => Stored::U8,
        _ => return None,
    })
}

/// Whether elements lie together with the last of these axes fastest; the stride of a dimension of 1 says nothing.
fn lies_in(axes: &[usize], shape: &[usize], strides: &[i64]) -> bool {
    let mut wanted = 1;
    for &axis in axes.iter().rev() {
        let (Some(&size), Some(&stride)) = (shape.get(axis), strides.get(axis)) else { return false };
        if size != 1 && usize::try_from(stride) != Ok(wanted) {
            // Nothing lies anywhere in an empty tensor.
            return shape.contains(&0);
        }
        wanted *= size;
    }
    true
}
