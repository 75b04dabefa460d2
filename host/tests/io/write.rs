//! Writers: what they refuse, and what they leave alone when they fail.

use std::fs;

use densekd::io::{self, Array};
use half::bf16;

use crate::assert_error;
use crate::support::{Folder, Outcome, read};

fn tensor() -> Array {
    Array::new([2], vec![1.0_f32, 2.0]).expect("a tensor")
}

fn entries(folder: &Folder) -> usize {
    fs::read_dir(folder.path()).expect("a folder").count()
}

#[test]
fn what_a_format_cannot_hold() {
    let folder = Folder::new();
    let brain = Array::new([1], vec![bf16::ONE]).expect("a tensor");
    folder.file("a.npy", "older");
    let error = io::write(folder.join("a.npy"), "x", &brain).expect_err("no bf16 in .npy");
    assert_error!(error, Bf16ToNpy, "a.npy", "cannot hold bf16", "f32, f64 or f16", ".safetensors");
    assert_eq!(fs::read(folder.join("a.npy")).expect("the older file"), b"older");

    let error = |name: &str| io::write(folder.join(name), "x", &tensor()).expect_err("no format to write");
    assert_error!(error("a.npz"), WriteFormat, "a.npz", "only read", ".safetensors", ".npy");
    assert_error!(error("a.pt"), Extension, "a.pt", ".pt");
    assert_eq!(entries(&folder), 1);
}

#[test]
fn names_that_cannot_be() {
    let folder = Folder::new();
    let path = folder.join("a.safetensors");
    let tensor = tensor();
    let error = |names: &[&str]| {
        let tensors: Vec<_> = names.iter().map(|&name| (name, &tensor)).collect();
        io::write_safetensors(&path, &tensors, &[]).expect_err("names that cannot be")
    };
    assert_error!(error(&["a", "b", "a"]), NameTwice, "a.safetensors", "`a` twice", "rename");
    assert_error!(error(&["__metadata__"]), NameReserved, "a.safetensors", "`__metadata__`", "another name");
    assert_error!(error(&[""]), NameEmpty, "a.safetensors", "empty");
    assert_eq!(entries(&folder), 0);
}

#[test]
fn places_that_cannot_be_written() {
    let folder = Folder::new();
    fs::create_dir(folder.join("b.npy")).expect("a folder");
    folder.file("b.npy/inside", "kept");
    let error = |path: &str| io::write(folder.join(path), "x", &tensor()).expect_err("no place for a file");
    assert_error!(error("b.npy"), NotAFile, "b.npy` is a folder");
    assert_eq!(fs::read(folder.join("b.npy/inside")).expect("what was there"), b"kept");
    assert_error!(error("none/a.npy"), Write, "a.npy` cannot be written", "folder exists");
    assert_error!(error("none/a.safetensors"), Write, "a.safetensors` cannot be written", "folder exists");
    assert_error!(error("b.npy/inside/a.npy"), Write, "cannot be written");
    assert_eq!(entries(&folder), 1);
}

#[test]
fn an_older_file_is_replaced_and_nothing_else_is_left() -> Outcome {
    let folder = Folder::new();
    for name in ["a.npy", "a.safetensors"] {
        folder.file(name, "older");
        io::write(folder.join(name), "x", &tensor())?;
        assert_eq!(read(folder.join(name))?, tensor());
    }
    assert_eq!(entries(&folder), 2);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_permissions_of_any_and_a_replaced_one_its_own() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let mode = |name: &str| fs::metadata(folder.join(name)).map(|about| about.permissions().mode());
    folder.file("plain", "");
    io::write(folder.join("a.npy"), "x", &tensor())?;
    assert_eq!(mode("a.npy")?, mode("plain")?);

    fs::set_permissions(folder.join("a.npy"), fs::Permissions::from_mode(0o640))?;
    io::write(folder.join("a.npy"), "x", &tensor())?;
    assert_eq!(mode("a.npy")? & 0o777, 0o640);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_link_stays_and_the_file_behind_it_is_replaced() -> Outcome {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    elsewhere.file("real.npy", "older");
    std::os::unix::fs::symlink(elsewhere.join("real.npy"), folder.join("a.npy"))?;
    io::write(folder.join("a.npy"), "x", &tensor())?;
    assert!(fs::symlink_metadata(folder.join("a.npy"))?.is_symlink());
    assert_eq!(read(elsewhere.join("real.npy"))?, tensor());
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_device_is_not_replaced() -> Outcome {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/null", folder.join("a.npy"))?;
    let error = io::write(folder.join("a.npy"), "x", &tensor()).expect_err("a device");
    assert_error!(error, NotAFile, "a device or pipe");
    Ok(())
}
