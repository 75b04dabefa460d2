//! Development commands: `cargo xtask --help`.

mod accuracy;
mod c_library;
mod counters;
mod debian;
mod embedded;
mod fibers;
mod figures;
mod gpu;
mod instructions;
mod neon;
mod no_std;
mod ptx;
mod python;
mod rise;
mod search;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::process::Command as Process;

/// Where small libraries are built for this machine: of one profile, so that the core is compiled once for all.
const SMALL: &str = "target/small";

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
        /// How the rows lie in memory.
        #[arg(long, value_enum, default_value = "rows")]
        layout: search::Layout,
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
    /// Time every loss against memory on this machine; write the numbers and the tables beside the benchmarks.
    Figures {
        /// Turns of each measurement.
        #[arg(long, default_value_t = 5)]
        turns: usize,
        /// Make the tables of the numbers that are there.
        #[arg(long)]
        tables: bool,
    },
    /// Count every kernel's instructions under Valgrind and fail where they rise above the committed table.
    Instructions {
        /// Write the table instead.
        #[arg(long)]
        bless: bool,
        /// Run the cases: what Valgrind is given.
        #[arg(long, hide = true)]
        drive: bool,
    },
    Embedded(embedded::EmbeddedCommand),
    C(c_library::CCommand),
    /// Run the tests on 64-bit Arm under QEMU.
    Neon,
    /// Build the Python package's wheel and test it beside torch.
    Python,
    /// Count what the CUDA kernels do on the simulated device, and write the model that follows.
    Counters {
        /// Write nothing: fail where the committed page is not what is counted.
        #[arg(long)]
        check: bool,
    },
    /// Run on a GPU what one can show: test vectors, agreement, compute-sanitizer, times.
    Gpu {
        /// Time small maps.
        #[arg(long)]
        quick: bool,
    },
    /// Run the source of the CUDA kernels on the CPU, threads as fibers in any order, under sanitizers.
    Fibers,
    /// Make the PTX of the CUDA kernels, or check what is committed.
    Ptx(ptx::PtxCommand),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::NoStd => no_std::run(),
        Command::Search { layout, tries, seed, value, gradient } => {
            search::run(layout, tries, seed, value, gradient)
        }
        Command::Ptx(command) => command.run(),
        Command::Fibers => fibers::run(),
        Command::Counters { check } => counters::run(check),
        Command::Gpu { quick } => gpu::run(quick),
        Command::Accuracy => {
            accuracy::run();
            Ok(())
        }
        Command::Figures { turns, tables } => figures::run(turns, tables),
        Command::Instructions { drive: true, .. } => instructions::drive(),
        Command::Instructions { bless, drive: false } => instructions::run(bless),
        Command::Embedded(command) => command.run(),
        Command::C(command) => command.run(),
        Command::Neon => neon::run(),
        Command::Python => python::run(),
    }
}

/// The cargo that a shell would call. Where it is that of rustup, it has its compilers be of one toolchain, whatever a
/// package's `rust-toolchain` asks for; the path of the cargo that built this program would leave that to each of them.
fn cargo() -> Process {
    Process::new("cargo")
}

/// What a command prints, once it has ended well.
fn call(command: &mut Process) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        bail!("{command:?} failed ({}):\n{}", output.status, said.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
