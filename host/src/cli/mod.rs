//! The command line: arguments in, a report and an exit code out. All computing is the library's.
#![allow(clippy::result_large_err, reason = "a failure is made once, and then the program ends")]

mod bench;
mod check;
mod doctor;
mod evaluate;
mod failure;
mod flags;
mod folder;
mod list;
mod loss;
mod machine;
mod maps;
mod objective;
mod options;
mod output;
mod outputs;
mod parse;
mod positions;
mod prepare;
mod progress;
mod projection;
mod report;
mod selftest;
mod settings;
mod target;

use self::failure::Failure;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsStr;
use std::process::ExitCode;

const ABOUT: &str = "\
Losses for distilling dense-prediction networks.

A student network is trained to resemble a teacher on whole maps (logits or features of segmentation and \
detection networks). densekd evaluates such a loss and its gradient exactly enough to check a training run by, \
under the settings of the published codes.";

const LOSS_ABOUT: &str = "\
Evaluate a loss between a teacher's and a student's map, and its gradient.

Row losses: value = weight * tau^2 / D * sum over rows of divergence(norm(T), norm(S)). Channel-wise distillation \
(cwd, the default) turns each channel into a distribution over positions, softmax(x / tau), and asks the student \
by KL divergence to look where the teacher looks. Pixel-wise distillation (pi) does the same over the channels of \
each position: what is this pixel?

Losses of whole maps: `densekd list losses` has them with their options, --explain prints a formula in full.

TEACHER and STUDENT are tensors [N, C, H, W], or two folders of them, paired by file name without ending. A loss \
without a teacher takes STUDENT alone. An option goes with the losses that are named beside its default in the \
list below; another loss refuses it.";

const LOSS_EXAMPLES: &str = "\
Examples:
  densekd loss teacher.safetensors:logits student.safetensors:logits
  densekd loss teacher.npy student.npy --preset mmrazor-cwd --json
  densekd loss teacher.npy student.npy --loss pi --tau 2 --labels labels.npy --ignore-index 255
  densekd loss teacher.npy student.npy --grad gradient.npy --per-channel
  densekd loss teacher.npy student.npy --loss at --mode paper
  densekd loss teachers/ students/ --grad gradients/
  densekd loss --preset skd-pi --explain
  densekd loss --objective kd.toml teacher.safetensors student.safetensors --step 500 --grad gradients/

Exit code: 0 done, 1 it could not be done, 2 the arguments are wrong.";

const SELFTEST_ABOUT: &str = "\
Evaluate test vectors, values and gradients, to learn whether this machine's results can be trusted.

The vectors' answers were computed in 130 digits. Every case that misses its tolerance is named; cases of losses \
that this version does not have are listed as not tested, never counted as passed.";

const SELFTEST_EXAMPLES: &str = "\
Examples:
  densekd selftest
  densekd selftest my-vectors/ extra.json --threads 4 --json

Exit code: 0 all passed, 1 one missed, or nothing could be evaluated.";

const BENCH_EXAMPLES: &str = "\
Examples:
  densekd bench losses
  densekd bench losses cwd pi --dtype f32,bf16 --student near --threads 1
  densekd bench losses cwd --map rows49,rows1024,long --json
  densekd bench gpu --dtype bf16";

const CHECK_ABOUT: &str = "\
Check the gradient against finite differences on your own tensors.

Some entries of the student's map are moved up and down by a little; the change of the value, divided by the \
change of the entry, must be the gradient there.";

const CHECK_EXAMPLES: &str = "\
Examples:
  densekd check teacher.npy student.npy --preset torchdistiller-cwd
  densekd check teacher.npy student.npy --divergence js --samples-checked 200 --seed 7

Exit code: 0 the gradient is right, 1 it is not, or it could not be checked.";

const DOCTOR_ABOUT: &str = "\
Examine a pair of maps: why is the loss NaN, why is nothing learnt?

Looks at ranges, non-finite and constant rows, rows where the usual softmax-then-log form breaks down, the value \
under every preset, each channel's share of the loss, and whether the gradient fits f16; then advises.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  densekd doctor teacher.safetensors:logits student.safetensors:logits
  densekd doctor teacher.npy student.npy --labels labels.npy --json";

const PREPARE_ABOUT: &str = "\
Prepare a fixed teacher's rows for a microcontroller.

Each row's log-probabilities at the temperature, less the largest, are written one after another behind a header of 28 \
bytes: a file to be put into flash and read where it lies, by TeacherTable of densekd-core. In f16 a number is off by \
2^-11 of itself at most, in u8 by half a 254th of the range (of 20 nats at most).";

const PREPARE_EXAMPLES: &str = "\
Examples:
  densekd prepare teacher.safetensors:logits teacher.rows
  densekd prepare teacher.npy teacher.rows --norm spatial --tau 2 --store u8

Exit code: 0 done, 1 it could not be done, 2 the arguments are wrong.";

/// The arguments.
#[derive(Debug, Parser)]
#[command(
    name = "densekd",
    version,
    about = "Losses for distilling dense-prediction networks",
    long_about = ABOUT,
    max_term_width = 100,
    after_help = "Example: densekd loss teacher.npy student.npy --preset mmrazor-cwd"
)]
struct Cli {
    /// Print JSON, and faults as {"error": {"code", "message"}} on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = "Evaluate a loss, and its gradient", long_about = LOSS_ABOUT, after_help = LOSS_EXAMPLES)]
    Loss(Box<loss::LossCommand>),
    #[command(about = "Time every loss against the speed of memory", after_help = BENCH_EXAMPLES)]
    Bench(bench::BenchCommand),
    #[command(about = "Evaluate test vectors", long_about = SELFTEST_ABOUT, after_help = SELFTEST_EXAMPLES)]
    Selftest(selftest::SelftestCommand),
    #[command(
        about = "Check the gradient against finite differences",
        long_about = CHECK_ABOUT,
        after_help = CHECK_EXAMPLES
    )]
    Check(Box<check::CheckCommand>),
    #[command(
        about = "Examine a pair of maps for what goes wrong in training",
        long_about = DOCTOR_ABOUT,
        after_help = DOCTOR_EXAMPLES
    )]
    Doctor(doctor::DoctorCommand),
    #[command(
        about = "Prepare a fixed teacher's rows for a microcontroller",
        long_about = PREPARE_ABOUT,
        after_help = PREPARE_EXAMPLES
    )]
    Prepare(prepare::PrepareCommand),
    /// List losses with their options, presets or backends
    #[command(after_help = "Example: densekd list presets --json")]
    List(list::ListCommand),
    /// Print the completions of a shell
    #[command(
        after_help = "Example: densekd completions bash > ~/.local/share/bash-completion/completions/densekd"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let Cli { json, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(&command, json) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            output::print_error(json, failure.code(), &failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Whether all is well.
fn run(command: &Command, json: bool) -> Result<bool, Failure> {
    match command {
        Command::Loss(command) => command.run(json).map(|()| true),
        Command::Selftest(command) => command.run(json),
        Command::Bench(command) => command.run(json).map(|()| true),
        Command::Check(command) => command.run(json),
        Command::Doctor(command) => command.run(json).map(|()| true),
        Command::Prepare(command) => command.run(json).map(|()| true),
        Command::List(command) => command.run(json).map(|()| true),
        Command::Completions { shell } => completions(*shell, json).map(|()| true),
    }
}

fn completions(shell: Shell, json: bool) -> Result<(), Failure> {
    // Into memory, as the generator panics where its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "densekd", &mut script);
    let script = String::from_utf8_lossy(&script);
    if json {
        output::print_json(&serde_json::json!({ "shell": shell.to_string(), "script": script }))
    } else {
        output::print(&script)
    }
}

/// Help and version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|word| word == OsStr::new("--json"));
    if json && error.use_stderr() {
        let text = error.render().to_string();
        // The first paragraph; the rest is the usage, for people.
        let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        let words: Vec<&str> = message.split_whitespace().collect();
        output::print_error(true, "usage", &words.join(" "));
    } else {
        // A reader that has gone away is no fault.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
