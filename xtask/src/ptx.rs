//! The PTX that `densekd-cuda` ships: made of its kernels, compared with what is committed, and assembled.

mod gate;
mod tools;

pub(crate) use gate::Assembled;
pub(crate) use tools::clang;

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each file of kernels that is a module of its own.
const FILES: [&str; 17] = [
    "rows", "columns", "whole", "terms", "wide", "vectors", "energy", "classes", "dist", "la", "ho", "pa",
    "rkd", "ifvd", "resize", "project", "labels",
];

/// No header or library of the toolkit's is needed, and no path or date enters the text. The target is the least that
/// the kernels' exchanges between lanes want; for a later one the same text comes out under another head.
const FLAGS: [&str; 11] = [
    "--cuda-device-only",
    "-nocudainc",
    "-nocudalib",
    "-O3",
    "-std=c++17",
    "-S",
    "-Wall",
    "-Werror",
    "--cuda-gpu-arch=sm_70",
    "--cuda-feature=+ptx63",
    "-o",
];

/// What is to be done with the PTX.
#[derive(clap::Args)]
pub(crate) struct PtxCommand {
    /// Write nothing: fail where the committed text is not, byte for byte, what the kernels give.
    #[arg(long)]
    check: bool,
    /// Assemble the committed text for every architecture: fail where registers spill or local memory is used.
    #[arg(long)]
    gate: bool,
}

impl PtxCommand {
    pub(crate) fn run(&self) -> Result<()> {
        if self.check || !self.gate {
            let clang = clang()?;
            for file in FILES {
                let source = root().join("cuda/kernels").join(file).with_extension("cu");
                let fresh = compile(&clang, &source)?;
                if self.check {
                    let found = fs::read(committed(file)).context("the committed PTX")?;
                    ensure!(
                        found == fresh,
                        "cuda/ptx/{file}.ptx is not what the kernels give: run `cargo xtask ptx`"
                    );
                } else {
                    fs::write(committed(file), fresh)?;
                }
            }
        }
        if self.gate {
            let tools = tools::assembler(&root())?;
            for file in FILES {
                gate::run(&tools, &committed(file))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn committed(file: &str) -> PathBuf {
    root().join("cuda/ptx").join(file).with_extension("ptx")
}

/// Names of all kernels that are committed.
pub(crate) fn entries() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in FILES {
        let text = fs::read_to_string(committed(file))?;
        let heads = text.lines().filter_map(|line| line.strip_prefix(".visible .entry "));
        names.extend(heads.map(|head| head.trim_end_matches(['(', ')']).to_owned()));
    }
    Ok(names)
}

/// All kernels that are committed, assembled for an architecture.
pub(crate) fn assembled(architecture: &str) -> Result<BTreeMap<String, Assembled>> {
    let tools = tools::assembler(&root())?;
    let mut all = BTreeMap::new();
    for file in FILES {
        all.extend(gate::assemble(&tools, &committed(file), architecture)?);
    }
    Ok(all)
}

fn compile(clang: &Path, source: &Path) -> Result<Vec<u8>> {
    let output = Command::new(clang).args(["-x", "cuda"]).args(FLAGS).arg("-").arg(source).output()?;
    ensure!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
