//! Arrays in files of their own: .npy.

use std::sync::Arc;

use super::entry::{Bytes, Entry, Item, check_size};
use super::file::FileBytes;
use super::header::{self, Header, MAX_HEADER};
use super::{Error, TensorPath};

fn parse(at: &TensorPath, file: &FileBytes) -> Result<Header, Error> {
    let header = header::parse(at, &file[..file.len().min(MAX_HEADER)])?;
    check_size(at, file.len() as u64, header.total())?;
    Ok(header)
}

pub(super) fn read(at: &TensorPath, file: Arc<FileBytes>) -> Result<Entry, Error> {
    let Header { kind, dtype, shape, data_start, data_len } = parse(at, &file)?;
    let bytes = Bytes::Within(file, data_start..data_start + data_len);
    Ok(Entry { at: at.clone(), kind, dtype, shape, bytes })
}

pub(super) fn list(at: &TensorPath, file: &FileBytes) -> Result<Vec<Item>, Error> {
    let Header { kind, shape, .. } = parse(at, file)?;
    Ok(vec![Item { name: None, shape, kind }])
}
