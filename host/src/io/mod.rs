//! Tensors from and to files: .npy, .npz (read only) and .safetensors.
//!
//! | what | reads | writes |
//! | --- | --- | --- |
//! | tensors: f32, f64, f16 | .npy, .npz, .safetensors | .npy, .safetensors |
//! | tensors: bf16 | .safetensors | .safetensors |
//! | labels and masks: bool, 8 to 32 bits, i64 | .npy, .npz, .safetensors | |
//!
//! Numbers keep the type they are stored in. A file is held against its header before anything
//! is allocated for it, and every fault is an [`Error`] that says what to do.
//!
//! # Mapped files
//!
//! The tensors of a file of 1 MiB or more stay in the file, which is mapped into memory, where
//! their place in it is aligned. **Such a file must neither be written in place nor cut off as long
//! as a [`Array`] read from it lives** ([`Array::is_mapped`]): the process may be ended by the
//! system, or see other numbers. To replace the file by renaming a new one over it is safe, and is
//! what the writers of this module do.
//!
//! ```
//! use densekd::io::{self, Array, TensorPath};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("logits.npy");
//! io::write(&path, "logits", &Array::new([1, 2], vec![0.25_f32, 0.75])?)?;
//!
//! let logits = io::read(&TensorPath::parse(&path)?)?;
//! assert_eq!(logits.shape(), [1, 2]);
//! assert_eq!(logits.as_slice::<f32>(), Some(&[0.25, 0.75][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod atomic;
mod entry;
mod error;
mod file;
mod header;
mod kind;
mod labels;
mod map;
mod npy;
mod npz;
mod pair;
mod path;
mod safetensors;
mod values;
mod write;

pub use array::Array;
pub use error::Error;
pub use labels::{Labels, read_labels};
pub use pair::{Pair, read_pair};
pub use path::TensorPath;
pub use values::Values;
pub use write::{write, write_bytes, write_npy, write_safetensors};

/// Reads one tensor.
///
/// # Errors
///
/// Where the file is missing, is no file of its format, or holds no such tensor of floats.
///
/// ```
/// use densekd::io::{self, Array, TensorPath};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("teacher.safetensors");
/// io::write(&path, "logits", &Array::new([2], vec![1.0_f32, 2.0])?)?;
///
/// // The name may be left out, as there is only one.
/// assert_eq!(io::read(&TensorPath::parse(&path)?)?.shape(), [2]);
/// let error = io::read(&TensorPath::new(&path, Some("features"))?).unwrap_err();
/// assert!(error.to_string().ends_with("does not exist in the file; choose one of: logits"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(at: &TensorPath) -> Result<Array, Error> {
    Array::from_entry(entry::Entry::read(at)?)
}
