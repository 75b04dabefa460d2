//! `densekd loss`: the value between two tensors or two folders of them, and its gradient.

use super::evaluate::{PairReport, Wants, evaluate, has_channels};
use super::failure::Failure;
use super::folder::{Companions, FilePair, pairs};
use super::machine::{BackendArgs, Machine};
use super::maps::{Maps, PairArgs, place};
use super::objective::{ObjectiveArgs, Surroundings};
use super::options::{Choice, LossArgs};
use super::output::{print, print_json};
use super::parse::number;
use super::positions::{PositionArgs, PositionFiles};
use super::report::{Head, Many, Single};
use super::target::{Target, has_ending, same};
use clap::{Args, ValueHint};
use densekd::core::{self, Upstream};
use densekd::io::{self, TensorPath};
use densekd::objective::Objective;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

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
    objective: ObjectiveArgs,
    #[command(flatten)]
    backend: BackendArgs,
    /// Write the gradient to the student here (.npy or .safetensors), in the student's shape and type; for two
    /// folders a folder
    #[arg(long, value_name = "OUT", value_hint = ValueHint::AnyPath, help_heading = "Output")]
    grad: Option<PathBuf>,
    /// Write the gradient to the teacher here
    #[arg(long, value_name = "OUT", value_hint = ValueHint::AnyPath, help_heading = "Output")]
    grad_teacher: Option<PathBuf>,
    /// What every channel adds to the value (not for norm spatial)
    #[arg(long, help_heading = "Output")]
    per_channel: bool,
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
struct Job {
    choice: Choice,
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
        let options = choice.recipe.options();
        if options.upsample.get() > 1 && self.positions.is_given() {
            return Err(core::Error::MaskWithUpsample.into());
        }
        if self.per_channel && !has_channels(options.norm) {
            return Err(Failure::PerChannel { norm: options.norm });
        }
        if let (Some(a), Some(b)) = (&self.grad, &self.grad_teacher)
            && same(a, b)
        {
            return Err(Failure::OutputTwice { path: b.clone() });
        }
        let machine = self.backend.start()?;
        let head = Head::new(&choice, &machine, self.pair.order().name());
        let job = Job { choice, machine, head, json };
        let (teacher, student) = (&self.pair.teacher, &self.pair.student);
        match (teacher.is_dir(), student.is_dir()) {
            (false, false) => self.files(&job),
            (true, true) => self.folders(&job),
            (true, false) => Err(folder_and_file(teacher, student)),
            (false, true) => Err(folder_and_file(student, teacher)),
        }
    }

    fn terms(&self, objective: &Objective, json: bool) -> Result<(), Failure> {
        self.grad.as_ref().map_or(Ok(()), |folder| self.prepare(folder))?;
        let around = Surroundings {
            pair: &self.pair,
            machine: &self.backend.start()?,
            upstream: self.upstream,
            grad: self.grad.as_deref(),
        };
        self.objective.run(objective, &around, json)
    }

    fn files(&self, job: &Job) -> Result<(), Failure> {
        let (teacher, student) = (place(&self.pair.teacher)?, place(&self.pair.student)?);
        let files = self.positions.places()?;
        let (grad, grad_teacher) = (self.grad.as_deref(), self.grad_teacher.as_deref());
        let report = self.one(job, (&teacher, &student, &files), (grad, grad_teacher))?;
        let single = Single::new(&job.head, &report);
        if job.json { print_json(&single) } else { print(&single.text(self.per_channel)) }
    }

    fn folders(&self, job: &Job) -> Result<(), Failure> {
        let (teacher, student) = (&self.pair.teacher, &self.pair.student);
        let pairs = pairs(teacher, student)?;
        let companions = Companions::new(&self.positions)?;
        for folder in [&self.grad, &self.grad_teacher].into_iter().flatten() {
            self.prepare(folder)?;
        }
        let name = |pair: &FilePair| pair.stem.to_string_lossy().into_owned();
        let width = pairs.iter().map(|pair| name(pair).chars().count()).max().unwrap_or_default().max(5);
        if !job.json {
            print(&Many::opening(&job.head))?;
        }
        let bar = progress(pairs.len());
        let mut reports = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            let files = companions.of(&pair.stem)?;
            let grad = self.grad.as_ref().map(|folder| folder.join(output_name(&pair.student)));
            let grad_teacher =
                self.grad_teacher.as_ref().map(|folder| folder.join(output_name(&pair.teacher)));
            let targets = (grad.as_deref(), grad_teacher.as_deref());
            let report = self.one(job, (&pair.teacher, &pair.student, &files), targets)?;
            if !job.json {
                bar.suspend(|| print(&Many::row(&name(pair), width, &report)))?;
            }
            reports.push(report);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let folders = (teacher.display().to_string(), student.display().to_string());
        let many = Many::new(&job.head, folders, &reports);
        if job.json { print_json(&many) } else { print(&many.closing(width)) }
    }

    /// One pair, whether alone or of a folder.
    fn one(
        &self,
        job: &Job,
        (teacher, student, files): (&TensorPath, &TensorPath, &PositionFiles),
        (grad, grad_teacher): (Option<&Path>, Option<&Path>),
    ) -> Result<PairReport, Failure> {
        let mut inputs = vec![teacher.path(), student.path()];
        inputs.extend([&files.labels, &files.mask].into_iter().flatten().map(TensorPath::path));
        let target = |argument: Option<&Path>, name| {
            argument.map(|argument| Target::new(argument, name, &inputs)).transpose()
        };
        let norm = job.choice.recipe.options().norm;
        let unasked = !job.json && !self.pair.teacher.is_dir() && has_channels(norm);
        let wants = Wants {
            upstream: self.upstream,
            channels: self.per_channel || unasked,
            grad: target(grad, "grad_student")?,
            grad_teacher: target(grad_teacher, "grad_teacher")?,
        };
        if let (Some(a), Some(b)) = (&wants.grad, &wants.grad_teacher)
            && same(a.path(), b.path())
        {
            return Err(Failure::OutputTwice { path: b.path().to_owned() });
        }
        let maps = Maps::read(teacher, student, self.pair.order())?;
        evaluate(&job.machine, &job.choice, (&maps, files), &wants)
    }

    /// Makes a folder for gradients that is none of the inputs.
    fn prepare(&self, folder: &Path) -> Result<(), Failure> {
        let inputs = [Some(&self.pair.teacher), Some(&self.pair.student)];
        let inputs = inputs.into_iter().chain([self.positions.labels.as_ref(), self.positions.mask.as_ref()]);
        if inputs.flatten().any(|input| same(input, folder)) {
            return Err(Failure::OutputIsInput { path: folder.to_owned() });
        }
        if folder.is_dir() {
            return Ok(());
        }
        let fail = |source| io::Error::Write { path: folder.to_owned(), source };
        Ok(fs::create_dir(folder).map_err(fail)?)
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

/// The name of a map's gradient: that of the map, but for archives, which are only read.
fn output_name(map: &TensorPath) -> PathBuf {
    let name = Path::new(map.path().file_name().unwrap_or_default());
    if has_ending(name, "npz") { name.with_extension("npy") } else { name.to_owned() }
}

/// A bar where someone may be looking at it.
fn progress(files: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files as u64);
    match ProgressStyle::with_template("{bar:40} {pos} of {len} files, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
