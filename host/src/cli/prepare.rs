//! `densekd prepare`: a fixed teacher's rows as a file for a microcontroller.

use super::failure::Failure;
use super::maps::{Maps, place};
use super::output::{print, print_json};
use super::parse::{named, number};
use super::target::same;
use clap::{Args, ValueHint};
use densekd::core::{Norm, Order, Plan, Recipe, RowOptions, Temperature};
use densekd::io;
use densekd::rows::{Precision, encode};
use serde::Serialize;
use std::path::PathBuf;

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct PrepareCommand {
    /// The teacher's logits: file.npy, file.npz:name or file.safetensors:name
    #[arg(value_name = "TEACHER", value_hint = ValueHint::AnyPath)]
    teacher: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    out: PathBuf,
    /// What a row is: the positions of a channel, or the channels of a position
    #[arg(long, value_name = "NAME", value_parser = named(&[Norm::Channel, Norm::Spatial], Norm::name), default_value = "channel")]
    norm: Norm,
    /// The temperature of the loss
    #[arg(long, value_name = "X", default_value = "4", value_parser = |word: &str| number(word, Temperature::new))]
    tau: Temperature,
    /// How a number is stored
    #[arg(long, value_name = "NAME", value_parser = named(&Precision::ALL, Precision::name), default_value = "f16")]
    store: Precision,
    /// Order of the dimensions in the file
    #[arg(long, value_name = "NAME", value_parser = named(&[Order::Nchw, Order::Nhwc], Order::name), default_value = "nchw")]
    layout: Order,
}

/// What was written.
#[derive(Serialize)]
struct Report {
    out: String,
    rows: usize,
    entries: usize,
    tau: f64,
    store: &'static str,
    bytes: usize,
}

impl PrepareCommand {
    /// Reads, prepares, writes.
    pub(crate) fn run(&self, json: bool) -> Result<(), Failure> {
        let at = place(&self.teacher)?;
        if same(at.path(), &self.out) {
            return Err(Failure::OutputIsInput { path: self.out.clone() });
        }
        let teacher = Maps::read(None, &at, self.layout)?.student;
        let options = RowOptions { norm: self.norm, tau: self.tau, ..RowOptions::CWD };
        let plan = Plan::new(Recipe::new(options)?, teacher.shape, self.layout)?;
        let bytes = encode(&plan, teacher.numbers(), self.store)?;
        io::write_bytes(&self.out, &bytes)?;
        let report = Report {
            out: self.out.display().to_string(),
            rows: plan.rows(),
            entries: plan.row_len(),
            tau: self.tau.get(),
            store: self.store.name(),
            bytes: bytes.len(),
        };
        if json {
            return print_json(&report);
        }
        let Report { out, rows, entries, tau, store, bytes } = report;
        print(&format!("{out}: {rows} rows of {entries} at tau {tau}, {store}, {bytes} bytes\n"))
    }
}
