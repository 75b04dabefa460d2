//! Presets and options, against the library.

use crate::run;
use crate::support::{LABELS, STUDENT, TEACHER, assert_close, densekd};
use densekd::core::{Preset, RowOptions};
use densekd::io::{self, TensorPath};
use serde_json::json;
use std::ffi::OsString;

fn logits(of: &str) -> Vec<f32> {
    let at = TensorPath::new(of, Some("logits")).expect("a tensor path");
    io::read(&at).expect("the sample").as_slice::<f32>().expect("f32").to_vec()
}

fn wanted(options: RowOptions) -> f64 {
    densekd::loss(options, [1, 7, 32, 32], &logits(TEACHER), &logits(STUDENT)).expect("a value")
}

#[test]
fn every_preset_gives_what_the_library_gives() {
    for preset in Preset::ALL {
        let Some(options) = preset.options.row() else { continue };
        let report = run!["loss", TEACHER, STUDENT, "--preset", preset.name, "--json"].json();
        assert_eq!(
            (&report["preset"], &report["loss"]),
            (&json!(preset.name), &json!(preset.options.loss().name()))
        );
        assert_eq!(report["options"]["weight"], options.weight.get(), "{}", preset.name);
        let value = report["value"].as_f64().expect("a number");
        assert_close(value, wanted(*options), 1e-14);
    }
}

#[test]
fn every_flag_reaches_the_loss() {
    let plain = wanted(RowOptions::CWD);
    let value = |words: &str| {
        let mut arguments: Vec<std::ffi::OsString> = vec!["loss".into(), TEACHER.into(), STUDENT.into()];
        arguments.extend(words.split(' ').chain(["--json"]).map(Into::into));
        crate::support::densekd(arguments).value()
    };
    assert_close(value("--weight -2"), -2.0 * plain, 1e-12);
    assert_close(value("--divisor sum"), 7.0 * plain, 1e-12);
    assert_close(value("--divisor-channels 14"), plain / 2.0, 1e-12);
    assert_close(value("--samples first"), plain, 1e-12);
    let pixels = value("--norm spatial --divisor batch_positions --tau 1");
    assert_close(pixels, wanted(RowOptions::PI), 1e-12);
    for words in [
        "--divergence js",
        "--divergence reverse_kl",
        "--divergence ce",
        "--divergence ce --eps 1e-3",
        "--divergence mse",
        "--norm none --divergence mse",
        "--norm channel_mean --divergence mse",
        "--loss pi --upsample 2",
    ] {
        let value = value(words);
        assert!(value > 0.0 && (value - plain).abs() > 1e-6 * plain, "{words}: {value}");
    }
}

#[test]
fn every_preset_runs_on_the_sample() {
    let mut count = 0;
    for preset in Preset::ALL {
        let mut words: Vec<OsString> = vec!["loss".into()];
        if preset.options.takes_teacher() {
            words.push(format!("{TEACHER}:logits").into());
        }
        words.push(format!("{STUDENT}:logits").into());
        if preset.options.takes_labels() {
            words.extend(["--labels".into(), LABELS.into()]);
        }
        words.extend(["--preset", preset.name, "--json"].map(Into::into));
        let report = densekd(words).json();
        assert_eq!(report["preset"], json!(preset.name));
        assert!(report["value"].as_f64().is_some_and(f64::is_finite), "{report}");
        count += 1;
    }
    assert_eq!(count, 48);
}
