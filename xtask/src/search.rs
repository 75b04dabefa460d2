//! The search for weak rows, as a command.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use densekd_tests::error::{column_error, row_error};
use densekd_tests::rows::{Genome, decode};
use densekd_tests::search::search;

/// How rows lie in memory.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Layout {
    /// Each by itself.
    Rows,
    /// Entry beside entry of others.
    Columns,
}

pub(crate) fn run(layout: Layout, tries: usize, seed: u64, value: f64, gradient: f64) -> Result<()> {
    let measure = match layout {
        Layout::Rows => row_error,
        Layout::Columns => column_error,
    };
    let found = search(tries, seed, measure);
    println!(
        "{} row pairs tried, seed {seed}: value off by more than 1e-6 in {}, more than 1e-5 in {}",
        found.tried, found.above_1e6, found.above_1e5
    );
    let (worst_value, worst_gradient, worst_sum) = (found.worst_value, found.worst_gradient, found.worst_sum);
    println!(
        "worst value     {:.2e} relative, KL {:.3e}, {}",
        worst_value.1.value,
        worst_value.1.kl,
        name(&worst_value.0)
    );
    println!(
        "worst gradient  {:.2e} of the row's largest entry, KL {:.3e}, {}",
        worst_gradient.1.gradient,
        worst_gradient.1.kl,
        name(&worst_gradient.0)
    );
    println!(
        "worst row sum   {:.2e} of the sum of magnitudes, KL {:.3e}, {}",
        worst_sum.1.sum,
        worst_sum.1.kl,
        name(&worst_sum.0)
    );
    ensure!(
        worst_value.1.value <= value,
        "a value is off by {:.2e}: {:?}",
        worst_value.1.value,
        worst_value.0
    );
    ensure!(
        worst_gradient.1.gradient <= gradient,
        "a gradient is off by {:.2e}: {:?}",
        worst_gradient.1.gradient,
        worst_gradient.0
    );
    Ok(())
}

fn name(genome: &Genome) -> String {
    let pair = decode(genome);
    format!("length {}, tau {:.3}", pair.student.len(), pair.tau)
}
