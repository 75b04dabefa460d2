//! `densekd selftest`: test vectors on this machine's backend.

use super::failure::Failure;
use super::folder::list;
use super::machine::BackendArgs;
use super::output::{Number, print, print_json};
use clap::{Args, ValueHint};
use densekd::selftest::{self, CaseReport, Report};
use densekd::vectors::{self, Case};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct SelftestCommand {
    /// Files of test vectors, or folders of *.json [default: those built in]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
}

impl SelftestCommand {
    /// Whether every case that was evaluated passed, and one was.
    pub(crate) fn run(&self, json: bool) -> Result<bool, Failure> {
        let machine = self.backend.start()?;
        let cases = if self.paths.is_empty() { selftest::built_in() } else { self.cases()? };
        let report = selftest::run(&*machine.backend, &cases);
        if json {
            print_json(&as_json(&report, machine.backend.name()))?;
        } else {
            print(&as_text(&report, machine.backend.name()))?;
        }
        Ok(report.failed == 0 && report.passed > 0)
    }

    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let mut cases = Vec::new();
        for path in &self.paths {
            if path.is_dir() {
                for file in list(path, &["json"], ".json")? {
                    cases.extend(read(&file)?);
                }
            } else {
                cases.extend(read(path)?);
            }
        }
        Ok(cases)
    }
}

fn read(path: &Path) -> Result<Vec<Case>, Failure> {
    let fail = |found| Failure::Vectors { path: path.to_owned(), found };
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    vectors::parse(&text).map_err(|error| fail(error.to_string()))
}

fn as_json(report: &Report, backend: &str) -> Value {
    let Report { passed, failed, unsupported, cases } = report;
    let case = |case: &CaseReport| {
        let CaseReport { name, max_error, tolerance, ok, detail } = case;
        let (max_error, tolerance) = (Number(*max_error), Number(*tolerance));
        let mut case = json!({ "name": name, "max_error": max_error, "tolerance": tolerance, "ok": ok });
        if !ok {
            case["detail"] = detail.as_str().into();
        }
        case
    };
    let cases: Vec<Value> = cases.iter().map(case).collect();
    json!({
        "backend": backend,
        "passed": passed,
        "failed": failed,
        "unsupported": unsupported,
        "cases": cases,
    })
}

fn as_text(report: &Report, backend: &str) -> String {
    let Report { passed, failed, unsupported, cases } = report;
    let mut lines: Vec<String> = cases.iter().filter(|case| !case.ok).map(miss).collect();
    if !unsupported.is_empty() {
        let n = unsupported.len();
        lines.push(format!("NOT TESTED: {n} cases of losses that this version or backend does not have:"));
        lines.extend(wrapped(unsupported));
    }
    if cases.is_empty() {
        lines.push("no case was evaluated, so nothing is known of this backend".to_owned());
    }
    let worst = cases.iter().filter(|case| case.ok).map(|case| case.max_error).fold(0.0, f64::max);
    lines.push(format!(
        "backend {backend}: {passed} passed (worst {worst:.3} of its tolerance), {failed} failed, {} not tested\n",
        unsupported.len()
    ));
    lines.join("\n")
}

fn miss(case: &CaseReport) -> String {
    let CaseReport { name, max_error, detail, .. } = case;
    if max_error.is_finite() {
        format!("MISS {name}: {max_error:.3} times the tolerance: {detail}")
    } else {
        format!("MISS {name}: {detail}")
    }
}

/// Names in lines that fit a terminal.
fn wrapped(names: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + name.len() < 98 => line.extend([", ", name]),
            _ => lines.push(format!("  {name}")),
        }
    }
    lines
}
