//! `densekd loss`: the value between two tensors or two folders of them, and its gradient.

use super::evaluate::{PairReport, Wants, evaluate, has_channels};
use super::failure::Failure;
use super::folder::{Companions, FilePair, alone, pairs};
use super::machine::{BackendArgs, Machine};
use super::maps::{Maps, PairArgs, Sides, place};
use super::objective::{ObjectiveArgs, Surroundings};
use super::options::{Choice, LossArgs};
use super::output::{print, print_json};
use super::outputs::{Gradients, OutputArgs};
use super::parse::number;
use super::positions::{PositionArgs, PositionFiles};
use super::progress::progress;
use super::projection::ProjectionArgs;
use super::report::{Explanation, Head, Many, Single};
use super::target::Target;
use clap::Args;
use densekd::core::Upstream;
use densekd::io::{self, TensorPath};
use densekd::objective::Objective;
use std::ffi::OsString;
use std::path::Path;

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct LossCommand {
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    loss: LossArgs,
    #[command(flatten)]
    positions: PositionArgs,
    #[command(flatten)]
    projection: ProjectionArgs,
    #[command(flatten)]
    objective: ObjectiveArgs,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    /// What every channel adds to the value (row losses, not for norm spatial)
    #[arg(long, help_heading = "Output")]
    per_channel: bool,
    /// Print the formula in full, with its divisor and every setting; without tensors, that alone
    #[arg(long, help_heading = "Output")]
    explain: bool,
    /// The gradient from above, such as a loss scale: multiplies the gradients, not the value
    #[arg(
        long,
        value_name = "X",
        default_value = "1",
        allow_hyphen_values = true,
        value_parser = |word: &str| number(word, Upstream::new),
        help_heading = "Output"
    )]
    upstream: Upstream,
}

/// What all pairs are evaluated with.
struct Job<'a> {
    choice: Choice,
    sides: Sides<'a>,
    machine: Machine,
    head: Head,
    json: bool,
}

impl LossCommand {
    /// Evaluates and reports.
    pub(crate) fn run(&self, json: bool) -> Result<(), Failure> {
        if let Some(objective) = self.objective.read()? {
            return self.terms(&objective, json);
        }
        let choice = self.loss.choose()?;
        let options = &choice.options;
        if self.explain && !self.pair.is_given() {
            let explanation = Explanation::new(&choice);
            return if json { print_json(&explanation) } else { print(&explanation.to_string()) };
        }
        let sides = self.pair.sides_of(options)?;
        self.positions.check(options)?;
        self.projection.check(options)?;
        self.outputs.check(options)?;
        if self.per_channel && !has_channels(options) {
            return Err(match options.row() {
                Some(options) => Failure::PerChannel { norm: options.norm },
                None => Failure::PerChannelOfMaps { loss: choice.loss() },
            });
        }
        let machine = self.backend.start()?;
        let head = Head::new(&choice, &machine, self.pair.order().name(), self.explain);
        let job = Job { choice, sides, machine, head, json };
        let student = sides.student;
        match sides.teacher.filter(|teacher| teacher.is_dir() != student.is_dir()) {
            Some(teacher) if teacher.is_dir() => Err(folder_and_file(teacher, student)),
            Some(teacher) => Err(folder_and_file(student, teacher)),
            None if student.is_dir() => self.folders(&job),
            None => self.files(&job),
        }
    }

    fn terms(&self, objective: &Objective, json: bool) -> Result<(), Failure> {
        let sides = self.pair.sides("an objective", true)?;
        self.outputs.prepare(&sides.paths().collect::<Vec<_>>())?;
        let around = Surroundings {
            sides,
            order: self.pair.order(),
            machine: &self.backend.start()?,
            upstream: self.upstream,
            grad: self.outputs.student(),
        };
        self.objective.run(objective, &around, json)
    }

    fn files(&self, job: &Job<'_>) -> Result<(), Failure> {
        let teacher = job.sides.teacher.map(place).transpose()?;
        let pair = FilePair { stem: OsString::new(), teacher, student: place(job.sides.student)? };
        let files = self.positions.places()?;
        let report = self.one(job, &pair, &files, |inputs| self.outputs.targets(inputs))?;
        let head = job.head.done_by(&job.machine);
        let single = Single::new(&head, &report);
        if job.json { print_json(&single) } else { print(&single.text(self.per_channel)) }
    }

    fn folders(&self, job: &Job<'_>) -> Result<(), Failure> {
        let Sides { teacher, student } = job.sides;
        let pairs = teacher.map_or_else(|| alone(student), |teacher| pairs(teacher, student))?;
        let companions = Companions::new(&self.positions)?;
        let positions = [&self.positions.labels, &self.positions.mask].into_iter().flatten();
        let inputs: Vec<&Path> = job.sides.paths().chain(positions.map(|path| &**path)).collect();
        self.outputs.prepare(&inputs)?;
        let name = |pair: &FilePair| pair.stem.to_string_lossy().into_owned();
        let width = pairs.iter().map(|pair| name(pair).chars().count()).max().unwrap_or_default().max(5);
        if !job.json {
            print(&Many::opening(&job.head))?;
        }
        let bar = progress(pairs.len(), "files");
        let mut reports = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            let files = companions.of(&pair.stem)?;
            let report = self.one(job, pair, &files, |inputs| self.outputs.targets_of(pair, inputs))?;
            if !job.json {
                bar.suspend(|| print(&Many::row(&name(pair), width, &report)))?;
            }
            reports.push(report);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let head = job.head.done_by(&job.machine);
        let many = Many::new(&head, &job.sides, &reports);
        if job.json { print_json(&many) } else { print(&many.closing(width)) }
    }

    /// One pair, whether alone or of a folder.
    fn one(
        &self,
        job: &Job<'_>,
        pair: &FilePair,
        files: &PositionFiles,
        targets: impl Fn(&[&Path]) -> Result<Gradients<Option<Target>>, Failure>,
    ) -> Result<PairReport, Failure> {
        let given = [pair.teacher.as_ref(), Some(&pair.student), files.labels.as_ref(), files.mask.as_ref()];
        let mut inputs: Vec<&Path> = given.into_iter().flatten().map(TensorPath::path).collect();
        let parts = self.projection.paths().map(place).collect::<Result<Vec<_>, _>>()?;
        inputs.extend(parts.iter().map(TensorPath::path));
        let unasked = !job.json && !job.sides.student.is_dir() && has_channels(&job.choice.options);
        let wants = Wants {
            upstream: self.upstream,
            channels: self.per_channel || unasked,
            gradients: targets(&inputs)?,
        };
        let maps = Maps::read(pair.teacher.as_ref(), &pair.student, self.pair.order())?;
        evaluate(&job.machine, &job.choice, (&maps, files, &self.projection), &wants)
    }
}

/// A folder against something else, which may be mistyped.
fn folder_and_file(folder: &Path, other: &Path) -> Failure {
    match place(other) {
        Ok(at) if at.path().exists() => {
            Failure::FolderAndFile { folder: folder.to_owned(), other: other.to_owned() }
        }
        Ok(at) => io::Error::Missing { path: at.path().to_owned() }.into(),
        Err(error) => error,
    }
}
