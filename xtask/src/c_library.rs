//! The C library: an archive for this machine and each microcontroller, a header, and programs in C that use them.
//!
//! Rust's own archive of a library without std still exports, weakly, what a compiler or a C library has by the same
//! names (`memcpy`, `expf`, ...). Here it becomes one object, whose only global names are the functions of the header.

mod board;
mod peers;

use crate::call;
use crate::debian::need;
use crate::embedded::figures;
use crate::embedded::target::{TARGETS, Target};
use crate::embedded::tools::{Tools, linker};
use crate::rise::Counts;
use anyhow::{Context, Result, ensure};
use board::Board;
use clap::Args;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How every function of the library begins.
const PREFIX: &str = "densekd_";

/// What the panic handler calls, and nobody defines.
const PANIC: &str = "densekd_must_not_panic";

/// What is measured, and by which function.
pub(crate) const FUNCTIONS: [(&str, &str); 6] = [
    ("loss and gradient", "row_kl_gradient_f32"),
    ("loss alone", "row_kl_f32"),
    ("loss and gradient, in integers", "row_kl_gradient_integer_f32"),
    ("loss alone, in integers", "row_kl_integer_f32"),
    ("loss and gradient, int8 by tables", "int8_kl_gradient"),
    ("loss alone, int8 by tables", "int8_kl"),
];

/// The committed header.
const HEADER: &str = "capi/include/densekd.h";

/// Programs, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 8] = [
    ("cc", "gcc"),
    ("c++", "g++"),
    ("ar", "binutils"),
    ("nm", "binutils"),
    ("size", "binutils"),
    ("make", "make"),
    ("pkg-config", "pkg-config"),
    ("cmake", "cmake"),
];

/// What is told to every C compiler.
const WARNINGS: [&str; 3] = ["-Wall", "-Wextra", "-Werror"];

/// Make the C library for this machine and for microcontrollers, and run the examples in C.
#[derive(Args)]
pub(crate) struct CCommand {
    /// Write the header and the table of sizes instead of holding to them.
    #[arg(long)]
    bless: bool,
    /// For this machine alone: nothing is fetched but the program that makes headers.
    #[arg(long)]
    host: bool,
    /// Also run what a C program would do without it: newlib's functions, and CMSIS-DSP from its Python package.
    #[arg(long)]
    peers: bool,
}

impl CCommand {
    pub(crate) fn run(&self) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent folder")?;
        let targets: Vec<&Target> = if self.host {
            Vec::new()
        } else {
            TARGETS.iter().filter(|target| target.board.is_some()).collect()
        };
        for (program, package) in PROGRAMS {
            need(program, package)?;
        }
        let tools = Tools::new(root, &targets)?;
        header(root, &tools, self.bless)?;
        let library = Library { root, tools: &tools, target: None };
        library.proof_sees_a_panic()?;
        library.make()?;
        run_host_example(root, &library.folder())?;
        let mut counts = Counts::new();
        for target in targets {
            let library = Library { root, tools: &tools, target: Some(target) };
            let objects = library.make()?;
            for (what, function) in FUNCTIONS {
                let size = objects.size(&[&format!("{PREFIX}{function}")])?;
                counts.insert(format!("{} {what}, bytes of code", target.core), size);
            }
            if let (Board::CORE, Some(machine)) = (target.core, target.board) {
                let board = Board { root, tools: &tools, machine, folder: library.folder() };
                board.run_example()?;
                if self.peers {
                    peers::run(&board)?;
                }
            }
        }
        if self.host {
            return Ok(());
        }
        figures::hold(root, &counts, |case| case.ends_with("bytes of code"), self.bless)
    }
}

/// Makes the header of the source, and holds what is committed to it.
fn header(root: &Path, tools: &Tools, bless: bool) -> Result<()> {
    let mut cbindgen = Command::new(tools.cbindgen()?);
    cbindgen.arg("--quiet").arg("--config").arg(root.join("capi/cbindgen.toml")).arg(root.join("capi"));
    let made = call(&mut cbindgen)?;
    let path = root.join(HEADER);
    if bless {
        return fs::write(&path, made).with_context(|| format!("{HEADER} cannot be written"));
    }
    let committed = fs::read_to_string(&path).with_context(|| format!("{HEADER} cannot be read"))?;
    ensure!(committed == made, "{HEADER} is not what the source says: --bless writes it");
    Ok(())
}

/// The library for one target; none is this machine.
struct Library<'a> {
    root: &'a Path,
    tools: &'a Tools,
    target: Option<&'a Target>,
}

impl Library<'_> {
    fn name(&self) -> &str {
        self.target.map_or("host", |target| target.name)
    }

    /// Where it lies, with what a build system wants.
    fn folder(&self) -> PathBuf {
        self.root.join("target/c").join(self.name())
    }

    /// Builds Rust's archive and takes the objects that are the library's own.
    fn build(&self, features: &[&str]) -> Result<Objects> {
        // For a board where its tests were built: the core is compiled once for both.
        let build = self.target.map_or_else(|| self.root.join(crate::SMALL), |_| self.tools.build());
        let mut cargo = self.target.map_or_else(crate::cargo, |target| self.tools.cargo(target));
        let archive = build.join(self.target.map_or("", |target| target.name)).join("release/libdensekd.a");
        cargo
            .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
            .arg(self.root.join("capi/Cargo.toml"))
            .args(features)
            .env("CARGO_TARGET_DIR", &build);
        call(&mut cargo)?;
        let folder = tempfile::tempdir()?;
        call(Command::new("ar").arg("x").arg(&archive).current_dir(folder.path()))?;
        let mut files = Vec::new();
        for file in fs::read_dir(folder.path())? {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("densekd") {
                files.push(path);
            }
        }
        ensure!(!files.is_empty(), "{} has no object of the library's own", archive.display());
        Ok(Objects { folder, files, linker: linker()? })
    }

    /// The archive, its header and what finds them; the objects, to ask more of.
    fn make(&self) -> Result<Objects> {
        let objects = self.build(&[])?;
        let functions = objects.functions()?;
        let object = objects.link("densekd", &functions)?;
        let needed = symbols(&object, "--undefined-only")?;
        ensure!(!needed.iter().any(|name| name == PANIC), "{}: a panic can be reached", self.name());
        let foreign: Vec<_> = needed.iter().filter(|name| !is_helper(name)).collect();
        ensure!(
            foreign.is_empty(),
            "{} needs {foreign:?}: only a compiler's own helpers may be",
            self.name()
        );
        let linker = linker()?;
        let mut objcopy = Command::new(linker.with_file_name("rust-objcopy"));
        // It looks for LLVM where rustup lays it for the compiler alone.
        if let Some(library) = linker.ancestors().nth(4) {
            objcopy.env("LD_LIBRARY_PATH", library);
        }
        objcopy.args(["--strip-unneeded", "--remove-section=.llvmbc", "--remove-section=.llvmcmd"]);
        objcopy.args(functions.iter().map(|name| format!("--keep-global-symbol={name}")));
        call(objcopy.arg(&object))?;
        let global = symbols(&object, "--defined-only")?;
        ensure!(global == functions, "{}: {global:?} are global, not {functions:?}", self.name());

        let folder = self.folder();
        for part in ["include", "lib/pkgconfig", "lib/cmake/densekd"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let archive = folder.join("lib/libdensekd.a");
        if archive.exists() {
            fs::remove_file(&archive)?;
        }
        call(Command::new("ar").arg("rcs").arg(&archive).arg(&object))?;
        for (from, to) in [
            (HEADER, "include/densekd.h"),
            ("capi/densekd.pc", "lib/pkgconfig/densekd.pc"),
            ("capi/densekd-config.cmake", "lib/cmake/densekd/densekd-config.cmake"),
        ] {
            fs::copy(self.root.join(from), folder.join(to)).with_context(|| format!("{from} is missing"))?;
        }
        println!(
            "c: {}: {} functions, {} names needed of the compiler: {}",
            archive.display(),
            functions.len(),
            needed.len(),
            needed.join(" ")
        );
        Ok(objects)
    }

    /// With an index that nobody checked the panic is found.
    fn proof_sees_a_panic(&self) -> Result<()> {
        let objects = self.build(&["--features", "broken"])?;
        let object = objects.link("broken", &objects.functions()?)?;
        let needed = symbols(&object, "--undefined-only")?;
        ensure!(
            needed.iter().any(|name| name == PANIC),
            "the proof does not see a panic that can be reached"
        );
        println!("c: an unchecked index is found ({PANIC})");
        Ok(())
    }
}

/// Objects in a folder of their own.
struct Objects {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
    linker: PathBuf,
}

impl Objects {
    /// The functions of the library.
    fn functions(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for file in &self.files {
            all.extend(symbols(file, "--defined-only")?.into_iter().filter(|name| name.starts_with(PREFIX)));
        }
        all.sort_unstable();
        ensure!(!all.is_empty(), "no function begins with {PREFIX}");
        Ok(all)
    }

    /// One object of what these functions reach.
    fn link<S: AsRef<str>>(&self, name: &str, functions: &[S]) -> Result<PathBuf> {
        let object = self.folder.path().join(name).with_extension("o");
        let mut command = Command::new(&self.linker);
        command.args(["-flavor", "gnu", "-r", "--gc-sections", "-o"]).arg(&object);
        for function in functions {
            command.args(["-u", function.as_ref()]);
        }
        call(command.args(&self.files))?;
        Ok(object)
    }

    /// Bytes of code and constants that these functions reach, but for the compiler's helpers.
    fn size(&self, functions: &[&str]) -> Result<u64> {
        let object = self.link("size", functions)?;
        let listing = call(Command::new("size").arg("-A").arg(&object))?;
        let mut size = 0;
        for line in listing.lines() {
            let mut fields = line.split_whitespace();
            let (Some(section), Some(bytes)) = (fields.next(), fields.next()) else { continue };
            if [".text", ".rodata", ".srodata"].iter().any(|name| section.starts_with(name)) {
                size += bytes.parse::<u64>().with_context(|| format!("{line:?} has no size"))?;
            }
        }
        ensure!(size > 0, "{functions:?} have no code");
        Ok(size)
    }
}

/// Sorted names of global symbols.
fn symbols(object: &Path, which: &str) -> Result<Vec<String>> {
    let mut command = Command::new("nm");
    let listing = call(command.args(["--extern-only", "--format=just-symbols", which]).arg(object))?;
    let mut names: Vec<String> =
        listing.lines().map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// What any compiler may call by itself, and brings.
fn is_helper(name: &str) -> bool {
    const MEMORY: [&str; 5] = ["memcpy", "memset", "memmove", "memcmp", "bcmp"];
    // Arm's; and gcc's for floats and wide integers: __adddf3, __floatsisf, __ashldi3, ...
    let is_gcc = |rest: &str| {
        let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        let modes = [
            "sf", "df", "si", "di", "sfsi", "dfsi", "sfdi", "dfdi", "sfdf", "dfsf", "disf", "didf", "sidf",
            "sisf",
        ];
        letters.chars().all(|c| c.is_ascii_lowercase()) && modes.iter().any(|mode| letters.ends_with(mode))
    };
    MEMORY.contains(&name)
        || name.starts_with("__aeabi_")
        || name.strip_prefix("__").is_some_and(is_gcc)
        || name == "_GLOBAL_OFFSET_TABLE_"
}

/// Found by `pkg-config`, compiled as C and as C++; found by `CMake`; run each time.
fn run_host_example(root: &Path, folder: &Path) -> Result<()> {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.args(["--cflags", "--libs", "densekd"]).env("PKG_CONFIG_PATH", folder.join("lib/pkgconfig"));
    let flags = call(&mut pkg_config)?;
    let source = root.join("examples/c/row.c");
    let mut said = String::new();
    for (compiler, language, standard) in [("cc", "c", "-std=c99"), ("c++", "c++", "-std=c++11")] {
        let program = folder.join(format!("row-{language}"));
        let mut compile = Command::new(compiler);
        compile
            .arg(standard)
            .args(WARNINGS)
            .args(["-pedantic", "-x", language])
            .arg(&source)
            .args(["-x", "none"]);
        call(compile.arg("-o").arg(&program).args(flags.split_whitespace()).arg("-lm"))?;
        said = call(&mut Command::new(&program))?;
    }
    print!("{said}");
    let build = folder.join("build");
    // A checkout that has moved is another source to CMake.
    if build.exists() {
        fs::remove_dir_all(&build)?;
    }
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(root.join("examples/c")).arg("-B").arg(&build);
    let mut prefix = OsString::from("-DCMAKE_PREFIX_PATH=");
    prefix.push(folder);
    call(configure.arg(prefix))?;
    call(Command::new("cmake").arg("--build").arg(&build))?;
    ensure!(call(&mut Command::new(build.join("row")))? == said, "CMake's program says something else");
    println!("c: examples/c/row.c runs as C and as C++, by pkg-config and by CMake");
    Ok(())
}
