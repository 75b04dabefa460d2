//! Instruction counts as a gate: a kernel that got slower fails, and other work on the machine cannot move a count.
//!
//! This program runs itself under Valgrind's Callgrind, with one thread. Each case is one call of
//! [`measured`], and only what happens inside is counted. The counts depend on the compiler, which the table names.

mod cases;

pub(crate) use self::cases::drive;

use crate::call;
use crate::rise::{Counts, RISE, faults, has_risen};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The committed table.
const TABLE: &str = "benches/results/instructions.json";

/// The case that is a deliberate rise: another case's work, done twice.
const SLOWER: &str = "slower";

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

/// Fails where an intrinsic stands in this program as a function: a kernel then calls it for each vector, which happens where
/// a closure or a function of a library that takes one was not inlined into what is compiled for the instruction set.
fn find_calls() -> Result<()> {
    /// One that is meant to be called, which shows that calls are seen.
    const CALLED: &str = "xsave::_xgetbv";
    let symbols =
        call(Command::new("nm").args(["--demangle", "--format=just-symbols"]).arg(std::env::current_exe()?))?;
    let intrinsics = symbols.lines().filter(|name| name.contains("core_arch::x86::"));
    let (called, lost): (Vec<_>, Vec<_>) = intrinsics.partition(|name| name.contains(CALLED));
    ensure!(!called.is_empty(), "no call of {CALLED} is seen, so others would not be either");
    ensure!(lost.is_empty(), "kernels call {}", lost.join(", "));
    println!("instructions: no kernel calls an intrinsic");
    Ok(())
}

/// Counts, and compares with the table or writes it.
pub(crate) fn run(bless: bool) -> Result<()> {
    find_calls()?;
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
    let faults = faults("instructions", &table.instructions, &counts);
    ensure!(faults.is_empty(), "{}\nwanted or not? --bless writes what was counted", faults.join("\n"));
    println!("instructions: {} cases, none up by more than {RISE} %", counts.len());
    println!("instructions: work done twice is found ({usual} -> {slower})");
    Ok(())
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
