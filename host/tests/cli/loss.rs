//! Values and reports.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER, assert_close, numbers};
use serde_json::{Value, json};

const CWD: f64 = 0.404_608_801_379_865_2;
const CWD_TAU_1: f64 = 0.331_469_675_215_829_43;
const PI: f64 = 0.261_388_212_884_022_5;

#[test]
fn the_sample_pair_has_the_values_stated_beside_it() {
    assert_close(run!["loss", TEACHER, STUDENT, "--json"].value(), CWD, 1e-6);
    assert_close(run!["loss", TEACHER, STUDENT, "--json", "--tau", "1"].value(), CWD_TAU_1, 1e-6);
    assert_close(run!["loss", TEACHER, STUDENT, "--json", "--loss", "pi"].value(), PI, 1e-6);
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_report_has_the_keys_that_programs_rely_on() {
    let report = run!["loss", TEACHER, STUDENT, "--json", "--threads", "2"].json();
    assert_eq!(report["loss"], "cwd");
    assert_eq!(report["preset"], Value::Null);
    assert_eq!(report["shape"], json!([1, 7, 32, 32]));
    assert_eq!(report["dtype"], "f32");
    assert_eq!(report["backend"], "cpu");
    assert_eq!(report["threads"], 2);
    assert_eq!(report["teacher"], format!("{TEACHER}:logits"));
    assert_eq!(report["student"], format!("{STUDENT}:logits"));
    assert_eq!(report["divisor"], 7.0);
    assert_eq!(report["scale"], 16.0);
    let options = json!({
        "tau": 4.0, "norm": "channel", "divergence": "kl", "divisor": "batch_channels", "divisor_channels": null,
        "tau_square": true, "weight": 1.0, "eps": 0.0, "ignore": "before", "ignore_index": 255, "samples": "all",
        "upsample": 1
    });
    assert_eq!(report["options"], options);
    let keys = "backend divisor dtype loss options preset scale shape student sum teacher threads value";
    assert_eq!(self::keys(&report), keys.split(' ').collect::<Vec<_>>());
    let folder = Folder::new();
    let more =
        run!["loss", TEACHER, STUDENT, "--json", "--per-channel", "--grad", folder.join("g.npy")].json();
    let added: Vec<&str> = self::keys(&more).into_iter().filter(|key| report.get(key).is_none()).collect();
    assert_eq!(added, ["grad", "per_channel"]);
    assert_eq!(self::keys(&more["grad"]), ["dtype", "max_abs", "max_at", "norm", "overflowed", "path"]);
    let parts = (report["sum"].as_f64().unwrap_or(f64::NAN), report["value"].as_f64().unwrap_or(f64::NAN));
    assert_close(parts.0 * 16.0 / 7.0, parts.1, 1e-12);
}

#[test]
fn the_report_for_people_names_every_option_and_the_channels_that_add_most() {
    let text = run!["loss", TEACHER, STUDENT].text();
    let words = ["cwd", "0.40460", "[1, 7, 32, 32]", "cpu (auto)", "batch_channels = 7", "ignore_index", "%"];
    for word in words {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(text.matches('%').count(), 5, "{text}");
    assert_eq!(run!["loss", TEACHER, STUDENT, "--per-channel"].text().matches('%').count(), 7);
    assert_eq!(run!["loss", TEACHER, STUDENT, "--loss", "pi"].text().matches('%').count(), 0);
}

#[test]
fn the_value_for_people_has_every_digit() {
    let value = run!["loss", TEACHER, STUDENT, "--json"].value();
    assert!(run!["loss", TEACHER, STUDENT].text().contains(&format!("{value:?}\n")));
}

#[test]
fn channels_add_up_to_the_value() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[3, 4, 2, 5], 1), folder.map("s.npy", &[3, 4, 2, 5], 2));
    for norm in ["channel", "channel_mean", "none"] {
        let words = ["--divergence", "mse", "--weight", "-3"];
        let report = run![
            "loss",
            &teacher,
            &student,
            "--norm",
            norm,
            words[0],
            words[1],
            words[2],
            words[3],
            "--json",
            "--per-channel"
        ]
        .json();
        let channels = report["per_channel"].as_array().cloned().unwrap_or_default();
        assert_eq!(channels.len(), 4);
        let sum = channels.iter().filter_map(Value::as_f64).sum();
        assert_close(sum, report["value"].as_f64().unwrap_or(f64::NAN), 1e-12);
    }
}

#[test]
fn a_preset_brings_its_settings_and_flags_override_them() {
    let report = run!["loss", TEACHER, STUDENT, "--json", "--preset", "mmrazor"].json();
    assert_eq!(report["preset"], "mmrazor-cwd");
    assert_eq!(report["options"]["weight"], 5.0);
    assert_close(report["value"].as_f64().unwrap_or(f64::NAN), 5.0 * CWD_TAU_1, 1e-6);

    let value =
        run!["loss", TEACHER, STUDENT, "--json", "--preset", "mmrazor", "--weight", "1", "--tau", "4"]
            .value();
    assert_close(value, CWD, 1e-6);
    let pi = run!["loss", TEACHER, STUDENT, "--json", "--preset", "cirkd-pi"].json();
    assert_eq!(pi["loss"], "pi");
    assert_close(pi["value"].as_f64().unwrap_or(f64::NAN), PI, 1e-6);
}

#[test]
fn tau_square_can_be_switched_and_the_last_word_counts() {
    let off = run!["loss", TEACHER, STUDENT, "--json", "--no-tau-square"].value();
    assert_close(off, CWD / 16.0, 1e-6);
    let on = run!["loss", TEACHER, STUDENT, "--json", "--no-tau-square", "--tau-square"].value();
    assert_close(on, CWD, 1e-6);
    let off = run!["loss", TEACHER, STUDENT, "--json", "--tau-square", "--no-tau-square"].value();
    assert_close(off, CWD / 16.0, 1e-6);
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let one = run!["loss", TEACHER, STUDENT, "--json", "--threads", "1", "--backend", "cpu"].value();
    let three = run!["loss", TEACHER, STUDENT, "--json", "--threads", "3"].value();
    assert_eq!(one.to_bits(), three.to_bits());
}

#[test]
fn dtypes_may_differ() {
    let folder = Folder::new();
    let teacher = folder.map("t.npy", &[2, 3], 1);
    let student = folder.tensor("s.npy", &[2, 3], vec![half::f16::ONE; 6]);
    let report = run!["loss", &teacher, &student, "--loss", "pi", "--json"].json();
    assert_eq!(report["dtype"], "f16", "the student's");
    assert_eq!(report["shape"], json!([2, 3, 1, 1]));
    assert!(run!["loss", &teacher, &student, "--loss", "pi"].text().contains("f16 (student), f32 (teacher)"));
}

#[test]
fn numbers_that_json_lacks_are_named() {
    let folder = Folder::new();
    let mut values = numbers(6, 1);
    let student = folder.tensor("s.npy", &[2, 3], values.clone());
    values[2] = f32::NAN;
    let teacher = folder.tensor("t.npy", &[2, 3], values.clone());
    assert_eq!(run!["loss", &teacher, &student, "--loss", "pi", "--json"].json()["value"], "nan");
    values[2] = f32::NEG_INFINITY;
    let student = folder.tensor("inf.npy", &[2, 3], values);
    let teacher = folder.map("t2.npy", &[2, 3], 4);
    assert_eq!(run!["loss", &teacher, &student, "--loss", "pi", "--json"].json()["value"], "inf");
}

#[test]
fn one_image_may_leave_out_its_dimension() {
    let folder = Folder::new();
    let (t3, s3) = (folder.map("t3.npy", &[4, 3, 5], 1), folder.map("s3.npy", &[4, 3, 5], 2));
    let (t4, s4) = (folder.map("t4.npy", &[1, 4, 3, 5], 1), folder.map("s4.npy", &[1, 4, 3, 5], 2));
    let three = run!["loss", &t3, &s3, "--json"].json();
    assert_eq!(three["value"], run!["loss", &t4, &s4, "--json"].json()["value"]);
    assert_eq!(three["shape"], json!([1, 4, 3, 5]));
}

#[test]
fn channels_last_files_give_the_same_value_and_gradient() {
    let folder = Folder::new();
    let [n, c, h, w] = [2, 3, 4, 5];
    // From the place in NHWC to that in NCHW.
    let places = || {
        let of = move |i: usize| {
            let (image, channel, y, x) = (i / (c * h * w), i % c, i / (w * c) % h, i / c % w);
            ((image * c + channel) * h + y) * w + x
        };
        (0..n * c * h * w).map(of)
    };
    let last = |name: &str, seed| {
        let plain = numbers(n * c * h * w, seed);
        folder.tensor(name, &[n, h, w, c], places().map(|i| plain[i]).collect::<Vec<f32>>())
    };
    let (t, s) = (folder.map("t.npy", &[n, c, h, w], 1), folder.map("s.npy", &[n, c, h, w], 2));
    let (tl, sl) = (last("tl.npy", 1), last("sl.npy", 2));
    for loss in ["cwd", "pi"] {
        let (grad, grad_last) = (folder.join("g.npy"), folder.join("gl.npy"));
        let plain = run!["loss", &t, &s, "--loss", loss, "--json", "--grad", &grad].json();
        let same =
            run!["loss", &tl, &sl, "--loss", loss, "--json", "--layout", "nhwc", "--grad", &grad_last].json();
        assert_eq!(same["shape"], json!([n, c, h, w]));
        let value = |report: &Value| report["value"].as_f64().unwrap_or(f64::NAN);
        assert_close(value(&same), value(&plain), 1e-6);
        let ((_, grad), (shape, grad_last)) = (crate::support::read(&grad), crate::support::read(&grad_last));
        assert_eq!(shape, [n, h, w, c]);
        let largest = grad.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        for (i, found) in places().zip(grad_last) {
            assert!((found - grad[i]).abs() <= 2e-6 * largest, "{found} is not {}", grad[i]);
        }
        // Of entries that are equally large, either order may name another.
        let place = |at: &Value| -> usize {
            let at: Vec<usize> = serde_json::from_value(at.clone()).expect("a place");
            at.iter().zip([n, c, h, w]).fold(0, |place, (at, size)| place * size + at)
        };
        let named = grad[place(&same["grad"]["max_at"])].abs();
        assert!(named >= (1.0 - 2e-6) * largest, "{named} is not {largest}");
    }
}
