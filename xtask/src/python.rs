//! The Python package: its wheel is built, installed beside `torch` in an environment of its own, and tested there.

use crate::call;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds, installs, lints and tests.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent folder")?;
    let project = root.join("python");
    let environment = Environment { folder: root.join("target/python/environment") };
    environment.make()?;
    let wheels = root.join("target/python/wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels)?;
    }
    environment.pip(&["install", "maturin>=1.9,<2"])?;
    let mut build = environment.module("maturin");
    build
        .args(["build", "--release", "--locked", "--quiet", "--features", "cuda", "--manifest-path"])
        .arg(project.join("Cargo.toml"));
    shown(build.arg("--out").arg(&wheels))?;
    let wheel = fs::read_dir(&wheels)?.next().context("maturin made no wheel")??.path();
    let with_tests = format!("densekd[test] @ file://{}", wheel.display());
    environment.pip(&["install", "--no-deps", "--force-reinstall", &wheel.display().to_string()])?;
    environment.pip(&["install", &with_tests])?;
    for arguments in [&["check", "."][..], &["format", "--check", "."]] {
        shown(environment.module("ruff").args(arguments).current_dir(&project))?;
    }
    shown(environment.module("mypy").current_dir(&project))?;
    // From elsewhere, so that what is imported is what is installed.
    let elsewhere = root.join("target/python/tests");
    for folder in ["tests", "examples"] {
        copied(&project.join(folder), &elsewhere.join(folder))?;
    }
    for file in ["pyproject.toml", "README.md"] {
        fs::copy(project.join(file), elsewhere.join(file))?;
    }
    let on_device = "tests/test_cuda.py";
    let tests = || {
        let mut command = environment.module("pytest");
        command.arg("--quiet").current_dir(&elsewhere);
        command
    };
    shown(tests().arg(format!("--ignore={on_device}")))?;
    // In a process of their own, as PyTorch would take the simulated device's driver for one that it can use.
    shown(tests().arg(on_device).env("DENSEKD_CUDA_LIBRARY", densekd_device::library()))?;
    println!("python: {} passes its tests", wheel.file_name().unwrap_or_default().display());
    Ok(())
}

/// A virtual environment.
struct Environment {
    folder: PathBuf,
}

impl Environment {
    fn make(&self) -> Result<()> {
        if !self.folder.join("bin/pip").exists() {
            call(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&self.folder))
                .context("Python 3.10 or later with venv is needed: `apt-get install python3-venv`")?;
        }
        self.pip(&["install", "--upgrade", "pip"])
    }

    fn module(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join("bin/python"));
        command.args(["-m", name]);
        command
    }

    fn pip(&self, arguments: &[&str]) -> Result<()> {
        // The environment is the cache: torch's packages are gigabytes, more than some hold in memory as /tmp.
        let settings = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"];
        let downloads = self.folder.join("tmp");
        fs::create_dir_all(&downloads)?;
        shown(self.module("pip").env("TMPDIR", downloads).args(settings).args(arguments))
    }
}

/// Runs a command whose output the developer sees.
fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// Copies a folder's Python files, and those of the folders in it, in the place of what was there.
fn copied(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let place = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copied(&path, &place)?;
        } else if path.extension().is_some_and(|extension| extension == "py") {
            fs::copy(&path, place)?;
        }
    }
    Ok(())
}
