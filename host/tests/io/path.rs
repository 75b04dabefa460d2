//! Arguments to paths and names.

use densekd::io::TensorPath;

use crate::assert_error;
use crate::support::{Folder, Outcome, read};

#[track_caller]
fn parts(argument: &str) -> (String, Option<String>) {
    let at = TensorPath::parse(argument).expect("a tensor path");
    assert_eq!(at.to_string(), argument);
    (at.path().to_str().expect("Unicode").to_owned(), at.name().map(str::to_owned))
}

#[test]
fn a_name_follows_only_the_formats_that_have_names() {
    let some = |path: &str, name: &str| (path.to_owned(), Some(name.to_owned()));
    let none = |path: &str| (path.to_owned(), None);
    assert_eq!(parts("a.npy"), none("a.npy"));
    assert_eq!(parts("a.npz"), none("a.npz"));
    assert_eq!(parts("a.npz:x"), some("a.npz", "x"));
    assert_eq!(parts("A.NPZ:x"), some("A.NPZ", "x"));
    assert_eq!(parts("a.SafeTensors:x.y/z"), some("a.SafeTensors", "x.y/z"));
    assert_eq!(parts("a:b/c.npy"), none("a:b/c.npy"));
    assert_eq!(parts(r"c:\run\a.npz"), none(r"c:\run\a.npz"));
    assert_eq!(parts(r"c:\run\a.npz:x"), some(r"c:\run\a.npz", "x"));
    assert_eq!(parts("12:30.npz:x"), some("12:30.npz", "x"));
    assert_eq!(parts("a.npz:b.npz:x"), some("a.npz:b.npz", "x"));
    assert_eq!(parts("a.safetensors:conv:0"), some("a.safetensors", "conv:0"));
}

#[test]
fn what_is_no_tensor_path() {
    let error = |argument: &str| TensorPath::parse(argument).expect_err("no tensor path");
    assert_error!(
        error("a.pt"),
        Extension,
        "`a.pt`",
        "the ending .pt",
        ".npy, .npz or .safetensors",
        "convert"
    );
    assert_error!(error("a"), Extension, "`a` has no ending");
    assert_error!(error(""), Extension, "no ending");
    assert_error!(error("a.pt:x"), Extension, "a.pt:x");
    assert_error!(error("a.npz:"), NameEmpty, "`a.npz`", "empty tensor name", "leave it out");
    assert_error!(error("a.npy:x"), NameUnwanted, "`a.npy`", "`x`", "leave `:x` out");
    let error = TensorPath::new("a.npy", Some("x")).expect_err("a name too many");
    assert_error!(error, NameUnwanted, "without a name");
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_unicode_is_a_whole_path() -> Outcome {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let at = TensorPath::parse(OsStr::from_bytes(b"\xff:a.npz"))?;
    assert_eq!((at.path().as_os_str().as_bytes(), at.name()), (&b"\xff:a.npz"[..], None));
    Ok(())
}

#[test]
fn what_is_no_file() {
    let folder = Folder::new();
    assert_error!(
        read(folder.join("a.npy")).expect_err("missing"),
        Missing,
        "a.npy` does not exist",
        "check"
    );

    std::fs::create_dir(folder.join("b.npy")).expect("a folder");
    assert_error!(
        read(folder.join("b.npy")).expect_err("a folder"),
        NotAFile,
        "b.npy` is a folder",
        "plain file"
    );

    for name in ["c.npy", "c.npz", "c.safetensors"] {
        assert_error!(folder.error(name, []), Empty, name, "0 bytes", "save it again");
    }

    let below_a_file = folder.join("c.npy").join("d.npy");
    assert_error!(read(below_a_file).expect_err("no folder"), Read, "d.npy` cannot be read", "permissions");
}

#[cfg(unix)]
#[test]
fn a_device_is_not_waited_for() -> Outcome {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/zero", folder.join("a.npy"))?;
    assert_error!(read(folder.join("a.npy")).expect_err("a device"), NotAFile, "a device or pipe");
    Ok(())
}
