//! `densekd selftest`.

use crate::run;
use crate::support::{Folder, Run};
use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{GOLDEN}/pi.json")).expect("vectors");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("an array");
    // Of value 0 every miss is infinitely many times the tolerance.
    cases.into_iter().filter(|case| case["value"].as_f64() > Some(0.1)).take(3).collect()
}

/// The report of a run that failed a case.
#[track_caller]
fn failed(run: Run) -> String {
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{}", run.stdout);
    run.stdout
}

#[test]
fn the_built_in_vectors_pass() {
    let text = run!["selftest"].text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("backend cpu: ") && text.contains(" 0 failed, 0 not tested"), "{text}");
    let report = run!["selftest", "--threads", "2", "--backend", "cpu", "--json"].json();
    assert_eq!((&report["failed"], &report["unsupported"]), (&json!(0), &json!([])));
    let cases = report["cases"].as_array().expect("an array");
    assert_eq!(report["passed"], cases.len());
    assert!(cases.len() > 70);
    for case in cases {
        assert!(case["name"].is_string() && case["max_error"].is_number());
        assert_eq!((&case["tolerance"], &case["ok"]), (&json!(1.0), &json!(true)));
    }
}

#[test]
fn the_folder_of_vectors_is_what_is_built_in() {
    let built_in = run!["selftest", "--json"].json();
    let report = run!["selftest", GOLDEN, "--json"].json();
    assert_eq!((&report["passed"], &report["failed"]), (&built_in["passed"], &json!(0)));
    assert_eq!(report["unsupported"], json!([]));
}

/// A case of a loss that there is not.
fn unknown(name: &str) -> Value {
    let mut case = cases()[0].clone();
    (case["name"], case["loss"]) = (json!(name), json!("kdw"));
    case
}

#[test]
fn other_losses_are_named_and_never_passed() {
    let folder = Folder::new();
    let mut mixed = cases();
    mixed.push(unknown("kdw-plain"));
    let file = folder.bytes("mixed.json", json!(mixed).to_string());
    let report = run!["selftest", &file, "--json"].json();
    assert_eq!((&report["passed"], &report["unsupported"]), (&json!(3), &json!(["kdw-plain"])));
    let text = run!["selftest", &file].text();
    assert!(text.contains("NOT TESTED: 1 case") && text.contains("kdw-plain"), "{text}");
    assert!(text.ends_with("1 not tested\n"), "{text}");
}

#[test]
fn a_case_that_misses_is_named() {
    let folder = Folder::new();
    let mut cases = cases();
    let value = cases[1]["value"].as_f64().expect("a number");
    cases[1]["value"] = json!(value * 1.001 + 1e-3);
    let file = folder.bytes("wrong.json", json!(cases).to_string());
    let name = cases[1]["name"].as_str().expect("a name");
    let text = failed(run!["selftest", &file]);
    let misses: Vec<&str> = text.lines().filter(|line| line.starts_with("MISS ")).collect();
    assert_eq!(misses.len(), 1);
    assert!(misses[0].contains(name) && misses[0].contains("times the tolerance: value"), "{text}");
    assert!(text.contains("2 passed") && text.contains("1 failed"), "{text}");
    let report: Value = serde_json::from_str(&failed(run!["selftest", &file, "--json"])).expect("JSON");
    assert_eq!((&report["passed"], &report["failed"]), (&json!(2), &json!(1)));
    assert_eq!((&report["cases"][1]["name"], &report["cases"][1]["ok"]), (&json!(name), &json!(false)));
    assert!(report["cases"][1]["max_error"].as_f64().is_some_and(|error| error > 1.0));
}

#[test]
fn files_and_folders_may_be_mixed() {
    let folder = Folder::new();
    let more = folder.folder("more");
    folder.bytes("more/a.json", json!(&cases()[..1]).to_string());
    let file = folder.bytes("b.json", json!(&cases()[1..]).to_string());
    assert_eq!(run!["selftest", &more, &file, "--json"].json()["passed"], 3);
}

#[test]
fn nothing_evaluated_is_no_pass() {
    let folder = Folder::new();
    let none = folder.bytes("none.json", "[]");
    let unknown = folder.bytes("unknown.json", json!([unknown("kdw-plain")]).to_string());
    for path in [none, unknown] {
        let text = failed(run!["selftest", &path]);
        assert!(text.contains("no case was evaluated") && text.contains(" 0 passed"), "{text}");
        let report: Value = serde_json::from_str(&failed(run!["selftest", &path, "--json"])).expect("JSON");
        assert_eq!(report["passed"], 0);
    }
}

#[test]
fn a_case_that_cannot_be_evaluated_fails() {
    let folder = Folder::new();
    let mut cases = cases();
    cases[0]["options"]["tau"] = json!(0.0);
    let file = folder.bytes("bad.json", json!(cases).to_string());
    let text = failed(run!["selftest", &file]);
    assert!(text.contains("MISS ") && text.contains("tau is 0"), "{text}");
    let report: Value = serde_json::from_str(&failed(run!["selftest", &file, "--json"])).expect("JSON");
    assert_eq!(report["cases"][0]["max_error"], "inf");
    assert!(report["cases"][0]["detail"].as_str().is_some_and(|detail| detail.contains("tau is 0")));
}

#[test]
fn files_that_are_no_vectors() {
    let folder = Folder::new();
    let (broken, other) = (folder.bytes("broken.json", "[{"), folder.bytes("other.json", r#"{"a": 1}"#));
    let (missing, empty) = (folder.join("missing.json"), folder.folder("empty"));
    run!["selftest", &missing].fails(1, &["missing.json`", "golden/README.md"]);
    run!["selftest", &broken, "--json"].fails_json("vectors", &["broken.json`", "line 1"]);
    run!["selftest", &other].fails(1, &["other.json`", "JSON array of cases"]);
    run!["selftest", &empty].fails(1, &["empty` holds no .json file"]);
}
