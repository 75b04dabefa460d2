//! Two folders of maps.

use crate::run;
use crate::support::{Folder, assert_close, read};
use serde_json::json;
use std::path::PathBuf;

fn two() -> (Folder, PathBuf, PathBuf) {
    let folder = Folder::new();
    let (teachers, students) = (folder.folder("teachers"), folder.folder("students"));
    folder.map("teachers/a.npy", &[1, 3, 4, 4], 1);
    folder.map("teachers/b.safetensors", &[1, 3, 2, 4], 2);
    folder.map("students/a.npy", &[1, 3, 4, 4], 3);
    folder.map("students/b.npy", &[1, 3, 2, 4], 4);
    folder.bytes("students/README.md", "no tensor");
    folder.bytes("students/.hidden.npy", "no tensor");
    (folder, teachers, students)
}

#[test]
fn files_are_paired_by_name_and_averaged() {
    let (folder, teachers, students) = two();
    let gradients = folder.join("gradients");
    let report = run!["loss", &teachers, &students, "--json", "--grad", &gradients].json();
    let alone = |t: &str, s: &str| run!["loss", &folder.join(t), &folder.join(s), "--json"].value();
    let (a, b) =
        (alone("teachers/a.npy", "students/a.npy"), alone("teachers/b.safetensors", "students/b.npy"));
    assert_eq!(report["files"].as_array().map(Vec::len), Some(2));
    assert_eq!((&report["files"][0]["value"], &report["files"][1]["value"]), (&json!(a), &json!(b)));
    assert_close(report["value"].as_f64().unwrap_or(f64::NAN), f64::midpoint(a, b), 1e-15);
    assert_eq!((&report["shape"], &report["dtype"]), (&json!(null), &json!("f32")));
    assert_eq!(read(&gradients.join("a.npy")).0, [1, 3, 4, 4]);
    assert_eq!(read(&gradients.join("b.npy")).0, [1, 3, 2, 4]);
}

#[test]
fn people_get_a_row_a_file_and_no_bar_where_nobody_looks() {
    let (_folder, teachers, students) = two();
    let text = run!["loss", &teachers, &students].text();
    assert!(text.lines().any(|line| line.starts_with("a ") && line.contains("[1, 3, 4, 4]")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("b ")), "{text}");
    assert!(text.contains("mean ") && text.ends_with("over 2 files\n"), "{text}");
}

#[test]
fn labels_are_one_file_for_all_or_one_for_each() {
    let (folder, teachers, students) = two();
    folder.folder("labels");
    folder.whole("labels/a.npy", &[1, 4, 4], &[0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let labels = folder.join("labels");
    run!["loss", &teachers, &students, "--labels", &labels, "--json"]
        .fails_json("no_positions", &["labels for `b`"]);
    folder.whole("labels/b.npy", &[1, 2, 4], &[0; 8]);
    let report = run!["loss", &teachers, &students, "--loss", "pi", "--labels", &labels, "--json"].json();
    assert_eq!((&report["files"][0]["divisor"], &report["files"][1]["divisor"]), (&json!(15.0), &json!(8.0)));
    let one = folder.join("labels/a.npy");
    let fault = run!["loss", &teachers, &students, "--labels", &one, "--json"];
    fault.fails_json("positions_shape", &["[1, 4, 4]", "[1, 2, 4]"]);
}

#[test]
fn folders_that_do_not_pair_are_refused() {
    let (folder, teachers, students) = two();
    let (empty, file) = (folder.folder("empty"), folder.join("teachers/a.npy"));
    run!["loss", &teachers, &empty].fails(1, &["empty` holds no .npy", "check the path"]);
    run!["loss", &teachers, &file].fails(2, &["teachers", "a.npy", "two files or two folders"]);
    run!["loss", &folder.join("teechers"), &students].fails(1, &["teechers", "does not exist"]);
    run!["loss", &teachers, &students, "--grad", &students].fails(2, &["students", "also an input"]);
    run!["check", &teachers, &students].fails(2, &["teachers", "folder", "two files"]);

    for name in ["c", "d", "e", "f"] {
        folder.map(&format!("students/{name}.npy"), &[2, 3], 1);
    }
    run!["loss", &teachers, &students]
        .fails(1, &["`c.npy`, `d.npy`, `e.npy` and 1 more have no teacher", "rename them or move"]);
    folder.map("students/a.safetensors", &[2, 3], 1);
    run!["loss", &teachers, &students].fails(1, &["`a.npy` and `a.safetensors`", "move one away"]);
}
