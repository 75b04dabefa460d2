//! `densekd bench gpu`: rows of every strategy on a GPU, beside a copy of as many bytes.

use super::maps::{Data, Student};
use super::turns::{Spread, Work};
use super::{DTYPES, Failure, count, named, print, print_json, progress, table};
use clap::Args;
use densekd::BackendError;
use densekd::core::{DType, KeptStatistics, Order, Plan, Recipe, RowOptions, Shape};
use densekd::gpu::{Device, HostCall, Turn};
use serde::Serialize;
use std::num::{NonZeroU32, NonZeroUsize};

#[derive(Args, Debug)]
pub(super) struct GpuArgs {
    /// Types that the maps are stored in
    #[arg(
        long = "dtype",
        value_name = "NAME",
        value_parser = named(&DTYPES[..3], DType::name),
        value_delimiter = ',',
        default_value = "f32,f16"
    )]
    dtypes: Vec<DType>,
    /// Turns of the copy and the loss
    #[arg(long, value_name = "N", default_value = "10")]
    turns: NonZeroU32,
    /// Divide the number of rows by this, for a quick look: of fewer, caches hold more
    #[arg(long, value_name = "N", value_parser = count, default_value = "1")]
    shrink: NonZeroUsize,
    /// The GPU, by its number in `densekd list backends`
    #[arg(long, value_name = "N", default_value = "0")]
    device: u32,
}

/// Entries of a map: two of them and a gradient are more than caches hold.
const ENTRIES: usize = 1 << 25;

/// Rows that lie together, by length: one for each way to spread them over the device, and longer ones.
const TOGETHER: [usize; 9] = [64, 512, 1024, 4096, 8192, 16_384, 32_768, 65_536, 524_288];

/// What is timed: a loss by name, its options, and a shape whose rows are a part of all entries.
fn maps(shrink: usize) -> Vec<(&'static str, RowOptions, [usize; 4])> {
    let rows = |length: usize| (ENTRIES / length / shrink).max(1);
    let together = TOGETHER.map(|length| ("cwd", RowOptions::CWD, [1, rows(length), 1, length]));
    // Rows that interleave, of classes.
    let classes = ("pi", RowOptions::PI, [1, 19, 1, rows(19)]);
    together.into_iter().chain([classes]).collect()
}

#[derive(Debug, Serialize)]
struct Row {
    loss: &'static str,
    shape: [usize; 4],
    length: usize,
    dtype: &'static str,
    work: &'static str,
    /// Nanoseconds per element of the student.
    loss_ns: Spread,
    copy_ns: Spread,
    /// Copy / loss: median over the turns.
    share: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    device: String,
    compute_capability: (i32, i32),
    turns: u32,
    rows: Vec<Row>,
}

impl GpuArgs {
    /// Times and reports.
    pub(super) fn run(&self, json: bool) -> Result<(), Failure> {
        let device =
            Device::open(self.device).map_err(|error| Failure::NoCuda { reason: error.to_string() })?;
        let maps = maps(self.shrink.get());
        let bar = progress(maps.len() * self.dtypes.len(), "maps");
        let mut rows = Vec::new();
        for &(loss, options, dims) in &maps {
            for &dtype in &self.dtypes {
                let shape = Shape::new(dims)?;
                let plan = Plan::new(Recipe::new(options)?, shape, Order::Nchw)?;
                let mut data = Data::new(shape, dtype, Student::Half, options.tau.get());
                for work in Work::ALL {
                    let turns = self.time(&device, &plan, &mut data, work)?;
                    rows.push(Row::new(loss, dims, (plan.row_len(), dtype, work), &turns));
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let report = Report {
            device: device.name().to_owned(),
            compute_capability: device.compute_capability(),
            turns: self.turns.get(),
            rows,
        };
        if json { print_json(&report) } else { print(&report.text()) }
    }

    fn time(&self, device: &Device, plan: &Plan, data: &mut Data, work: Work) -> Result<Vec<Turn>, Failure> {
        let call = HostCall {
            plan,
            teacher: data.teacher.as_tensor(),
            student: data.student.as_tensor(),
            mask: None,
            factor: 1.0,
            grad_student: (work == Work::LossAndGradient).then(|| data.gradient.as_tensor_mut()),
            grad_teacher: None,
            row_values: None,
            statistics: KeptStatistics::Drop,
        };
        Ok(device.time(&call, self.turns).map_err(BackendError::from)?)
    }
}

/// Median and least.
fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    Spread { median: times[times.len() / 2], min: times[0] }
}

impl Row {
    fn new(
        loss: &'static str,
        shape: [usize; 4],
        (length, dtype, work): (usize, DType, Work),
        turns: &[Turn],
    ) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "2^25 at most")]
        let per_element = 1e9 / shape.iter().product::<usize>() as f64;
        let of = |seconds: fn(&Turn) -> f64| spread(turns.iter().map(|t| seconds(t) * per_element).collect());
        Self {
            loss,
            shape,
            length,
            dtype: dtype.name(),
            work: work.name(),
            loss_ns: of(|turn| turn.loss),
            copy_ns: of(|turn| turn.copy),
            share: spread(turns.iter().map(Turn::share).collect()).median,
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let head = ["LOSS", "ROWS", "LENGTH", "DTYPE", "WORK", "NS", "MIN", "COPY", "MIN", "SHARE"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for row in &self.rows {
            rows.push(vec![
                row.loss.to_owned(),
                (row.shape.iter().product::<usize>() / row.length).to_string(),
                row.length.to_string(),
                row.dtype.to_owned(),
                row.work.to_owned(),
                format!("{:.4}", row.loss_ns.median),
                format!("{:.4}", row.loss_ns.min),
                format!("{:.4}", row.copy_ns.median),
                format!("{:.4}", row.copy_ns.min),
                format!("{:.0} %", 100.0 * row.share),
            ]);
        }
        let Self { device, compute_capability: (major, minor), turns, .. } = self;
        format!(
            "{device}, compute capability {major}.{minor}, {turns} turns; ns per element\n{}",
            table(&rows)
        )
    }
}
