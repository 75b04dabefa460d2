//! Which positions count: labels and masks from files.

use super::failure::Failure;
use super::maps::place;
use clap::{Args, ValueHint};
use densekd::core::{self, Error, Mask, Options, Shape};
use densekd::io::{self, Labels, TensorPath};
use std::path::PathBuf;

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "Positions")]
pub(crate) struct PositionArgs {
    /// Class labels [N, H, W] (or [H, W] of one image), whole numbers: the classes for a loss that takes them, of
    /// any H and W; for a row loss, of the map's H and W, positions with the ignored label do not count
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) labels: Option<PathBuf>,
    /// Mask [N, H, W] (or [H, W] of one image) of 0, 1 or bool; positions with 0 do not count
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) mask: Option<PathBuf>,
}

impl PositionArgs {
    const fn is_given(&self) -> bool {
        self.labels.is_some() || self.mask.is_some()
    }

    /// Refuses what the loss has no use for, and what it cannot do without.
    pub(crate) fn check(&self, options: &Options) -> Result<(), Failure> {
        match options.row() {
            Some(options) if options.upsample.get() > 1 && self.is_given() => {
                Err(Error::MaskWithUpsample.into())
            }
            None if options.takes_labels() && self.labels.is_none() => Err(Error::LabelsMissing.into()),
            None if options.takes_mask() => Ok(()),
            None if self.labels.is_some() => Err(Error::Unused { input: "labels" }.into()),
            None if self.mask.is_some() => Err(Error::Unused { input: "a mask" }.into()),
            _ => Ok(()),
        }
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
    labels: Option<([usize; 3], Vec<i64>)>,
    mask: Option<Vec<u8>>,
}

impl Positions {
    /// Reads both where they are given; `any_size`: the labels may have another H and W than the map.
    pub(crate) fn read(files: &PositionFiles, map: Shape, any_size: bool) -> Result<Self, Failure> {
        let labels = files.labels.as_ref().map(|at| grid("labels", at, map, any_size)).transpose()?;
        let mask = files.mask.as_ref().map(|at| {
            let (mask, [_, h, w]) = grid("mask", at, map, false)?;
            mask.to_mask().map_err(|(found, i)| {
                let position = [i / (h * w), i / w % h, i % w];
                Failure::MaskValue { at: at.clone(), found, position }
            })
        });
        Ok(Self { labels: labels.map(|(labels, dims)| (dims, labels.values)), mask: mask.transpose()? })
    }

    /// The counted positions, by labels of the map's size and mask.
    pub(crate) fn counted(&self, shape: Shape, ignore_index: i64) -> Result<Mask<'_>, Failure> {
        let labels = self.labels.as_ref().map(|(_, numbers)| (numbers.as_slice(), ignore_index));
        Ok(Mask::new(shape, labels, self.mask.as_deref())?)
    }

    /// The labels.
    pub(crate) fn labels(&self) -> Result<Option<core::Labels<'_>>, Failure> {
        let Some(([n, h, w], numbers)) = &self.labels else { return Ok(None) };
        Ok(Some(core::Labels::new(numbers, *n, *h, *w)?))
    }

    /// The mask.
    pub(crate) fn mask(&self) -> Option<&[u8]> {
        self.mask.as_deref()
    }
}

/// Whole numbers of a file with `[N, H, W]`, which fit the map.
fn grid(
    what: &'static str,
    at: &TensorPath,
    map: Shape,
    any_size: bool,
) -> Result<(Labels, [usize; 3]), Failure> {
    let labels = io::read_labels(at)?;
    match labels.fit(map, any_size) {
        Some(dims) => Ok((labels, dims)),
        None if any_size => Err(Failure::LabelsShape { at: at.clone(), found: labels.shape, map }),
        None => {
            let [n, _, h, w] = map.dims();
            let (at, found) = (at.clone(), labels.shape);
            Err(Failure::PositionsShape { what, at, found, map, wanted: [n, h, w] })
        }
    }
}
