//! The source of the CUDA kernels on the CPU: each thread a fiber, each check under sanitizers.

use crate::call;
use crate::ptx::{clang, entries, root};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

const FLAGS: [&str; 12] = [
    "--driver-mode=g++",
    "-O1",
    "-g",
    "-std=c++17",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fsanitize-address-use-after-return=never",
    "-Wall",
    "-Wextra",
    "-Werror",
    // What is to be unrolled on a device may stay a loop here.
    "-Wno-pass-failed",
    // The program finds the names of its kernels.
    "-rdynamic",
];

/// What a check is called with: seeds for its numbers and the order of threads.
const CALLS: [&[&str]; 2] = [&["1", "mistakes"], &["2"]];

/// Builds and runs every check; fails where a number is missed, a sanitizer reports, a mistake made on purpose is not
/// found, or a kernel that is shipped is not run.
pub(crate) fn run() -> Result<()> {
    let clang = clang()?;
    runtime(&clang)?;
    let folder = root().join("target/fibers");
    fs::create_dir_all(&folder)?;
    let waiting = Mutex::new(checks()?);
    let launched = Mutex::new(BTreeSet::new());
    let work = || -> Result<()> {
        loop {
            let Some(check) = waiting.lock().ok().and_then(|mut checks| checks.pop()) else { return Ok(()) };
            let names = passed(&clang, &check, &folder)?;
            launched.lock().ok().context("another check failed")?.extend(names);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..thread::available_parallelism().map_or(1, Into::into)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a check panicked")))
    })?;
    let launched = launched.into_inner()?;
    let missing: Vec<String> = entries()?.into_iter().filter(|name| !launched.contains(name)).collect();
    ensure!(missing.is_empty(), "no check in cuda/kernels/check runs {}", missing.join(", "));
    println!("fibers: {} kernels", launched.len());
    Ok(())
}

/// The checks' files. The longest, that of rows, comes last: it is begun first.
fn checks() -> Result<Vec<PathBuf>> {
    let mut checks = Vec::new();
    for file in fs::read_dir(root().join("cuda/kernels/check"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "cpp") {
            checks.push(path);
        }
    }
    checks.sort_by_key(|path| (path.file_stem().is_some_and(|name| name == "rows"), path.clone()));
    Ok(checks)
}

/// Builds a check and runs it; the kernels that it launched.
fn passed(clang: &Path, check: &Path, folder: &Path) -> Result<Vec<String>> {
    let name = check.file_stem().context("a check has a name")?;
    let program = folder.join(name);
    let name = name.to_string_lossy();
    call(Command::new(clang).args(FLAGS).arg(check).arg("-o").arg(&program))?;
    let mut names = Vec::new();
    for arguments in CALLS {
        let said = call(Command::new(&program).args(arguments))?;
        names.extend(said.lines().filter_map(|line| line.strip_prefix("kernel ").map(str::to_owned)));
        println!("fibers: {name} {}: {}", arguments.join(" "), said.lines().last().unwrap_or_default());
    }
    fs::remove_file(program)?;
    Ok(names)
}

/// Sees to the sanitizers' library, which is a package of its own.
fn runtime(clang: &Path) -> Result<()> {
    let library = format!("libclang_rt.asan-{}.a", std::env::consts::ARCH);
    let find = || call(Command::new(clang).arg(format!("-print-file-name={library}")));
    // Where there is none the name comes back as it is.
    if find()?.trim() == library {
        let package = "libclang-rt-19-dev";
        let install = || {
            call(Command::new("apt-get").args(["update", "-qq"]))?;
            call(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", package]))
        };
        install().with_context(|| format!("{library} is missing: apt-get install {package}"))?;
    }
    Ok(())
}
