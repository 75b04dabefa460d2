//! What a row costs on each target: a table that is committed, and that no count may rise above.

use super::target::TARGETS;
use crate::c_library::FUNCTIONS;
use crate::rise::{Counts, RISE, faults, has_risen};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The committed counts, and the same to be read.
const NUMBERS: &str = "tests/board/figures.json";
const TABLE: &str = "tests/board/figures.md";

/// Takes the lines that a board prints of what it measured: name, tenths of an instruction an element, bytes of stack.
pub(crate) fn take(core: &str, output: &str, counts: &mut Counts) -> Result<()> {
    for line in output.lines() {
        let Some(figure) = line.strip_prefix("figure ") else { continue };
        let fields: Vec<&str> = figure.split(' ').collect();
        let [name, tenths, stack] = fields[..] else { anyhow::bail!("{core} says {line:?}") };
        for (what, count) in [("tenths of an instruction", tenths), ("bytes of stack", stack)] {
            let count = count.parse().with_context(|| format!("{core} says {line:?}"))?;
            counts.insert(format!("{core} {name}, {what}"), count);
        }
    }
    Ok(())
}

/// Compares with the committed counts, or writes them. What `is_counted` refuses is left as it is.
pub(crate) fn hold(
    root: &Path,
    counts: &Counts,
    is_counted: impl Fn(&str) -> bool,
    bless: bool,
) -> Result<()> {
    let path = root.join(NUMBERS);
    let text = fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    let mut table: Counts = serde_json::from_str(&text).with_context(|| format!("{NUMBERS} is no table"))?;
    if bless {
        table.retain(|case, _| !is_counted(case));
        table.extend(counts.clone());
        fs::write(&path, serde_json::to_string_pretty(&table)? + "\n")?;
        fs::write(root.join(TABLE), tables(&table))?;
        println!("embedded: {NUMBERS} and {TABLE} are written");
        return Ok(());
    }
    table.retain(|case, _| is_counted(case));
    let risen = faults("counted", &table, counts);
    ensure!(risen.is_empty(), "{}\nwanted or not? --bless writes what was counted", risen.join("\n"));
    println!("embedded: {} counts, none up by more than {RISE} %", counts.len());
    Ok(())
}

/// The gate must see a row whose work is done twice.
pub(crate) fn sees_a_rise(core: &str, counts: &mut Counts) -> Result<()> {
    let of = |name: &str| format!("{core} {name}, tenths of an instruction");
    let slower = counts.remove(&of("slower")).with_context(|| format!("{core} has no deliberate rise"))?;
    counts.remove(&format!("{core} slower, bytes of stack"));
    let usual = *counts.get(&of("near-gradient")).with_context(|| format!("{core} has no figures"))?;
    ensure!(has_risen(usual, slower), "the gate does not see {slower} rise from {usual}");
    Ok(())
}

/// What is measured: the row's name in the table, and the board's.
const ROWS: [(&str, &str); 14] = [
    ("loss and gradient", "gradient"),
    ("loss alone", "value"),
    ("loss and gradient, rows that are near", "near-gradient"),
    ("loss alone, rows that are near", "near-value"),
    ("loss and gradient, rows that are saturated", "saturated-gradient"),
    ("loss alone, rows that are saturated", "saturated-value"),
    ("loss and gradient, libm's functions", "libm-gradient"),
    ("loss alone, libm's functions", "libm-value"),
    ("loss and gradient, near, libm's functions", "libm-near-gradient"),
    ("loss alone, near, libm's functions", "libm-near-value"),
    ("loss and gradient, in integers", "integer-gradient"),
    ("loss alone, in integers", "integer-value"),
    ("loss and gradient, int8 by tables", "int8-gradient"),
    ("loss alone, int8 by tables", "int8-value"),
];

fn tables(counts: &Counts) -> String {
    let mut text = String::from(
        "# What a row costs on a microcontroller\n\n\
         Written by `cargo xtask embedded --bless`: a row of 512 elements in `densekd_core::single`, of `f32` but where it says more, built with \
         `opt-level = \"s\"`,\non a simulated board. Instructions an element (counts, not cycles), and bytes of stack below the caller's.\n\n",
    );
    let cores = || TARGETS.iter().filter(|target| target.board.is_some()).map(|target| target.core);
    let _ = writeln!(text, "| row | {} |", cores().collect::<Vec<_>>().join(" | "));
    let _ = writeln!(text, "| --- |{}", " --- |".repeat(cores().count()));
    for (title, name) in ROWS {
        let cell = |core: &str| {
            let of = |what: &str| counts.get(&format!("{core} {name}, {what}"));
            match (of("tenths of an instruction"), of("bytes of stack")) {
                (Some(tenths), Some(stack)) => format!("{}.{}, {stack} B", tenths / 10, tenths % 10),
                _ => "-".to_owned(),
            }
        };
        let _ = writeln!(text, "| {title} | {} |", cores().map(cell).collect::<Vec<_>>().join(" | "));
    }
    text.push_str("\nBytes of code and constants of the C library's function, written by `cargo xtask c --bless`; without an FPU the\ncompiler's helpers come on top.\n\n");
    let _ = writeln!(text, "| function | {} |", cores().collect::<Vec<_>>().join(" | "));
    let _ = writeln!(text, "| --- |{}", " --- |".repeat(cores().count()));
    for (title, _) in FUNCTIONS {
        let cell = |core: &str| {
            counts
                .get(&format!("{core} {title}, bytes of code"))
                .map_or_else(|| "-".to_owned(), u64::to_string)
        };
        let _ = writeln!(text, "| {title} | {} |", cores().map(cell).collect::<Vec<_>>().join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{sees_a_rise, take};
    use crate::rise::Counts;

    #[test]
    fn a_boards_lines_become_counts_and_a_rise_is_seen() {
        let mut counts = Counts::new();
        let said = "test a ... ok\nfigure near-gradient 1000 80\nfigure slower 2000 88\n";
        assert!(take("M0", said, &mut counts).is_ok());
        assert_eq!(counts.get("M0 near-gradient, bytes of stack"), Some(&80));
        assert!(sees_a_rise("M0", &mut counts).is_ok());
        assert_eq!(counts.len(), 2);
        assert!(take("M0", "figure slower 1020 88\n", &mut counts).is_ok());
        assert!(sees_a_rise("M0", &mut counts).is_err());
        assert!(take("M0", "figure short\n", &mut counts).is_err());
    }
}
