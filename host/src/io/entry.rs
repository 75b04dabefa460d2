//! One tensor as a file holds it: its description and its bytes, not yet numbers.

use std::ops::Range;
use std::sync::Arc;

use super::file::FileBytes;
use super::kind::Kind;
use super::path::Format;
use super::{Error, TensorPath, npy, npz, safetensors};

/// The bytes of one tensor, little-endian, in C order, as many as the shape wants.
#[derive(Debug)]
pub(super) enum Bytes {
    Unpacked(Vec<u8>),
    Within(Arc<FileBytes>, Range<usize>),
}

impl Bytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Unpacked(bytes) => bytes,
            Self::Within(file, range) => &file[range.clone()],
        }
    }
}

/// One tensor of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it was found, with the name where the format has names.
    pub(super) at: TensorPath,
    pub(super) kind: Kind,
    /// The number type in the file's own words.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Bytes,
}

impl Entry {
    pub(super) fn read(at: &TensorPath) -> Result<Self, Error> {
        let file = Arc::new(FileBytes::open(at.path())?);
        match at.format() {
            Format::Npy => npy::read(at, file),
            Format::Npz => npz::read(at, &file),
            Format::Safetensors => safetensors::read(at, file),
        }
    }
}

/// What a list of a file's tensors says about one of them.
#[derive(Debug)]
pub(super) struct Item {
    /// `None` for the only array of a format without names.
    pub(super) name: Option<String>,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
}

/// The readable tensors of a file, sorted by name.
pub(super) fn list(at: &TensorPath) -> Result<Vec<Item>, Error> {
    let file = FileBytes::open(at.path())?;
    match at.format() {
        Format::Npy => npy::list(at, &file),
        Format::Npz => npz::list(at, &file),
        Format::Safetensors => safetensors::list(at, &file),
    }
}

/// The name asked for, or the only one there is. `names` are sorted.
pub(super) fn choose<'a>(at: &TensorPath, names: &'a [String]) -> Result<&'a str, Error> {
    let path = || at.path().to_owned();
    match (at.name(), names) {
        (_, []) => Err(Error::NoTensors { path: path() }),
        (None, [only]) => Ok(only),
        (None, _) => Err(Error::NameNeeded { path: path(), found: names.to_vec() }),
        (Some(wanted), _) => names
            .iter()
            .find(|name| *name == wanted)
            .map(String::as_str)
            .ok_or_else(|| Error::NameMissing { wanted: at.clone(), found: names.to_vec() }),
    }
}

/// Holds what is there against what a header announces.
pub(super) fn check_size(at: &TensorPath, found: u64, wanted: u64) -> Result<(), Error> {
    match found.cmp(&wanted) {
        std::cmp::Ordering::Less => Err(Error::Truncated { at: at.clone(), found, wanted }),
        std::cmp::Ordering::Greater => Err(Error::Trailing { at: at.clone(), found, wanted }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}
