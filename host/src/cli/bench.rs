//! `densekd bench`: every loss against the speed of memory, measured in the same run.

mod roofline;

use self::roofline::Roofline;
use super::failure::Failure;
use super::machine::{BackendArgs, Machine};
use super::output::{print, print_json, table};
use super::parse::count;
use clap::{Args, Subcommand};
use densekd::TermSubmission;
use densekd::core::{DType, Labels, Loss, Order, Shape, Term};
use densekd::io::Values;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::time::Instant;

/// The maps that are timed: logits of a segmentation network, features of one, a level of a detector.
const SHAPES: [(&str, [usize; 4]); 3] =
    [("logits", [8, 19, 128, 256]), ("features", [2, 512, 64, 64]), ("detection", [2, 256, 100, 136])];

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every loss, value alone and value with gradient, in f32 and f16, on maps of three networks.
    ///
    /// The bound is memory: two streams that are read for a value, two that are read and one that is written for
    /// a gradient, by as many threads, timed in turns with the loss. `times` is the loss's time over the bound's.
    Losses(LossesArgs),
}

#[derive(Args, Debug)]
struct LossesArgs {
    /// Losses to time [default: all]
    #[arg(value_name = "NAME")]
    losses: Vec<Loss>,
    /// Turns of the bound and the loss; the median is reported
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
    map: &'static str,
    shape: [usize; 4],
    dtype: &'static str,
    work: &'static str,
    milliseconds: f64,
    /// Time per element of the student.
    nanoseconds_per_element: f64,
    /// The bound's time per element of the student.
    bound_nanoseconds_per_element: f64,
    /// Median over the turns of the loss's time over the bound's.
    times: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    backend: &'static str,
    threads: usize,
    turns: usize,
    rows: Vec<Row>,
}

impl BenchCommand {
    /// Times and reports.
    pub(crate) fn run(&self, json: bool) -> Result<(), Failure> {
        let What::Losses(args) = &self.what;
        let machine = args.backend.start()?;
        let losses = if args.losses.is_empty() { Loss::ALL } else { &args.losses };
        let mut rows = Vec::new();
        for (map, [n, c, h, w]) in SHAPES {
            let shrunk = |side: usize| (side / args.shrink).max(4);
            let shape = Shape::new([n, c, shrunk(h), shrunk(w)])?;
            for dtype in [DType::F32, DType::F16] {
                let data = Data::new(shape, dtype);
                for &loss in losses {
                    rows.extend(data.time(loss, map, &machine, args.turns.get())?);
                }
            }
        }
        let report = Report {
            backend: machine.backend.name(),
            threads: machine.threads,
            turns: args.turns.get(),
            rows,
        };
        if json { print_json(&report) } else { print(&report.text()) }
    }
}

/// A pair of maps and what else a loss may read.
struct Data {
    shape: Shape,
    dtype: DType,
    teacher: Values,
    student: Values,
    labels: Vec<i64>,
}

impl Data {
    /// Normal logits of standard deviation 2 and a student that has half learnt them.
    #[allow(clippy::cast_precision_loss, reason = "the numbers are small")]
    fn new(shape: Shape, dtype: DType) -> Self {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut uniform = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 40) as f64 / f64::from(1 << 24) - 0.5
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f64>();
        let teacher: Vec<f64> = (0..shape.len()).map(|_| 2.0 * normal()).collect();
        let student: Vec<f64> = teacher.iter().map(|t| 0.7 * t + 0.5 * normal()).collect();
        let classes = i64::try_from(shape.channels().min(19)).unwrap_or(1);
        let labels =
            (0..).map(|i: i64| i * 7 / 50 % classes).take(shape.images() * shape.positions()).collect();
        Self {
            shape,
            dtype,
            teacher: Values::from_f64(dtype, &teacher),
            student: Values::from_f64(dtype, &student),
            labels,
        }
    }

    fn time(
        &self,
        loss: Loss,
        map: &'static str,
        machine: &Machine,
        turns: usize,
    ) -> Result<Vec<Row>, Failure> {
        let [n, _, h, w] = self.shape.dims();
        let term = Term::new(loss.defaults(), self.shape, self.shape, Order::Nchw)?;
        let (takes_teacher, takes_labels) = match &term {
            Term::Row(_) => (true, false),
            Term::Map(plan) => (plan.takes_teacher(), plan.takes_labels()),
        };
        let mut gradient = Values::from_f64(self.dtype, &vec![0.0; self.shape.len()]);
        let mut roofline = Roofline::new(self.shape.len() * self.dtype.size(), machine.threads)?;
        let mut rows = Vec::new();
        for (work, with_gradient) in [("loss", false), ("loss+gradient", true)] {
            let (mut own, mut ratios, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
            // The first turn warms caches and page tables and is not counted.
            for turn in 0..=turns {
                let bound = if with_gradient { roofline.triad() } else { roofline.read() };
                let labels = takes_labels.then(|| Labels::new(&self.labels, n, h, w)).transpose()?;
                let submission = TermSubmission {
                    labels,
                    grad_student: with_gradient.then(|| gradient.as_tensor_mut()),
                    ..TermSubmission::new(
                        &term,
                        takes_teacher.then(|| self.teacher.as_tensor()),
                        self.student.as_tensor(),
                    )
                };
                let start = Instant::now();
                submission.submit(&*machine.backend)?;
                machine.backend.synchronise()?;
                let time = start.elapsed().as_secs_f64();
                if turn > 0 {
                    own.push(time);
                    bounds.push(bound);
                    ratios.push(time / bound);
                }
            }
            #[allow(clippy::cast_precision_loss, reason = "a count of elements in memory")]
            let per_element = 1e9 / self.shape.len() as f64;
            rows.push(Row {
                loss: loss.name(),
                map,
                shape: self.shape.dims(),
                dtype: self.dtype.name(),
                work,
                milliseconds: median(&mut own) * 1e3,
                nanoseconds_per_element: median(&mut own) * per_element,
                bound_nanoseconds_per_element: median(&mut bounds) * per_element,
                times: median(&mut ratios),
            });
        }
        Ok(rows)
    }
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    fn text(&self) -> String {
        let head = ["LOSS", "MAP", "DTYPE", "WORK", "MS", "NS/ELEMENT", "BOUND NS/ELEMENT", "TIMES"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for row in &self.rows {
            rows.push(vec![
                row.loss.to_owned(),
                row.map.to_owned(),
                row.dtype.to_owned(),
                row.work.to_owned(),
                format!("{:.2}", row.milliseconds),
                format!("{:.2}", row.nanoseconds_per_element),
                format!("{:.2}", row.bound_nanoseconds_per_element),
                format!("{:.1}", row.times),
            ]);
        }
        format!("backend {}, {} threads, {} turns\n{}", self.backend, self.threads, self.turns, table(&rows))
    }
}
