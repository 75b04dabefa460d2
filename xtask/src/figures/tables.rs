//! The tables of all losses, and of row losses by student.

use super::{Figures, Row};
use std::fmt::Write as _;

/// Both tables of one thread, and the second of as many threads as were measured.
pub(super) fn all(figures: &Figures) -> String {
    let mut text = String::from(
        "## By loss\n\nOne thread. ns an element of the student, then how many times the bound, each for the value / the \
         value and the gradient to the student; row losses by the student *half*.\n\n",
    );
    let of_threads = |threads| {
        let reports =
            figures.reports.iter().filter(move |report| report.threads == threads && report.isa != "avx2");
        reports.flat_map(|report| report.rows.iter())
    };
    let maps = ["logits", "features", "detection"];
    let rows: Vec<&Row> = of_threads(1).collect();
    line(&mut text, ["loss", "type"].into_iter().chain(maps));
    line(&mut text, ["---"; 5].into_iter());
    for (loss, dtype) in distinct(&rows, |row| (row.loss.clone(), row.dtype.clone())) {
        let cell = |map: &str| {
            let of = |row: &&&Row| {
                row.loss == loss && row.dtype == dtype && row.map == map && row.student == "half"
            };
            cell(&rows.iter().filter(of).copied().collect::<Vec<_>>(), false)
        };
        let cells = [loss.clone(), dtype.clone()].into_iter().chain(maps.map(cell));
        line(&mut text, cells);
    }
    for threads in [1, 2] {
        let rows: Vec<&Row> = of_threads(threads).filter(|row| ["cwd", "pi"].contains(&&*row.loss)).collect();
        if rows.is_empty() {
            continue;
        }
        let plural = if threads == 1 { "" } else { "s" };
        let _ = write!(
            text,
            "\n## By student, {threads} thread{plural}\n\nns an element, times the bound and, channel-wise, times the \
             plain form, each for the value / the value and the gradient.\n\n"
        );
        line(&mut text, ["loss", "map", "type", "far", "half", "near"].into_iter());
        line(&mut text, ["---"; 6].into_iter());
        for key in distinct(&rows, |row| (row.loss.clone(), row.map.clone(), row.dtype.clone())) {
            let (loss, map, dtype) = &key;
            let cell = |student: &str| {
                let of = |row: &&&Row| {
                    row.loss == *loss && row.map == *map && row.dtype == *dtype && row.student == student
                };
                cell(&rows.iter().filter(of).copied().collect::<Vec<_>>(), true)
            };
            let names = [loss.clone(), map.clone(), dtype.clone()];
            line(&mut text, names.into_iter().chain(["far", "half", "near"].map(cell)));
        }
    }
    text
}

/// In the order in which they are met.
fn distinct<K: PartialEq>(rows: &[&Row], key: impl Fn(&Row) -> K) -> Vec<K> {
    let mut keys = Vec::new();
    for key in rows.iter().map(|row| key(row)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn line<S: AsRef<str>>(text: &mut String, cells: impl Iterator<Item = S>) {
    let cells: Vec<S> = cells.collect();
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// The value's figures and those of value and gradient.
fn cell(rows: &[&Row], with_plain: bool) -> String {
    let pair = |of: &dyn Fn(&Row) -> Option<String>| -> Option<String> {
        let cells: Option<Vec<String>> = rows.iter().map(|row| of(row)).collect();
        cells.filter(|cells| !cells.is_empty()).map(|cells| cells.join(" / "))
    };
    let Some(nanoseconds) = pair(&|row| Some(digits(row.nanoseconds_per_element.loss.median))) else {
        return String::new();
    };
    let bound = pair(&|row| Some(digits(row.nanoseconds_per_element.over_bound))).unwrap_or_default();
    let plain = pair(&|row| row.nanoseconds_per_element.over_plain.map(digits)).filter(|_| with_plain);
    let plain = plain.map_or_else(String::new, |plain| format!(", {plain}"));
    format!("{nanoseconds} ns, {bound}{plain}")
}

/// Two digits that count.
pub(super) fn digits(x: f64) -> String {
    match x {
        x if x >= 9.95 => format!("{x:.0}"),
        x if x >= 0.995 => format!("{x:.1}"),
        x => format!("{x:.2}"),
    }
}
