//! Every loss of the registry, whatever there is: what it takes, its options, its inputs, against the library.

use crate::run;
use crate::support::{Folder, Run, STUDENT, TEACHER, assert_close, densekd, numbers, read};
use densekd::core::{Labels, Loss, OptionValue, Options, Order, Preset, Projection, Shape, Term};
use densekd::{Cpu, TermSubmission};
use serde_json::json;
use std::ffi::OsString;

const SHAPE: [usize; 4] = [3, 4, 6, 6];

/// Classes at another resolution than the maps', some of them ignored.
const LABELS: [usize; 3] = [3, 12, 9];

/// Files of all that a loss takes, and the words that name them.
struct Given {
    folder: Folder,
    options: Options,
    words: Vec<OsString>,
}

fn ready(loss: Loss) -> (Options, Vec<&'static str>) {
    (loss.defaults(), vec!["--loss", loss.name()])
}

fn labels() -> Vec<i64> {
    let label = |i: usize| i64::try_from(i * 7 % 5).map_or(0, |label| if label == 4 { 255 } else { label });
    (0..LABELS.iter().product()).map(label).collect()
}

fn weight() -> Vec<f32> {
    numbers(SHAPE[1] * SHAPE[1], 5)
}

impl Given {
    fn new(options: Options) -> Self {
        let folder = Folder::new();
        let mut words = Vec::new();
        if options.takes_teacher() {
            words.push(folder.map("t.npy", &SHAPE, 1).into());
        }
        words.push(folder.map("s.npy", &SHAPE, 2).into());
        if options.takes_labels() {
            words.extend(["--labels".into(), folder.whole("l.npy", &LABELS, &labels()).into()]);
        }
        if options.takes_projection() {
            let path = folder.tensor("w.npy", &[SHAPE[1], SHAPE[1]], weight());
            words.extend(["--projection".into(), path.into()]);
        }
        Self { folder, options, words }
    }

    fn run(&self, command: &str, more: &[&str]) -> Run {
        let words = [command].into_iter().chain(more.iter().copied()).chain(["--json"]).map(OsString::from);
        densekd(words.chain(self.words.iter().cloned()).collect())
    }

    fn wanted(&self) -> f64 {
        let shape = Shape::new(SHAPE).expect("a shape");
        let term = Term::new(self.options, shape, shape, Order::Nchw).expect("a loss on equal shapes");
        let (teacher, student) = (numbers(shape.len(), 1), numbers(shape.len(), 2));
        let (labels, [images, height, width]) = (labels(), LABELS);
        let weight: Vec<f64> = weight().into_iter().map(f64::from).collect();
        let teacher = self.options.takes_teacher().then(|| teacher.as_slice().into());
        let submission = TermSubmission {
            labels: self
                .options
                .takes_labels()
                .then(|| Labels::new(&labels, images, height, width).expect("labels")),
            projection: Projection {
                weight: self.options.takes_projection().then_some(&weight[..]),
                bias: None,
            },
            ..TermSubmission::new(&term, teacher, student.as_slice())
        };
        submission.submit(&Cpu::new()).expect("a value").value()
    }
}

#[test]
fn every_loss_and_every_preset_gives_what_the_library_gives() {
    let losses = Loss::ALL.iter().map(|&loss| ready(loss));
    let presets = Preset::ALL.iter().map(|preset| (preset.options, vec!["--preset", preset.name]));
    for (options, words) in losses.chain(presets) {
        let (given, name) = (Given::new(options), words[1]);
        let report = given.run("loss", &words).json();
        assert_eq!(report["loss"], options.loss().name(), "{name}");
        assert_close(report["value"].as_f64().expect("a number"), given.wanted(), 1e-14);
        assert_eq!(report["teacher"].is_null(), !options.takes_teacher(), "{name}");
        assert!(report.get("teacher_shape").is_none(), "{name}: the shapes are equal");
    }
}

#[test]
fn every_option_is_a_flag_that_takes_its_own_default() {
    for loss in Loss::ALL {
        let options = loss.defaults();
        let mut words = vec!["loss".to_owned(), "--explain".to_owned(), "--json".to_owned()];
        words.extend(["--loss".to_owned(), loss.name().to_owned()]);
        let plain = densekd(words.iter().map(OsString::from).collect()).json();
        for field in options.fields() {
            let flag = field.name.replace('_', "-");
            match &plain["options"][field.name] {
                serde_json::Value::Bool(true) => words.push(format!("--{flag}")),
                serde_json::Value::Bool(false) => words.push(format!("--no-{flag}")),
                serde_json::Value::String(name) => words.extend([format!("--{flag}"), name.clone()]),
                serde_json::Value::Array(pair) => {
                    words.extend([format!("--{flag}"), format!("{}x{}", pair[0], pair[1])]);
                }
                value => words.extend([format!("--{flag}"), value.to_string()]),
            }
        }
        let same = densekd(words.iter().map(OsString::from).collect()).json();
        assert_eq!(same, plain, "{words:?}");
        assert_eq!(same["formula"], options.to_string());
    }
}

#[test]
fn the_gradient_of_every_loss_is_right() {
    for loss in Loss::ALL {
        let (options, mut words) = ready(*loss);
        words.extend(["--samples-checked", "12"]);
        let report = Given::new(options).run("check", &words).json();
        assert_eq!(report["ok"], true, "{loss}: {report}");
        assert!(report["entries"].as_u64() >= Some(8), "{loss}: {report}");
    }
    let text = run!["check", TEACHER, STUDENT, "--loss", "at", "--samples-checked", "4"].text();
    assert!(text.contains("4 entries in 1 images") && text.contains("tensor's largest"), "{text}");
}

#[test]
fn a_gradient_that_is_no_derivative_by_definition_is_not_checked() {
    for preset in Preset::ALL {
        if preset.options.get("detach_norm") == Some(OptionValue::Flag(true)) {
            run!["check", TEACHER, STUDENT, "--preset", preset.name]
                .fails(2, &["--detach-norm", "by definition", "--no-detach-norm"]);
        }
    }
}

#[test]
fn a_flag_that_the_loss_has_not_is_refused_with_those_it_has() {
    run!["loss", "a.npy", "b.npy", "--loss", "at", "--tau", "2"]
        .fails(2, &["loss at has no option --tau", "--mode, --p, --eps, --weight"]);
    run!["loss", "a.npy", "b.npy", "--loss", "pi", "--p", "2"]
        .fails(2, &["loss pi has no option --p", "--tau, --norm", "--tau-square"]);
    run!["loss", "a.npy", "b.npy", "--preset", "skd-pi", "--p", "2", "--json"]
        .fails_json("option", &["loss pi has no option --p"]);
    run!["loss", "a.npy", "b.npy", "--loss", "at", "--mode", "papr"].fails(2, &["'papr'", "code, paper"]);
    run!["loss", "a.npy", "b.npy", "--loss", "at", "--p", "0.5"]
        .fails(2, &["'0.5'", "integer of at least 1"]);
    run!["check", "a.npy", "b.npy", "--loss", "at", "--tau", "2"].fails(2, &["no option --tau"]);
}

#[test]
fn inputs_that_the_loss_does_not_take_are_refused_before_any_file_is_read() {
    for words in [["--labels", "l.npy"], ["--mask", "m.npy"]] {
        run!["loss", "a.npy", "b.npy", "--loss", "at", words[0], words[1]]
            .fails(2, &["does not take", "leave it out"]);
    }
    for loss in ["cwd", "at"] {
        run!["loss", "a.npy", "b.npy", "--loss", loss, "--projection", "w.npy"]
            .fails(2, &["does not take a projection"]);
        run!["loss", "a.npy", "--loss", loss].fails(2, &["takes two tensors", "one is given"]);
        run!["loss", "--loss", loss].fails(2, &["takes two tensors", "none is given"]);
    }
    run!["loss", "a.npy", "b.npy", "--loss", "at", "--per-channel"].fails(2, &["--per-channel", "loss at"]);
    run!["loss", "a.npy", "b.npy", "--grad-projection", "g.npy"].fails(2, &["--projection <FILE>"]);
    for loss in Loss::ALL.iter().filter(|loss| loss.defaults().takes_labels()) {
        run!["loss", "a.npy", "b.npy", "--loss", loss.name()].fails(2, &[]);
    }
    for loss in Loss::ALL.iter().filter(|loss| !loss.defaults().takes_teacher()) {
        let words = ["loss", "a.npy", "b.npy", "--loss", loss.name()];
        densekd(words.map(OsString::from).to_vec()).fails(2, &["takes one tensor", "two are given"]);
    }
}

#[test]
fn channels_of_teacher_and_student_may_differ_where_the_loss_says_so() {
    let folder = Folder::new();
    let teacher =
        folder.tensor("t.npy", &[2, 5, 3, 4], numbers(120, 1).into_iter().map(f64::from).collect::<Vec<_>>());
    let student = folder.map("s.npy", &[2, 3, 3, 4], 2);
    let (grad, grad_teacher) = (folder.join("gs.npy"), folder.join("gt.npy"));
    let report = run![
        "loss",
        &teacher,
        &student,
        "--loss",
        "at",
        "--json",
        "--grad",
        &grad,
        "--grad-teacher",
        &grad_teacher
    ]
    .json();
    assert_eq!((&report["shape"], &report["teacher_shape"]), (&json!([2, 3, 3, 4]), &json!([2, 5, 3, 4])));
    assert_eq!((&report["grad"]["dtype"], &report["grad_teacher"]["dtype"]), (&json!("f32"), &json!("f64")));
    assert_eq!((read(&grad).0, read(&grad_teacher).0), (vec![2, 3, 3, 4], vec![2, 5, 3, 4]));
    let text = run!["loss", &teacher, &student, "--loss", "at"].text();
    assert!(text.contains("[2, 5, 3, 4]") && text.contains("divisor") && !text.contains('%'), "{text}");
    run!["check", &teacher, &student, "--loss", "at"].text();

    run!["loss", &teacher, &student].fails(1, &["t.npy", "s.npy", "align the channels"]);
    let small = folder.map("small.npy", &[2, 3, 3, 2], 2);
    run!["loss", &teacher, &small, "--loss", "at"].fails(1, &["t.npy", "small.npy", "[2, 3, 3, 2]"]);
}

#[test]
fn folders_hold_the_maps_of_any_loss() {
    for loss in Loss::ALL {
        let (options, words) = ready(*loss);
        let given = Given::new(options);
        let value = given.run("loss", &words).value();
        let out = given.folder.join("gradients");
        let mut words: Vec<OsString> =
            ["loss", "--json"].into_iter().chain(words).map(OsString::from).collect();
        for (place, name) in [("teachers", "t.npy"), ("students", "s.npy")] {
            if given.folder.join(name).exists() {
                let folder = given.folder.folder(place);
                std::fs::copy(given.folder.join(name), folder.join("a.npy")).expect("a copy");
                std::fs::copy(given.folder.join(name), folder.join("b.npy")).expect("a copy");
                words.push(folder.into());
            }
        }
        let files = if loss.defaults().takes_teacher() { 2 } else { 1 };
        words.extend(given.words.iter().skip(files).cloned());
        words.extend(["--grad".into(), out.clone().into()]);
        let report = densekd(words).json();
        assert_eq!(report["files"].as_array().map(Vec::len), Some(2), "{loss}");
        assert_close(report["value"].as_f64().expect("a number"), value, 1e-15);
        assert_eq!(read(&out.join("b.npy")).0, SHAPE, "{loss}");
    }
}

#[test]
fn labels_fit_the_images_alone_and_a_projection_the_channels() {
    for loss in Loss::ALL.iter().filter(|loss| loss.defaults().takes_labels()) {
        let given = Given::new(loss.defaults());
        let wrong = given.folder.whole("l.npy", &[2, 6, 6], &[0; 72]);
        given.run("loss", &["--loss", loss.name()]).fails_json("positions_shape", &["l.npy", "[3, H, W]"]);
        assert!(wrong.exists());
    }
    for loss in Loss::ALL.iter().filter(|loss| loss.defaults().takes_projection()) {
        let folder = Folder::new();
        let (teacher, student) =
            (folder.map("t.npy", &[2, 5, 3, 4], 1), folder.map("s.npy", &[2, 3, 3, 4], 2));
        let weight = folder.map("w.npy", &[5, 3, 1, 1], 3);
        let bias = folder.map("b.npy", &[5], 4);
        let outputs = ["gw.npy", "gb.npy"].map(|name| folder.join(name));
        let report = run![
            "loss",
            &teacher,
            &student,
            "--loss",
            loss.name(),
            "--projection",
            &weight,
            "--projection-bias",
            &bias,
            "--grad-projection",
            &outputs[0],
            "--grad-projection-bias",
            &outputs[1],
            "--json"
        ]
        .json();
        assert_eq!(read(&outputs[0]).0, [5, 3, 1, 1]);
        assert_eq!(read(&outputs[1]).0, [5]);
        assert!(report["grad_projection"]["norm"].as_f64() > Some(0.0), "{report}");
        run!["loss", &teacher, &student, "--loss", loss.name()].fails(1, &["align the channels"]);
        run!["loss", &teacher, &student, "--loss", loss.name(), "--projection", &bias]
            .fails(1, &["projection `", "[5, 3]"]);
    }
}

#[test]
fn a_formula_is_explained_with_and_without_tensors() {
    let alone = run!["loss", "--preset", "skd-pi", "--explain"].text();
    assert!(alone.contains("/ (H W)") && alone.contains("structure_knowledge_distillation"), "{alone}");
    let report = run!["loss", "--loss", "at", "--mode", "paper", "--explain", "--json"].json();
    assert!(report["formula"].as_str().is_some_and(|formula| formula.contains("/ N * sum_n")), "{report}");
    assert_eq!((&report["preset"], &report["options"]["mode"]), (&json!(null), &json!("paper")));
    let text = run!["loss", TEACHER, STUDENT, "--loss", "at", "--explain"].text();
    assert!(text.contains("formula") && text.contains("divisor  1024"), "{text}");
    assert!(run!["loss", TEACHER, STUDENT, "--json"].json().get("formula").is_none());
}

#[test]
fn the_list_of_losses_tells_their_options() {
    let text = run!["list", "losses"].text();
    for words in ["at: attention transfer", "--mode", "(code, paper)", "1e-12", "--divisor-channels"] {
        assert!(text.contains(words), "{text}");
    }
    let list = run!["list", "losses", "--json"].json();
    let of = |name: &str| {
        let losses = list.as_array().cloned().unwrap_or_default();
        losses.into_iter().find(|loss| loss["name"] == name).unwrap_or_default()
    };
    assert_eq!(of("at")["fields"][0]["wanted"], json!(["code", "paper"]));
    assert_eq!(of("at")["fields"][1]["default"], 2);
    assert!(of("cwd")["fields"][0]["meaning"].as_str().is_some_and(|text| text.starts_with("Temperature")));
}
