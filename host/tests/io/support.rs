//! Files made by hand, and what reading them says.

use std::error::Error;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use densekd::io::{self, Array, TensorPath};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// A folder of its own for every test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, bytes).expect("a file in the temporary folder");
        path
    }

    /// Writes the file, reads it, and gives the error.
    pub(crate) fn error(&self, name: &str, bytes: impl AsRef<[u8]>) -> io::Error {
        let path = self.file(name, bytes);
        read(&path).expect_err("a file that is no good")
    }
}

pub(crate) fn read(argument: impl AsRef<Path>) -> Result<Array, io::Error> {
    io::read(&TensorPath::parse(argument.as_ref())?)
}

/// Asserts the variant and parts of the message.
#[macro_export]
macro_rules! assert_error {
    ($error:expr, $variant:ident, $($part:expr),+ $(,)?) => {{
        let error: densekd::io::Error = $error;
        assert!(matches!(error, densekd::io::Error::$variant { .. }), "{error:?}");
        let message = error.to_string();
        $(assert!(message.contains($part), "{message:?} lacks {:?}", $part);)+
    }};
}

pub(crate) fn header(descr: &str, fortran: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
}

/// An array of version 1.0 from the text of its header and its data.
pub(crate) fn npy_text(text: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).expect("a short header").to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text, data].concat()
}

/// A C-ordered array of version 1.0.
pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_text(header(descr, "False", shape), data)
}

pub(crate) fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().copied().flat_map(f32::to_le_bytes).collect()
}

pub(crate) fn npz(members: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).expect("a new member");
        zip.write_all(bytes).expect("room in memory");
    }
    zip.finish().expect("room in memory").into_inner()
}

pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}
