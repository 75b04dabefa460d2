//! Where a gradient goes: looked at before any work is done, written when all of it is there.

use super::failure::Failure;
use super::maps::place;
use densekd::core::{DType, Order, Shape, Tensor};
use densekd::io::{self, Array, TensorPath, Values};
use serde::Serialize;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::output::Number;

/// A file that a gradient can be written to.
#[derive(Debug)]
pub(crate) struct Target {
    at: TensorPath,
    /// The tensor's name where the user gives none.
    name: &'static str,
}

impl Target {
    /// Refuses what would fail, or harm an input, only after the work.
    pub(crate) fn new(argument: &Path, name: &'static str, inputs: &[&Path]) -> Result<Self, Failure> {
        let at = place(argument).or_else(|error| match error {
            // A missing output is no fault; its missing ending is.
            Failure::File(io::Error::Missing { .. }) => Ok(TensorPath::parse(argument)?),
            error => Err(error),
        })?;
        let path = at.path().to_owned();
        if has_ending(&path, "npz") {
            return Err(io::Error::WriteFormat { path }.into());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(io::Error::Write { path, source: ErrorKind::NotFound.into() }.into());
        }
        if inputs.iter().any(|input| same(input, &path)) {
            return Err(Failure::OutputIsInput { path });
        }
        Ok(Self { at, name })
    }

    /// Refuses a type that the format has no name for.
    pub(crate) fn check(&self, like: &Array) -> Result<(), Failure> {
        let path = self.at.path();
        if like.dtype() == DType::Bf16 && has_ending(path, "npy") {
            return Err(io::Error::Bf16ToNpy { path: path.to_owned() }.into());
        }
        Ok(())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        self.at.path()
    }

    /// Writes a gradient in the shape of its map's file, and says what was written.
    pub(crate) fn write(
        &self,
        gradient: Values,
        like: &Array,
        (shape, order, overflowed): (Shape, Order, bool),
    ) -> Result<GradientReport, Failure> {
        let gradient = Array::new(like.shape(), gradient)?;
        io::write(self.path(), self.at.name().unwrap_or(self.name), &gradient)?;
        let size = match gradient.as_tensor() {
            Tensor::F32(x) => size(x),
            Tensor::F64(x) => size(x),
            Tensor::F16(x) => size(x),
            Tensor::Bf16(x) => size(x),
        };
        Ok(GradientReport {
            path: self.path().display().to_string(),
            dtype: gradient.dtype().name(),
            norm: Number(size.norm),
            max_abs: Number(size.max),
            max_at: position(size.at, shape, order),
            overflowed,
        })
    }
}

/// What is worth knowing of a gradient that was written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GradientReport {
    /// The file.
    pub(crate) path: String,
    /// The type of its numbers, that of the map.
    pub(crate) dtype: &'static str,
    /// The root of the sum of squares.
    pub(crate) norm: Number,
    /// The largest magnitude.
    pub(crate) max_abs: Number,
    /// Where it stands, as `[n, c, y, x]`.
    pub(crate) max_at: [usize; 4],
    /// Whether a finite number was too large for the type.
    pub(crate) overflowed: bool,
}

struct Size {
    norm: f64,
    max: f64,
    at: usize,
}

fn size<E: Copy + Into<f64>>(numbers: &[E]) -> Size {
    let magnitudes = || numbers.iter().map(|&x| x.into().abs()).enumerate();
    let (mut at, mut max) = (0, 0.0);
    for (i, x) in magnitudes() {
        // The first NaN is larger than everything, as it is what must be seen.
        if x > max || (x.is_nan() && !f64::is_nan(max)) {
            (at, max) = (i, x);
        }
    }
    // Squares of numbers near 1 neither overflow nor vanish.
    let unit = if max > 0.0 && max.is_finite() { max } else { 1.0 };
    let norm = unit * magnitudes().map(|(_, x)| (x / unit).powi(2)).sum::<f64>().sqrt();
    Size { norm, max, at }
}

/// `[n, c, y, x]` of a place in memory.
fn position(at: usize, shape: Shape, order: Order) -> [usize; 4] {
    let [_, c, h, w] = shape.dims();
    match order {
        Order::Nchw => [at / (c * h * w), at / (h * w) % c, at / w % h, at % w],
        Order::Nhwc => [at / (c * h * w), at % c, at / (w * c) % h, at / c % w],
    }
}

/// Whether a path ends so, in any case.
pub(crate) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Whether two paths mean one file or folder, which need not be there yet.
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    fn real(path: &Path) -> Option<PathBuf> {
        fs::canonicalize(path).ok().or_else(|| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Some(fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?.join(path.file_name()?))
        })
    }
    real(a).is_some_and(|a| real(b) == Some(a))
}
