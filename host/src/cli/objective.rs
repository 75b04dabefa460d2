//! `densekd loss --objective`: several terms of a file, on two folders or archives of tensors.

use super::failure::Failure;
use super::machine::Machine;
use super::maps::Sides;
use super::output::{Lines, Number, print, print_json, table};
use super::parse::finite;
use super::target::same;
use clap::{Args, ValueHint};
use densekd::core::{Order, Upstream};
use densekd::io;
use densekd::objective::{Evaluation, Objective, ObjectiveTerm, Step, StudentGradient, Tensors, TermReport};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "Objective: several terms")]
pub(crate) struct ObjectiveArgs {
    /// Terms with weights and schedules, in TOML; TEACHER and STUDENT are then folders of tensors or archives
    /// (.safetensors, .npz), and --grad is a folder that gets one file for each of the student's tensors
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = [
            "LossArgs", "PositionArgs", "ProjectionArgs", "per_channel", "explain", "grad_teacher",
            "grad_projection", "grad_projection_bias"
        ]
    )]
    objective: Option<PathBuf>,
    /// Where the schedules are: iterations or epochs, as the file counts them [default: 0]
    #[arg(long, value_name = "N", requires = "objective")]
    step: Option<u64>,
    /// The task's own loss, added to the total
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        value_parser = finite,
        requires = "objective"
    )]
    task_loss: Option<f64>,
}

/// What the other flags say.
pub(crate) struct Surroundings<'a> {
    /// The teacher's and the student's tensors.
    pub(crate) sides: Sides<'a>,
    /// The order of their dimensions.
    pub(crate) order: Order,
    /// The backend.
    pub(crate) machine: &'a Machine,
    /// Multiplies gradients.
    pub(crate) upstream: Upstream,
    /// The folder for gradients, which is there.
    pub(crate) grad: Option<&'a Path>,
}

impl ObjectiveArgs {
    /// The file, where one was named.
    pub(crate) fn read(&self) -> Result<Option<Objective>, Failure> {
        Ok(self.objective.as_ref().map(Objective::read).transpose()?)
    }

    /// Evaluates and reports.
    pub(crate) fn run(
        &self,
        objective: &Objective,
        around: &Surroundings<'_>,
        json: bool,
    ) -> Result<(), Failure> {
        let (student, order) = (around.sides.student, around.order);
        let teacher = around.sides.teacher.unwrap_or(student);
        for path in [teacher, student] {
            if !path.exists() {
                return Err(io::Error::Missing { path: path.to_owned() }.into());
            }
        }
        let number = self.step.unwrap_or_default();
        let step = Step { number, task_loss: self.task_loss, order, upstream: around.upstream };
        let files = match around.grad {
            None => BTreeMap::new(),
            Some(folder) => targets(objective, folder, [teacher, student])?,
        };
        let tensors = (Tensors::open(teacher), Tensors::open(student));
        let run = || objective.evaluate(&tensors.0, &tensors.1, step, &*around.machine.backend);
        let done = on_threads(around.machine.threads, run)??;
        for (name, gradient) in &done.gradients {
            if let Some(path) = files.get(name) {
                io::write(path, name, &gradient.array)?;
            }
        }
        let report = Report {
            objective: self.objective.as_deref().unwrap_or(Path::new("")).display().to_string(),
            teacher: teacher.display().to_string(),
            student: student.display().to_string(),
            backend: around.machine.backend.name(),
            threads: around.machine.threads,
            step: number,
            task_loss: self.task_loss.map(Number),
            total: Number(done.total),
            terms: terms(objective, &done),
            gradients: gradients(&done, &files),
        };
        if json { print_json(&report) } else { print(&report.text()) }
    }
}

/// Runs the adapters on as many threads as the backend has.
fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| densekd::BackendError::Threads { threads, source })?;
    Ok(pool.install(run))
}

/// The file of every tensor that a gradient may go to, none of them an input.
fn targets(
    objective: &Objective,
    folder: &Path,
    inputs: [&Path; 2],
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut files = BTreeMap::new();
    for name in objective.terms.iter().flat_map(ObjectiveTerm::trained) {
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(Failure::GradientName { name: name.to_owned() });
        }
        let path = folder.join(format!("{name}.safetensors"));
        if inputs.iter().any(|input| same(input, &path)) {
            return Err(Failure::OutputIsInput { path });
        }
        files.insert(name.to_owned(), path);
    }
    Ok(files)
}

#[derive(Serialize)]
struct Report<'a> {
    objective: String,
    teacher: String,
    student: String,
    backend: &'static str,
    threads: usize,
    step: u64,
    task_loss: Option<Number>,
    total: Number,
    terms: Vec<Term<'a>>,
    gradients: Vec<Gradient<'a>>,
}

#[derive(Serialize)]
struct Term<'a> {
    name: &'a str,
    loss: &'static str,
    preset: Option<&'static str>,
    teacher: Option<&'a str>,
    student: &'a str,
    teacher_shape: Option<[usize; 4]>,
    student_shape: [usize; 4],
    /// With weight 1.
    value: Number,
    weight: Number,
    weighted: Number,
    gradient_norms: BTreeMap<&'a str, Number>,
}

#[derive(Serialize)]
struct Gradient<'a> {
    tensor: &'a str,
    dtype: &'static str,
    norm: Number,
    overflowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

fn terms<'a>(objective: &'a Objective, done: &'a Evaluation) -> Vec<Term<'a>> {
    let term = |(term, report): (&'a ObjectiveTerm, &'a TermReport)| Term {
        name: &term.name,
        loss: term.options.loss().name(),
        preset: term.preset,
        teacher: term.teacher.as_deref(),
        student: &term.student,
        teacher_shape: report.teacher_shape,
        student_shape: report.student_shape,
        value: Number(report.value),
        weight: Number(report.weight),
        weighted: Number(report.weighted),
        gradient_norms: report.gradient_norms.iter().map(|(name, &x)| (name.as_str(), Number(x))).collect(),
    };
    objective.terms.iter().zip(&done.terms).map(term).collect()
}

fn gradients<'a>(done: &'a Evaluation, files: &BTreeMap<String, PathBuf>) -> Vec<Gradient<'a>> {
    let gradient = |(name, gradient): (&'a String, &StudentGradient)| Gradient {
        tensor: name,
        dtype: gradient.array.dtype().name(),
        norm: Number(gradient.norm),
        overflowed: gradient.overflowed,
        path: files.get(name).map(|path| path.display().to_string()),
    };
    done.gradients.iter().map(gradient).collect()
}

impl Report<'_> {
    fn text(&self) -> String {
        let mut lines = Lines::default();
        lines.add("objective", &self.objective);
        lines.add("teacher", &self.teacher);
        lines.add("student", &self.student);
        lines.add("backend", format!("{}, {} threads", self.backend, self.threads));
        lines.add("step", self.step);
        if let Some(task) = self.task_loss {
            lines.add("task loss", task);
        }
        lines.add("total", self.total);

        let words = |words: [&str; 6]| words.map(str::to_owned).to_vec();
        let mut terms = vec![words(["term", "loss", "value", "weight", "weighted", "|gradient|"])];
        for Term { name, loss, preset, value, weight, weighted, gradient_norms, .. } in &self.terms {
            let norms: Vec<_> =
                gradient_norms.iter().map(|(name, norm)| format!("{norm} ({name})")).collect();
            let numbers = [value, weight, weighted].map(ToString::to_string);
            let mut row = vec![(*name).to_owned(), preset.unwrap_or(loss).to_owned()];
            row.extend(numbers.into_iter().chain([norms.join(", ")]));
            terms.push(row);
        }

        let mut sums = vec![["gradient to", "dtype", "norm", ""].map(str::to_owned).to_vec()];
        for Gradient { tensor, dtype, norm, overflowed, path } in &self.gradients {
            let mut notes: Vec<String> = path.iter().cloned().collect();
            if *overflowed {
                notes.push(format!("finite entries were too large for {dtype}: lower --upstream"));
            }
            sums.push(vec![(*tensor).to_owned(), (*dtype).to_owned(), norm.to_string(), notes.join(", ")]);
        }
        format!("{lines}\n{}\n{}", table(&terms), table(&sums))
    }
}
