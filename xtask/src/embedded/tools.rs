//! Compiler, standard library and emulators for targets that rustup's toolchain of the day may not have: Debian's own
//! packages, unpacked into `target/embedded`. Each step leaves a mark, so that an interrupted one is done again alone.

use super::target::Target;
use crate::call;
use crate::debian::Debian;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler that Debian keeps up to date for browsers, its library for this machine, and their source.
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";
const SOURCE: &str = "rust-web-src";

/// Of 440 MB of source.
const LIBRARY_SOURCE: &[&str] = &["./usr/src/*/library", "./usr/lib/rustlib"];

/// The version whose header is committed.
const CBINDGEN: &str = "0.29.0";

const EMULATORS: [&str; 4] =
    ["qemu-system-arm", "qemu-system-misc", "qemu-system-common", "qemu-system-data"];

/// What stays of thirty machines.
const MACHINES: [&str; 2] = ["qemu-system-arm", "qemu-system-riscv32"];

/// The folder of unpacked packages.
pub(crate) struct Tools {
    folder: PathBuf,
    linker: PathBuf,
}

impl Tools {
    /// Fetches and builds what is missing.
    pub(crate) fn new(root: &Path, targets: &[&Target]) -> Result<Self> {
        let tools = Self { folder: root.join("target/embedded"), linker: linker()? };
        tools.step("rust", |to| tools.fetch_rust(to))?;
        for target in targets {
            tools.step(&format!("core/{}", target.name), |to| tools.build_core(target, to))?;
        }
        if targets.iter().any(|target| target.board.is_some()) {
            tools.step("qemu", |to| tools.fetch_emulators(to))?;
        }
        Ok(tools)
    }

    /// A folder that is there once its step has ended.
    pub(crate) fn step(&self, name: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        let ready = folder.join("ready");
        if ready.exists() {
            return Ok(folder);
        }
        println!("embedded: {name} into {}", folder.display());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        work(&folder).with_context(|| format!("{name} cannot be had"))?;
        fs::write(ready, "")?;
        Ok(folder)
    }

    fn fetch_rust(&self, to: &Path) -> Result<()> {
        let debian = self.debian()?;
        let library = debian.dependency(LIBRARY, "libstd-rust-web-")?;
        let llvm = debian.dependency(&library, "libllvm")?;
        debian.download(&debian.closure(&[COMPILER, LIBRARY, SOURCE, &library, &llvm])?)?;
        debian.unpack(to, &[(SOURCE, LIBRARY_SOURCE)])?;
        debian.remove()
    }

    fn fetch_emulators(&self, to: &Path) -> Result<()> {
        let debian = self.debian()?;
        debian.download(&debian.closure(&EMULATORS)?)?;
        debian.unpack(to, &[])?;
        for program in fs::read_dir(to.join("usr/bin"))? {
            let path = program?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("qemu-system-") && !MACHINES.contains(&name.as_str()) {
                fs::remove_file(path)?;
            }
        }
        debian.remove()
    }

    /// What the system has need not be fetched.
    fn debian(&self) -> Result<Debian> {
        let folder = self.folder.join("debian");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Debian::new(&folder, &["amd64"], "/var/lib/dpkg/status")
    }

    /// Builds core and alloc once and lays them where the compiler looks: later builds need no unstable option.
    fn build_core(&self, target: &Target, to: &Path) -> Result<()> {
        fs::create_dir_all(to.join("src"))?;
        fs::write(to.join("src/lib.rs"), "#![no_std]\n")?;
        fs::write(
            to.join("Cargo.toml"),
            "[package]\nname = \"seed\"\nedition = \"2024\"\n[workspace]\n\
             [profile.release]\npanic = \"abort\"\nopt-level = \"s\"\n",
        )?;
        let mut cargo = self.cargo(target);
        cargo
            .args(["build", "--quiet", "--release", "-Zbuild-std=core,alloc"])
            .current_dir(to)
            .env("CARGO_TARGET_DIR", to.join("target"))
            .env("RUSTC_BOOTSTRAP", "1")
            // Bitcode is kept, so that builds with and without link-time optimisation can use it.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes");
        call(&mut cargo)?;
        let library = self.folder.join("rust/usr/lib/rustlib").join(target.name).join("lib");
        fs::create_dir_all(&library)?;
        let built = to.join("target").join(target.name).join("release/deps");
        let mut copied = 0;
        for file in fs::read_dir(&built)? {
            let file = file?;
            let name = file.file_name();
            let is_library = name.to_string_lossy().ends_with(".rlib");
            if is_library && !name.to_string_lossy().starts_with("libseed") {
                fs::copy(file.path(), library.join(&name))?;
                copied += 1;
            }
        }
        ensure!(copied > 0, "no library in {}", built.display());
        fs::remove_dir_all(to.join("target"))?;
        Ok(())
    }

    /// Cargo for a target, with the fetched compiler: another one than the host's, so in a target folder of its own.
    pub(crate) fn cargo(&self, target: &Target) -> Command {
        let mut cargo = crate::cargo();
        let linker = format!("CARGO_TARGET_{}_LINKER", target.name.to_uppercase().replace(['-', '.'], "_"));
        cargo
            .env("RUSTC", self.folder.join("rust/usr/bin/rustc"))
            .env("LD_LIBRARY_PATH", libraries(&self.folder.join("rust")))
            .env("CARGO_TARGET_DIR", self.build())
            .env("CARGO_BUILD_TARGET", target.name)
            .env(linker, &self.linker);
        cargo
    }

    /// The program that makes a C header of Rust source.
    pub(crate) fn cbindgen(&self) -> Result<PathBuf> {
        let folder = self.step("cbindgen", |to| {
            let mut cargo = crate::cargo();
            cargo
                // What it reads is small, and an optimised build takes minutes.
                .args(["install", "--quiet", "--debug", "--locked"])
                .args(["--version", CBINDGEN, "cbindgen", "--root"])
                .arg(to);
            call(&mut cargo).map(drop)
        })?;
        Ok(folder.join("bin/cbindgen"))
    }

    /// GNU's C compiler for Cortex-M.
    pub(crate) fn arm_gcc(&self) -> Result<Command> {
        let folder = self.packages("arm-gcc", "gcc-arm-none-eabi")?;
        let mut gcc = Command::new(folder.join("usr/bin/arm-none-eabi-gcc"));
        gcc.env("LD_LIBRARY_PATH", libraries(&folder));
        Ok(gcc)
    }

    /// Where that compiler finds a C library for a Cortex-M4F.
    pub(crate) fn newlib(&self) -> Result<[String; 3]> {
        let folder = self.packages("newlib", "libnewlib-arm-none-eabi")?.join("usr");
        let library = folder.join("lib/arm-none-eabi/newlib/thumb/v7e-m+fp/hard");
        let headers = folder.join("include/newlib").display().to_string();
        Ok(["-isystem".to_owned(), headers, format!("-L{}", library.display())])
    }

    /// A package and what it needs, in a folder.
    fn packages(&self, name: &str, package: &str) -> Result<PathBuf> {
        self.step(name, |to| {
            let debian = self.debian()?;
            debian.download(&debian.closure(&[package])?)?;
            debian.unpack(to, &[])?;
            debian.remove()
        })
    }

    /// Where builds go.
    pub(crate) fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    /// The emulator of a board, which leaves with the status of what it runs.
    pub(crate) fn emulator(&self, machine: &str, arguments: &[&str]) -> Command {
        let folder = self.folder.join("qemu");
        // A board that hangs is a failure, too.
        let mut emulator = Command::new("timeout");
        emulator
            .arg("60")
            .arg(folder.join("usr/bin").join(machine))
            .arg("-L")
            .arg(folder.join("usr/share/qemu"))
            .args(arguments)
            .args(["-nographic", "-monitor", "none", "-serial", "none"])
            // An instruction takes a nanosecond of the board's time, so that its clock counts them.
            .args(["-icount", "shift=0", "-chardev", "stdio,id=host"])
            .args(["-semihosting-config", "enable=on,target=native,chardev=host", "-kernel"])
            .env("LD_LIBRARY_PATH", libraries(&folder));
        emulator
    }
}

fn libraries(folder: &Path) -> String {
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
        .map(|path| folder.join(path).display().to_string())
        .join(":")
}

/// The linker that comes with Rust; Debian's package has none.
pub(crate) fn linker() -> Result<PathBuf> {
    let sysroot = call(Command::new("rustc").args(["--print", "sysroot"]).env_remove("RUSTC"))?;
    let linker = Path::new(sysroot.trim()).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    ensure!(linker.exists(), "{} is missing: it comes with rustup's toolchains", linker.display());
    Ok(linker)
}
