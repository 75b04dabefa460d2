//! Tensors in .safetensors files.

use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::entry::{Bytes, Entry, Item, check_size, choose};
use super::file::FileBytes;
use super::kind::{Float, Kind, Label};
use super::{Error, TensorPath};

/// Bytes of the header's length.
pub(super) const PREFIX: usize = 8;

/// Checks the whole header; gives it, where the data starts, and the names in order.
///
/// The header's own type is parsed rather than the whole file by `SafeTensors::deserialize`, as
/// that adds the length of the data, which a header may claim to be next to `usize::MAX`, to the
/// header's without a check.
fn open(at: &TensorPath, file: &FileBytes) -> Result<(Metadata, usize, Vec<String>), Error> {
    let found = file.len() as u64;
    let cut_off = |wanted: u64| Error::Truncated { at: at.clone(), found, wanted };
    let (prefix, rest) = file.split_first_chunk::<PREFIX>().ok_or_else(|| cut_off(PREFIX as u64))?;
    let length = u64::from_le_bytes(*prefix);
    let text = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let text = text.ok_or_else(|| cut_off(length.saturating_add(PREFIX as u64)))?;
    let metadata: Metadata = serde_json::from_slice(text)
        .map_err(|e| Error::SafetensorsHeader { path: at.path().to_owned(), found: e.to_string() })?;

    let data_start = PREFIX + text.len();
    check_size(at, found, (data_start as u64).saturating_add(metadata.data_len() as u64))?;
    let mut names = metadata.offset_keys();
    names.sort_unstable();
    Ok((metadata, data_start, names))
}

fn info<'a>(at: &TensorPath, metadata: &'a Metadata, name: &str) -> Result<&'a TensorInfo, Error> {
    let missing = || Error::NameMissing { wanted: at.clone(), found: metadata.offset_keys() };
    metadata.info(name).ok_or_else(missing)
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float(Float::F32),
        Dtype::F64 => Kind::Float(Float::F64),
        Dtype::F16 => Kind::Float(Float::F16),
        Dtype::BF16 => Kind::Float(Float::Bf16),
        Dtype::BOOL => Kind::Label(Label::Bool),
        Dtype::U8 => Kind::Label(Label::U8),
        Dtype::I8 => Kind::Label(Label::I8),
        Dtype::U16 => Kind::Label(Label::U16),
        Dtype::I16 => Kind::Label(Label::I16),
        Dtype::U32 => Kind::Label(Label::U32),
        Dtype::I32 => Kind::Label(Label::I32),
        Dtype::I64 => Kind::Label(Label::I64),
        _ => Kind::Other,
    }
}

pub(super) fn read(at: &TensorPath, file: Arc<FileBytes>) -> Result<Entry, Error> {
    let (metadata, start, names) = open(at, &file)?;
    let name = choose(at, &names)?;
    let at = at.named(name);
    let info = info(&at, &metadata, name)?;
    let (from, to) = info.data_offsets;
    Ok(Entry {
        at,
        kind: kind(info.dtype),
        dtype: info.dtype.to_string(),
        shape: info.shape.clone(),
        bytes: Bytes::Within(file, start + from..start + to),
    })
}

pub(super) fn list(at: &TensorPath, file: &FileBytes) -> Result<Vec<Item>, Error> {
    let (metadata, _, names) = open(at, file)?;
    let item = |name: String| {
        let info = info(at, &metadata, &name)?;
        Ok(Item { shape: info.shape.clone(), kind: kind(info.dtype), name: Some(name) })
    };
    names.into_iter().map(item).collect()
}
