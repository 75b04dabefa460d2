//! Every fault that is the command's own, by the code that machines read.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER};
use std::fs::{self, File};
use std::process::{Command, Stdio};

const SHAPE: [usize; 4] = [1, 2, 3, 3];

#[test]
fn outputs_are_told_from_inputs_and_from_each_other() {
    let folder = Folder::new();
    let (t, s) = (folder.map("t.npy", &SHAPE, 1), folder.map("s.npy", &SHAPE, 2));
    let before = fs::read(&s).expect("the student");
    run!["loss", &t, &s, "--grad", &s, "--json"].fails_json("output_is_input", &["s.npy"]);
    assert_eq!(fs::read(&s).expect("the student"), before, "the file that was there is whole");
    let g = folder.join("g.npy");
    run!["loss", &t, &s, "--grad", &g, "--grad-teacher", &g, "--json"].fails_json("output_twice", &["g.npy"]);
    assert!(!g.exists());
}

#[test]
fn tensors_that_fit_no_map() {
    let folder = Folder::new();
    let (t, s) = (folder.map("t.npy", &SHAPE, 1), folder.map("s.npy", &SHAPE, 2));
    let five = folder.map("five.npy", &[1, 1, 2, 3, 3], 1);
    run!["loss", &five, &s, "--json"].fails_json("rank", &["five.npy", "[N, C, H, W]"]);
    let mask = folder.whole("mask.npy", &[1, 3, 3], &[0, 1, 2, 0, 1, 1, 1, 1, 1]);
    run!["loss", &t, &s, "--mask", &mask, "--json"].fails_json("mask_value", &["mask.npy", "2"]);
    let weight = folder.map("w.npy", &[3, 2, 1, 1], 3);
    let words = ["--loss", "mimic", "--json", "--projection"];
    run!["loss", &t, &s, words[0], words[1], words[2], words[3], &weight]
        .fails_json("projection_shape", &["w.npy", "[2, 2]"]);
}

#[test]
fn folders_that_are_no_pairs() {
    let folder = Folder::new();
    let (ts, ss, none) = (folder.folder("ts"), folder.folder("ss"), folder.folder("none"));
    folder.map("ts/a.npy", &SHAPE, 1);
    let s = folder.map("ss/b.npy", &SHAPE, 2);
    run!["loss", &ts, &ss, "--json"].fails_json("unpaired", &["a"]);
    run!["loss", &none, &none, "--json"].fails_json("empty_folder", &["none"]);
    run!["loss", &ts, &s, "--json"].fails_json("folder_and_file", &["ts"]);
    run!["check", &ts, &ss, "--json"].fails_json("folder_unwanted", &["ts"]);
    folder.map("ss/a.npy", &SHAPE, 3);
    folder.map("ss/a.safetensors", &SHAPE, 3);
    run!["loss", &ts, &ss, "--json"].fails_json("same_stem", &["a"]);
}

#[test]
fn work_that_cannot_be_done() {
    run!["loss", TEACHER, STUDENT, "--backend", "cuda", "--json"]
        .fails_json("no_backend", &["--backend cpu"]);
    let folder = Folder::new();
    let (t, s) = (folder.map("t.npy", &[1, 4, 6, 6], 1), folder.map("s.npy", &[1, 4, 6, 6], 2));
    run!["check", &t, &s, "--loss", "pa", "--detach-norm", "--json"].fails_json("detached", &["detach"]);
}

#[test]
fn a_gradient_that_is_no_file_name() {
    let folder = Folder::new();
    let values = || densekd::io::Array::new(SHAPE, vec![0.5_f32; 18]).expect("18 numbers");
    let archive = |name: &str| {
        let path = folder.join(name);
        densekd::io::write(&path, "up/down", &values()).expect("an archive");
        path
    };
    let objective = folder.bytes(
        "kd.toml",
        "[[term]]\nname = \"a\"\nteacher = \"up/down\"\nstudent = \"up/down\"\nloss = \"cwd\"\n",
    );
    let (t, s, out) = (archive("t.safetensors"), archive("s.safetensors"), folder.join("out"));
    run!["loss", "--objective", &objective, &t, &s, "--grad", &out, "--json"]
        .fails_json("gradient_name", &["up/down"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_report_that_cannot_be_written() {
    let full = File::options().write(true).open("/dev/full").expect("the device that is always full");
    let output = Command::new(env!("CARGO_BIN_EXE_densekd"))
        .args(["list", "losses", "--json"])
        .stdout(Stdio::from(full))
        .output()
        .expect("the program runs");
    let fault: serde_json::Value = serde_json::from_slice(&output.stderr).expect("the fault is JSON");
    assert_eq!((output.status.code(), &fault["error"]["code"]), (Some(1), &serde_json::json!("stdout")));
}
