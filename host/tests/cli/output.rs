//! Outputs that are full, gone or one and the same.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER};
use std::process::{Command, Stdio};

#[test]
fn two_names_in_one_file_are_one_output() {
    let folder = Folder::new();
    let path = folder.join("g.safetensors");
    let named = |name: &str| format!("{}:{name}", path.display());
    run!["loss", TEACHER, STUDENT, "--grad", named("a"), "--grad-teacher", named("b")]
        .fails(2, &["g.safetensors", "both name", "two files"]);
    assert!(!path.exists());
    run!["loss", TEACHER, STUDENT, "--grad", named("a"), "--json"].json();
    assert!(path.exists());
}

#[test]
fn a_folder_is_no_file_to_write_to() {
    let folder = Folder::new();
    let taken = folder.folder("g.npy");
    run!["loss", TEACHER, STUDENT, "--grad", &taken].fails(1, &["g.npy", "is a folder"]);
    run!["loss", TEACHER, STUDENT, "--grad", folder.join("g")].fails(1, &["has no ending", "wanted .npy"]);
}

#[test]
fn nothing_is_left_behind_where_the_second_output_cannot_be_written() {
    let folder = Folder::new();
    let first = folder.bytes("g.npy", "older");
    let second = folder.join("nowhere").join("gt.npy");
    run!["loss", TEACHER, STUDENT, "--grad", &first, "--grad-teacher", &second].fails(1, &["gt.npy"]);
    assert_eq!(std::fs::read(&first).ok(), Some(b"older".to_vec()));
    assert_eq!(std::fs::read_dir(folder.join(".")).map(Iterator::count).ok(), Some(1));
}

#[test]
fn a_reader_of_reports_or_faults_may_go_away() {
    for (words, code) in [(["loss", TEACHER, STUDENT], 0), (["loss", TEACHER, "missing.npy"], 1)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_densekd"))
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().expect("the program ends").code(), Some(code), "{words:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_has_no_room_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("the device");
    let output = Command::new(env!("CARGO_BIN_EXE_densekd"))
        .args(["loss", TEACHER, STUDENT])
        .stdout(full)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("cannot be written to standard output"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_link_to_an_input_is_that_input() {
    let folder = Folder::new();
    let student = folder.map("s.npy", &[1, 2, 2, 2], 1);
    let link = folder.join("link.npy");
    std::os::unix::fs::symlink(&student, &link).expect("a link");
    run!["loss", &student, &student, "--grad", &link].fails(2, &["link.npy", "also an input"]);
    run!["loss", &student, &student, "--grad", "/proc/g.npy"].fails(1, &["/proc/g.npy", "cannot be written"]);
}
