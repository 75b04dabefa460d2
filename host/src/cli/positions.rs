//! Which positions count: labels and masks from files.

use super::failure::Failure;
use super::maps::{Maps, place};
use clap::{Args, ValueHint};
use densekd::core::{Mask, Shape};
use densekd::io::{self, Labels, TensorPath};
use std::path::PathBuf;

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "Positions")]
pub(crate) struct PositionArgs {
    /// Class labels [N, H, W] (or [H, W] of one image), whole numbers; positions with the ignored label do not count
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) labels: Option<PathBuf>,
    /// Mask [N, H, W] (or [H, W] of one image) of 0, 1 or bool; positions with 0 do not count
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) mask: Option<PathBuf>,
}

impl PositionArgs {
    /// Whether positions may be left out.
    pub(crate) const fn is_given(&self) -> bool {
        self.labels.is_some() || self.mask.is_some()
    }

    /// The two files.
    pub(crate) fn places(&self) -> Result<PositionFiles, Failure> {
        let place = |path: &Option<PathBuf>| path.as_deref().map(place).transpose();
        Ok(PositionFiles { labels: place(&self.labels)?, mask: place(&self.mask)? })
    }
}

/// The files of one pair's labels and mask.
#[derive(Clone, Debug, Default)]
pub(crate) struct PositionFiles {
    /// The labels'.
    pub(crate) labels: Option<TensorPath>,
    /// The mask's.
    pub(crate) mask: Option<TensorPath>,
}

/// Labels and mask of one pair of maps.
pub(crate) struct Positions {
    labels: Option<Vec<i64>>,
    mask: Option<Vec<u8>>,
}

impl Positions {
    /// Reads both where they are given.
    pub(crate) fn read(files: &PositionFiles, maps: &Maps) -> Result<Self, Failure> {
        let read =
            |what, at: &Option<TensorPath>| at.as_ref().map(|at| numbers(what, at, maps.shape)).transpose();
        let labels = read("labels", &files.labels)?;
        let mask = match (&files.mask, read("mask", &files.mask)?) {
            (Some(at), Some(mask)) => Some(zeros_and_ones(&mask, at, maps.shape)?),
            _ => None,
        };
        Ok(Self { labels, mask })
    }

    /// The counted positions.
    pub(crate) fn mask(&self, shape: Shape, ignore_index: i64) -> Result<Mask<'_>, Failure> {
        let labels = self.labels.as_deref().map(|labels| (labels, ignore_index));
        Ok(Mask::new(shape, labels, self.mask.as_deref())?)
    }
}

fn numbers(what: &'static str, at: &TensorPath, map: Shape) -> Result<Vec<i64>, Failure> {
    let Labels { shape, values } = io::read_labels(at)?;
    let [n, _, h, w] = map.dims();
    let fits = match shape[..] {
        [a, b, c] => [a, b, c] == [n, h, w],
        [a, b] => n == 1 && [a, b] == [h, w],
        [a] => a == n && [h, w] == [1, 1],
        _ => false,
    };
    if fits {
        Ok(values)
    } else {
        Err(Failure::PositionsShape { what, at: at.clone(), found: shape, map, wanted: [n, h, w] })
    }
}

fn zeros_and_ones(mask: &[i64], at: &TensorPath, map: Shape) -> Result<Vec<u8>, Failure> {
    let [_, _, h, w] = map.dims();
    let one = |(i, &found): (usize, &i64)| match found {
        0 => Ok(0),
        1 => Ok(1),
        _ => {
            let position = [i / (h * w), i / w % h, i % w];
            Err(Failure::MaskValue { at: at.clone(), found, position })
        }
    };
    mask.iter().enumerate().map(one).collect()
}
