//! Where a tensor is: a file and, where the format has names, a name in it.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Error;

/// The file formats, told apart by the ending of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Format {
    Npy,
    Npz,
    Safetensors,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        [("npy", Self::Npy), ("npz", Self::Npz), ("safetensors", Self::Safetensors)]
            .into_iter()
            .find_map(|(name, format)| ending.eq_ignore_ascii_case(name).then_some(format))
    }

    pub(super) fn of_or_error(path: &Path) -> Result<Self, Error> {
        Self::of(path).ok_or_else(|| Error::Extension {
            path: path.to_owned(),
            found: path
                .extension()
                .map_or("no ending".into(), |e| format!("the ending .{}", e.to_string_lossy())),
        })
    }
}

/// A tensor in a file: `file.npy`, `file.npz:name` or `file.safetensors:name`.
///
/// The name may be left out where the file has one tensor only. Displays as it is parsed.
///
/// ```
/// use densekd::io::TensorPath;
///
/// let at: TensorPath = "out/teacher.safetensors:logits".parse()?;
/// assert_eq!(at.path().to_str(), Some("out/teacher.safetensors"));
/// assert_eq!(at.name(), Some("logits"));
///
/// // A colon is part of the path unless it follows .npz or .safetensors.
/// let at: TensorPath = "run 12:30/logits.npy".parse()?;
/// assert_eq!(at.name(), None);
/// assert_eq!(at.to_string(), "run 12:30/logits.npy");
/// # Ok::<(), densekd::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorPath {
    path: PathBuf,
    name: Option<String>,
    format: Format,
}

impl TensorPath {
    /// From a file and a name in it; the name may hold any characters.
    ///
    /// # Errors
    ///
    /// Where the path ends in none of the known endings, the name is empty, or the format has no names.
    ///
    /// ```
    /// use densekd::io::TensorPath;
    ///
    /// let at = TensorPath::new("teacher.npz", Some("head:0"))?;
    /// assert_eq!(at.to_string(), "teacher.npz:head:0");
    /// assert!(TensorPath::new("teacher.npy", Some("head")).is_err());
    /// # Ok::<(), densekd::io::Error>(())
    /// ```
    pub fn new(path: impl Into<PathBuf>, name: Option<&str>) -> Result<Self, Error> {
        let path = path.into();
        let format = Format::of_or_error(&path)?;
        match name {
            Some("") => Err(Error::NameEmpty { path }),
            Some(name) if format == Format::Npy => Err(Error::NameUnwanted { path, name: name.to_owned() }),
            name => Ok(Self { path, name: name.map(str::to_owned), format }),
        }
    }

    /// From one argument, as a command line gives it.
    ///
    /// What follows the last colon is a name only if `.npz` or `.safetensors` (in any case) stands
    /// before that colon. Where that leaves a path of unknown ending, earlier colons are tried, so
    /// names with a colon in them work too.
    ///
    /// # Errors
    ///
    /// As [`TensorPath::new`].
    ///
    /// ```
    /// use densekd::io::TensorPath;
    ///
    /// assert_eq!(TensorPath::parse("w.npz:conv:0")?.name(), Some("conv:0"));
    /// assert!(TensorPath::parse("weights.pt").is_err());
    /// # Ok::<(), densekd::io::Error>(())
    /// ```
    pub fn parse(argument: impl AsRef<OsStr>) -> Result<Self, Error> {
        let argument = argument.as_ref();
        // A path that is no Unicode cannot be split by safe code; it still names a whole file.
        let Some(text) = argument.to_str() else { return Self::new(argument, None) };
        let whole = || Self::new(text, None);

        let named = |format: Option<Format>| matches!(format, Some(Format::Npz | Format::Safetensors));
        let at_colons = || text.rmatch_indices(':').map(|(colon, _)| (&text[..colon], &text[colon + 1..]));
        if let Some((path, name)) = at_colons().next()
            && named(Format::of(Path::new(path)))
        {
            return Self::new(path, Some(name));
        }
        if Format::of(Path::new(text)).is_some() {
            return whole();
        }
        at_colons()
            .find(|(path, _)| Format::of(Path::new(path)).is_some())
            .map_or_else(whole, |(path, name)| Self::new(path, Some(name)))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name in the file, if one is given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// The same file with the name that was found in it.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for TensorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

impl FromStr for TensorPath {
    type Err = Error;

    fn from_str(argument: &str) -> Result<Self, Error> {
        Self::parse(argument)
    }
}
