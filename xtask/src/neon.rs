//! The tests on 64-bit Arm, under QEMU: the NEON kernels on a machine that has none.
//!
//! Needs nothing but Debian 12 for x86-64 and rustup's toolchain. Compilers, Arm's standard library and C library, and
//! QEMU are Debian's own packages, unpacked into `target/neon`; nothing is installed.

use crate::call;
use crate::debian::Debian;
use anyhow::{Context, Result, anyhow, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// By name, so that nothing else is run.
const ISA: &str = "neon";

/// The compiler that Debian keeps up to date for browsers; its name in front of an architecture's library.
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";

/// Arm's C library and start-up, a compiler for what a dependency has in assembly, and the emulator.
const PACKAGES: [&str; 7] = [
    "libc6-dev:arm64",
    "libc6:arm64",
    "libgcc-12-dev:arm64",
    "gcc-12-aarch64-linux-gnu",
    "cpp-12-aarch64-linux-gnu",
    "binutils-aarch64-linux-gnu",
    "qemu-user-static",
];

/// Test files of the crate `tests`: the golden vectors of all losses, and row losses against the oracle.
const TESTS: [&str; 2] = ["golden", "instruction_sets"];

/// Fetches what is missing, builds, runs.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent folder")?;
    let tools = Tools { folder: root.join("target/neon") };
    if !tools.ready().exists() {
        tools.fetch()?;
    }
    let cargo = |what: &str, arguments: &[&str]| -> Result<()> {
        let mut command = crate::cargo();
        command.current_dir(root).args([what, "--locked", "--target", TARGET]).args(arguments);
        tools.configure(&mut command)?;
        let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
        ensure!(status.success(), "{command:?} failed");
        Ok(())
    };
    cargo("test", &["--package", "densekd-core", "--features", "simd", "--lib"])?;
    // Of the same packages each time, or what their macros depend on differs and all is built twice.
    let of_both = |targets: &[&'static str]| {
        [&["--package", "densekd-tests", "--package", "densekd"], targets].concat()
    };
    cargo("test", &of_both(TESTS.map(|name| ["--test", name]).as_flattened()))?;
    cargo("build", &of_both(&["--bin", "densekd"]))?;
    // The program refuses an instruction set that it does not have.
    let mut selftest = Command::new(tools.emulator());
    selftest.arg(tools.build().join(TARGET).join("debug/densekd")).arg("selftest").env("DENSEKD_ISA", ISA);
    print!("{}", call(&mut selftest)?);
    Ok(())
}

/// The folder of unpacked packages.
struct Tools {
    folder: PathBuf,
}

impl Tools {
    fn ready(&self) -> PathBuf {
        self.folder.join("ready")
    }

    fn unpacked(&self, path: &str) -> PathBuf {
        self.folder.join("unpacked").join(path)
    }

    /// Downloads and unpacks.
    fn fetch(&self) -> Result<()> {
        ensure!(cfg!(all(target_arch = "x86_64", target_os = "linux")), "this needs Debian 12 for x86-64");
        println!("neon: fetching a compiler and an emulator into {}", self.folder.display());
        fs::create_dir_all(self.unpacked(""))?;
        let debian = Debian::new(&self.folder, &["amd64", "arm64"], "/dev/null")?;
        let library = debian.dependency(LIBRARY, "libstd-rust-web-")?;
        let llvm = debian.dependency(&library, "libllvm")?;
        let foreign = format!("{LIBRARY}:arm64");
        let mut names = vec![COMPILER, &library, &llvm, LIBRARY, &foreign];
        names.extend(PACKAGES);
        debian.download(&names)?;
        debian.unpack(&self.unpacked(""), &[])?;
        // Thirty other machines' emulators, documents and packages.
        for program in fs::read_dir(self.unpacked("usr/bin"))? {
            let path = program?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("qemu-") && name != "qemu-aarch64-static" {
                fs::remove_file(path)?;
            }
        }
        fs::remove_dir_all(self.unpacked("usr/share"))?;
        debian.remove()?;
        self.write_linker()?;
        fs::write(self.ready(), "")?;
        Ok(())
    }

    /// Links statically, with the linker that comes with Rust: C libraries are found wherever they lie, and QEMU needs
    /// none at run time.
    fn write_linker(&self) -> Result<()> {
        let sysroot = call(Command::new("rustc").args(["--print", "sysroot"]).env_remove("RUSTC"))?;
        let lld = Path::new(sysroot.trim()).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
        ensure!(lld.exists(), "{} is missing: it comes with rustup's toolchains", lld.display());
        let (c, gcc) =
            (self.unpacked("usr/lib/aarch64-linux-gnu"), self.unpacked("usr/lib/gcc/aarch64-linux-gnu/12"));
        let (lld, c, gcc) = (lld.display(), c.display(), gcc.display());
        let script = format!(
            "#!/bin/sh\nexec '{lld}' -flavor gnu '-L{c}' '-L{gcc}' '{c}/crt1.o' '{c}/crti.o' '{gcc}/crtbeginT.o' \
             \"$@\" '{gcc}/crtend.o' '{c}/crtn.o'\n"
        );
        fs::write(self.linker(), script)?;
        fs::set_permissions(self.linker(), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn linker(&self) -> PathBuf {
        self.folder.join("link")
    }

    fn emulator(&self) -> PathBuf {
        self.unpacked("usr/bin/qemu-aarch64-static")
    }

    fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    /// Another compiler, so another target folder.
    fn configure(&self, command: &mut Command) -> Result<()> {
        let path = |path: PathBuf| {
            path.into_os_string().into_string().map_err(|path| anyhow!("{} is no Unicode", path.display()))
        };
        let variable = |name: &str| format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{name}");
        command
            .env("RUSTC", path(self.unpacked("usr/bin/rustc"))?)
            .env("LD_LIBRARY_PATH", path(self.unpacked("usr/lib/x86_64-linux-gnu"))?)
            .env("CARGO_TARGET_DIR", path(self.build())?)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env(variable("LINKER"), path(self.linker())?)
            .env(
                variable("RUSTFLAGS"),
                "-Clinker-flavor=ld -Ctarget-feature=+crt-static -Crelocation-model=static",
            )
            .env(variable("RUNNER"), path(self.emulator())?)
            .env("CC_aarch64_unknown_linux_gnu", path(self.unpacked("usr/bin/aarch64-linux-gnu-gcc-12"))?)
            .env("AR_aarch64_unknown_linux_gnu", path(self.unpacked("usr/bin/aarch64-linux-gnu-ar"))?)
            .env("DENSEKD_ISA", ISA);
        Ok(())
    }
}
