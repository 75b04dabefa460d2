//! Gradients that are written to files.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER, assert_close, numbers, read};
use std::fs;

#[test]
fn the_gradient_has_the_students_shape_and_its_rows_add_up_to_nothing() {
    let folder = Folder::new();
    let path = folder.join("g.npy");
    let report = run!["loss", TEACHER, STUDENT, "--json", "--grad", &path].json();
    let (shape, gradient) = read(&path);
    assert_eq!(shape, [1, 7, 32, 32]);
    let largest = gradient.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    assert!(largest > 0.0);
    for row in gradient.chunks(32 * 32) {
        assert!(row.iter().sum::<f64>().abs() < 1e-5 * largest);
    }

    let about = &report["grad"];
    assert_eq!((about["dtype"].as_str(), about["overflowed"].as_bool()), (Some("f32"), Some(false)));
    assert_eq!(about["max_abs"].as_f64(), Some(largest));
    let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert_close(about["norm"].as_f64().unwrap_or(f64::NAN), norm, 1e-12);
    let at: Vec<usize> = serde_json::from_value(about["max_at"].clone()).unwrap_or_default();
    assert_close(gradient[(at[1] * 32 + at[2]) * 32 + at[3]].abs(), largest, 0.0);
}

#[test]
fn the_report_for_people_says_where_the_gradient_went() {
    let folder = Folder::new();
    let path = folder.join("g.safetensors");
    let text = run!["loss", TEACHER, STUDENT, "--grad", &path].text();
    for word in ["g.safetensors (f32)", "norm", "largest", "[n, c, y, x]"] {
        assert!(text.contains(word), "{text}");
    }
    // The one tensor of the file is found without its name.
    assert_eq!(read(&path).0, [1, 7, 32, 32]);
}

#[test]
fn upstream_multiplies_gradients_alone() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[2, 3, 4], 1), folder.map("s.npy", &[2, 3, 4], 2));
    let (one, many, to_teacher) = (folder.join("1.npy"), folder.join("1024.npy"), folder.join("t-grad.npy"));
    let plain = run!["loss", &teacher, &student, "--json", "--grad", &one].value();
    let scaled = run![
        "loss",
        &teacher,
        &student,
        "--json",
        "--grad",
        &many,
        "--upstream",
        "1024",
        "--grad-teacher",
        &to_teacher
    ]
    .value();
    assert_eq!(plain.to_bits(), scaled.to_bits());
    let ((shape, one), (_, many)) = (read(&one), read(&many));
    assert_eq!(shape, [2, 3, 4], "the file's own dimensions");
    for (one, many) in one.into_iter().zip(many) {
        assert_close(many, one * 1024.0, 1e-6);
    }
    assert!(read(&to_teacher).1.iter().any(|x| *x != 0.0));
}

#[test]
fn an_overflow_is_reported() {
    let folder = Folder::new();
    let half = |seed| numbers(12, seed).into_iter().map(half::f16::from_f32).collect::<Vec<_>>();
    let (teacher, student) =
        (folder.tensor("t.npy", &[1, 3, 2, 2], half(1)), folder.tensor("s.npy", &[1, 3, 2, 2], half(2)));
    let path = folder.join("g.npy");
    let report = run!["loss", &teacher, &student, "--json", "--grad", &path, "--upstream", "1e9"].json();
    assert_eq!((&report["grad"]["overflowed"], &report["grad"]["max_abs"]), (&true.into(), &"inf".into()));
    let text = run!["loss", &teacher, &student, "--grad", &path, "--upstream", "1e9"].text();
    assert!(text.contains("too large for f16"), "{text}");
}

#[test]
fn the_gradient_that_overflowed_is_named() {
    let folder = Folder::new();
    let half = |seed| numbers(12, seed).into_iter().map(half::f16::from_f32).collect::<Vec<_>>();
    let narrow = folder.tensor("narrow.npy", &[1, 3, 2, 2], half(1));
    let wide = folder.map("wide.npy", &[1, 3, 2, 2], 2);
    let (grad, grad_teacher) = (folder.join("g.npy"), folder.join("gt.npy"));
    let overflowed = |teacher, student| {
        let report = run![
            "loss",
            teacher,
            student,
            "--json",
            "--grad",
            &grad,
            "--grad-teacher",
            &grad_teacher,
            "--upstream",
            "1e9"
        ]
        .json();
        ["grad", "grad_teacher"].map(|name| report[name]["overflowed"].as_bool())
    };
    assert_eq!(overflowed(&narrow, &wide), [Some(false), Some(true)]);
    assert_eq!(overflowed(&wide, &narrow), [Some(true), Some(false)]);
}

#[test]
fn an_older_file_is_replaced_by_success_and_outlives_failure() {
    let folder = Folder::new();
    let path = folder.bytes("g.npy", "older");
    let (teacher, student) = (folder.map("t.npy", &[1, 3, 4, 4], 1), folder.map("s.npy", &[1, 3, 4, 5], 2));
    run!["loss", &teacher, &student, "--grad", &path].fails(1, &["[1, 3, 4, 4]", "[1, 3, 4, 5]"]);
    run!["loss", &teacher, &teacher, "--labels", &student, "--grad", &path].fails(1, &["i64"]);
    assert_eq!(fs::read(&path).ok(), Some(b"older".to_vec()));
    run!["loss", &teacher, &teacher, "--grad", &path].text();
    assert_eq!(read(&path).0, [1, 3, 4, 4]);
}

#[test]
fn outputs_that_would_do_harm_are_refused_before_the_work() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[1, 3, 4], 1), folder.map("s.npy", &[1, 3, 4], 2));
    let before = fs::read(&student).ok();
    run!["loss", &teacher, &student, "--grad", &student]
        .fails(2, &["s.npy", "also an input", "choose another"]);
    // The same file by another way.
    let around = folder.folder("sub").join("..").join("s.npy");
    run!["loss", &teacher, &student, "--grad-teacher", &around].fails(2, &["also an input"]);
    assert_eq!(fs::read(&student).ok(), before);

    let out = folder.join("g.npy");
    run!["loss", &teacher, &student, "--grad", &out, "--grad-teacher", &out]
        .fails(2, &["both name", "two files"]);
    let missing = folder.join("no-such-folder").join("g.npy");
    run!["loss", &teacher, &student, "--grad", &missing]
        .fails(1, &["g.npy` cannot be written", "folder exists"]);
    let archive = folder.join("g.npz");
    run!["loss", &teacher, &student, "--grad", &archive].fails(1, &["g.npz", "only read", ".npy"]);
    let unknown = folder.join("g.pt");
    run!["loss", &teacher, &student, "--grad", &unknown].fails(1, &["g.pt", ".pt", "wanted .npy"]);
    let short = folder.tensor("b.safetensors", &[1, 3, 4], vec![half::bf16::ONE; 12]);
    run!["loss", &teacher, &short, "--grad", &out].fails(1, &["g.npy", "bf16", ".safetensors"]);
    assert!(!out.exists());
}
