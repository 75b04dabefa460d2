//! `densekd bench`: losses against the speed of memory, measured in the same run.

#[cfg(feature = "cuda")]
mod gpu;
mod maps;
mod plain;
mod roofline;
mod streams;
mod turns;

use self::maps::{Data, Map, Student};
use self::roofline::Roofline;
use self::turns::{Times, Work, time};
use super::failure::Failure;
use super::machine::{BackendArgs, Machine};
use super::output::{print, print_json, table};
use super::parse::{count, named};
use super::progress::progress;
use clap::{Args, Subcommand};
use densekd::core::{DType, Loss, Shape};
use serde::Serialize;
use std::num::NonZeroUsize;

/// The types that a map may be stored in.
const DTYPES: &[DType] = &[DType::F32, DType::F16, DType::Bf16, DType::F64];

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every loss, value alone and value with gradient, by map, type and student.
    ///
    /// The bound is memory, by as many threads on the same maps: two streams that are read for a value (the fastest
    /// of several loops), two that are read and one that is written for a gradient (past the caches where the
    /// last level does not hold it). Channel-wise KL divergence is also timed in the plain form, two exponentials an
    /// entry and no care for small divergences. All take turns. SHARE is bound / loss, TIMES is loss / bound and
    /// "X PLAIN" is loss / plain, medians over the turns; times are nanoseconds per element of the student.
    Losses(LossesArgs),
    /// Row losses on a GPU, for each way to spread rows over it, value alone and value with gradient.
    ///
    /// The bound is a copy within device memory that reads and writes, together, as many bytes as the loss has to: both
    /// maps once, and the gradient once. Both are timed by the device, in turns. SHARE is copy / loss, the median over the
    /// turns; times are nanoseconds per element of the student.
    #[cfg(feature = "cuda")]
    Gpu(gpu::GpuArgs),
}

#[derive(Args, Debug)]
struct LossesArgs {
    /// Losses to time [default: all]
    #[arg(value_name = "NAME")]
    losses: Vec<Loss>,
    /// Maps to time on [default: all for row losses, those of networks for the others]
    #[arg(
        long = "map",
        value_name = "NAME",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = false
    )]
    maps: Vec<Map>,
    /// Types that the maps are stored in
    #[arg(
        long = "dtype",
        value_name = "NAME",
        value_parser = named(DTYPES, DType::name),
        value_delimiter = ',',
        default_value = "f32,f16"
    )]
    dtypes: Vec<DType>,
    /// What the student has learnt [default: all for row losses, half for the others]
    #[arg(long = "student", value_name = "NAME", value_enum, value_delimiter = ',')]
    students: Vec<Student>,
    /// Turns of the bound and the loss
    #[arg(long, value_name = "N", value_parser = count, default_value = "5")]
    turns: NonZeroUsize,
    /// Divide height and width by this, for a quick look
    #[arg(long, value_name = "N", value_parser = count, default_value = "1")]
    shrink: NonZeroUsize,
    #[command(flatten)]
    backend: BackendArgs,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    loss: &'static str,
    map: String,
    shape: [usize; 4],
    dtype: &'static str,
    student: &'static str,
    work: &'static str,
    nanoseconds_per_element: Times,
}

#[derive(Debug, Serialize)]
struct Report {
    backend: &'static str,
    isa: &'static str,
    threads: usize,
    turns: usize,
    last_level_cache: usize,
    rows: Vec<Row>,
}

/// A loss on a pair of maps.
struct Case {
    map: Map,
    dtype: DType,
    student: Student,
    loss: Loss,
}

impl BenchCommand {
    /// Times and reports.
    pub(crate) fn run(&self, json: bool) -> Result<(), Failure> {
        match &self.what {
            What::Losses(args) => args.run(json),
            #[cfg(feature = "cuda")]
            What::Gpu(args) => args.run(json),
        }
    }
}

impl LossesArgs {
    fn run(&self, json: bool) -> Result<(), Failure> {
        let machine = self.backend.start()?;
        let roofline = Roofline::new(machine.threads)?;
        let cases = self.cases();
        let bar = progress(cases.len(), "maps");
        let mut rows = Vec::new();
        for case in cases {
            rows.extend(self.time(&case, &machine, &roofline)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let report = Report {
            backend: machine.backend.name(),
            isa: machine.isa.name(),
            threads: machine.threads,
            turns: self.turns.get(),
            last_level_cache: roofline.cache(),
            rows,
        };
        if json { print_json(&report) } else { print(&report.text()) }
    }

    fn cases(&self) -> Vec<Case> {
        fn or<'a, T>(given: &'a [T], default: &'a [T]) -> &'a [T] {
            if given.is_empty() { default } else { given }
        }
        let mut cases = Vec::new();
        for &loss in or(&self.losses, Loss::ALL) {
            let of_rows = loss.defaults().row().is_some();
            let (maps, students): (&[Map], &[Student]) = if of_rows {
                (clap::ValueEnum::value_variants(), clap::ValueEnum::value_variants())
            } else {
                (Map::NETWORKS, &[Student::Half])
            };
            for &map in or(&self.maps, maps) {
                for &dtype in &self.dtypes {
                    let case = |&student| Case { map, dtype, student, loss };
                    cases.extend(or(&self.students, students).iter().map(case));
                }
            }
        }
        cases
    }

    fn time(&self, case: &Case, machine: &Machine, roofline: &Roofline) -> Result<Vec<Row>, Failure> {
        let &Case { map, dtype, student, loss } = case;
        let shape = map.dims(self.shrink.get());
        let tau = loss.defaults().row().map_or(1.0, |options| options.tau.get());
        let mut data = Data::new(Shape::new(shape)?, dtype, student, tau);
        let row = |work| {
            Ok(Row {
                loss: loss.name(),
                map: map.name(),
                shape,
                dtype: dtype.name(),
                student: student.name(),
                work: Work::name(work),
                nanoseconds_per_element: time(loss, &mut data, work, (machine, roofline), self.turns.get())?,
            })
        };
        Work::ALL.into_iter().map(row).collect()
    }
}

impl Report {
    fn text(&self) -> String {
        let head = [
            "LOSS", "MAP", "DTYPE", "STUDENT", "WORK", "NS", "MIN", "BOUND", "MIN", "SHARE", "TIMES",
            "PLAIN", "X PLAIN",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let times = &row.nanoseconds_per_element;
            rows.push(vec![
                row.loss.to_owned(),
                row.map.clone(),
                row.dtype.to_owned(),
                row.student.to_owned(),
                row.work.to_owned(),
                format!("{:.3}", times.loss.median),
                format!("{:.3}", times.loss.min),
                format!("{:.3}", times.bound.median),
                format!("{:.3}", times.bound.min),
                format!("{:.0} %", 100.0 * times.share),
                format!("{:.2}", times.over_bound),
                times.plain.map_or_else(|| "-".to_owned(), |plain| format!("{:.3}", plain.median)),
                times.over_plain.map_or_else(|| "-".to_owned(), |times| format!("{times:.2}")),
            ]);
        }
        let Self { backend, isa, threads, turns, last_level_cache, .. } = self;
        format!(
            "backend {backend} ({isa}), {threads} threads, {turns} turns, last-level cache {} MiB; ns per element\n{}",
            last_level_cache >> 20,
            table(&rows)
        )
    }
}
