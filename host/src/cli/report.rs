//! The report of a loss, for people and for machines.

use super::evaluate::PairReport;
use super::machine::Machine;
use super::maps::Sides;
use super::options::Choice;
use super::output::{Lines, Number, table};
use super::settings::Settings;
use super::target::GradientReport;
use densekd::Unsupported;
use densekd::core::About;
use serde::Serialize;
use std::fmt;

/// How many channels are shown unasked.
const SHOWN: usize = 5;

/// What is the same for every pair.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Head {
    loss: &'static str,
    preset: Option<&'static str>,
    backend: &'static str,
    threads: usize,
    options: Settings,
    #[serde(skip_serializing_if = "Option::is_none")]
    formula: Option<String>,
    #[serde(skip)]
    layout: &'static str,
    #[serde(skip)]
    is_auto: bool,
    #[serde(skip)]
    passed_over: Option<Unsupported>,
}

/// One pair.
#[derive(Debug, Serialize)]
pub(crate) struct Single<'a> {
    #[serde(flatten)]
    head: &'a Head,
    #[serde(flatten)]
    pair: &'a PairReport,
}

/// Two folders.
#[derive(Debug, Serialize)]
pub(crate) struct Many<'a> {
    #[serde(flatten)]
    head: &'a Head,
    /// The mean over the files.
    value: Number,
    /// Where all files agree.
    shape: Option<[usize; 4]>,
    dtype: Option<&'static str>,
    teacher: Option<String>,
    student: String,
    files: &'a [PairReport],
}

impl Head {
    /// Of a loss on a machine.
    pub(crate) fn new(choice: &Choice, machine: &Machine, layout: &'static str, explain: bool) -> Self {
        Self {
            loss: choice.loss().name(),
            preset: choice.preset.map(|preset| preset.name),
            backend: machine.backend.name(),
            threads: machine.threads,
            options: Settings::new(&choice.options),
            formula: explain.then(|| choice.options.to_string()),
            layout,
            is_auto: machine.is_auto,
            passed_over: None,
        }
    }

    /// With the backend that did it, where it was to be chosen.
    pub(crate) fn done_by(&self, machine: &Machine) -> Self {
        let backend = &machine.backend;
        Self { backend: backend.name(), passed_over: backend.passed_over(), ..self.clone() }
    }

    fn add_first(&self, lines: &mut Lines) {
        lines.add("loss", self.loss);
        lines.add("preset", self.preset.unwrap_or("none"));
        if let Some(formula) = &self.formula {
            add_formula(lines, formula);
        }
    }

    /// `divisor`: its number, which several files need not share.
    fn add_rest(&self, lines: &mut Lines, divisor: Option<Number>) {
        let chosen = match self.passed_over {
            Some(Unsupported { backend, reason }) => format!(" (auto; {backend}: {reason})"),
            None if self.is_auto => " (auto)".to_owned(),
            None => String::new(),
        };
        lines.add("backend", format!("{}{chosen}", self.backend));
        lines.add("threads", self.threads);
        // A loss without a choice of divisors has one all the same.
        let named = self.options.iter().any(|(name, _)| *name == "divisor");
        if let Some(number) = divisor.filter(|_| !named) {
            lines.add("divisor", number);
        }
        for (name, value) in self.options.iter() {
            match divisor {
                Some(number) if *name == "divisor" => lines.add(name, format!("{value} = {number}")),
                _ => lines.add(name, value),
            }
        }
    }
}

/// A loss in full, without tensors.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    loss: &'static str,
    summary: &'static str,
    source: String,
    preset: Option<&'static str>,
    options: Settings,
    formula: String,
}

impl Explanation {
    /// Of a loss.
    pub(crate) fn new(choice: &Choice) -> Self {
        let About { name, summary, source } = choice.loss().about();
        let preset = choice.preset.map(|preset| format!("{}, {}", preset.repository, preset.source));
        Self {
            loss: name,
            summary,
            source: preset.unwrap_or_else(|| (*source).to_owned()),
            preset: choice.preset.map(|preset| preset.name),
            options: Settings::new(&choice.options),
            formula: choice.options.to_string(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines::default();
        lines.add("loss", format!("{}, {}", self.loss, self.summary));
        lines.add("preset", self.preset.unwrap_or("none"));
        lines.add("source", &self.source);
        add_formula(&mut lines, &self.formula);
        self.options.iter().for_each(|(name, value)| lines.add(name, value));
        lines.fmt(f)
    }
}

/// A line for each of the formula's.
fn add_formula(lines: &mut Lines, formula: &str) {
    for (i, line) in formula.lines().enumerate() {
        lines.add(if i == 0 { "formula" } else { "" }, line);
    }
}

impl<'a> Single<'a> {
    /// Of one pair.
    pub(crate) const fn new(head: &'a Head, pair: &'a PairReport) -> Self {
        Self { head, pair }
    }

    /// Aligned lines, and the channels that differ most, or all.
    pub(crate) fn text(&self, all_channels: bool) -> String {
        let PairReport { value, shape, teacher_shape, dtype, teacher_dtype, teacher, student, .. } =
            self.pair;
        let mut lines = Lines::default();
        self.head.add_first(&mut lines);
        lines.add("value", value);
        if let Some(teacher) = teacher {
            lines.add("teacher", teacher);
        }
        lines.add("student", student);
        lines.add("shape", format!("{shape:?} ([N, C, H, W]), {} in the files", self.head.layout));
        if let Some(shape) = teacher_shape {
            lines.add("teacher shape", format!("{shape:?}"));
        }
        match teacher_dtype {
            Some(teacher) if teacher != dtype => {
                lines.add("dtype", format!("{dtype} (student), {teacher} (teacher)"));
            }
            _ => lines.add("dtype", dtype),
        }
        self.head.add_rest(&mut lines, Some(self.pair.divisor));
        for (name, gradient) in self.pair.gradients.iter() {
            add_gradient(&mut lines, name, gradient);
        }
        let channels = self.pair.per_channel.as_deref().map(|channels| channel_table(channels, all_channels));
        format!("{lines}{}", channels.unwrap_or_default())
    }
}

fn add_gradient(lines: &mut Lines, name: &str, gradient: &GradientReport) {
    let GradientReport { path, dtype, norm, max_abs, max_at, overflowed } = gradient;
    lines.add(name, format!("{path} ({dtype})"));
    lines.add("  norm", norm);
    lines.add("  largest", format!("{max_abs} at [n, c, y, x] = {max_at:?}"));
    if *overflowed {
        let note = format!("finite entries were too large for {dtype} and became infinite: lower --upstream");
        lines.add("  overflow", note);
    }
}

/// The channels by what they add, the largest first.
fn channel_table(channels: &[Number], all: bool) -> String {
    let total: f64 = channels.iter().map(|number| number.0).sum();
    let mut order: Vec<(usize, Number)> = channels.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.0.abs().total_cmp(&a.0.abs()));
    let shown = if all { order.len() } else { order.len().min(SHOWN) };
    let title = if shown < order.len() {
        format!("\nthe {shown} channels of {} that add most (--per-channel for all)\n", order.len())
    } else {
        "\nwhat each channel adds, the largest first\n".to_owned()
    };
    let mut rows = vec![["channel", "value", "share"].map(str::to_owned).to_vec()];
    for (channel, value) in order.into_iter().take(shown) {
        let share = 100.0 * value.0 / total;
        let share = if share.is_finite() { format!("{share:.1} %") } else { "-".to_owned() };
        rows.push(vec![channel.to_string(), value.to_string(), share]);
    }
    title + &table(&rows)
}

impl<'a> Many<'a> {
    /// Of all pairs.
    #[allow(clippy::cast_precision_loss, reason = "no folder holds 2^53 files")]
    pub(crate) fn new(head: &'a Head, sides: &Sides<'_>, files: &'a [PairReport]) -> Self {
        let total: f64 = files.iter().map(|file| file.value.0).sum();
        Self {
            head,
            value: Number(total / files.len().max(1) as f64),
            shape: common(files.iter().map(|file| file.shape)),
            dtype: common(files.iter().map(|file| file.dtype)),
            teacher: sides.teacher.map(|folder| folder.display().to_string()),
            student: sides.student.display().to_string(),
            files,
        }
    }

    /// What stands above the rows.
    pub(crate) fn opening(head: &Head) -> String {
        let mut lines = Lines::default();
        head.add_first(&mut lines);
        head.add_rest(&mut lines, None);
        format!("{lines}\n")
    }

    /// The row of a file, beside the longest name.
    pub(crate) fn row(name: &str, width: usize, pair: &PairReport) -> String {
        let overflowed = pair.gradients.iter().filter(|(_, grad)| grad.overflowed);
        let overflowed = overflowed.map(|(name, _)| name).collect::<Vec<_>>().join(" and ");
        let note = if overflowed.is_empty() { overflowed } else { format!("  {overflowed} overflowed") };
        format!("{name:width$}  {:<24}  {:?}  {}{note}\n", pair.value, pair.shape, pair.dtype)
    }

    /// What stands below the rows.
    pub(crate) fn closing(&self, width: usize) -> String {
        format!("{:width$}  {} over {} files\n", "mean", self.value, self.files.len())
    }
}

/// The one value that all have.
fn common<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}
