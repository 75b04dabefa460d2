//! Development commands: `cargo xtask --help`.

mod accuracy;
mod no_std;
mod ptx;
mod search;

use clap::{Parser, Subcommand};

/// Development commands of densekd.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prove that the core links without std, without alloc, and without a reachable panic.
    NoStd,
    /// Climb towards row pairs on which the KL divergence is weakest, against the oracle.
    Search {
        /// How many row pairs to try.
        #[arg(long, default_value_t = 40_000)]
        tries: usize,
        /// The same seed tries the same rows.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Fail where a value is off by more than this (relative).
        #[arg(long, default_value_t = 4e-6)]
        value: f64,
        /// Fail where a gradient is off by more than this share of its row's largest entry.
        #[arg(long, default_value_t = 2e-6)]
        gradient: f64,
    },
    /// Print the error of this library and of the usual formulas against the size of the KL divergence.
    Accuracy,
    /// Make the PTX of the CUDA kernels, or check what is committed.
    Ptx(ptx::PtxCommand),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::NoStd => no_std::run(),
        Command::Search { tries, seed, value, gradient } => search::run(tries, seed, value, gradient),
        Command::Ptx(command) => command.run(),
        Command::Accuracy => {
            accuracy::run();
            Ok(())
        }
    }
}
