//! Faults: file, line, column and key.

use crate::{pair, parse};
use densekd::Cpu;
use densekd::objective::{Place, Problem, Step};

const HEAD: &str = "[[term]]\nname = \"a\"\nteacher = \"logits\"\nstudent = \"logits\"\n";

/// Each text is refused, with these words at the beginning.
#[track_caller]
fn assert_faults<T: AsRef<str>>(cases: &[(T, &str)]) {
    for (text, wanted) in cases {
        let text = text.as_ref();
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(wanted), "{text}\n{error}\nis not\n{wanted}");
    }
}

#[test]
fn a_fault_is_named_by_file_line_column_and_key() {
    let lines = |rest: &str| format!("{HEAD}{rest}\n");
    let cases = [
        ("", "kd.toml:1:1: there is no term: begin one with a line [[term]]"),
        ("[[terms]]\n", "kd.toml:1:3: `terms`: there is no such key: use one of term"),
        ("term = 1\n", "kd.toml:1:8: `term`: it must be a list of tables: begin each with [[term]]"),
        ("a = \n", "kd.toml:1:5: this is no TOML: "),
        ("[[term]]\nloss = \"cwd\"\n", "kd.toml:1:1: `name`: it is missing: add name = "),
        (&lines("loss = \"kdw\""), "kd.toml:5:8: `loss` of term `a`: loss must be one of cwd, pi"),
        (&lines("preset = \"nobody\""), "kd.toml:5:10: `preset` of term `a`: no preset is named `nobody`"),
        (&lines(""), "kd.toml:1:1: `loss` of term `a`: it is missing: add loss = \"cwd\", or preset = "),
        (
            &lines("loss = \"cwd\"\npreset = \"skd\""),
            "kd.toml:5:8: `loss` of term `a`: give exactly one of loss and preset",
        ),
        (
            &lines("loss = \"cwd\"\n  taau = 2.0"),
            "kd.toml:6:3: `taau` of term `a`: this loss has no such option",
        ),
        (
            &lines("loss = \"at\"\ntau = 2.0"),
            "kd.toml:6:1: `tau` of term `a`: this loss has no such option, but has",
        ),
        (
            &lines("loss = \"cwd\"\ntau = true"),
            "kd.toml:6:7: `tau` of term `a`: tau must be a finite number above 0",
        ),
        (&lines("loss = \"cwd\"\ntau = -1"), "kd.toml:6:7: `tau` of term `a`: tau is -1.0, but"),
        (
            &lines("loss = \"cwd\"\nnorm = \"pixel\""),
            "kd.toml:6:8: `norm` of term `a`: norm must be one of channel",
        ),
        (
            &lines("loss = \"cwd\"\ntau = 1979-05-27"),
            "kd.toml:6:7: `tau` of term `a`: it must be a name in quotes",
        ),
        (
            &lines("loss = \"cwd\"\nnorm = \"none\""),
            "kd.toml:5:8: `loss` of term `a`: kl compares distributions, but norm none",
        ),
        (&lines("loss = \"cwd\"\nschedule = 3"), "kd.toml:6:12: `schedule` of term `a`: it must be a table"),
        (
            &lines("loss = \"cwd\"\nschedule = { kind = \"step\" }"),
            "kd.toml:6:21: `schedule.kind` of term `a`: kind must be one of constant, linear, cosine, yolov6",
        ),
        (
            &lines("loss = \"cwd\"\nschedule = { kind = \"linear\", from = 0, to = 1 }"),
            "kd.toml:6:12: `schedule.steps` of term `a`: it is missing: add steps = 1000",
        ),
        (
            &lines("loss = \"cwd\"\nschedule = { kind = \"linear\", from = 0, to = 1, steps = 0 }"),
            "kd.toml:6:57: `schedule.steps` of term `a`: it must be a whole number of at least 1",
        ),
        (
            &lines("loss = \"cwd\"\nschedule = { kind = \"linear\", from = inf, to = 1, steps = 1 }"),
            "kd.toml:6:38: `schedule.from` of term `a`: weight is inf, but it must be finite",
        ),
        (
            &lines("loss = \"cwd\"\nschedule = { kind = \"constant\", steps = 3 }"),
            "kd.toml:6:33: `schedule.steps` of term `a`: there is no such key: use one of kind",
        ),
        (
            &lines("loss = \"cwd\"\nresize = { side = \"both\", mode = \"area\" }"),
            "kd.toml:6:19: `resize.side` of term `a`: side must be one of teacher, student",
        ),
        (
            &lines("loss = \"cwd\"\nresize = { side = \"student\", mode = \"bicubic\" }"),
            "kd.toml:6:37: `resize.mode` of term `a`: mode must be one of nearest, bilinear, area",
        ),
        (
            &lines("loss = \"cwd\"\nresize = { side = \"student\", mode = \"area\", align_corners = true }"),
            "kd.toml:6:45: `resize.align_corners` of term `a`: align_corners belongs to bilinear, not to area",
        ),
        (
            &lines("loss = \"cwd\"\nproject = { side = \"student\" }"),
            "kd.toml:6:11: `project.weight` of term `a`: it is missing: add weight = ",
        ),
    ];
    assert_faults(&cases);
}

#[test]
fn labels_and_masks_that_a_loss_does_not_take_are_named_by_their_keys() {
    let lines = |rest: &str| format!("{HEAD}{rest}\n");
    let cases = [
        (
            lines("loss = \"cwd\"\nlabels = 3"),
            "kd.toml:6:10: `labels` of term `a`: it must be a name in quotes",
        ),
        (
            lines("loss = \"cwd\"\nmask = true"),
            "kd.toml:6:8: `mask` of term `a`: it must be a name in quotes",
        ),
        (
            lines("loss = \"cwd\"\nmasks = \"valid\""),
            "kd.toml:6:1: `masks` of term `a`: this loss has no such option",
        ),
        (
            lines("loss = \"at\"\nmask = \"valid\""),
            "kd.toml:6:8: `mask` of term `a`: this loss does not take a mask: leave it out",
        ),
        (
            lines("loss = \"pkd\"\nlabels = \"y\""),
            "kd.toml:6:10: `labels` of term `a`: this loss does not take labels: leave it out",
        ),
        (
            lines("loss = \"pi\"\nmask = \"valid\"\nupsample = 2"),
            "kd.toml:6:8: `mask` of term `a`: labels or a mask cannot be combined with upsample",
        ),
    ];
    assert_faults(&cases);
}

#[test]
fn names_of_terms_are_their_own() {
    let text = format!("{HEAD}loss = \"cwd\"\n\n{HEAD}loss = \"pi\"\n");
    let error = parse(&text).expect_err("two terms of one name");
    assert!(matches!(error.problem(), Problem::Duplicate(Place { file: Some((_, 2, 8)), .. })), "{error}");
    let wanted = "kd.toml:8:8: `name` of term `a`: another term has this name (kd.toml:2:8: `name` of term `a`): rename";
    assert!(error.to_string().starts_with(wanted), "{error}");
}

#[test]
fn tensors_that_are_missing_or_do_not_fit_point_at_their_key() {
    let (teacher, student) = pair();
    let cases = [
        (
            "teacher = \"logitz\"\nstudent = \"logits\"\nloss = \"cwd\"",
            "kd.toml:3:11: `teacher` of term `a`: what was given",
        ),
        (
            "teacher = \"logits\"\nstudent = \"logitz\"\nloss = \"cwd\"",
            "kd.toml:4:11: `student` of term `a`: what was given",
        ),
        (
            "student = \"logits\"\nloss = \"cwd\"",
            "kd.toml:4:8: `loss` of term `a`: this loss compares with a teacher",
        ),
        (
            "student = \"logits\"\nloss = \"cwd\"\nresize = { side = \"student\", mode = \"area\" }",
            "kd.toml:5:10: `resize` of term `a`: there is no teacher",
        ),
        (
            "teacher = \"features\"\nstudent = \"features\"\npreset = \"skd\"",
            "kd.toml:5:10: `preset` of term `a`: teacher is [2, 5, 4, 4] but student is [2, 2, 3, 2]",
        ),
        (
            "teacher = \"features\"\nstudent = \"align.bias\"\nloss = \"cwd\"",
            "kd.toml:4:11: `student` of term `a`: `align.bias` is [5], but a map is [N, C, H, W]",
        ),
        (
            "teacher = \"logits\"\nstudent = \"logits\"\nloss = \"cwd\"\nproject = { side = \"student\", weight = \"align.weight\" }",
            "kd.toml:6:40: `project.weight` of term `a`: `align.weight` is [5, 2, 1, 1], but a 1x1 convolution of 3",
        ),
        (
            "teacher = \"features\"\nstudent = \"features\"\nloss = \"cwd\"\nproject = { side = \"student\", weight = \"w\" }",
            "kd.toml:6:40: `project.weight` of term `a`: what was given holds no tensor `w`, but align.bias, align.weight, ",
        ),
    ];
    for (rest, wanted) in cases {
        let objective = parse(&format!("[[term]]\nname = \"a\"\n{rest}\n")).expect("a valid objective");
        let done = objective.evaluate(&teacher, &student, Step::default(), &Cpu::new());
        let error = done.expect_err(rest).to_string();
        assert!(error.starts_with(wanted), "{error}\nis not\n{wanted}");
    }
}
