//! Where the gradients of a loss go.

use super::failure::Failure;
use super::folder::FilePair;
use super::target::{Target, has_ending, same};
use clap::{Args, ValueHint};
use densekd::core::{Error, Options};
use densekd::io::{self, TensorPath};
use std::fs;
use std::path::{Path, PathBuf};

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write the gradient to the student here (.npy or .safetensors), in the student's shape and type; for two
    /// folders a folder
    #[arg(long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    grad: Option<PathBuf>,
    /// Write the gradient to the teacher here, in the teacher's shape and type
    #[arg(long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    grad_teacher: Option<PathBuf>,
    /// Write the gradient to the projection's weight here
    #[arg(long, value_name = "OUT", requires = "projection", value_hint = ValueHint::AnyPath)]
    grad_projection: Option<PathBuf>,
    /// Write the gradient to the projection's bias here
    #[arg(long, value_name = "OUT", requires = "projection_bias", value_hint = ValueHint::AnyPath)]
    grad_projection_bias: Option<PathBuf>,
}

/// What there may be of every gradient.
#[derive(Debug, Default)]
pub(crate) struct Gradients<T> {
    /// To the student.
    pub(crate) student: T,
    /// To the teacher.
    pub(crate) teacher: T,
    /// To the projection's weight.
    pub(crate) projection: T,
    /// To the projection's bias.
    pub(crate) bias: T,
}

impl OutputArgs {
    /// Flags, the tensors' names in a file, and the paths.
    const fn all(&self) -> [(&'static str, &'static str, Option<&PathBuf>); 4] {
        [
            ("--grad", "grad_student", self.grad.as_ref()),
            ("--grad-teacher", "grad_teacher", self.grad_teacher.as_ref()),
            ("--grad-projection", "grad_projection", self.grad_projection.as_ref()),
            ("--grad-projection-bias", "grad_projection_bias", self.grad_projection_bias.as_ref()),
        ]
    }

    /// Where the gradient to the student goes.
    pub(crate) fn student(&self) -> Option<&Path> {
        self.grad.as_deref()
    }

    /// Refuses one place for two gradients, and a gradient to a teacher that the loss has not.
    pub(crate) fn check(&self, options: &Options) -> Result<(), Failure> {
        if self.grad_teacher.is_some() && !options.takes_teacher() {
            return Err(Error::TeacherGradient.into());
        }
        self.distinct(self.all().map(|(.., path)| path.map(PathBuf::as_path)))
    }

    /// Refuses one file for two gradients.
    fn distinct(&self, paths: [Option<&Path>; 4]) -> Result<(), Failure> {
        let flags = self.all().map(|(flag, ..)| flag);
        let given: Vec<_> =
            flags.into_iter().zip(paths).filter_map(|(flag, path)| Some((flag, path?))).collect();
        for (i, &(second, path)) in given.iter().enumerate() {
            if let Some(&(first, _)) = given.iter().take(i).find(|(_, other)| same(path, other)) {
                return Err(Failure::OutputTwice { first, second, path: path.to_owned() });
            }
        }
        Ok(())
    }

    /// The targets of one pair of files.
    pub(crate) fn targets(&self, inputs: &[&Path]) -> Result<Gradients<Option<Target>>, Failure> {
        self.each(inputs, |path, _| path.to_owned())
    }

    /// The targets of a pair of a folder's files, in folders: named like the tensor that they are of.
    pub(crate) fn targets_of(
        &self,
        pair: &FilePair,
        inputs: &[&Path],
    ) -> Result<Gradients<Option<Target>>, Failure> {
        self.each(inputs, |folder, name| {
            let teacher = pair.teacher.as_ref().filter(|_| name == "grad_teacher");
            folder.join(output_name(teacher.unwrap_or(&pair.student)))
        })
    }

    fn each(
        &self,
        inputs: &[&Path],
        path: impl Fn(&Path, &str) -> PathBuf,
    ) -> Result<Gradients<Option<Target>>, Failure> {
        let target = |(_, name, given): (&str, &'static str, Option<&PathBuf>)| {
            given.map(|given| Target::new(&path(given, name), name, inputs)).transpose()
        };
        let [student, teacher, projection, bias] = self.all().map(target);
        let [student, teacher, projection, bias] = [student?, teacher?, projection?, bias?];
        self.distinct([&student, &teacher, &projection, &bias].map(|target| Some(target.as_ref()?.path())))?;
        Ok(Gradients { student, teacher, projection, bias })
    }

    /// Makes the folders, none of which is an input.
    pub(crate) fn prepare(&self, inputs: &[&Path]) -> Result<(), Failure> {
        for folder in self.all().into_iter().filter_map(|(.., path)| path) {
            if inputs.iter().any(|input| same(input, folder)) {
                return Err(Failure::OutputIsInput { path: folder.clone() });
            }
            if !folder.is_dir() {
                let fail = |source| io::Error::Write { path: folder.clone(), source };
                fs::create_dir(folder).map_err(fail)?;
            }
        }
        Ok(())
    }
}

/// The name of a map's gradient: that of the map, but for archives, which are only read.
fn output_name(map: &TensorPath) -> PathBuf {
    let name = Path::new(map.path().file_name().unwrap_or_default());
    if has_ending(name, "npz") { name.with_extension("npy") } else { name.to_owned() }
}
