//! Writes tensors so that no reader ever meets half a file.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;

use densekd_core::Tensor;
use half::{bf16, f16};
use npyz::WriterBuilder as _;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::atomic::atomically;
use super::path::Format;
use super::safetensors::PREFIX;
use super::{Array, Error};

/// Writes one tensor in the format that the path's ending names: `.npy` or `.safetensors`.
///
/// `name` is the tensor's name where the format has names.
///
/// # Errors
///
/// As [`write_npy`] and [`write_safetensors`], and for any other ending (`.npz` is only read).
///
/// ```
/// use densekd::io::{self, Array, TensorPath};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("gradient.safetensors");
/// let tensor = Array::new([2, 2], vec![0.0_f64, 1.0, 2.0, 3.0])?;
/// io::write(&path, "gradient", &tensor)?;
/// assert_eq!(io::read(&TensorPath::new(&path, Some("gradient"))?)?, tensor);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(path: impl AsRef<Path>, name: &str, tensor: &Array) -> Result<(), Error> {
    let path = path.as_ref();
    match Format::of_or_error(path)? {
        Format::Npy => write_npy(path, tensor),
        Format::Safetensors => write_safetensors(path, &[(name, tensor)], &[]),
        Format::Npz => Err(Error::WriteFormat { path: path.to_owned() }),
    }
}

/// Writes bytes that are a file of their own.
///
/// # Errors
///
/// Where the system refuses to write. An older file is then still there.
///
/// ```
/// use densekd::io;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("teacher.rows");
/// io::write_bytes(&path, &[1, 2])?;
/// assert_eq!(std::fs::read(&path)?, [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), Error> {
    atomically(path.as_ref(), |file| file.write_all(bytes))
}

/// Writes an array as `np.save` does.
///
/// The file takes the place of an older one only when all of it is on disk; it keeps that one's
/// permissions.
///
/// # Errors
///
/// For a bf16 tensor, which the format has no name for, and where the system refuses to write.
/// An older file is then still there.
///
/// ```
/// use densekd::io::{self, Array, TensorPath};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("gradient.npy");
/// let tensor = Array::new([3], vec![0.5_f32, 1.0, 2.0])?;
/// io::write_npy(&path, &tensor)?;
/// assert_eq!(io::read(&TensorPath::parse(&path)?)?, tensor);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_npy(path: impl AsRef<Path>, tensor: &Array) -> Result<(), Error> {
    fn array<E: npyz::Serialize + Copy>(
        file: &mut dyn Write,
        dtype: &str,
        shape: &[usize],
        numbers: &[E],
    ) -> io::Result<()> {
        let dtype = dtype.parse().map(npyz::DType::new_scalar).map_err(io::Error::other)?;
        let shape: Vec<u64> = shape.iter().map(|&dim| dim as u64).collect();
        let mut array = npyz::WriteOptions::new().dtype(dtype).shape(&shape).writer(file).begin_nd()?;
        array.extend(numbers.iter().copied())?;
        array.finish()
    }

    let path = path.as_ref();
    let shape = tensor.shape();
    match tensor.as_tensor() {
        Tensor::F32(numbers) => atomically(path, |file| array(file, "<f4", shape, numbers)),
        Tensor::F64(numbers) => atomically(path, |file| array(file, "<f8", shape, numbers)),
        Tensor::F16(numbers) => atomically(path, |file| array(file, "<f2", shape, numbers)),
        Tensor::Bf16(_) => Err(Error::Bf16ToNpy { path: path.to_owned() }),
    }
}

/// Writes tensors with their names, and any metadata, as a .safetensors file.
///
/// The file takes the place of an older one only when all of it is on disk; it keeps that one's
/// permissions. The order of several metadata entries in the file is not fixed.
///
/// # Errors
///
/// For an empty, a reserved or a repeated name, and where the system refuses to write. An older
/// file is then still there.
///
/// ```
/// use densekd::io::{self, Array, TensorPath};
/// use half::bf16;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("gradients.safetensors");
/// let (a, b) = (Array::new([1], vec![bf16::ONE])?, Array::new([2], vec![1.0_f32, 2.0])?);
/// io::write_safetensors(&path, &[("a", &a), ("b", &b)], &[("loss", "cwd")])?;
/// assert_eq!(io::read(&TensorPath::new(&path, Some("a"))?)?, a);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[(&str, &Array)],
    metadata: &[(&str, &str)],
) -> Result<(), Error> {
    let path = path.as_ref();
    check_names(path, tensors)?;

    // The widest numbers first, so that all stay aligned, as the format's own writer has it. That
    // writer is not used: it neither syncs the file nor sets its permissions.
    let mut tensors: Vec<_> =
        tensors.iter().map(|&(name, tensor)| (name, tensor, le_bytes(tensor))).collect();
    tensors.sort_by_key(|&(name, tensor, _)| (Reverse(dtype(tensor)), name));
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor, bytes)| {
        let start = end;
        end += bytes.len();
        let info =
            TensorInfo { dtype: dtype(tensor), shape: tensor.shape().to_vec(), data_offsets: (start, end) };
        ((*name).to_owned(), info)
    });
    let infos = infos.collect();
    let extra: HashMap<_, _> = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let fail = |source| Error::Write { path: path.to_owned(), source };
    let header =
        Metadata::new((!extra.is_empty()).then_some(extra), infos).map_err(|e| fail(io::Error::other(e)))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| fail(e.into()))?;
    header.resize(header.len().next_multiple_of(PREFIX), b' ');

    atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, _, bytes)| file.write_all(bytes))
    })
}

fn check_names(path: &Path, tensors: &[(&str, &Array)]) -> Result<(), Error> {
    let path = || path.to_owned();
    let mut seen = BTreeSet::new();
    for &(name, _) in tensors {
        match name {
            "" => return Err(Error::NameEmpty { path: path() }),
            "__metadata__" => return Err(Error::NameReserved { path: path(), name: name.into() }),
            _ if !seen.insert(name) => return Err(Error::NameTwice { path: path(), name: name.into() }),
            _ => {}
        }
    }
    Ok(())
}

fn dtype(tensor: &Array) -> Dtype {
    match tensor.as_tensor() {
        Tensor::F32(_) => Dtype::F32,
        Tensor::F64(_) => Dtype::F64,
        Tensor::F16(_) => Dtype::F16,
        Tensor::Bf16(_) => Dtype::BF16,
    }
}

fn le_bytes(tensor: &Array) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(match tensor.as_tensor() {
            Tensor::F32(numbers) => bytemuck::cast_slice(numbers),
            Tensor::F64(numbers) => bytemuck::cast_slice(numbers),
            Tensor::F16(numbers) => bytemuck::cast_slice(numbers),
            Tensor::Bf16(numbers) => bytemuck::cast_slice(numbers),
        });
    }
    Cow::Owned(match tensor.as_tensor() {
        Tensor::F32(numbers) => numbers.iter().copied().flat_map(f32::to_le_bytes).collect(),
        Tensor::F64(numbers) => numbers.iter().copied().flat_map(f64::to_le_bytes).collect(),
        Tensor::F16(numbers) => numbers.iter().copied().flat_map(f16::to_le_bytes).collect(),
        Tensor::Bf16(numbers) => numbers.iter().copied().flat_map(bf16::to_le_bytes).collect(),
    })
}
