//! Everything that ends a command early: its name for machines, its sentence, its exit code.

use densekd::BackendError;
use densekd::core;
use densekd::core::{Norm, Shape};
use densekd::io::{self, TensorPath};
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
    /// Options that do not go together.
    #[error(transparent)]
    Request(#[from] core::Error),
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
    #[error("this build has no CUDA backend: use --backend cpu, or --backend auto for the best one there is")]
    NoCuda,
    /// A gradient would take the place of an input.
    #[error("the output `{}` is also an input, and would take its place: choose another file", .path.display())]
    OutputIsInput {
        /// The file.
        path: PathBuf,
    },
    /// Both gradients go to one file.
    #[error("--grad and --grad-teacher both name `{}`: choose two files", .path.display())]
    OutputTwice {
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
            Self::File(error) => file_code(error),
            Self::Backend(BackendError::Request(source))
            | Self::Request(source)
            | Self::Tensor { source, .. }
            | Self::Pair { source, .. } => source.code(),
            Self::Backend(BackendError::Threads { .. }) => "threads",
            Self::Backend(_) => "unsupported",
            Self::Rank { .. } => "rank",
            Self::PositionsShape { .. } => "positions_shape",
            Self::MaskValue { .. } => "mask_value",
            Self::NoCuda => "no_backend",
            Self::OutputIsInput { .. } => "output_is_input",
            Self::OutputTwice { .. } => "output_twice",
            Self::PerChannel { .. } => "per_channel",
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
            Self::OutputIsInput { .. }
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
        Divisor, DivisorChannels, Epsilon, EpsilonUnused, IgnoreAfter, MaskWithUpsample, NotADistribution,
        Temperature, Upsample, Upstream, Weight,
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
            | DivisorChannels
            | Divisor { .. }
    )
}

const fn file_code(error: &io::Error) -> &'static str {
    use io::Error::{
        Bf16ToNpy, Dtype, Extension, Missing, NameEmpty, NameMissing, NameNeeded, NameUnwanted, NotAFile,
        PairAmbiguous, PairNone, Read, Truncated, Write, WriteFormat,
    };
    match error {
        Missing { .. } => "file_missing",
        NotAFile { .. } => "not_a_file",
        Extension { .. } => "file_extension",
        Read { .. } => "file_read",
        Write { .. } => "file_write",
        WriteFormat { .. } | Bf16ToNpy { .. } => "file_write_format",
        NameUnwanted { .. } | NameEmpty { .. } | NameNeeded { .. } | NameMissing { .. } => "tensor_name",
        PairAmbiguous { .. } | PairNone { .. } => "tensor_pair",
        Truncated { .. } => "file_truncated",
        Dtype { .. } => "tensor_dtype",
        _ => "file_format",
    }
}
