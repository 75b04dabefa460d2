//! The 1x1 convolution that brings the student's channels to the teacher's.

use super::failure::Failure;
use super::maps::{Maps, place};
use clap::{Args, ValueHint};
use densekd::core::{Error, Options, Projection};
use densekd::io::{self, Array, TensorPath, Values};
use std::path::{Path, PathBuf};

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "Projection: a 1x1 convolution of the student, for losses that take one")]
pub(crate) struct ProjectionArgs {
    /// Its weight, [C of the teacher, C of the student] (or with 1, 1 behind them, as of a convolution)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) projection: Option<PathBuf>,
    /// Its bias, [C of the teacher]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) projection_bias: Option<PathBuf>,
}

impl ProjectionArgs {
    /// The files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.projection, &self.projection_bias].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Refuses files for a loss that has no use for them.
    pub(crate) fn check(&self, options: &Options) -> Result<(), Failure> {
        if options.takes_projection() || self.paths().next().is_none() {
            return Ok(());
        }
        Err(Error::Unused { input: "a projection" }.into())
    }

    /// Reads what is given, and holds it against the maps' channels.
    pub(crate) fn read(&self, maps: &Maps) -> Result<Parts, Failure> {
        let (inputs, outputs) = (maps.student.shape.channels(), maps.teacher_shape().channels());
        let part = |path: &Option<PathBuf>, what, wanted: &[usize]| {
            path.as_deref().map(|path| Part::read(what, &place(path)?, wanted)).transpose()
        };
        Ok(Parts {
            weight: part(&self.projection, "projection", &[outputs, inputs])?,
            bias: part(&self.projection_bias, "projection bias", &[outputs])?,
        })
    }
}

/// Weight and bias, where given.
pub(crate) struct Parts {
    /// The weight.
    pub(crate) weight: Option<Part>,
    /// The bias.
    pub(crate) bias: Option<Part>,
}

impl Parts {
    /// As the loss takes them.
    pub(crate) fn as_projection(&self) -> Projection<'_> {
        let [weight, bias] = [&self.weight, &self.bias].map(|part| Some(part.as_ref()?.numbers.as_slice()));
        Projection { weight, bias }
    }
}

/// One tensor of it.
pub(crate) struct Part {
    /// As it lies in the file.
    pub(crate) tensor: Array,
    numbers: Vec<f64>,
}

impl Part {
    fn read(what: &'static str, at: &TensorPath, wanted: &[usize]) -> Result<Self, Failure> {
        let tensor = io::read(at)?;
        let (found, ones) = tensor.shape().split_at_checked(wanted.len()).unwrap_or_default();
        if found != wanted || ones.iter().any(|&dim| dim != 1) {
            let (found, wanted) = (tensor.shape().to_vec(), wanted.to_vec());
            return Err(Failure::ProjectionShape { what, at: at.clone(), found, wanted });
        }
        let numbers = tensor.to_f64();
        Ok(Self { tensor, numbers })
    }

    /// A gradient in the type of the file, and whether a finite number was too large for it.
    pub(crate) fn narrow(&self, gradient: &[f64]) -> (Values, bool) {
        let values = Values::from_f64(self.tensor.dtype(), gradient);
        let stored = values.to_f64();
        let overflowed = gradient.iter().zip(&stored).any(|(x, stored)| x.is_finite() && !stored.is_finite());
        (values, overflowed)
    }
}
