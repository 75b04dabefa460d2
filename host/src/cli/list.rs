//! `densekd list`: the losses, presets and backends that there are.

use super::failure::Failure;
use super::flags::flag;
use super::output::{print, print_json, table};
use super::settings::{Setting, Settings};
use clap::{Args, ValueEnum};
use densekd::Cpu;
use densekd::core::{About, Field, Loss, Preset};
use serde_json::{Value, json};

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct ListCommand {
    /// What to list
    #[arg(value_name = "WHAT", value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Named losses with their options, defaults and sources
    Losses,
    /// Settings of published codes: `densekd loss --preset NAME`
    Presets,
    /// What runs a loss on this machine
    Backends,
}

impl ListCommand {
    /// Prints the list.
    pub(crate) fn run(&self, json: bool) -> Result<(), Failure> {
        let (as_text, as_json): (String, Value) = match self.what {
            What::Losses => losses(),
            What::Presets => presets(),
            What::Backends => backends(),
        };
        if json { print_json(&as_json) } else { print(&as_text) }
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Each loss, and what its options are.
fn losses() -> (String, Value) {
    let mut text = String::new();
    let mut list = Vec::new();
    for loss in Loss::ALL {
        let (About { name, summary, source }, defaults) = (loss.about(), loss.defaults());
        text.extend([name, ": ", summary, " (", source, ")\n"]);
        let mut rows = Vec::new();
        let mut fields = Vec::new();
        for Field { name, help, wanted, names } in defaults.fields() {
            let default = Setting::of(&defaults, name);
            let choices = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            let shown = default.map_or_else(String::new, |default| default.to_string());
            rows.push(row(["", &flag(name), &shown, &(help.trim().to_owned() + &choices)]));
            let wanted = if names.is_empty() { json!(wanted) } else { json!(names) };
            fields
                .push(json!({ "name": name, "default": default, "meaning": help.trim(), "wanted": wanted }));
        }
        text += &table(&rows);
        text.push('\n');
        list.push(json!({
            "name": name,
            "summary": summary,
            "source": source,
            "options": Settings::new(&defaults),
            "fields": fields,
        }));
    }
    text += "`densekd loss --loss NAME --explain` prints a loss's formula.\n";
    (text, Value::Array(list))
}

fn presets() -> (String, Value) {
    let mut rows =
        vec![row(["PRESET", "LOSS", "SETTINGS THAT DIFFER FROM THE LOSS'S DEFAULTS", "REPOSITORY", "FILE"])];
    let mut list = Vec::new();
    for Preset { name, options, repository, source } in Preset::ALL {
        let loss = options.loss();
        let settings = Settings::new(options);
        let different = settings.different_from(&Settings::new(&loss.defaults()));
        rows.push(row([name, loss.name(), &different.to_string(), repository, source]));
        list.push(json!({
            "name": name,
            "loss": loss.name(),
            "options": settings,
            "different": different,
            "repository": repository,
            "source": source,
        }));
    }
    (table(&rows), Value::Array(list))
}

fn backends() -> (String, Value) {
    let threads = Cpu::new().threads();
    let simd = simd();
    let names = if simd.is_empty() { "none".to_owned() } else { simd.join(" ") };
    let mut rows = vec![
        row(["BACKEND", "STATE", "DETAILS"]),
        row(["cpu", "ready", &format!("{threads} threads, SIMD: {names}")]),
    ];
    let mut list = vec![json!({ "name": "cpu", "available": true, "threads": threads, "simd": simd })];
    for (state, details, found) in cuda() {
        rows.push(row(["cuda", state, &details]));
        list.push(found);
    }
    (table(&rows), Value::Array(list))
}

/// State and details of each GPU, and all of it for machines; where there is none, why.
#[cfg(feature = "cuda")]
fn cuda() -> Vec<(&'static str, String, Value)> {
    use densekd::gpu::Device;
    // Without a count the first says why.
    let count = Device::count().unwrap_or_default().max(1);
    (0..count).map(|number| gpu(number, Device::open(number))).collect()
}

#[cfg(feature = "cuda")]
fn gpu(
    number: u32,
    opened: Result<densekd::gpu::Device, densekd::gpu::Error>,
) -> (&'static str, String, Value) {
    match opened {
        Ok(device) => {
            let (major, minor) = device.compute_capability();
            let (name, memory, kernels) = (device.name(), device.total_memory(), device.kernels());
            let found = json!({
                "name": "cuda",
                "available": true,
                "number": number,
                "device": name,
                "compute_capability": [major, minor],
                "memory": memory,
                "kernels": kernels,
            });
            let details = format!(
                "{number}: {name}, compute capability {major}.{minor}, {} MiB, kernels for {kernels}",
                memory >> 20
            );
            ("ready", details, found)
        }
        Err(error) => {
            let (code, reason) = (error.code(), error.to_string());
            let found = json!({
                "name": "cuda", "available": false, "number": number, "code": code, "reason": reason
            });
            ("not available", reason, found)
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Vec<(&'static str, String, Value)> {
    let found = json!({ "name": "cuda", "available": false, "reason": "not in this build" });
    vec![("not in this build", "use cpu".to_owned(), found)]
}

/// The instruction sets that the inner loops have a form for, as far as this CPU has them.
fn simd() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
            ("avx512dq", std::arch::is_x86_feature_detected!("avx512dq")),
            ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ];
        found.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}
