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
const FILES: [&str; 21] = [
    "rows",
    "rows_f16",
    "rows_bf16",
    "columns",
    "columns_f16",
    "columns_bf16",
    "whole",
    "terms",
    "wide",
    "vectors",
    "energy",
    "classes",
    "dist",
    "la",
    "ho",
    "pa",
    "rkd",
    "ifvd",
    "resize",
    "project",
    "labels",
];

/// Files with a second text for later devices: those whose kernels have fewer instructions there.
const LATER: [&str; 2] = ["rows_f16", "rows_bf16"];

/// No header or library of the toolkit's is needed, and no path or date enters the text.
const FLAGS: [&str; 9] = [
    "--cuda-device-only",
    "-nocudainc",
    "-nocudalib",
    "-O3",
    "-std=c++17",
    "-S",
    "-fno-verbose-asm",
    "-Wall",
    "-Werror",
];

/// What a text is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The least that the kernels' exchanges between lanes want. For a later one most files give the same text under
    /// another head.
    Sm70,
    /// Rounds numbers to 16 bits two at a time.
    Sm80,
}

/// A text: a file of kernels, and its target.
#[derive(Clone, Copy)]
struct Text(&'static str, Target);

impl Text {
    fn all() -> impl Iterator<Item = Self> {
        let later = LATER.map(|file| Self(file, Target::Sm80));
        FILES.map(|file| Self(file, Target::Sm70)).into_iter().chain(later)
    }

    fn source(self) -> PathBuf {
        root().join("cuda/kernels").join(self.0).with_extension("cu")
    }

    fn committed(self) -> PathBuf {
        let Self(file, target) = self;
        let extension = if target == Target::Sm70 { "ptx" } else { "sm_80.ptx" };
        root().join("cuda/ptx").join(file).with_extension(extension)
    }

    fn target(self) -> [&'static str; 2] {
        match self.1 {
            Target::Sm70 => ["--cuda-gpu-arch=sm_70", "--cuda-feature=+ptx63"],
            Target::Sm80 => ["--cuda-gpu-arch=sm_80", "--cuda-feature=+ptx70"],
        }
    }

    /// Whether a device of an architecture loads it, or would where there is no better one.
    fn suits(self, architecture: &str) -> bool {
        self.1 == Target::Sm70 || architecture.parse().is_ok_and(|number: u32| number >= 80)
    }

    fn compile(self, clang: &Path) -> Result<Vec<u8>> {
        let source = self.source();
        let mut compiler = Command::new(clang);
        let output = compiler
            .args(["-x", "cuda"])
            .args(FLAGS)
            .args(self.target())
            .args(["-o", "-"])
            .arg(&source)
            .output()?;
        ensure!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }
}

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
            for text in Text::all() {
                let (fresh, path) = (text.compile(&clang)?, text.committed());
                if self.check {
                    let found = fs::read(&path).context("the committed PTX")?;
                    let name = path.display();
                    ensure!(found == fresh, "{name} is not what the kernels give: run `cargo xtask ptx`");
                } else {
                    fs::write(path, fresh)?;
                }
            }
        }
        if self.gate {
            let tools = tools::assembler(&root())?;
            for text in Text::all() {
                gate::run(&tools, text)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of all kernels that are committed.
pub(crate) fn entries() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in FILES {
        let text = fs::read_to_string(Text(file, Target::Sm70).committed())?;
        let heads = text.lines().filter_map(|line| line.strip_prefix(".visible .entry "));
        names.extend(heads.map(|head| head.trim_end_matches(['(', ')']).to_owned()));
    }
    Ok(names)
}

/// All kernels as a device of an architecture loads them, assembled.
pub(crate) fn assembled(architecture: &str) -> Result<BTreeMap<String, Assembled>> {
    let tools = tools::assembler(&root())?;
    let mut all = BTreeMap::new();
    // Later texts come last, and take the place of the others.
    for text in Text::all().filter(|text| text.suits(architecture)) {
        all.extend(gate::assemble(&tools, &text.committed(), architecture)?);
    }
    Ok(all)
}
