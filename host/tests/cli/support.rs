//! Running the program, and files to run it on.

use densekd::io::{self, Array, TensorPath, Values};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The teacher's map of the sample pair.
pub(crate) const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/teacher.safetensors");
/// The student's map of the sample pair.
pub(crate) const STUDENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/student.safetensors");

/// Classes of the sample.
pub(crate) const LABELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/labels.npy");

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program.
pub(crate) fn densekd(arguments: Vec<OsString>) -> Run {
    densekd_on("none", arguments)
}

/// Runs the program with a library in place of the CUDA driver, or `none`, whatever the machine has.
pub(crate) fn densekd_on(driver: impl AsRef<OsStr>, arguments: Vec<OsString>) -> Run {
    densekd_with(&[("DENSEKD_CUDA_LIBRARY", driver.as_ref())], arguments)
}

/// Runs the program with variables of the environment.
pub(crate) fn densekd_with(environment: &[(&str, &OsStr)], arguments: Vec<OsString>) -> Run {
    let mut program = Command::new(env!("CARGO_BIN_EXE_densekd"));
    let output =
        program.args(arguments).envs(environment.iter().copied()).output().expect("the program runs");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("standard output is Unicode"),
        stderr: String::from_utf8(output.stderr).expect("standard error is Unicode"),
    }
}

/// Runs the program with words and paths.
#[macro_export]
macro_rules! run {
    ($($word:expr),+ $(,)?) => {
        $crate::support::densekd(vec![$(std::ffi::OsString::from($word)),+])
    };
}

impl Run {
    /// Standard output of a run that went well, and said nothing on standard error.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    /// The same as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.text()).expect("the report is JSON")
    }

    /// The value of a JSON report.
    #[track_caller]
    pub(crate) fn value(self) -> f64 {
        self.json()["value"].as_f64().expect("the value is a number")
    }

    /// Asserts the exit code, and parts of the one paragraph on standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{:?} lacks {part:?}", self.stderr);
        }
        assert_eq!(self.stdout, "", "nothing is reported");
    }
}

impl Run {
    /// Asserts the fault's code, and parts of its message.
    #[track_caller]
    pub(crate) fn fails_json(self, code: &str, parts: &[&str]) {
        assert!(matches!(self.code, Some(1 | 2)), "{self:?}");
        let fault: Value = serde_json::from_str(&self.stderr).expect("the fault is JSON");
        assert_eq!(fault["error"]["code"], code, "{fault}");
        let message = fault["error"]["message"].as_str().unwrap_or_default();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        assert_eq!(self.stdout, "", "nothing is reported");
    }
}

/// A folder of its own for every test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir(&path).expect("a folder in the temporary folder");
        path
    }

    pub(crate) fn bytes(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, bytes).expect("a file in the temporary folder");
        path
    }

    /// A tensor in a file of the format that the name ends in.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize], values: impl Into<Values>) -> PathBuf {
        let path = self.join(name);
        io::write(&path, "logits", &Array::new(shape, values).expect("as many values as the shape wants"))
            .expect("a tensor in the temporary folder");
        path
    }

    /// A map of f32 numbers that depend on the seed.
    pub(crate) fn map(&self, name: &str, shape: &[usize], seed: usize) -> PathBuf {
        self.tensor(name, shape, numbers(shape.iter().product(), seed))
    }

    /// An array of whole numbers.
    pub(crate) fn whole(&self, name: &str, shape: &[usize], values: &[i64]) -> PathBuf {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(name, npy("<i8", shape, &bytes))
    }
}

/// Numbers from 0 to 10.
pub(crate) fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| u16::try_from((i * 37 + seed * 53) % 101).map_or(0.0, f32::from) / 10.0;
    (0..count).map(number).collect()
}

/// The bytes of an array file.
pub(crate) fn npy(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let dims = shape.iter().map(|dim| dim.to_string() + ",").collect::<String>();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let length = u16::try_from(header.len()).expect("a short header");
    [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Numbers of a file, of whatever type.
pub(crate) fn read(path: &Path) -> (Vec<usize>, Vec<f64>) {
    let tensor = io::read(&TensorPath::parse(path).expect("a tensor path")).expect("a tensor file");
    (tensor.shape().to_vec(), tensor.to_f64())
}

/// Asserts equality up to a share of what is wanted.
#[track_caller]
pub(crate) fn assert_close(found: f64, wanted: f64, relative: f64) {
    assert!((found - wanted).abs() <= relative * wanted.abs(), "{found} is not {wanted}");
}
