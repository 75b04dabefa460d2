//! `densekd check`: the gradient against finite differences, on the user's own tensors.

use super::failure::Failure;
use super::machine::BackendArgs;
use super::maps::PairArgs;
use super::options::{Choice, LossArgs};
use super::output::{print, print_json};
use super::parse::count;
use super::positions::{PositionArgs, Positions};
use super::projection::ProjectionArgs;
use clap::Args;
use densekd::core::OptionValue;
use densekd::{TermSubmission, check};
use std::num::NonZeroUsize;

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct CheckCommand {
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    loss: LossArgs,
    #[command(flatten)]
    positions: PositionArgs,
    #[command(flatten)]
    projection: ProjectionArgs,
    #[command(flatten)]
    backend: BackendArgs,
    /// How many entries of the student's map are moved up and down
    #[arg(long, value_name = "N", default_value = "64", value_parser = count, help_heading = "Check")]
    samples_checked: NonZeroUsize,
    /// Picks the entries; the same seed picks the same ones
    #[arg(long, value_name = "S", default_value_t = 0, help_heading = "Check")]
    seed: u64,
}

impl CheckCommand {
    /// Whether the gradient is right.
    pub(crate) fn run(&self, json: bool) -> Result<bool, Failure> {
        let Choice { options, .. } = self.loss.choose()?;
        let option = "detach_norm";
        if options.get(option) == Some(OptionValue::Flag(true)) {
            return Err(Failure::Detached { loss: options.loss(), option });
        }
        self.pair.sides_of(&options)?;
        self.positions.check(&options)?;
        self.projection.check(&options)?;
        let machine = self.backend.start()?;
        let files = self.positions.places()?;
        let maps = self.pair.read_one(Some(&options))?;
        let term = maps.term(options)?;
        let positions = Positions::read(&files, maps.student.shape, options.takes_labels())?;
        let projection = self.projection.read(&maps)?;
        let submission = TermSubmission {
            labels: positions.labels()?,
            mask: positions.mask(),
            projection: projection.as_projection(),
            ..TermSubmission::new(&term, maps.teacher(), maps.student.numbers())
        };
        let how = check::Options { entries: self.samples_checked.get(), seed: self.seed };
        let report =
            check::check_term(&*machine.backend, &submission, how).map_err(|error| maps.fault(error))?;
        if json {
            print_json(&report)?;
        } else {
            print(&format!("{}\n", report.to_string().trim_end()))?;
        }
        Ok(report.ok)
    }
}
