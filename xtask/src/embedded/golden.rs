//! Golden vectors as a Rust file: rows that a board can hold, with the answers as they stand.

use anyhow::{Context, Result, ensure};
use densekd::vectors::{Case, parse};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The longest row that is taken.
const LONGEST: usize = 128;

/// Writes the KL divergences of channels among the vectors, and says how many there are.
pub(super) fn write(root: &Path, to: &Path) -> Result<usize> {
    let text =
        fs::read_to_string(root.join("host/golden/cwd.json")).context("the golden vectors are missing")?;
    let cases: Vec<Case> = parse(&text)?.into_iter().filter(is_taken).collect();
    ensure!(cases.len() > 20, "only {} of the golden vectors are rows of a board", cases.len());
    let mut source = String::from("&[\n");
    for case in &cases {
        write_case(&mut source, case)?;
    }
    source.push_str("]\n");
    fs::write(to, source)?;
    Ok(cases.len())
}

fn text<'c>(case: &'c Case, option: &str) -> &'c str {
    case.options.get(option).and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn number(case: &Case, option: &str) -> f64 {
    case.options.get(option).and_then(serde_json::Value::as_f64).unwrap_or_default()
}

fn is_taken(case: &Case) -> bool {
    let [.., h, w] = case.shape;
    let plain = case.mask.is_none() && case.labels.is_none() && case.dtype == "f32";
    let whole =
        number(case, "eps") == 0.0 && number(case, "upsample") == 1.0 && text(case, "samples") == "all";
    plain
        && whole
        && text(case, "norm") == "channel"
        && text(case, "divergence") == "kl"
        && text(case, "divisor") == "batch_channels"
        && case.options.get("divisor_channels").is_none_or(serde_json::Value::is_null)
        && h * w <= LONGEST
}

#[allow(clippy::cast_precision_loss, reason = "small shapes")]
fn write_case(source: &mut String, case: &Case) -> Result<()> {
    let [n, c, h, w] = case.shape;
    let tau = number(case, "tau");
    let square = if case.options.get("tau_square") == Some(&true.into()) { tau * tau } else { 1.0 };
    let scale = number(case, "weight") * square / (n * c) as f64;
    let teacher = case.teacher.as_deref().context("a row loss has a teacher")?;
    writeln!(
        source,
        "    Case {{ name: {:?}, len: {}, tau: {tau:?}, scale: {scale:?}, value: {},\n        value_bound: {:?}, \
         gradient_bound: {:?},\n        teacher: &{},\n        student: &{},\n        gradient: &{} }},",
        case.name,
        h * w,
        wide(case.value),
        case.tolerance.value,
        case.tolerance.gradient,
        singles(teacher),
        singles(&case.student),
        list(case.grad_student.iter().map(|&x| wide(x)))
    )?;
    Ok(())
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// With every bit, and what is no number.
fn wide(x: f64) -> String {
    format!("f64::from_bits({:#x})", x.to_bits())
}

#[allow(clippy::cast_possible_truncation, reason = "inputs are exact in their type")]
fn singles(all: &[f64]) -> String {
    list(all.iter().map(|&x| format!("f32::from_bits({:#x})", (x as f32).to_bits())))
}
