//! The core on microcontrollers: six targets built and run, golden vectors held to, costs measured and kept.
//!
//! Needs Debian 12 for x86-64, rustup's toolchain and, for wasm32, Node. All else is fetched into `target/embedded`.

pub(crate) mod figures;
mod golden;
pub(crate) mod target;
pub(crate) mod tools;

use crate::call;
use crate::debian::need;
use crate::rise::Counts;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::Path;
use std::process::Command;
use target::{TARGETS, Target};
use tools::Tools;

/// Build the core for microcontrollers, run it on simulated boards and hold what it costs to the committed table.
#[derive(Args)]
pub(crate) struct EmbeddedCommand {
    /// Write the table instead.
    #[arg(long)]
    bless: bool,
    /// Only these targets.
    #[arg(long, value_delimiter = ',')]
    target: Vec<String>,
}

impl EmbeddedCommand {
    pub(crate) fn run(&self) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent folder")?;
        let targets = self.targets()?;
        if targets.iter().any(|target| target.board.is_none()) {
            need("node", "nodejs")?;
        }
        let tools = Tools::new(root, &targets)?;
        let vectors = tools.build().join("golden.rs");
        std::fs::create_dir_all(tools.build())?;
        let cases = golden::write(root, &vectors)?;
        let mut counts = Counts::new();
        for target in &targets {
            let program = build(root, &tools, target, &vectors)?;
            let output =
                run(root, &tools, target, &program).with_context(|| format!("{} fails", target.name))?;
            let passed =
                output.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ok")).count();
            ensure!(passed >= cases, "{} ran {passed} of {cases} golden vectors:\n{output}", target.name);
            println!("embedded: {} ({}) passes {passed} tests", target.name, target.core);
            if target.board.is_some() {
                figures::take(target.core, &output, &mut counts)?;
                figures::sees_a_rise(target.core, &mut counts)?;
            }
        }
        let cores: Vec<&str> = targets.iter().map(|target| target.core).collect();
        // Targets that were left out are not asked for.
        let is_run = |case: &str| cores.iter().any(|core| case.split(' ').next() == Some(core));
        let is_counted = |case: &str| is_run(case) && !case.ends_with("bytes of code");
        figures::hold(root, &counts, is_counted, self.bless)?;
        targets
            .iter()
            .filter(|target| target.core == "M4F")
            .try_for_each(|target| train(root, &tools, target))
    }

    fn targets(&self) -> Result<Vec<&'static Target>> {
        if self.target.is_empty() {
            return Ok(TARGETS.iter().collect());
        }
        let find = |name: &String| {
            let known = || TARGETS.map(|target| target.name).join(", ");
            TARGETS
                .iter()
                .find(|target| target.name == name)
                .with_context(|| format!("{name} is none of {}", known()))
        };
        self.target.iter().map(find).collect()
    }
}

/// The firmware.
fn build(root: &Path, tools: &Tools, target: &Target, vectors: &Path) -> Result<std::path::PathBuf> {
    let mut cargo = tools.cargo(target);
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(root.join("tests/board/Cargo.toml"))
        .env("DENSEKD_GOLDEN", vectors);
    call(&mut cargo)?;
    let name = if target.board.is_some() { "densekd-board" } else { "densekd-board.wasm" };
    Ok(tools.build().join(target.name).join("release").join(name))
}

/// Runs the example that trains on the device.
fn train(root: &Path, tools: &Tools, target: &Target) -> Result<()> {
    let mut cargo = tools.cargo(target);
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(root.join("examples/firmware/Cargo.toml"));
    // Its linker script is found from its folder.
    call(cargo.current_dir(root.join("examples/firmware")))?;
    let program = tools.build().join(target.name).join("release/densekd-firmware");
    let output = run(root, tools, target, &program).context("examples/firmware fails")?;
    let epochs: Vec<&str> = output.lines().filter(|line| line.starts_with("epoch ")).collect();
    let [first, .., last] = epochs[..] else { anyhow::bail!("examples/firmware has no epochs:\n{output}") };
    println!("embedded: examples/firmware learns: {first}, {last}");
    Ok(())
}

/// What it prints.
fn run(root: &Path, tools: &Tools, target: &Target, program: &Path) -> Result<String> {
    match target.board {
        Some((emulator, machine)) => call(tools.emulator(emulator, machine).arg(program)),
        None => call(Command::new("node").arg(root.join("tests/board/run.mjs")).arg(program)),
    }
}
