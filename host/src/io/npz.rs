//! Arrays in an archive: .npz, a zip file of .npy members.

use std::io::{Cursor, Read as _};

use npyz::npz::{array_name_from_file_name, file_name_from_array_name};
use zip::ZipArchive;

use super::entry::{Bytes, Entry, Item, check_size, choose};
use super::file::FileBytes;
use super::header::{self, Header, MAX_HEADER};
use super::{Error, TensorPath};

/// The most that one byte can unpack to by the only compression that `NumPy` uses.
const MAX_RATIO: u64 = 1032;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn open<'a>(at: &TensorPath, file: &'a FileBytes) -> Result<(Archive<'a>, Vec<String>), Error> {
    let fail = |found: String| Error::Npz { path: at.path().to_owned(), found };
    let archive = ZipArchive::new(Cursor::new(&**file)).map_err(|e| fail(e.to_string()))?;
    // The index of `archive` keeps the last of them, and says no more than that there are such.
    if archive.has_duplicate_names() {
        return Err(fail("two members have one name".into()));
    }
    let mut names = Vec::new();
    for member in archive.file_names() {
        let member = member.map_err(|e| fail(e.to_string()))?;
        names.extend(array_name_from_file_name(&member).map(str::to_owned));
    }
    names.sort_unstable();
    Ok((archive, names))
}

/// Unpacks one member: its header, and its data unless only the header is wanted.
fn unpack(
    at: &TensorPath,
    (archive, file): (&mut Archive<'_>, &FileBytes),
    name: &str,
    with_data: bool,
) -> Result<(Header, Vec<u8>), Error> {
    let fail = |found: String| Error::NpzMember { at: at.clone(), found };
    let mut member = archive.by_name(&file_name_from_array_name(name)).map_err(|e| fail(e.to_string()))?;

    let claimed = member.size();
    let possible = member.compressed_size().min(file.len() as u64).saturating_mul(MAX_RATIO);
    if claimed > possible {
        return Err(Error::NpzClaim { at: at.clone(), found: claimed, wanted: possible });
    }
    let mut bytes = Vec::new();
    member.by_ref().take(MAX_HEADER as u64).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    let header = header::parse(at, &bytes)?;
    check_size(at, claimed, header.total())?;
    if !with_data {
        return Ok((header, Vec::new()));
    }
    // Grows with what is really unpacked. One byte more than wanted is asked for, as the end of the
    // member must be reached for its checksum to be compared.
    let left = header.total().saturating_sub(bytes.len() as u64);
    member.take(left + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    check_size(at, bytes.len() as u64, header.total())?;
    bytes.drain(..header.data_start);
    Ok((header, bytes))
}

pub(super) fn read(at: &TensorPath, file: &FileBytes) -> Result<Entry, Error> {
    let (mut archive, names) = open(at, file)?;
    let name = choose(at, &names)?;
    let at = at.named(name);
    let (Header { kind, dtype, shape, .. }, bytes) = unpack(&at, (&mut archive, file), name, true)?;
    Ok(Entry { at, kind, dtype, shape, bytes: Bytes::Unpacked(bytes) })
}

pub(super) fn list(at: &TensorPath, file: &FileBytes) -> Result<Vec<Item>, Error> {
    let (mut archive, names) = open(at, file)?;
    let mut items = Vec::new();
    for name in names {
        match unpack(&at.named(&name), (&mut archive, file), &name, false) {
            Ok((Header { kind, shape, .. }, _)) => items.push(Item { name: Some(name), shape, kind }),
            // A member that is no plain array may well lie beside the one that is wanted.
            Err(
                Error::ObjectArray { .. }
                | Error::StructuredArray { .. }
                | Error::Bf16InNpy { .. }
                | Error::BigEndian { .. }
                | Error::FortranOrder { .. },
            ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(items)
}
