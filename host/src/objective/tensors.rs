//! Tensors by name: members of an archive, files of a folder, or whatever a program puts in.

use super::error::Problem;
use crate::io::{self, Array, Labels, TensorPath};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The endings of a folder's tensor files.
const ENDINGS: [&str; 3] = ["npy", "npz", "safetensors"];

/// How many names are given where one is missing.
const NAMED: usize = 12;

/// A network's tensors, by name. A file's are read when they are asked for.
///
/// ```
/// use densekd::io::{self, Array};
/// use densekd::objective::Tensors;
/// let folder = tempfile::tempdir()?;
/// let logits = Array::new([1, 2], vec![0.25_f32, 0.75])?;
/// io::write(folder.path().join("logits.npy"), "logits", &logits)?;
/// assert_eq!(Tensors::open(folder.path()).tensor("logits")?, logits);
/// let error = Tensors::open(folder.path()).tensor("logitz").unwrap_err();
/// assert!(error.to_string().contains("but logits: correct the name"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tensors {
    /// A folder or an archive.
    path: Option<PathBuf>,
    maps: BTreeMap<String, Array>,
    labels: BTreeMap<String, Labels>,
}

impl Tensors {
    /// Those of a .safetensors or .npz archive, or of the tensor files of a folder, named by file name without
    /// ending.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// Puts a tensor in the place of any other of this name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Array) {
        self.maps.insert(name.into(), tensor);
    }

    /// Puts labels, or a mask, in the place of any others of this name.
    pub fn insert_labels(&mut self, name: impl Into<String>, labels: Labels) {
        self.labels.insert(name.into(), labels);
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Problem`] where there is none or it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Array, Problem> {
        match (self.maps.get(name), &self.path) {
            (Some(tensor), _) => Ok(tensor.clone()),
            (None, Some(path)) => io::read(&place(path, name)?).map_err(Problem::File),
            (None, None) => Err(not_given(name, self.maps.keys())),
        }
    }

    /// The labels, or the mask, of this name.
    ///
    /// # Errors
    /// [`Problem`] where there are none or they cannot be read.
    pub fn labels(&self, name: &str) -> Result<Labels, Problem> {
        match (self.labels.get(name), &self.path) {
            (Some(labels), _) => Ok(labels.clone()),
            (None, Some(path)) => io::read_labels(&place(path, name)?).map_err(Problem::File),
            (None, None) => Err(not_given(name, self.labels.keys())),
        }
    }
}

/// Whether a problem is that there is nothing of the name, so that it may be looked for elsewhere.
pub(super) const fn is_missing(problem: &Problem) -> bool {
    matches!(problem, Problem::NoTensor { .. } | Problem::File(io::Error::NameMissing { .. }))
}

fn place(path: &Path, name: &str) -> Result<TensorPath, Problem> {
    if !path.is_dir() {
        return TensorPath::new(path, Some(name)).map_err(Problem::File);
    }
    let files: Vec<PathBuf> = ENDINGS
        .iter()
        .map(|ending| path.join(format!("{name}.{ending}")))
        .filter(|file| file.is_file())
        .collect();
    match &files[..] {
        [] => Err(missing(name, format!("the folder `{}`", path.display()), stems(path)?)),
        [file] => TensorPath::new(file, None).map_err(Problem::File),
        _ => {
            let found: Vec<_> = files.iter().map(|file| format!("`{}`", file.display())).collect();
            let from = format!("the folder `{}`", path.display());
            Err(Problem::Ambiguous { name: name.to_owned(), from, found: found.join(" and ") })
        }
    }
}

fn not_given<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Problem {
    missing(name, "what was given".to_owned(), names.cloned().collect())
}

fn missing(name: &str, from: String, mut names: Vec<String>) -> Problem {
    names.sort();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let found = match (names.is_empty(), more) {
        (true, _) => "no tensor at all".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    };
    Problem::NoTensor { name: name.to_owned(), from, found }
}

/// The names that a folder's files have.
fn stems(folder: &Path) -> Result<Vec<String>, Problem> {
    let fail = |source| Problem::File(io::Error::Read { path: folder.to_owned(), source });
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}
