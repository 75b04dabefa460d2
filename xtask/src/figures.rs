//! The figures of the CPU backend: `densekd bench losses` on one and two threads and on AVX2, as one file of numbers and
//! one of tables, with what was aimed at beside what was reached.

mod goals;
mod tables;

use crate::call;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the numbers go, the tables, and where the comparison with other libraries is.
const NUMBERS: &str = "benches/results/losses.json";
const TABLES: &str = "benches/results/losses.md";
const PEERS: &str = "benches/results/peers.json";

/// The median over the turns, and the smallest.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Spread {
    median: f64,
    min: f64,
}

/// Nanoseconds per element, and ratios within a turn.
#[derive(Clone, Serialize, Deserialize)]
struct Times {
    loss: Spread,
    bound: Spread,
    plain: Option<Spread>,
    share: f64,
    over_bound: f64,
    over_plain: Option<f64>,
}

/// One line of the program's report.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    loss: String,
    map: String,
    shape: [usize; 4],
    dtype: String,
    student: String,
    work: String,
    nanoseconds_per_element: Times,
}

/// The program's report.
#[derive(Serialize, Deserialize)]
struct Report {
    backend: String,
    isa: String,
    threads: usize,
    turns: usize,
    last_level_cache: usize,
    rows: Vec<Row>,
}

/// Everything that was measured.
struct Figures {
    cpu: String,
    rustc: String,
    reports: Vec<Report>,
}

/// Measures, and writes both files; `tables_only` makes the tables of the numbers that are there.
pub(crate) fn run(turns: usize, tables_only: bool) -> Result<()> {
    let figures = if tables_only { Figures::read()? } else { Figures::measure(turns)? };
    if !tables_only {
        write(NUMBERS, &figures.json()?)?;
    }
    write(TABLES, &figures.tables()?)?;
    println!("figures: {TABLES} is written");
    Ok(())
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn write(name: &str, text: &str) -> Result<()> {
    std::fs::write(path(name), text).with_context(|| format!("{name} cannot be written"))
}

impl Figures {
    fn measure(turns: usize) -> Result<Self> {
        let built = crate::cargo()
            .args(["build", "--release", "--quiet", "--package", "densekd", "--bin", "densekd"])
            .args(["--message-format", "json"])
            .current_dir(path("."))
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("cargo cannot be started")?;
        let program =
            executable(&String::from_utf8_lossy(&built.stdout)).context("cargo built no program")?;
        let turns = turns.to_string();
        let bench = |isa: Option<&str>, args: &[&str]| -> Result<Report> {
            let mut command = Command::new(&program);
            command.args(["bench", "losses", "--json", "--turns", &turns, "--backend", "cpu"]).args(args);
            match isa {
                Some(isa) => command.env("DENSEKD_ISA", isa),
                None => command.env_remove("DENSEKD_ISA"),
            };
            serde_json::from_str(&call(&mut command)?).context("the program's report")
        };
        let rows = ["cwd", "pi", "--dtype", "f32,f16,bf16"];
        let reports = vec![
            bench(None, &[&rows[..], &["--threads", "1"]].concat())?,
            bench(None, &["--threads", "1"])?.without(&["cwd", "pi"]),
            bench(None, &[&rows[..2], &["--dtype", "f32", "--threads", "2"]].concat())?,
            bench(Some("avx2"), &["cwd", "--map", "cached", "--dtype", "f32", "--threads", "1"])?,
        ];
        Ok(Self {
            cpu: cpu(),
            rustc: call(Command::new("rustc").arg("--version"))?.trim().to_owned(),
            reports,
        })
    }

    fn read() -> Result<Self> {
        #[derive(Deserialize)]
        struct Stored {
            cpu: String,
            rustc: String,
            reports: Vec<Report>,
        }
        let text =
            std::fs::read_to_string(path(NUMBERS)).with_context(|| format!("{NUMBERS} cannot be read"))?;
        let Stored { cpu, rustc, reports } =
            serde_json::from_str(&text).with_context(|| NUMBERS.to_owned())?;
        Ok(Self { cpu, rustc, reports })
    }

    /// One row a line.
    fn json(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "{{\"cpu\": {:?}, \"rustc\": {:?}, \"reports\": [", self.cpu, self.rustc)?;
        for (i, report) in self.reports.iter().enumerate() {
            let Report { backend, isa, threads, turns, last_level_cache, rows } = report;
            writeln!(
                text,
                "{{\"backend\": {backend:?}, \"isa\": {isa:?}, \"threads\": {threads}, \"turns\": {turns}, \
                 \"last_level_cache\": {last_level_cache}, \"rows\": ["
            )?;
            let lines: Vec<_> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
            writeln!(text, "{}", lines.join(",\n"))?;
            writeln!(text, "]}}{}", if i + 1 < self.reports.len() { "," } else { "" })?;
        }
        writeln!(text, "]}}")?;
        Ok(text)
    }

    fn tables(&self) -> Result<String> {
        let peers = std::fs::read_to_string(path(PEERS)).ok();
        let goals = goals::table(self, peers.as_deref())?;
        Ok(format!("{}\n{goals}\n{}", self.heading(), tables::all(self)))
    }

    fn heading(&self) -> String {
        let Self { cpu, rustc, reports } = self;
        let first = reports.first();
        format!(
            "# Every loss against memory\n\nMade by `cargo xtask figures`: {cpu}, {rustc}, {} turns, last-level cache \
             {} MiB. What is timed, and what the bound and the plain form are: [benchmarks](../README.md).\n",
            first.map_or(0, |report| report.turns),
            first.map_or(0, |report| report.last_level_cache >> 20),
        )
    }

    /// The row of a measurement.
    fn find(&self, threads: usize, isa: Isa, wanted: [&str; 5]) -> Option<&Times> {
        self.reports
            .iter()
            .filter(|report| report.threads == threads && (report.isa == "avx2") == (isa == Isa::Avx2))
            .flat_map(|report| &report.rows)
            .find(|row| [&*row.loss, &*row.map, &*row.dtype, &*row.student, &*row.work] == wanted)
            .map(|row| &row.nanoseconds_per_element)
    }
}

/// On which instructions a report was made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isa {
    Widest,
    Avx2,
}

impl Report {
    fn without(mut self, losses: &[&str]) -> Self {
        self.rows.retain(|row| !losses.contains(&&*row.loss));
        self
    }
}

/// The program among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
}

/// The processor's name, family and model, as far as the system tells them.
fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let of = |line: &str| {
            line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, x)| x.trim().to_owned())
        };
        text.lines().find_map(of).unwrap_or_else(|| "?".to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    format!(
        "{} (family {}, model {}), {cores} cores",
        field("model name"),
        field("cpu family"),
        field("model")
    )
}

#[cfg(test)]
mod tests {
    use super::{Figures, TABLES, path};

    #[test]
    fn the_tables_are_of_the_numbers() {
        let tables = Figures::read().and_then(|figures| figures.tables()).expect("the numbers");
        let committed = std::fs::read_to_string(path(TABLES)).expect("the tables");
        assert!(tables == committed, "stale: cargo xtask figures --tables");
    }
}
