//! What can go wrong with a tensor file, and what to do about it.

use std::path::PathBuf;

use super::TensorPath;

/// Why a tensor could not be read or written.
///
/// Every message is one sentence that names the place and ends in what to do.
///
/// ```
/// use densekd::io::{self, TensorPath};
///
/// let at = TensorPath::parse("no-such-folder/logits.npy")?;
/// let error = io::read(&at).unwrap_err();
/// assert!(matches!(error, io::Error::Missing { .. }));
/// assert_eq!(error.to_string(), "`no-such-folder/logits.npy` does not exist; check the path");
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at the path.
    #[error("`{}` does not exist; check the path", .path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder, a device or a pipe is at the path.
    #[error("`{}` is {found}, wanted a plain file; give the path of a .npy, .npz or .safetensors file", .path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// The file has no bytes.
    #[error("`{}` has 0 bytes, wanted a tensor; save it again", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The ending of the path is that of no known format.
    #[error("`{}` has {found}, wanted .npy, .npz or .safetensors; rename or convert the file", .path.display())]
    Extension {
        /// The path as given.
        path: PathBuf,
        /// The ending found, in words.
        found: String,
    },
    /// The system refused to open, read or map the file.
    #[error("`{}` cannot be read ({source}); check the file and its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The system refused to write; whatever was at the path before is still there.
    #[error("`{}` cannot be written ({source}); check that its folder exists, is writable and has room", .path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A format that is read but not written.
    #[error("`{}` has the ending .npz, which is only read; write .safetensors for several tensors or .npy for one", .path.display())]
    WriteFormat {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// A bfloat16 tensor was to be written as an array, which has no name for its numbers.
    #[error("`{}` cannot hold bf16, wanted f32, f64 or f16; write it as .safetensors", .path.display())]
    Bf16ToNpy {
        /// The file that was to be written.
        path: PathBuf,
    },

    /// A name was given for a format that has none.
    #[error("`{}` holds one array without a name, found the name `{name}`; leave `:{name}` out", .path.display())]
    NameUnwanted {
        /// The file.
        path: PathBuf,
        /// The name given.
        name: String,
    },
    /// A name is empty.
    #[error("`{}` is given with an empty tensor name; give the name, or leave it out with its colon", .path.display())]
    NameEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The file has several tensors and none was chosen.
    #[error(
        "`{}` holds {} tensors and no name was given; choose one by appending it, as in `{}:{}`, from: {}",
        .path.display(), .found.len(), .path.display(), .found.first().map_or("name", String::as_str), .found.join(", ")
    )]
    NameNeeded {
        /// The file.
        path: PathBuf,
        /// The names it has.
        found: Vec<String>,
    },
    /// The file has no tensor of that name.
    #[error("`{wanted}` does not exist in the file; choose one of: {}", .found.join(", "))]
    NameMissing {
        /// File and name asked for.
        wanted: TensorPath,
        /// The names the file has.
        found: Vec<String>,
    },
    /// The file has no tensor at all.
    #[error("`{}` holds 0 tensors, wanted at least 1; save it again with a tensor in it", .path.display())]
    NoTensors {
        /// The file.
        path: PathBuf,
    },
    /// Two tensors of one file have the same name.
    #[error("`{}` has the name `{name}` twice, wanted different names; rename one of them", .path.display())]
    NameTwice {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A name that the format keeps for itself.
    #[error("`{}` cannot hold a tensor of the name `{name}`, which the format reserves; use another name", .path.display())]
    NameReserved {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Several tensors could be the pair.
    #[error(
        "`{}` and `{}` share {} float tensors of equal name and shape; choose one by appending its name to both paths, \
         as in `{}:{}`, from: {}",
        .teacher.display(), .student.display(), .found.len(), .teacher.display(),
        .found.first().map_or("name", String::as_str), .found.join(", ")
    )]
    PairAmbiguous {
        /// The teacher's file.
        teacher: PathBuf,
        /// The student's file.
        student: PathBuf,
        /// The names that qualify.
        found: Vec<String>,
    },
    /// No tensor could be the pair.
    #[error(
        "`{}` ({teacher_has}) and `{}` ({student_has}) share no float tensor of equal name and shape; \
         choose one for each by appending its name, as in `file.safetensors:name`",
        .teacher.display(), .student.display()
    )]
    PairNone {
        /// The teacher's file.
        teacher: PathBuf,
        /// The student's file.
        student: PathBuf,
        /// The teacher's tensors with their shapes.
        teacher_has: String,
        /// The student's tensors with their shapes.
        student_has: String,
    },

    /// Fewer bytes than the header announces.
    #[error(
        "`{at}` has {found} bytes, its header wants {wanted}; the file is cut off, copy or save it again"
    )]
    Truncated {
        /// Where.
        at: TensorPath,
        /// Bytes there.
        found: u64,
        /// Bytes announced.
        wanted: u64,
    },
    /// More bytes than the header announces.
    #[error("`{at}` has {found} bytes, its header wants {wanted}; header and data disagree, save it again")]
    Trailing {
        /// Where.
        at: TensorPath,
        /// Bytes there.
        found: u64,
        /// Bytes announced.
        wanted: u64,
    },
    /// A shape with more numbers than memory can address.
    #[error("`{at}` announces the shape {found}, wanted one whose size in bytes fits 63 bits; save it again")]
    TooLarge {
        /// Where.
        at: TensorPath,
        /// The shape in the header.
        found: String,
    },
    /// Shape and values given to [`Array::new`](super::Array::new) disagree.
    #[error("the shape {shape:?} does not fit {found} values; give a shape whose product is {found}")]
    Shape {
        /// The shape given.
        shape: Vec<usize>,
        /// How many values were given.
        found: usize,
    },

    /// The first bytes are not those of an array.
    #[error("`{at}` starts with the bytes {found}, wanted \"\\x93NUMPY\"; write it with np.save")]
    NpyMagic {
        /// Where.
        at: TensorPath,
        /// The bytes found.
        found: String,
    },
    /// An array format that this crate does not know.
    #[error("`{at}` is of .npy version {found}, wanted 1.0, 2.0 or 3.0; write it with np.save")]
    NpyVersion {
        /// Where.
        at: TensorPath,
        /// The version found.
        found: String,
    },
    /// The header of an array makes no sense.
    #[error(
        "`{at}` has a header with {found}, wanted descr, fortran_order and shape of one plain array; write it with np.save"
    )]
    NpyHeader {
        /// Where.
        at: TensorPath,
        /// What is wrong with it.
        found: String,
    },
    /// An array in column-major order.
    #[error("`{at}` is in Fortran order, wanted C order; save np.ascontiguousarray(a)")]
    FortranOrder {
        /// Where.
        at: TensorPath,
    },
    /// An array in the other byte order.
    #[error(
        "`{at}` has the big-endian dtype {found}, wanted little-endian; save a.astype(a.dtype.newbyteorder('<')), such as a.astype('<f4')"
    )]
    BigEndian {
        /// Where.
        at: TensorPath,
        /// The dtype found.
        found: String,
    },
    /// An array of pickled Python objects.
    #[error(
        "`{at}` has the dtype {found} (Python objects), wanted numbers; save np.array(a.tolist(), dtype='<f4')"
    )]
    ObjectArray {
        /// Where.
        at: TensorPath,
        /// The dtype found.
        found: String,
    },
    /// An array of records.
    #[error(
        "`{at}` has a structured dtype ({found}), wanted plain numbers; save one field, as in np.ascontiguousarray(a['field'])"
    )]
    StructuredArray {
        /// Where.
        at: TensorPath,
        /// The header found.
        found: String,
    },
    /// A bfloat16 array, for which the array format has no name.
    #[error(
        "`{at}` has the dtype {found}, as NumPy stores bfloat16, which .npy cannot name; save it as .safetensors"
    )]
    Bf16InNpy {
        /// Where.
        at: TensorPath,
        /// The dtype found.
        found: String,
    },
    /// A number type that the caller has no use for.
    #[error("`{at}` has the dtype {found}, wanted {wanted}; {fix}")]
    Dtype {
        /// Where.
        at: TensorPath,
        /// The dtype as the file names it.
        found: String,
        /// The dtypes that would do.
        wanted: &'static str,
        /// How to get there.
        fix: &'static str,
    },

    /// The archive cannot be opened.
    #[error("`{}` is no readable zip archive ({found}); write it with np.savez", .path.display())]
    Npz {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// A member cannot be unpacked.
    #[error(
        "`{at}` cannot be unpacked ({found}); write the archive again with np.savez or np.savez_compressed"
    )]
    NpzMember {
        /// Where.
        at: TensorPath,
        /// What is wrong with it.
        found: String,
    },
    /// A member claims a size to which its bytes cannot unpack.
    #[error(
        "`{at}` claims {found} bytes, of which its compressed bytes can hold at most {wanted}; write the archive again"
    )]
    NpzClaim {
        /// Where.
        at: TensorPath,
        /// Bytes claimed.
        found: u64,
        /// Bytes possible.
        wanted: u64,
    },
    /// The header of a safetensors file makes no sense.
    #[error("`{}` has a header with a fault ({found}), wanted one by the safetensors format; save it again", .path.display())]
    SafetensorsHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
}

impl Error {
    /// A short stable name for machines, the same in every language and in JSON.
    ///
    /// ```
    /// use densekd::io::TensorPath;
    ///
    /// assert_eq!(TensorPath::parse("weights.pt").unwrap_err().code(), "file_extension");
    /// ```
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "file_missing",
            Self::NotAFile { .. } => "not_a_file",
            Self::Empty { .. } => "file_empty",
            Self::Extension { .. } => "file_extension",
            Self::Read { .. } => "file_read",
            Self::Write { .. } => "file_write",
            Self::WriteFormat { .. } => "file_write_format",
            Self::Bf16ToNpy { .. } => "bf16_to_npy",
            Self::NameUnwanted { .. } => "name_unwanted",
            Self::NameEmpty { .. } => "name_empty",
            Self::NameNeeded { .. } => "name_needed",
            Self::NameMissing { .. } => "name_missing",
            Self::NoTensors { .. } => "no_tensors",
            Self::NameTwice { .. } => "name_twice",
            Self::NameReserved { .. } => "name_reserved",
            Self::PairAmbiguous { .. } => "pair_ambiguous",
            Self::PairNone { .. } => "pair_none",
            Self::Truncated { .. } => "file_truncated",
            Self::Trailing { .. } => "file_trailing",
            Self::TooLarge { .. } => "file_too_large",
            Self::Shape { .. } => "shape_of_values",
            Self::NpyMagic { .. } => "npy_magic",
            Self::NpyVersion { .. } => "npy_version",
            Self::NpyHeader { .. } => "npy_header",
            Self::FortranOrder { .. } => "fortran_order",
            Self::BigEndian { .. } => "big_endian",
            Self::ObjectArray { .. } => "object_array",
            Self::StructuredArray { .. } => "structured_array",
            Self::Bf16InNpy { .. } => "bf16_in_npy",
            Self::Dtype { .. } => "tensor_dtype",
            Self::Npz { .. } => "npz",
            Self::NpzMember { .. } => "npz_member",
            Self::NpzClaim { .. } => "npz_claim",
            Self::SafetensorsHeader { .. } => "safetensors_header",
        }
    }
}
