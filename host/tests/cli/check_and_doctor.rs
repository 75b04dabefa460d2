//! The commands that look at the user's own tensors.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER, numbers};

#[test]
fn the_gradient_of_the_sample_pair_is_right() {
    for words in [["--loss", "cwd"], ["--loss", "pi"], ["--divergence", "js"], ["--preset", "paddle"]] {
        let report =
            run!["check", TEACHER, STUDENT, words[0], words[1], "--samples-checked", "16", "--json"].json();
        assert_eq!(report["ok"], true, "{report}");
    }
    assert!(
        !run!["check", TEACHER, STUDENT, "--samples-checked", "4", "--seed", "7"].text().trim().is_empty()
    );
}

#[test]
fn positions_and_layouts_are_checked_too() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[2, 2, 3, 4], 1), folder.map("s.npy", &[2, 2, 3, 4], 2));
    let mask = folder.whole("m.npy", &[2, 2, 3], &[1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1]);
    let report = run!["check", &teacher, &student, "--layout", "nhwc", "--mask", &mask, "--json"].json();
    assert_eq!(report["ok"], true, "{report}");
    let report = run!["doctor", &teacher, &student, "--layout", "nhwc", "--mask", &mask, "--json"].json();
    assert!(report.is_object());
}

#[test]
fn the_doctor_examines_good_and_bad_maps() {
    assert!(run!["doctor", TEACHER, STUDENT, "--json"].json().is_object());
    let folder = Folder::new();
    let mut values = numbers(24, 1);
    let student = folder.tensor("s.npy", &[1, 2, 3, 4], values.clone());
    values[5] = f32::NAN;
    let teacher = folder.tensor("t.npy", &[1, 2, 3, 4], values);
    let text = run!["doctor", &teacher, &student].text();
    assert!(text.to_lowercase().contains("nan"), "{text}");
}

#[test]
fn faults_are_told_as_for_the_loss() {
    let folder = Folder::new();
    let (map, wide) = (folder.map("t.npy", &[1, 2, 3, 4], 1), folder.map("w.npy", &[1, 2, 3, 5], 2));
    let nowhere = folder.join("none.npy");
    for command in ["check", "doctor"] {
        run![command, &map, &wide].fails(1, &["t.npy", "w.npy", "[1, 2, 3, 4]", "[1, 2, 3, 5]"]);
        run![command, &map, &nowhere, "--json"].fails_json("file_missing", &["none.npy"]);
        run![command, &map, &folder.join(".")].fails(2, &["is a folder", "two files"]);
        run![command, &map, &map, "--backend", "cuda"].fails(1, &["no CUDA backend"]);
    }
    run!["check", &map, &map, "--norm", "none"].fails(2, &["kl compares distributions"]);
    let mask = folder.whole("m.npy", &[1, 3, 4], &[1; 12]);
    run!["check", &map, &map, "--loss", "pi", "--upsample", "2", "--mask", &mask]
        .fails(2, &["cannot be combined"]);
}
