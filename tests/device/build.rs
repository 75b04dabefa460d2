//! Makes the shared library of the same source.
//!
//! Cargo would make one of `crate-type = ["cdylib", "rlib"]`, but then the library for tests would define the driver's
//! functions under their C names as well, and a program linked with it would call those in place of the ones by which
//! it forwards to a driver that it opens. Here the names exist in the shared library alone, it is optimised in every
//! profile, and its path is known when tests are compiled.
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(densekd_driver)");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let library = PathBuf::from(variable("OUT_DIR")).join("libcuda.so.1");
    println!("cargo::rustc-env=DENSEKD_DEVICE_LIBRARY={}", library.display());
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([
        "--edition=2024",
        "--crate-name=densekd_device",
        "--crate-type=cdylib",
        "--cfg=densekd_driver",
    ]);
    rustc.args(["-Copt-level=3", "-Ccodegen-units=1", "-Clink-arg=-Wl,-soname,libcuda.so.1"]);
    // A fused operation is then one instruction, not a call that looks for it, and a warp's lanes are in few registers.
    if variable("TARGET") == variable("HOST") {
        rustc.arg("-Ctarget-cpu=native");
    }
    rustc.args(["--cap-lints=allow", "--target"]);
    rustc.args([&variable("TARGET"), "src/lib.rs", "-o"]).arg(&library);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut argument = std::ffi::OsString::from("-Clinker=");
        argument.push(linker);
        rustc.arg(argument);
    }
    let status = rustc.status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{rustc:?}: {status:?}");
}
