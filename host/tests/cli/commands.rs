//! Lists, completions and help, and the manners of all commands.

use crate::run;
use crate::support::{STUDENT, TEACHER};
use densekd::core::{Loss, Preset};
use std::process::{Command, Stdio};

#[test]
fn lists_hold_all_there_is() {
    let names = |what: &str| -> Vec<String> {
        let list = run!["list", what, "--json"].json();
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names("losses"), Loss::ALL.iter().map(|loss| loss.name()).collect::<Vec<_>>());
    assert_eq!(names("presets"), Preset::ALL.iter().map(|preset| preset.name).collect::<Vec<_>>());
    assert_eq!(names("backends"), ["cpu", "cuda"]);
    let text = run!["list", "presets"].text();
    assert!(text.contains("tau 1, divergence ce, weight 5") && text.contains("meituan/YOLOv6"), "{text}");
    assert!(run!["list", "losses"].text().contains("2011.13256"));
    let missing = if cfg!(feature = "cuda") { "no CUDA device: none" } else { "not in this build" };
    assert!(run!["list", "backends"].text().contains(missing));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run!["completions", shell].text().contains("divisor-channels"), "{shell}");
    }
    assert_eq!(run!["completions", "fish", "--json"].json()["shell"], "fish");
    run!["completions", "csh"].fails(2, &["'csh'", "bash"]);
}

#[test]
fn help_teaches_with_an_example() {
    for command in ["loss", "bench", "selftest", "check", "doctor", "list", "completions"] {
        let text = run![command, "--help"].text();
        assert!(text.contains("Example") && text.contains(&format!("densekd {command}")), "{text}");
    }
    assert!(run!["--help"].text().contains("teacher"));
    assert!(run!["--version"].text().starts_with("densekd "));
    let bare = crate::support::densekd(Vec::new());
    assert_eq!(bare.code, Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    for words in
        [&["list", "presets"][..], &["completions", "bash"], &["--help"], &["list", "presets", "--json"]]
    {
        let mut child = Command::new(env!("CARGO_BIN_EXE_densekd"))
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{words:?}");
    }
}

#[test]
fn a_fault_that_nobody_reads_is_still_a_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_densekd"))
        .args(["loss", TEACHER, "missing.npy"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("the program ends").code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let mut command = Command::new(env!("CARGO_BIN_EXE_densekd"));
    let output = command.args(["loss", TEACHER, STUDENT]).stdout(full).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be written to standard output"));
}
