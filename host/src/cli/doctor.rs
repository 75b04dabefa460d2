//! `densekd doctor`: why the loss is NaN, or nothing is learnt.

use super::failure::Failure;
use super::machine::BackendArgs;
use super::maps::PairArgs;
use super::output::{print, print_json};
use super::positions::{PositionArgs, Positions};
use clap::Args;
use densekd::doctor;

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct DoctorCommand {
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    positions: PositionArgs,
    /// The label of positions to leave out
    #[arg(
        long,
        value_name = "I",
        default_value_t = 255,
        allow_hyphen_values = true,
        help_heading = "Positions"
    )]
    ignore_index: i64,
    #[command(flatten)]
    backend: BackendArgs,
}

impl DoctorCommand {
    /// Examines and reports.
    pub(crate) fn run(&self, json: bool) -> Result<(), Failure> {
        let machine = self.backend.start()?;
        let files = self.positions.places()?;
        let maps = self.pair.read_one(None)?;
        let (teacher, student, shape) = maps.pair()?;
        let positions = Positions::read(&files, shape, false)?;
        let mask = positions.counted(shape, self.ignore_index)?;
        let report = doctor::examine(&*machine.backend, shape, maps.order, teacher, student, mask)?;
        if json { print_json(&report) } else { print(&format!("{}\n", report.to_string().trim_end())) }
    }
}
