//! Several terms of a file.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER, assert_close, densekd, npy, read};
use serde_json::Value;
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/objective/kd.toml");

const PAIR: &str = "teacher = \"logits\"\nstudent = \"logits\"\n";

fn objective(folder: &Folder, term: &str) -> PathBuf {
    folder.bytes("kd.toml", format!("[[term]]\nname = \"a\"\n{PAIR}{term}\n"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn the_example_runs_on_the_sample_and_adds_up() {
    let folder = Folder::new();
    let gradients = folder.join("gradients");
    let done = run![
        "loss",
        "--objective",
        EXAMPLE,
        TEACHER,
        STUDENT,
        "--step",
        "500",
        "--task-loss",
        "0.9",
        "--json",
        "--grad",
        &gradients
    ]
    .json();
    let terms = done["terms"].as_array().expect("terms");
    let names: Vec<_> = terms.iter().map(|term| term["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["channels", "pixels", "attention"]);
    let sum: f64 = terms.iter().map(|term| number(&term["weighted"])).sum();
    assert_close(number(&done["total"]), 0.9 + sum, 1e-14);
    // The values beside the sample.
    let alone = run!["loss", TEACHER, STUDENT, "--preset", "torchdistiller-cwd", "--json"].value();
    assert_close(number(&terms[0]["weighted"]), alone, 1e-14);
    assert_close(number(&terms[2]["value"]), 0.000_125_138_173_660_631_9, 1e-12);
    assert_eq!((number(&terms[1]["weight"]), number(&done["task_loss"])), (5.0, 0.9));
    for (i, (name, shape)) in
        [("features", [1, 24, 32, 32]), ("logits", [1, 7, 32, 32])].into_iter().enumerate()
    {
        let gradient = &done["gradients"][i];
        assert_eq!(gradient["tensor"], name);
        let (found, numbers) = read(&gradients.join(format!("{name}.safetensors")));
        assert_eq!(found, shape);
        let norm = numbers.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert_close(number(&gradient["norm"]), norm, if name == "logits" { 1e-6 } else { 1e-2 });
    }
}

#[test]
fn people_get_a_table_of_terms() {
    let text = run!["loss", "--objective", EXAMPLE, TEACHER, STUDENT].text();
    for part in
        ["step       0", "channels", "torchdistiller-cwd", "weighted", "(logits)", "gradient to", "f16"]
    {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert!(!text.contains("task loss"), "{text}");
}

#[test]
fn folders_hold_a_tensor_a_file_and_threads_change_nothing() {
    let folder = Folder::new();
    let (teachers, students) = (folder.folder("teachers"), folder.folder("students"));
    folder.map("teachers/logits.npy", &[2, 3, 4, 4], 1);
    folder.map("students/logits.safetensors", &[2, 2, 2, 2], 2);
    folder.map("students/align.weight.npy", &[3, 2], 3);
    folder.whole("students/labels.npy", &[2, 4, 4], &[0; 32]);
    let file = objective(
        &folder,
        "loss = \"pi\"\nlabels = \"labels\"\nresize = { side = \"student\", mode = \"bilinear\" }\n\
         project = { side = \"student\", weight = \"align.weight\" }",
    );
    let on = |threads: &str| {
        let mut report =
            run!["loss", "--objective", &file, &teachers, &students, "--json", "--threads", threads].json();
        report["threads"] = Value::Null;
        report
    };
    let one = on("1");
    assert_eq!(one, on("3"));
    assert_eq!(one["terms"][0]["student_shape"], serde_json::json!([2, 3, 4, 4]));
    let gradients = folder.join("gradients");
    run!["loss", "--objective", &file, &teachers, &students, "--grad", &gradients].text();
    assert_eq!(read(&gradients.join("align.weight.safetensors")).0, [3, 2]);
    assert_eq!(read(&gradients.join("logits.safetensors")).0, [2, 2, 2, 2]);
}

#[test]
fn the_key_mask_is_the_flag_mask() {
    let folder = Folder::new();
    let (teachers, students) = (folder.folder("teachers"), folder.folder("students"));
    let teacher = folder.map("teachers/logits.npy", &[2, 3, 4, 4], 1);
    let student = folder.map("students/logits.npy", &[2, 3, 4, 4], 2);
    let bits: Vec<u8> = (0..32).map(|i| u8::from(i % 5 != 2)).collect();
    let mask = folder.bytes("teachers/valid.npy", npy("|b1", &[2, 4, 4], &bits));
    let labels = folder.whole("students/labels.npy", &[2, 4, 4], &[0, 1, 2, 255].repeat(8));
    let losses: [(&str, &[&str]); 4] = [
        ("loss = \"cwd\"\ntau = 2.0", &["--loss", "cwd", "--tau", "2"]),
        ("loss = \"pi\"", &["--loss", "pi"]),
        ("loss = \"ifvd\"\nlabels = \"labels\"", &["--loss", "ifvd", "--labels"]),
        ("loss = \"dkd\"\nlabels = \"labels\"", &["--loss", "dkd", "--labels"]),
    ];
    for (keys, flags) in losses {
        let file = objective(&folder, &format!("{keys}\nmask = \"valid\""));
        let gradients = folder.join("gradients");
        let several =
            run!["loss", "--objective", &file, &teachers, &students, "--json", "--grad", &gradients].json();
        let out = folder.join("alone.safetensors");
        let mut words: Vec<OsString> = ["loss"].map(OsString::from).to_vec();
        words.extend([&teacher, &student].map(OsString::from));
        words.extend(flags.iter().map(OsString::from));
        words.extend(flags.contains(&"--labels").then(|| OsString::from(&labels)));
        words.extend(["--json", "--mask"].map(OsString::from));
        words.extend([OsString::from(&mask), "--grad".into(), OsString::from(&out)]);
        let alone = densekd(words).value();
        assert_eq!(number(&several["total"]).to_bits(), alone.to_bits(), "{keys}");
        assert_eq!(read(&gradients.join("logits.safetensors")), read(&out), "{keys}");
    }
}

#[test]
fn faults_name_the_place_in_the_file() {
    let folder = Folder::new();
    let file = objective(&folder, "loss = \"cwd\"\ntaau = 1");
    let run = |file: &PathBuf| run!["loss", "--objective", file, TEACHER, STUDENT, "--json"];
    run(&file).fails_json("objective", &["kd.toml:6:1: `taau` of term `a`", "has tau, "]);
    let file = folder.bytes("wrong.toml", "[[term]]\nname = \"a\"\nloss = \"at\"\nstudent = \"logit\"\n");
    run(&file).fails_json("objective", &["wrong.toml:4:11: `student`", "choose one of: features, logits"]);
    run(&folder.join("none.toml"))
        .fails_json("objective", &["none.toml", "cannot be read", "check the path"]);
    let (empty, file) = (folder.folder("empty"), objective(&folder, "loss = \"cwd\""));
    run!["loss", "--objective", &file, &empty, STUDENT]
        .fails(1, &["kd.toml:3:11", "empty`", "no tensor at all"]);
    run!["loss", "--objective", &file, folder.join("nowhere"), STUDENT]
        .fails(1, &["nowhere` does not exist"]);
}

#[test]
fn flags_of_a_single_loss_are_refused_beside_it() {
    let folder = Folder::new();
    for flags in [
        ["--tau", "2"],
        ["--preset", "skd"],
        ["--labels", "y.npy"],
        ["--mask", "m.npy"],
        ["--grad-teacher", "g.npy"],
    ] {
        let done = run!["loss", "--objective", EXAMPLE, TEACHER, STUDENT, flags[0], flags[1]];
        done.fails(2, &["--objective", "cannot be used with"]);
    }
    run!["loss", TEACHER, STUDENT, "--step", "3"].fails(2, &["--objective"]);
    run!["loss", "--objective", EXAMPLE, TEACHER, STUDENT, "--task-loss", "inf"].fails(2, &["finite"]);
    // An archive that a gradient would overwrite.
    let archive = folder.join("logits.safetensors");
    std::fs::copy(STUDENT, &archive).expect("a copy of the sample");
    let file = objective(&folder, "loss = \"cwd\"");
    let out = folder.join("");
    run!["loss", "--objective", &file, TEACHER, &archive, "--grad", &out].fails(2, &["is also an input"]);
}
