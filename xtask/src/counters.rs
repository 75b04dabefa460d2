//! The model of the CUDA kernels, `cuda/MODEL.md`: what the simulated device counts of them, what the assembler makes of
//! them, and what both let expect of a device.

mod cases;
mod page;

use crate::ptx::{Assembled, assembled, entries, root};
use anyhow::{Context as _, Result, ensure};
use densekd_cuda::Device;
use densekd_device::{Counters, Device as Simulated};
use std::collections::BTreeMap;
use std::fs;

/// Architectures whose registers and blocks are given.
const ARCHITECTURES: [&str; 3] = ["80", "90", "100"];

/// What one case comes to.
struct Row {
    case: cases::Case,
    /// All launches together.
    counted: Counters,
    /// Kernels in the order of their instructions, most first, without their prefix.
    kernels: Vec<String>,
    /// Of the first of them, for each of [`ARCHITECTURES`].
    assembled: [Assembled; ARCHITECTURES.len()],
}

impl Row {
    fn instructions(&self) -> f64 {
        self.case.each(self.counted.instructions)
    }

    /// Of memory, in whole sectors.
    fn bytes(&self) -> f64 {
        self.case.each(32 * self.counted.sectors)
    }
}

/// Writes the page, or fails where it is not what is there.
pub(crate) fn run(check: bool) -> Result<()> {
    // SAFETY: nothing else of this process runs yet.
    #[allow(unsafe_code, reason = "the driver is named by a variable of the process's environment")]
    unsafe {
        std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library());
    }
    let names = entries()?;
    let assembled = ARCHITECTURES.map(assembled);
    let [a, b, c] = assembled;
    let assembled = [a?, b?, c?];
    let simulated = Simulated::open()?;
    let mut rows = Vec::new();
    for case in cases::all() {
        rows.push(measured(case, &simulated, &names, &assembled)?);
    }
    let mut halves = Vec::new();
    for case in cases::of_halves() {
        let on = |capability| {
            simulated.reset();
            simulated.set("CAPABILITY", capability)?;
            let launched = launched(case, &simulated, &names)?;
            anyhow::Ok(launched.iter().map(|(_, counted)| counted.instructions).sum())
        };
        halves.push((case, [on("7.5")?, on("8.0")?]));
    }
    let triton = fs::read_to_string(root().join("cuda/model/triton.json"))?;
    let fresh = page::page(&rows, &halves, &serde_json::from_str(&triton)?);
    let path = root().join("cuda/MODEL.md");
    if check {
        let found = fs::read_to_string(&path)?;
        ensure!(found == fresh, "cuda/MODEL.md is not what is counted: run `cargo xtask counters`");
    } else {
        fs::write(&path, fresh)?;
    }
    Ok(())
}

/// The kernels that a case launches on the device as it is set, and what is counted of each.
fn launched<'n>(
    case: cases::Case,
    simulated: &Simulated,
    names: &'n [String],
) -> Result<Vec<(&'n String, Counters)>> {
    // The natural order of blocks and no errors of approximations: counts that repeat.
    simulated.set("SEED", "0")?;
    case.run(&Device::open(0)?)?;
    Ok(names.iter().map(|name| (name, simulated.counters(name))).filter(|(_, c)| c.launches > 0).collect())
}

fn measured(
    case: cases::Case,
    simulated: &Simulated,
    names: &[String],
    assembled: &[BTreeMap<String, Assembled>; ARCHITECTURES.len()],
) -> Result<Row> {
    simulated.reset();
    let mut launched = launched(case, simulated, names)?;
    launched.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.instructions));
    let mut counted = Counters::default();
    for (_, of_kernel) in &launched {
        counted.launches += of_kernel.launches;
        counted.instructions += of_kernel.instructions;
        counted.sectors += of_kernel.sectors;
        counted.ideal_sectors += of_kernel.ideal_sectors;
        counted.bank_conflicts += of_kernel.bank_conflicts;
        counted.local_bytes += of_kernel.local_bytes;
    }
    let (first, _) = launched.first().context("nothing was launched")?;
    let of_first = |architecture: &BTreeMap<String, Assembled>| {
        architecture.get(*first).copied().with_context(|| format!("{first} was not assembled"))
    };
    let [a, b, c] = assembled.each_ref().map(of_first);
    let short = |name: &String| name.trim_start_matches("densekd_").to_owned();
    Ok(Row {
        case,
        counted,
        kernels: launched.iter().map(|(name, _)| short(name)).collect(),
        assembled: [a?, b?, c?],
    })
}
