//! Instruction counts as a gate: a kernel that got slower fails, and other work on the machine cannot move a count.
//!
//! This program runs itself under Valgrind's Callgrind, with one thread. Each case is one call of
//! [`measured`], and only what happens inside is counted. The counts depend on the compiler, which the table names.

mod cases;

pub(crate) use self::cases::drive;

use crate::call;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The committed table.
const TABLE: &str = "benches/results/instructions.json";

/// Percent that a count may rise.
const RISE: u64 = 3;

/// The case that is a deliberate rise: another case's work, done twice.
const SLOWER: &str = "slower";

/// Instructions by case.
type Counts = BTreeMap<String, u64>;

#[derive(Serialize, Deserialize)]
struct Table {
    rustc: String,
    /// Per call, on a map of the case's size.
    instructions: Counts,
}

/// What is counted.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Kept here, so that the call above is no jump that leaves this function.
    std::hint::black_box(());
}

/// Counts, and compares with the table or writes it.
pub(crate) fn run(bless: bool) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TABLE);
    let rustc = call(Command::new("rustc").arg("--version"))?;
    let rustc = rustc.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut counts = count()?;
    let slower = counts.remove(SLOWER).context("the deliberate rise was not counted")?;
    let usual = *counts.get(cases::SLOWED).context("the case that it is a rise of was not counted")?;
    ensure!(has_risen(usual, slower), "the gate does not see {slower} instructions rise from {usual}");
    if bless {
        let text = serde_json::to_string_pretty(&Table { rustc, instructions: counts })? + "\n";
        std::fs::write(&path, text).with_context(|| format!("{TABLE} cannot be written"))?;
        println!("instructions: {TABLE} is written");
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("{TABLE} cannot be read"))?;
    let table: Table = serde_json::from_str(&text).with_context(|| format!("{TABLE} is no table"))?;
    ensure!(
        table.rustc == rustc,
        "the counts in {TABLE} were made by rustc {}, this is {rustc}: use that one, or --bless",
        table.rustc
    );
    let faults = faults(&table.instructions, &counts);
    ensure!(faults.is_empty(), "{}\nwanted or not? --bless writes what was counted", faults.join("\n"));
    println!("instructions: {} cases, none up by more than {RISE} %", counts.len());
    println!("instructions: work done twice is found ({usual} -> {slower})");
    Ok(())
}

fn has_risen(from: u64, to: u64) -> bool {
    to * 100 > from * (100 + RISE)
}

/// Each case that has risen, or stands on one side only.
fn faults(table: &Counts, counts: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for (case, &to) in counts {
        match table.get(case) {
            None => faults.push(format!("{case}: {to} instructions, not in the table")),
            #[allow(clippy::cast_precision_loss, reason = "percents of counts far below 2^53")]
            Some(&from) if has_risen(from, to) => {
                let percent = 100.0 * (to as f64 / from as f64 - 1.0);
                faults.push(format!("{case}: {from} instructions before, {to} now, {percent:.1} % more"));
            }
            Some(_) => {}
        }
    }
    faults.extend(
        table
            .keys()
            .filter(|case| !counts.contains_key(*case))
            .map(|case| format!("{case}: in the table, not counted")),
    );
    faults
}

/// Runs all cases under Callgrind, which leaves a file for each.
fn count() -> Result<Counts> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("counts");
    let names = call(
        Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", "--collect-atstart=no"])
            // Of two options for one pattern Callgrind takes the first alone, so one function has two.
            .args(["--toggle-collect=*instructions::measured", "--dump-after=xtask::instructions::measured"])
            .arg(format!("--callgrind-out-file={}", output.display()))
            .arg(std::env::current_exe()?)
            .args(["instructions", "--drive"])
            .env_remove("DENSEKD_ISA"),
    )
    .context("Valgrind is needed: apt-get install valgrind")?;
    let mut counts = Counts::new();
    for (i, name) in names.lines().enumerate() {
        let path = PathBuf::from(format!("{}.{}", output.display(), i + 1));
        let count = total(&path)?;
        ensure!(count > 0, "{name}: nothing was counted");
        ensure!(counts.insert(name.to_owned(), count).is_none(), "{name} is counted twice");
    }
    Ok(counts)
}

/// The sum that a file of Callgrind's gives.
fn total(path: &Path) -> Result<u64> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} was not written", path.display()))?;
    let Some(sum) = text.lines().find_map(|line| line.strip_prefix("summary: ")) else {
        bail!("{} has no sum", path.display())
    };
    sum.trim().parse().with_context(|| format!("{sum} is no count"))
}

#[cfg(test)]
mod tests {
    use super::{Counts, faults};

    fn counts(all: &[(&str, u64)]) -> Counts {
        all.iter().map(|&(case, count)| (case.to_owned(), count)).collect()
    }

    #[test]
    fn a_rise_is_found_and_both_counts_are_named() {
        let table = counts(&[("a", 1000), ("b", 1000), ("c", 1000)]);
        assert_eq!(
            faults(&table, &counts(&[("a", 1030), ("b", 1031), ("c", 500)])),
            ["b: 1000 instructions before, 1031 now, 3.1 % more"]
        );
    }

    #[test]
    fn a_case_on_one_side_only_is_found() {
        let faults = faults(&counts(&[("a", 1)]), &counts(&[("b", 1)]));
        assert_eq!(faults, ["b: 1 instructions, not in the table", "a: in the table, not counted"]);
    }
}
