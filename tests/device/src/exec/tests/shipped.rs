//! Every form of an instruction that the shipped kernels have is among those that the tests here run.
use super::{approx, checks, convert, float, integer, lanes, memory};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

thread_local! {
    /// Forms that tests on this thread have run.
    static RUN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Instructions of a text, with all that their names say.
fn forms(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', ';'])
        .map(|line| line.trim().trim_start_matches(['{', ' ', '\t']))
        .map(|line| {
            if line.starts_with('@') {
                line.split_once(' ').map_or("", |(_, rest)| rest.trim())
            } else {
                line
            }
        })
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with(':'))
}

/// Notes what a test runs.
pub(super) fn note(text: &str) {
    RUN.with_borrow_mut(|run| run.extend(forms(text).map(str::to_owned)));
}

#[test]
fn every_shipped_form_is_held_against_plain_rust() {
    let tables: [fn(); 23] = [
        integer::sums_products_and_quotients,
        integer::one_operand,
        integer::shifts_stop_at_the_width,
        integer::fields_of_bits,
        integer::comparisons_and_selections,
        integer::moves_and_packs,
        convert::halves,
        convert::widths,
        convert::whole_numbers_and_others,
        float::arithmetic,
        float::one_operand_and_fused,
        float::comparisons,
        float::products_and_sums_may_be_fused,
        approx::errors_are_those_that_are_allowed,
        lanes::each_lane_loops_as_often_as_it_must,
        lanes::exchanges,
        lanes::votes,
        lanes::atomics_leave_what_each_says,
        checks::races_in_shared_memory,
        checks::shared_memory_has_bounds_and_values,
        checks::ends,
        memory::every_width_comes_back,
        memory::selections_and_moves_keep_all_bits,
    ];
    for table in tables {
        table();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cuda/ptx");
    let mut shipped = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        shipped.extend(forms(&text).map(str::to_owned));
    }
    assert!(shipped.len() > 100, "{shipped:?}");
    let missing = RUN.with_borrow(|run| shipped.difference(run).cloned().collect::<Vec<_>>());
    assert!(missing.is_empty(), "no test runs {missing:?}");
}
