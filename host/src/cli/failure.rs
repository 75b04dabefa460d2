//! Everything that ends a command early: its name for machines, its sentence, its exit code.

use super::flags::flag;
use densekd::BackendError;
use densekd::core;
use densekd::core::{Loss, Norm, OptionError, Shape};
use densekd::io::{self, TensorPath};
use densekd::objective::ObjectiveError;
use std::path::PathBuf;

/// Why a command gave up. Every message names what was found, what was wanted and the way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A tensor file that cannot be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The plan was refused, or could not be run.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An objective that cannot be read or evaluated.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// A tensor whose name cannot be that of a file.
    #[error(
        "--grad writes a file for each tensor of the student, and `{name}` cannot name one: rename the tensor"
    )]
    GradientName {
        /// The tensor.
        name: String,
    },
    /// Options that do not go together.
    #[error(transparent)]
    Request(#[from] core::Error),
    /// An option that the loss does not have, or not with this value.
    #[error("{}", refusal(*.loss, .option, .source))]
    Option {
        /// The loss.
        loss: Loss,
        /// The option.
        option: &'static str,
        /// What is wrong.
        source: OptionError,
    },
    /// Another number of tensors than the loss takes.
    #[error("{what} takes {wanted}, but {found}")]
    Tensors {
        /// Who takes them.
        what: String,
        /// How many.
        wanted: &'static str,
        /// How many are given.
        found: &'static str,
    },
    /// One tensor whose shape is of no use.
    #[error("`{at}`: {source}")]
    Tensor {
        /// The tensor.
        at: TensorPath,
        /// What is wrong.
        source: core::Error,
    },
    /// Two tensors that do not fit each other.
    #[error("`{teacher}` and `{student}`: {source}")]
    Pair {
        /// The teacher's.
        teacher: TensorPath,
        /// The student's.
        student: TensorPath,
        /// What is wrong.
        source: core::Error,
    },
    /// A tensor with a number of dimensions that no map has.
    #[error(
        "`{at}` has {} dimensions, {shape:?}, but a map is {wanted}: reshape it before it is saved", .shape.len()
    )]
    Rank {
        /// The tensor.
        at: TensorPath,
        /// Its shape.
        shape: Vec<usize>,
        /// The shapes that would do.
        wanted: &'static str,
    },
    /// Labels or a mask of another shape than the map.
    #[error(
        "{what} `{at}`: the shape is {found:?}, but a map of {map} wants {wanted:?} ([N, H, W]); resize to the map's \
         H and W by nearest neighbour"
    )]
    PositionsShape {
        /// Which of the two.
        what: &'static str,
        /// The file.
        at: TensorPath,
        /// Its shape.
        found: Vec<usize>,
        /// The map.
        map: Shape,
        /// The shape that would do.
        wanted: [usize; 3],
    },
    /// Classes of another number of images than the map.
    #[error(
        "labels `{at}`: the shape is {found:?}, but a map of {map} wants [{}, H, W], with any H and W",
        .map.images()
    )]
    LabelsShape {
        /// The file.
        at: TensorPath,
        /// Its shape.
        found: Vec<usize>,
        /// The map.
        map: Shape,
    },
    /// A projection that does not go from the student's channels to the teacher's.
    #[error("{what} `{at}`: the shape is {found:?}, but the channels of teacher and student want {wanted:?}")]
    ProjectionShape {
        /// Weight or bias.
        what: &'static str,
        /// The file.
        at: TensorPath,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that would do.
        wanted: Vec<usize>,
    },
    /// A mask with a number other than 0 and 1.
    #[error(
        "the mask `{at}` holds {found} at [n, y, x] = {position:?}, but a mask is 1 where a position counts and 0 \
         elsewhere: class labels go to --labels"
    )]
    MaskValue {
        /// The file.
        at: TensorPath,
        /// The number.
        found: i64,
        /// Where it stands.
        position: [usize; 3],
    },
    /// The GPU was asked for.
    #[error("no CUDA backend: {reason}; use --backend cpu, or --backend auto for the best one there is")]
    NoCuda {
        /// What is missing.
        reason: String,
    },
    /// A gradient would take the place of an input.
    #[error("the output `{}` is also an input, and would take its place: choose another file", .path.display())]
    OutputIsInput {
        /// The file.
        path: PathBuf,
    },
    /// Two gradients go to one file.
    #[error("{first} and {second} both name `{}`: choose two files", .path.display())]
    OutputTwice {
        /// One flag.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Channels are not rows of this loss.
    #[error(
        "--per-channel with norm {norm}: there a row is a position, across all channels, so no channel has a loss of \
         its own; use --norm channel, or leave --per-channel out"
    )]
    PerChannel {
        /// The normalisation.
        norm: Norm,
    },
    /// A loss without rows.
    #[error(
        "--per-channel with loss {loss}: it looks at whole maps, so no channel has a loss of its own; leave it out"
    )]
    PerChannelOfMaps {
        /// The loss.
        loss: Loss,
    },
    /// A gradient that is no derivative.
    #[error(
        "with {} the gradient of loss {loss} leaves a part of the derivative out, by definition, so differences of \
         the value cannot be it: check with {}", flag(.option), flag(&format!("no_{option}"))
    )]
    Detached {
        /// The loss.
        loss: Loss,
        /// The option that leaves it out.
        option: &'static str,
    },
    /// A folder against a file.
    #[error("`{}` is a folder and `{}` is not: give two files or two folders", .folder.display(), .other.display())]
    FolderAndFile {
        /// The folder.
        folder: PathBuf,
        /// The other argument.
        other: PathBuf,
    },
    /// A folder where one file is wanted.
    #[error("`{}` is a folder, but this command looks at one pair of tensors: name two files", .path.display())]
    FolderUnwanted {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that cannot be listed.
    #[error("`{}` cannot be listed ({source}); check the folder and its permissions", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A folder without a tensor file.
    #[error("the folder `{}` holds no {wanted} file: check the path (folders in it are not looked into)", .path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// The endings that would do.
        wanted: &'static str,
    },
    /// Two files of a folder that cannot be told apart without their endings.
    #[error(
        "the folder `{}` holds `{first}` and `{second}`, but files are paired by name without ending: move one away",
        .path.display()
    )]
    SameStem {
        /// The folder.
        path: PathBuf,
        /// One file's name.
        first: String,
        /// The other's.
        second: String,
    },
    /// Files without a partner.
    #[error(
        "the folders `{}` and `{}` do not pair: {}; files are paired by name without ending, so rename them or move \
         them away", .teacher.display(), .student.display(), .without.join(", ")
    )]
    Unpaired {
        /// The teacher's folder.
        teacher: PathBuf,
        /// The student's folder.
        student: PathBuf,
        /// What lacks a partner, in words.
        without: Vec<String>,
    },
    /// A pair without its labels or mask.
    #[error(
        "the folder `{}` holds no {what} for `{stem}`: every pair needs a file of its name there, or give one file \
         for all", .path.display()
    )]
    NoPositions {
        /// Labels or mask.
        what: &'static str,
        /// The folder.
        path: PathBuf,
        /// The pair's name.
        stem: String,
    },
    /// A file of test vectors that is none.
    #[error(
        "`{}` cannot be used as test vectors ({found}): the format is a JSON array of cases, described in \
         golden/README.md", .path.display()
    )]
    Vectors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The report could not be printed.
    #[error("the report cannot be written to standard output ({0}): check where it goes")]
    Stdout(std::io::Error),
}

impl Failure {
    /// A short stable name for machines.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::File(error) => error.code(),
            Self::Backend(BackendError::Request(source))
            | Self::Request(source)
            | Self::Tensor { source, .. }
            | Self::Pair { source, .. }
            | Self::Option { source: OptionError::Value(source), .. } => source.code(),
            Self::Option { .. } => "option",
            Self::Tensors { .. } => "usage",
            Self::ProjectionShape { .. } => "projection_shape",
            Self::Backend(BackendError::Threads { .. }) => "threads",
            Self::Backend(BackendError::Isa { .. }) => "instruction_set",
            #[cfg(feature = "cuda")]
            Self::Backend(BackendError::Cuda(error)) => error.code(),
            Self::Backend(_) => "unsupported",
            Self::Objective(_) => "objective",
            Self::GradientName { .. } => "gradient_name",
            Self::Rank { .. } => "rank",
            Self::PositionsShape { .. } | Self::LabelsShape { .. } => "positions_shape",
            Self::MaskValue { .. } => "mask_value",
            Self::NoCuda { .. } => "no_backend",
            Self::OutputIsInput { .. } => "output_is_input",
            Self::OutputTwice { .. } => "output_twice",
            Self::PerChannel { .. } | Self::PerChannelOfMaps { .. } => "per_channel",
            Self::Detached { .. } => "detached",
            Self::FolderAndFile { .. } => "folder_and_file",
            Self::FolderUnwanted { .. } => "folder_unwanted",
            Self::Folder { .. } => "folder",
            Self::EmptyFolder { .. } => "empty_folder",
            Self::SameStem { .. } => "same_stem",
            Self::Unpaired { .. } => "unpaired",
            Self::NoPositions { .. } => "no_positions",
            Self::Vectors { .. } => "vectors",
            Self::Stdout(_) => "stdout",
        }
    }

    /// 2 for a call that no change of the files would help, else 1.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Option { .. }
            | Self::Tensors { .. }
            | Self::PerChannelOfMaps { .. }
            | Self::Detached { .. }
            | Self::OutputIsInput { .. }
            | Self::OutputTwice { .. }
            | Self::PerChannel { .. }
            | Self::FolderAndFile { .. }
            | Self::FolderUnwanted { .. } => 2,
            Self::Backend(BackendError::Request(error)) | Self::Request(error) if is_option(error) => 2,
            _ => 1,
        }
    }
}

/// Whether options alone are at fault, whatever the tensors.
const fn is_option(error: &core::Error) -> bool {
    use core::Error::{
        Divisor, Epsilon, EpsilonUnused, IgnoreAfter, LabelsMissing, MaskWithUpsample, NotADistribution,
        Share, TeacherGradient, Temperature, Unused, Upsample, Upstream, Weight,
    };
    matches!(
        error,
        Temperature { .. }
            | Weight { .. }
            | Epsilon { .. }
            | Upstream { .. }
            | NotADistribution { .. }
            | EpsilonUnused { .. }
            | IgnoreAfter { .. }
            | MaskWithUpsample
            | Upsample { .. }
            | Share { .. }
            | Unused { .. }
            | LabelsMissing
            | TeacherGradient
            | Divisor { .. }
    )
}

/// Why an option is refused, and which there are.
fn refusal(loss: Loss, option: &str, source: &OptionError) -> String {
    let option = flag(option);
    match source {
        OptionError::Unknown { known } => {
            let known: Vec<String> = known.iter().map(|field| flag(field.name)).collect();
            format!("loss {loss} has no option {option}; its options are {}", known.join(", "))
        }
        source => format!("loss {loss}, {option}: {source}"),
    }
}
