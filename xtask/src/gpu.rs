//! Everything that a GPU can show, by one command: test vectors, agreement with the CPU, NVIDIA's own checks, times.

use crate::ptx::root;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The variable that names the driver to the library and to its tests.
const DRIVER: &str = "DENSEKD_CUDA_LIBRARY";

/// Tools of NVIDIA's sanitizer.
const CHECKS: [&str; 4] = ["memcheck", "racecheck", "initcheck", "synccheck"];

/// Runs all of it on the device of the driver that is there, or that the environment names.
pub(crate) fn run(quick: bool) -> Result<()> {
    let program = program()?;
    let found = crate::call(Command::new(&program).args(["list", "backends", "--json"]))?;
    let found: Value = serde_json::from_str(&found)?;
    let gpu = found.as_array().and_then(|all| all.iter().find(|one| one["name"] == "cuda"));
    let gpu = gpu.context("`densekd list backends` names no CUDA backend")?;
    if gpu["available"] != true {
        bail!("there is no GPU to run on: {}", gpu["reason"].as_str().unwrap_or("no reason was given"));
    }
    println!("device: {}", gpu["device"].as_str().unwrap_or_default());

    step("test vectors");
    pass(Command::new(&program).args(["selftest", "--backend", "cuda"]))?;

    step("agreement with the CPU");
    let driver = std::env::var_os(DRIVER).unwrap_or_else(|| "libcuda.so.1".into());
    let tests = ["test", "--release", "-p", "densekd-cuda", "--test", "simulated", "--test", "maps"];
    pass(crate::cargo().current_dir(root()).args(tests).env(DRIVER, driver))?;

    step("compute-sanitizer");
    if Command::new("compute-sanitizer").arg("--version").output().is_ok() {
        for check in CHECKS {
            let mut sanitizer = Command::new("compute-sanitizer");
            sanitizer.args(["--tool", check, "--error-exitcode", "1"]).arg(&program);
            pass(sanitizer.args(["selftest", "--backend", "cuda"]))?;
        }
    } else {
        println!("NOT RUN: it is not installed");
    }

    step("times");
    let shrink = if quick { "512" } else { "1" };
    pass(Command::new(&program).args(["bench", "gpu", "--shrink", shrink]))?;
    if !Command::new("python3")
        .current_dir(root())
        .args(["-m", "benches.gpu.compare"])
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("NOT RUN: PyTorch and Triton beside it");
    }
    Ok(())
}

fn step(what: &str) {
    println!("\n== {what}");
}

/// Runs a command that shows what it does.
fn pass(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// The program with its CUDA backend, built.
fn program() -> Result<PathBuf> {
    let arguments = ["build", "--release", "-p", "densekd", "--features", "cuda", "--message-format", "json"];
    let messages = crate::call(crate::cargo().current_dir(root()).args(arguments))?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().context("cargo names no program")
}
