//! What the assembler makes of the PTX: registers, spills, width of loads and stores.

use super::Text;
use super::tools::Assembler;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Compute capabilities, without the dot. Volta's 7.0 is no longer among those of the assembler.
const ARCHITECTURES: [&str; 5] = ["75", "80", "90", "100", "120"];

/// What a kernel has become.
#[derive(Clone, Copy, Default)]
pub(crate) struct Assembled {
    /// Of a block.
    pub(crate) threads: u32,
    /// Of a thread.
    pub(crate) registers: u32,
    /// Bytes of a block's shared memory.
    pub(crate) shared: u32,
    loads: u32,
    stores: u32,
}

/// Fails where a kernel spills, uses local memory, or reads rows in less than 16 bytes.
pub(super) fn run(tools: &Assembler, text: Text) -> Result<()> {
    for architecture in ARCHITECTURES.into_iter().filter(|architecture| text.suits(architecture)) {
        for (name, kernel) in assemble(tools, &text.committed(), architecture)? {
            let Assembled { registers, loads, stores, .. } = kernel;
            println!(
                "sm_{architecture} {name}: {registers} registers, 16-byte loads {loads}, stores {stores}"
            );
            let in_lines = name.contains("_lines_") && !name.ends_with("_f64");
            // DIST walks a position's channels, as few as there are.
            let wide = name.contains("_rows_") && !name.contains("_dist_") || in_lines;
            let writes = if in_lines { name.contains("_pull_") } else { wide && !name.contains("_parts_") };
            let resizes = name.contains("_resize_single_") || name.contains("_resize_double_");
            ensure!(!resizes || stores >= 1, "{name} writes no resized map of 16 bytes at once");
            ensure!(
                !resizes || name.ends_with("_f64") || loads >= 1,
                "{name} reads no channels of 16 bytes at once"
            );
            ensure!(!wide || loads >= 2, "{name} reads no teacher and student of 16 bytes at once");
            ensure!(!writes || stores >= 1, "{name} writes no gradient of 16 bytes at once");
        }
    }
    Ok(())
}

/// The kernels of a module by name. Fails where one spills or uses local memory.
pub(super) fn assemble(
    tools: &Assembler,
    ptx: &Path,
    architecture: &str,
) -> Result<BTreeMap<String, Assembled>> {
    let cubin = tools.ptxas.with_file_name("assembled.cubin");
    let strict = ["-v", "--warn-on-spills", "--warn-on-local-memory-usage", "--warning-as-error"];
    let mut ptxas = Command::new(&tools.ptxas);
    let assembled =
        ptxas.arg(format!("-arch=sm_{architecture}")).args(strict).arg("-o").arg(&cubin).arg(ptx).output()?;
    let log =
        String::from_utf8_lossy(&assembled.stderr).into_owned() + &String::from_utf8_lossy(&assembled.stdout);
    ensure!(assembled.status.success(), "{} for sm_{architecture}:\n{log}", ptx.display());
    let listing = Command::new(&tools.nvdisasm).arg("-c").arg(&cubin).output()?;
    ensure!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
    std::fs::remove_file(cubin)?;
    let mut kernels = kernels(&log, &String::from_utf8_lossy(&listing.stdout));
    for (name, threads) in blocks(&std::fs::read_to_string(ptx)?) {
        kernels.entry(name).or_default().threads = threads;
    }
    Ok(kernels)
}

/// Kernels of a text, and the threads of a block of each.
fn blocks(text: &str) -> impl Iterator<Item = (String, u32)> {
    let mut name = "";
    text.lines().filter_map(move |line| {
        if let Some(head) = line.strip_prefix(".visible .entry ") {
            name = head.trim_end_matches(['(', ')']);
        }
        let threads = line.strip_prefix(".maxntid ")?.split(',').next()?.parse().ok()?;
        Some((name.to_owned(), threads))
    })
}

/// By name, from the assembler's report and the disassembly: they come in different orders.
fn kernels(log: &str, listing: &str) -> BTreeMap<String, Assembled> {
    let mut kernels: BTreeMap<String, Assembled> = BTreeMap::new();
    let mut current = String::new();
    for line in log.lines() {
        if let Some((_, name)) = line.split_once("Function properties for ") {
            name.trim().clone_into(&mut current);
        } else if let Some((_, rest)) = line.split_once("Used ") {
            let before = |what: &str| rest.split(what).next()?.rsplit(' ').next()?.parse().ok();
            let kernel = kernels.entry(current.clone()).or_default();
            kernel.registers = before(" registers").unwrap_or_default();
            kernel.shared = before(" bytes smem").unwrap_or_default();
        }
    }
    current.clear();
    for line in listing.lines() {
        if let Some(name) = line.trim().strip_prefix(".text.").and_then(|name| name.strip_suffix(':')) {
            name.clone_into(&mut current);
        }
        let Some(kernel) = kernels.get_mut(&current) else { continue };
        let wide = |access: &str| line.contains(access) && line.contains(".128");
        kernel.loads += u32::from(wide("LDG.E"));
        kernel.stores += u32::from(wide("STG.E"));
    }
    kernels
}
