//! Puts a whole file in the place of another, or leaves that one as it was.

use std::fs::{self, Metadata};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Error;
use super::file::plain_file;

/// Has `fill` write a new file, which then takes the place of `path`.
pub(super) fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let fail = |source| Error::Write { path: path.to_owned(), source };
    let older = fs::metadata(path).ok();
    if let Some(older) = &older {
        // A rename would replace a device as readily as a file.
        plain_file(path, older)?;
    }
    let target = target(path);
    replace(&target, older.as_ref(), fill).map_err(fail)
}

/// What a link leads to, so that the link stays and the file behind it is replaced.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn replace(
    target: &Path,
    older: Option<&Metadata>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // A bare name has the empty path as its parent.
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".densekd-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new file: the umask takes away what it takes away.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder)?;
    let mut buffer = BufWriter::new(file.as_file());
    fill(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    if let Some(older) = older {
        file.as_file().set_permissions(older.permissions())?;
    }
    // Before the rename, as the name could otherwise reach the disk ahead of the content.
    file.as_file().sync_all()?;
    file.persist(target).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_halfway_leaves_the_older_file_and_nothing_else() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.npy");
        fs::write(&path, "older")?;
        let result = atomically(&path, |file| {
            file.write_all(&vec![0; 100_000])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let error = result.expect_err("the filling failed").to_string();
        assert!(
            error.contains("a.npy` cannot be written (") && error.ends_with("writable and has room"),
            "{error}"
        );
        assert_eq!(fs::read(&path)?, b"older");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn the_older_file_is_there_until_the_new_one_is_whole() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.npy");
        fs::write(&path, "older")?;
        let mut seen = Vec::new();
        atomically(&path, |file| {
            file.write_all(b"newer")?;
            file.flush()?;
            seen = fs::read(&path)?;
            Ok(())
        })?;
        assert_eq!(seen, b"older");
        assert_eq!(fs::read(&path)?, b"newer");
        Ok(())
    }
}
