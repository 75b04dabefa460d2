//! The maps of a loss: from files to a loss's inputs.

use super::failure::Failure;
use super::parse::named;
use clap::{Args, ValueHint};
use densekd::BackendError;
use densekd::core::{self, Options, Order, Shape, Term};
use densekd::io::{self, Array, TensorPath};
use std::path::{Path, PathBuf};

/// The two arguments, and how the files lie in memory.
#[derive(Args, Debug)]
pub(crate) struct PairArgs {
    /// The teacher's tensor: file.npy, file.npz:name or file.safetensors:name. A name may be left out where the
    /// file has only one tensor, or both files have one of equal name and shape. A loss without a teacher takes
    /// the student's tensor here, and no other
    #[arg(value_name = "TEACHER", value_hint = ValueHint::AnyPath)]
    first: Option<PathBuf>,
    /// The student's tensor, of the same shape unless the loss says which dimensions may differ
    #[arg(value_name = "STUDENT", value_hint = ValueHint::AnyPath)]
    second: Option<PathBuf>,
    /// Order of the dimensions in the files: [N, C, H, W] (or [C, H, W], or logits [N, C]), or channels last,
    /// [N, H, W, C] (or [H, W, C])
    #[arg(long, value_name = "NAME", value_parser = named(&[Order::Nchw, Order::Nhwc], Order::name), default_value = "nchw")]
    layout: Order,
}

/// The arguments by what they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides<'a> {
    /// The teacher's, where there is a teacher.
    pub(crate) teacher: Option<&'a Path>,
    /// The student's.
    pub(crate) student: &'a Path,
}

impl Sides<'_> {
    /// The two paths, or the student's.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.teacher.into_iter().chain([self.student])
    }
}

impl PairArgs {
    /// The order of both maps.
    pub(crate) const fn order(&self) -> Order {
        self.layout
    }

    /// Whether any tensor is named.
    pub(crate) const fn is_given(&self) -> bool {
        self.first.is_some()
    }

    /// The tensors of a loss, as many as it takes.
    pub(crate) fn sides_of(&self, options: &Options) -> Result<Sides<'_>, Failure> {
        self.sides(&format!("loss {}", options.loss()), options.takes_teacher())
    }

    /// Both tensors, or the student's alone, for what asks for them.
    pub(crate) fn sides(&self, what: &str, with_teacher: bool) -> Result<Sides<'_>, Failure> {
        match (self.first.as_deref(), self.second.as_deref(), with_teacher) {
            (Some(teacher), Some(student), true) => Ok(Sides { teacher: Some(teacher), student }),
            (Some(student), None, false) => Ok(Sides { teacher: None, student }),
            (first, second, _) => Err(Failure::Tensors {
                what: what.to_owned(),
                wanted: if with_teacher {
                    "two tensors, <TEACHER> <STUDENT>"
                } else {
                    "one tensor, <STUDENT>"
                },
                found: match (first, second) {
                    (None, _) => "none is given",
                    (_, None) => "one is given",
                    _ => "two are given",
                },
            }),
        }
    }

    /// Reads the maps of a command that has no use for folders: those of a loss, or a teacher's and a student's.
    pub(crate) fn read_one(&self, options: Option<&Options>) -> Result<Maps, Failure> {
        let pair = || self.sides("this command", true);
        let sides = options.map_or_else(pair, |options| self.sides_of(options))?;
        if let Some(path) = sides.paths().find(|path| path.is_dir()) {
            return Err(Failure::FolderUnwanted { path: path.to_owned() });
        }
        Maps::read(sides.teacher.map(place).transpose()?.as_ref(), &place(sides.student)?, self.layout)
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

/// A map, and where it was found.
pub(crate) struct Map {
    /// Its numbers in the shape of the file.
    pub(crate) tensor: Array,
    /// Its place.
    pub(crate) at: TensorPath,
    /// `[N, C, H, W]`.
    pub(crate) shape: Shape,
}

impl Map {
    fn new(tensor: Array, at: TensorPath, order: Order) -> Result<Self, Failure> {
        let shape = shape(&tensor, &at, order)?;
        Ok(Self { tensor, at, shape })
    }

    /// Its numbers.
    pub(crate) fn numbers(&self) -> core::Tensor<'_> {
        self.tensor.as_tensor()
    }
}

/// The maps that a loss looks at.
pub(crate) struct Maps {
    /// The teacher's, where there is a teacher.
    pub(crate) teacher: Option<Map>,
    /// The student's.
    pub(crate) student: Map,
    /// Their memory order.
    pub(crate) order: Order,
}

impl Maps {
    /// Reads them.
    pub(crate) fn read(
        teacher: Option<&TensorPath>,
        student: &TensorPath,
        order: Order,
    ) -> Result<Self, Failure> {
        let Some(teacher) = teacher else {
            let student = Map::new(io::read(student)?, student.clone(), order)?;
            return Ok(Self { teacher: None, student, order });
        };
        let io::Pair { teacher, student, teacher_at, student_at } = io::read_pair(teacher, student)?;
        let teacher = Some(Map::new(teacher, teacher_at, order)?);
        Ok(Self { teacher, student: Map::new(student, student_at, order)?, order })
    }

    /// The teacher's shape, or the student's where there is no teacher.
    pub(crate) fn teacher_shape(&self) -> Shape {
        self.teacher.as_ref().map_or(self.student.shape, |teacher| teacher.shape)
    }

    /// The teacher's numbers.
    pub(crate) fn teacher(&self) -> Option<core::Tensor<'_>> {
        self.teacher.as_ref().map(Map::numbers)
    }

    /// The two maps of a comparison position by position, and their shape.
    pub(crate) fn pair(&self) -> Result<(core::Tensor<'_>, core::Tensor<'_>, Shape), Failure> {
        let (teacher, student) = (self.teacher_shape().dims(), self.student.shape.dims());
        match self.teacher() {
            Some(numbers) if teacher == student => Ok((numbers, self.student.numbers(), self.student.shape)),
            _ => Err(self.fault(core::Error::ShapeMismatch { teacher, student })),
        }
    }

    /// The loss on these shapes.
    pub(crate) fn term(&self, options: Options) -> Result<Term, Failure> {
        let term = Term::new(options, self.student.shape, self.teacher_shape(), self.order);
        term.map_err(|error| self.fault(error))
    }

    /// An error, with the files' names where it is about their shapes.
    pub(crate) fn fault(&self, error: impl Into<BackendError>) -> Failure {
        use core::Error::{Border, ShapeMismatch};
        let (source, teacher) = match (error.into(), &self.teacher) {
            (BackendError::Request(source @ (ShapeMismatch { .. } | Border { .. })), teacher) => {
                (source, teacher)
            }
            (error, _) => return error.into(),
        };
        let student = self.student.at.clone();
        match teacher {
            Some(teacher) => Failure::Pair { teacher: teacher.at.clone(), student, source },
            None => Failure::Tensor { at: student, source },
        }
    }
}

fn shape(array: &Array, at: &TensorPath, order: Order) -> Result<Shape, Failure> {
    let Some(dims) = array.dims(order) else {
        let wanted = match order {
            Order::Nchw => "[N, C, H, W], [C, H, W] or logits [N, C]",
            Order::Nhwc => "[N, H, W, C], [H, W, C] or logits [N, C]",
        };
        return Err(Failure::Rank { at: at.clone(), shape: array.shape().to_vec(), wanted });
    };
    Shape::new(dims).map_err(|source| Failure::Tensor { at: at.clone(), source })
}
