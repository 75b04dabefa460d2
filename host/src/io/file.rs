//! The bytes of a file, mapped where it is large.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::{Error, map};

/// Below this size one read is cheaper than a map and its page faults.
const MAP_FROM: u64 = 1 << 20;

/// A whole file.
#[derive(Debug)]
pub(super) enum FileBytes {
    Heap(Vec<u8>),
    Map(Mmap),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Map(map) => map,
        }
    }
}

impl FileBytes {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // Looked at before it is opened, as opening a pipe would wait for its writer.
        plain_file(path, &fs::metadata(path).map_err(|source| unreadable(path, source))?)?;
        let fail = |source| unreadable(path, source);
        let file = File::open(path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        if length == 0 {
            return Err(Error::Empty { path: path.to_owned() });
        }
        if length >= MAP_FROM {
            return map::map(&file).map(Self::Map).map_err(fail);
        }
        let mut bytes = Vec::new();
        // The limit holds even where the file grows in the meantime.
        file.take(MAP_FROM).read_to_end(&mut bytes).map_err(fail)?;
        Ok(Self::Heap(bytes))
    }
}

/// An error unless `about` is that of a plain file.
pub(super) fn plain_file(path: &Path, about: &fs::Metadata) -> Result<(), Error> {
    let found = match (about.is_file(), about.is_dir()) {
        (true, _) => return Ok(()),
        (_, true) => "a folder",
        _ => "a device or pipe",
    };
    Err(Error::NotAFile { path: path.to_owned(), found })
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        Error::Missing { path }
    } else {
        Error::Read { path, source }
    }
}
