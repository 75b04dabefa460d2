//! Folders of tensors: files paired by name without ending.

use super::failure::Failure;
use super::maps::place;
use super::positions::{PositionArgs, PositionFiles};
use super::target::has_ending;
use densekd::io::TensorPath;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// How many files without partner are named.
const NAMED: usize = 3;

/// The files of a folder by their name without ending.
type Files = BTreeMap<OsString, PathBuf>;

/// The files of a folder that have one of the endings. Hidden files and folders are passed over.
pub(crate) fn list(folder: &Path, endings: &[&str], wanted: &'static str) -> Result<Vec<PathBuf>, Failure> {
    let fail = |source| Failure::Folder { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && endings.iter().any(|ending| has_ending(&path, ending)) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::EmptyFolder { path: folder.to_owned(), wanted });
    }
    files.sort();
    Ok(files)
}

fn tensors(folder: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    for path in list(folder, &["npy", "npz", "safetensors"], ".npy, .npz or .safetensors")? {
        let stem = path.file_stem().unwrap_or_default().to_owned();
        if let Some(first) = files.insert(stem, path.clone()) {
            let (first, second) = (name(&first), name(&path));
            return Err(Failure::SameStem { path: folder.to_owned(), first, second });
        }
    }
    Ok(files)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A teacher's and a student's file, or a student's alone.
#[derive(Clone, Debug)]
pub(crate) struct FilePair {
    /// Their name without ending.
    pub(crate) stem: OsString,
    /// The teacher's.
    pub(crate) teacher: Option<TensorPath>,
    /// The student's.
    pub(crate) student: TensorPath,
}

/// All files of a folder, in order of their names.
pub(crate) fn alone(student: &Path) -> Result<Vec<FilePair>, Failure> {
    let one = |(stem, student): (OsString, PathBuf)| {
        Ok(FilePair { stem, teacher: None, student: place(&student)? })
    };
    tensors(student)?.into_iter().map(one).collect()
}

/// Pairs all files of two folders, in order of their names.
pub(crate) fn pairs(teacher: &Path, student: &Path) -> Result<Vec<FilePair>, Failure> {
    let (teachers, students) = (tensors(teacher)?, tensors(student)?);
    let without: Vec<String> = [("student", &teachers, &students), ("teacher", &students, &teachers)]
        .into_iter()
        .filter_map(|(partner, files, others)| lonely(partner, files, others))
        .collect();
    if !without.is_empty() {
        let (teacher, student) = (teacher.to_owned(), student.to_owned());
        return Err(Failure::Unpaired { teacher, student, without });
    }
    let pair = |((stem, teacher), student): ((OsString, PathBuf), &PathBuf)| {
        Ok(FilePair { stem, teacher: Some(place(&teacher)?), student: place(student)? })
    };
    teachers.into_iter().zip(students.values()).map(pair).collect()
}

/// The first few files without a namesake.
fn lonely(partner: &str, files: &Files, others: &Files) -> Option<String> {
    let lonely: Vec<_> = files.iter().filter(|(stem, _)| !others.contains_key(*stem)).collect();
    let named = lonely.iter().take(NAMED).map(|(_, path)| format!("`{}`", name(path)));
    let named = named.collect::<Vec<_>>().join(", ");
    match lonely.len() {
        0 => None,
        n if n > NAMED => Some(format!("{named} and {} more have no {partner}", n - NAMED)),
        1 => Some(format!("{named} has no {partner}")),
        _ => Some(format!("{named} have no {partner}")),
    }
}

/// Labels and masks for a folder's pairs: a file for each, or one for all.
pub(crate) struct Companions {
    labels: Companion,
    mask: Companion,
}

enum Companion {
    None,
    One(TensorPath),
    Each(PathBuf, Files),
}

impl Companions {
    /// Looks at the arguments.
    pub(crate) fn new(args: &PositionArgs) -> Result<Self, Failure> {
        let new = |path: &Option<PathBuf>| match path {
            None => Ok(Companion::None),
            Some(path) if path.is_dir() => Ok(Companion::Each(path.clone(), tensors(path)?)),
            Some(path) => place(path).map(Companion::One),
        };
        Ok(Self { labels: new(&args.labels)?, mask: new(&args.mask)? })
    }

    /// The files of one pair.
    pub(crate) fn of(&self, stem: &OsStr) -> Result<PositionFiles, Failure> {
        Ok(PositionFiles { labels: self.labels.of("labels", stem)?, mask: self.mask.of("mask", stem)? })
    }
}

impl Companion {
    fn of(&self, what: &'static str, stem: &OsStr) -> Result<Option<TensorPath>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::One(at) => Ok(Some(at.clone())),
            Self::Each(folder, files) => match files.get(stem) {
                Some(path) => place(path).map(Some),
                None => Err(Failure::NoPositions {
                    what,
                    path: folder.clone(),
                    stem: stem.to_string_lossy().into_owned(),
                }),
            },
        }
    }
}
