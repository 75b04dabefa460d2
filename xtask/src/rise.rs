//! Counts as a gate: what costs more than the committed table says fails.

use std::collections::BTreeMap;

/// Percent that a count may rise.
pub(crate) const RISE: u64 = 3;

/// Counts by what is counted.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Whether a count is up by more than [`RISE`] percent.
pub(crate) fn has_risen(from: u64, to: u64) -> bool {
    to * 100 > from * (100 + RISE)
}

/// Each case that has risen, or stands on one side only. `unit` is what is counted.
pub(crate) fn faults(unit: &str, table: &Counts, counts: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for (case, &to) in counts {
        match table.get(case) {
            None => faults.push(format!("{case}: {to} {unit}, not in the table")),
            #[allow(clippy::cast_precision_loss, reason = "percents of counts far below 2^53")]
            Some(&from) if has_risen(from, to) => {
                let percent = 100.0 * (to as f64 / from as f64 - 1.0);
                faults.push(format!("{case}: {from} {unit} before, {to} now, {percent:.1} % more"));
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
            faults("instructions", &table, &counts(&[("a", 1030), ("b", 1031), ("c", 500)])),
            ["b: 1000 instructions before, 1031 now, 3.1 % more"]
        );
    }

    #[test]
    fn a_case_on_one_side_only_is_found() {
        let faults = faults("bytes", &counts(&[("a", 1)]), &counts(&[("b", 1)]));
        assert_eq!(faults, ["b: 1 bytes, not in the table", "a: in the table, not counted"]);
    }
}
