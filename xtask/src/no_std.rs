//! The proof that the core stands alone: it is linked with a panic handler that calls an undefined function.

use crate::call;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a compiler may call by itself in any freestanding program.
const ALLOWED: [&str; 5] = ["memcpy", "memset", "memmove", "memcmp", "bcmp"];

/// What the panic handler calls.
const PANIC: &str = "densekd_must_not_panic";

/// Builds and links twice: as it is, and with an unchecked index, which the gate must catch.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent folder")?;
    let undefined = undefined_symbols(root, &[])?;
    let unexpected: Vec<_> = undefined.iter().filter(|name| !ALLOWED.contains(&name.as_str())).collect();
    ensure!(
        unexpected.is_empty(),
        "the core needs {unexpected:?}: no std, no alloc and no panic may be reached"
    );
    let broken = undefined_symbols(root, &["--features", "broken"])?;
    ensure!(broken.iter().any(|name| name == PANIC), "the gate does not see a panic that can be reached");
    println!("no-std: the core links with {} undefined: {}", undefined.len(), undefined.join(", "));
    println!("no-std: with an unchecked index it does not ({PANIC})");
    Ok(())
}

/// The symbols left undefined when everything that the entries do not reach is dropped.
fn undefined_symbols(root: &Path, features: &[&str]) -> Result<Vec<String>> {
    let target = root.join(crate::SMALL);
    let manifest = root.join("tests/no_std/Cargo.toml");
    call(
        crate::cargo()
            .args(["build", "--quiet", "--release", "--manifest-path"])
            .arg(&manifest)
            .args(features)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let archive = target.join("release/libdensekd_no_std.a");
    let object: PathBuf = target.join("release/densekd_no_std.o");
    let entries = ["densekd_entry", "densekd_table", "densekd_adapters", "densekd_maps"];
    let mut link = Command::new("ld");
    link.args(["-r", "--gc-sections"]).args(entries.map(|entry| ["-u", entry]).as_flattened());
    call(link.arg("-o").arg(&object).arg(&archive))?;
    let symbols = call(Command::new("nm").args(["--undefined-only", "--format=just-symbols"]).arg(&object))?;
    Ok(symbols.lines().map(str::to_owned).collect())
}
