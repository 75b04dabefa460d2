//! Debian's packages, unpacked into a folder of ours: the system's lists and packages stay as they are. Programs that any
//! developer's machine has are asked of the system itself.

use crate::call;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Sees to it that there is a program: where it is missing an administrator gets Debian's package of it.
pub(crate) fn need(program: &str, package: &str) -> Result<()> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there = || std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    if is_there() {
        return Ok(());
    }
    let install = || {
        call(Command::new("apt-get").args(["update", "-qq"]))?;
        call(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", package]))
    };
    install().with_context(|| format!("{program} is missing: apt-get install {package}"))?;
    ensure!(is_there(), "{program} is missing, and {package} has none");
    Ok(())
}

/// Package lists and packages of their own, below a folder.
pub(crate) struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// Fetches the lists. `status` says what counts as installed: `/dev/null`, or the system's.
    pub(crate) fn new(folder: &Path, architectures: &[&str], status: &str) -> Result<Self> {
        ensure!(cfg!(all(target_arch = "x86_64", target_os = "linux")), "this needs Debian 12 for x86-64");
        let debian = Self { folder: folder.to_owned() };
        for folder in [debian.packages(), folder.join("apt/lists/partial")] {
            fs::create_dir_all(folder)?;
        }
        let apt = folder.join("apt");
        let apt = apt.display();
        let architectures = architectures.join("\"; \"");
        fs::write(
            debian.settings(),
            format!(
                "APT::Architecture \"amd64\";\nAPT::Architectures {{ \"{architectures}\"; }};\n\
                 APT::Sandbox::User \"\";\nDir::State \"{apt}\";\nDir::State::lists \"{apt}/lists\";\n\
                 Dir::State::status \"{status}\";\nDir::Cache \"{apt}/cache\";\n"
            ),
        )?;
        debian.apt("apt-get", &["update", "-qq"])?;
        Ok(debian)
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        call(command.args(arguments).env("APT_CONFIG", self.settings()).current_dir(self.packages()))
    }

    /// The package that one depends on whose name begins so and ends in a version.
    pub(crate) fn dependency(&self, name: &str, prefix: &str) -> Result<String> {
        let listing = self.apt("apt-cache", &["depends", name])?;
        let mut names = listing.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let name =
            names.find(|name| name.starts_with(prefix) && name.ends_with(|c: char| c.is_ascii_digit()));
        name.map(str::to_owned).with_context(|| format!("no {prefix}* among what is needed:\n{listing}"))
    }

    /// The packages themselves and all that would be installed with them.
    pub(crate) fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut arguments = vec!["-s", "install", "--no-install-recommends"];
        arguments.extend(names);
        let listing = self.apt("apt-get", &arguments)?;
        let installed = listing.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        let mut all: Vec<String> = names.iter().copied().chain(installed).map(str::to_owned).collect();
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Fetches packages.
    pub(crate) fn download<S: AsRef<str>>(&self, names: &[S]) -> Result<()> {
        let mut arguments = vec!["download", "-qq"];
        arguments.extend(names.iter().map(AsRef::as_ref));
        self.apt("apt-get", &arguments)?;
        Ok(())
    }

    /// Unpacks all that was fetched and forgets it. Of packages named in `parts` only what matches is taken.
    pub(crate) fn unpack(&self, to: &Path, parts: &[(&str, &[&str])]) -> Result<()> {
        fs::create_dir_all(to)?;
        for package in fs::read_dir(self.packages())? {
            let package = package?;
            let name = package.file_name();
            let name = name.to_string_lossy();
            let part = parts.iter().find(|(of, _)| name.split('_').next() == Some(of));
            let mut files = Command::new("dpkg-deb")
                .arg("--fsys-tarfile")
                .arg(package.path())
                .stdout(Stdio::piped())
                .spawn()
                .context("dpkg-deb cannot be started")?;
            let archive = files.stdout.take().context("dpkg-deb has an output")?;
            let mut tar = Command::new("tar");
            tar.arg("-x").arg("-C").arg(to).stdin(archive);
            match part {
                Some((_, patterns)) => tar.arg("--wildcards").args(*patterns),
                None => tar.args(["--exclude", "./usr/share/doc", "--exclude", "./usr/share/man"]),
            };
            call(&mut tar)?;
            ensure!(files.wait()?.success(), "{name} cannot be read");
            fs::remove_file(package.path())?;
        }
        Ok(())
    }

    /// Removes lists and packages.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(self.packages())?;
        fs::remove_dir_all(self.folder.join("apt"))?;
        fs::remove_file(self.settings())?;
        Ok(())
    }
}
