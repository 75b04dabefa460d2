//! The two maps of a loss: from files to a plan's inputs.

use super::failure::Failure;
use super::parse::named;
use clap::{Args, ValueHint};
use densekd::core::{self, Order, Shape};
use densekd::io::{self, Tensor, TensorPath};
use densekd::map_dims;
use std::path::{Path, PathBuf};

/// The two arguments, and how the files lie in memory.
#[derive(Args, Debug)]
pub(crate) struct PairArgs {
    /// The teacher's tensor: file.npy, file.npz:name or file.safetensors:name. A name may be left out where the
    /// file has only one tensor, or both files have one of equal name and shape
    #[arg(value_name = "TEACHER", value_hint = ValueHint::AnyPath)]
    pub(crate) teacher: PathBuf,
    /// The student's tensor, of the same shape
    #[arg(value_name = "STUDENT", value_hint = ValueHint::AnyPath)]
    pub(crate) student: PathBuf,
    /// Order of the dimensions in the files: [N, C, H, W] (or [C, H, W], or logits [N, C]), or channels last,
    /// [N, H, W, C] (or [H, W, C])
    #[arg(long, value_name = "NAME", value_parser = named(&[Order::Nchw, Order::Nhwc], Order::name), default_value = "nchw")]
    layout: Order,
}

impl PairArgs {
    /// The order of both maps.
    pub(crate) const fn order(&self) -> Order {
        self.layout
    }

    /// Reads the maps of a command that has no use for folders.
    pub(crate) fn read_one(&self) -> Result<Maps, Failure> {
        for path in [&self.teacher, &self.student] {
            if path.is_dir() {
                return Err(Failure::FolderUnwanted { path: path.clone() });
            }
        }
        Maps::read(&place(&self.teacher)?, &place(&self.student)?, self.layout)
    }
}

/// A file and a name in it, from an argument.
pub(crate) fn place(argument: &Path) -> Result<TensorPath, Failure> {
    let place = TensorPath::parse(argument);
    // A path without ending is more likely a mistyped folder than a file of an unknown format.
    if place.is_err() && argument.extension().is_none() && !argument.exists() {
        return Err(io::Error::Missing { path: argument.to_owned() }.into());
    }
    Ok(place?)
}

/// A teacher's and a student's map of one shape.
pub(crate) struct Maps {
    /// The tensors, and where they were found.
    pub(crate) pair: io::Pair,
    /// `[N, C, H, W]`.
    pub(crate) shape: Shape,
    /// Their memory order.
    pub(crate) order: Order,
}

impl Maps {
    /// Reads both, and holds their shapes against each other.
    pub(crate) fn read(teacher: &TensorPath, student: &TensorPath, order: Order) -> Result<Self, Failure> {
        let pair = io::read_pair(teacher, student)?;
        let teacher = shape(&pair.teacher, &pair.teacher_at, order)?;
        let student = shape(&pair.student, &pair.student_at, order)?;
        if teacher != student {
            let source = core::Error::ShapeMismatch { teacher: teacher.dims(), student: student.dims() };
            return Err(Failure::Pair { teacher: pair.teacher_at, student: pair.student_at, source });
        }
        Ok(Self { pair, shape: student, order })
    }

    /// The teacher's numbers.
    pub(crate) fn teacher(&self) -> core::Tensor<'_> {
        (&self.pair.teacher).into()
    }

    /// The student's numbers.
    pub(crate) fn student(&self) -> core::Tensor<'_> {
        (&self.pair.student).into()
    }
}

fn shape(tensor: &Tensor, at: &TensorPath, order: Order) -> Result<Shape, Failure> {
    let Some(dims) = map_dims(tensor.shape(), order) else {
        let wanted = match order {
            Order::Nchw => "[N, C, H, W], [C, H, W] or logits [N, C]",
            Order::Nhwc => "[N, H, W, C], [H, W, C] or logits [N, C]",
        };
        return Err(Failure::Rank { at: at.clone(), shape: tensor.shape().to_vec(), wanted });
    };
    Shape::new(dims).map_err(|source| Failure::Tensor { at: at.clone(), source })
}
