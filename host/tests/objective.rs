//! Several terms: sums of single terms, schedules, adapters, and faults by line and key.

use densekd::core::{Loss, OptionValue, Options, Order, ResizeMode, Shape, Side, Weight};
use densekd::io::{Array, Labels};
use densekd::objective::{
    Evaluation, Objective, ObjectiveError, ObjectiveTerm, Place, Problem, ProjectStep, Ramp, ResizeStep,
    Schedule, Step, Tensors,
};
use densekd::{Cpu, TermSubmission};
use fastrand::Rng;
use half::f16;
use std::num::NonZeroU64;

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::with_seed(seed);
    (0..count).map(|_| rng.f64() * 4.0 - 2.0).collect()
}

fn tensor(dims: &[usize], seed: u64) -> Array {
    Array::new(dims, numbers(dims.iter().product(), seed)).expect("as many numbers as the shape wants")
}

/// Logits of one shape, features whose channels and sizes differ, and an alignment.
fn pair() -> (Tensors, Tensors) {
    let (mut teacher, mut student) = (Tensors::default(), Tensors::default());
    teacher.insert("logits", tensor(&[2, 3, 4, 4], 1));
    student.insert("logits", tensor(&[2, 3, 4, 4], 2));
    teacher.insert("features", tensor(&[2, 5, 4, 4], 3));
    student.insert("features", tensor(&[2, 2, 3, 2], 4));
    student.insert("align.weight", tensor(&[5, 2, 1, 1], 5));
    student.insert("align.bias", tensor(&[5], 6));
    (teacher, student)
}

const TERMS: &str = r#"
[[term]]
name = "channels"
teacher = "logits"
student = "logits"
preset = "mmrazor-cwd"
tau = 2.0
weight = 3

[[term]]
name = "pixels"
teacher = "logits"
student = "logits"
loss = "pi"
schedule = { kind = "linear", from = 0.0, to = 2, steps = 100 }

[[term]]
name = "features"
teacher = "features"
student = "features"
loss = "cwd"
weight = 0.5
resize = { side = "student", mode = "bilinear", align_corners = true }
project = { side = "student", weight = "align.weight", bias = "align.bias" }
"#;

fn parse(text: &str) -> Result<Objective, ObjectiveError> {
    Objective::parse(text, "kd.toml")
}

fn evaluate(text: &str, step: Step) -> Evaluation {
    let (teacher, student) = pair();
    let objective = parse(text).expect("a valid objective");
    objective.evaluate(&teacher, &student, step, &Cpu::new()).expect("maps that fit")
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-13 * scale), "{a:?} is not {b:?}");
}

/// A loss on the logits by itself.
fn single(options: Options) -> (f64, Vec<f64>) {
    let (teacher, student) = pair();
    let (teacher, student) =
        (teacher.tensor("logits").expect("there"), student.tensor("logits").expect("there"));
    let shape = Shape::new([2, 3, 4, 4]).expect("a shape");
    let term = densekd::core::Term::new(options, shape, shape, Order::Nchw).expect("a term");
    let mut gradient = vec![0.0; shape.len()];
    let submission = TermSubmission {
        grad_student: Some(gradient.as_mut_slice().into()),
        ..TermSubmission::new(&term, Some(teacher.as_tensor()), student.as_tensor())
    };
    let value = submission.submit(&Cpu::new()).expect("a pair").value();
    (value, gradient)
}

fn set(mut options: Options, key: &str, value: OptionValue<'_>) -> Options {
    options.set(key, value).expect("an option");
    options
}

#[test]
fn the_total_is_the_sum_of_single_terms() {
    let step = Step { number: 25, task_loss: Some(0.75), ..Step::default() };
    let done = evaluate(TERMS, step);
    let preset = densekd::core::Preset::named("mmrazor-cwd").expect("a preset").options;
    let channels = set(set(preset, "tau", OptionValue::Number(2.0)), "weight", OptionValue::Number(3.0));
    let pixels = set(Loss::Pi.defaults(), "weight", OptionValue::Number(0.5));
    let (a, b) = (single(channels), single(pixels));
    close(&[done.terms[0].weighted, done.terms[1].weighted], &[a.0, b.0]);
    assert_eq!((done.terms[0].weight, done.terms[1].weight, done.terms[2].weight), (3.0, 0.5, 0.5));
    close(&[done.terms[0].value, done.terms[1].value], &[a.0 / 3.0, b.0 / 0.5]);
    let weighted: f64 = done.terms.iter().map(|term| term.weighted).sum();
    close(&[done.total], &[0.75 + weighted]);

    let logits = &done.gradients["logits"];
    let sum: Vec<f64> = a.1.iter().zip(&b.1).map(|(a, b)| a + b).collect();
    close(logits.array.as_slice::<f64>().expect("the tensor's type"), &sum);
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    close(&[logits.norm, done.terms[0].gradient_norms["logits"]], &[norm(&sum), norm(&a.1)]);
    assert_eq!(
        done.gradients.keys().collect::<Vec<_>>(),
        ["align.bias", "align.weight", "features", "logits"]
    );
    assert_eq!(done.gradients["align.weight"].array.shape(), [5, 2, 1, 1]);
    assert_eq!(
        (done.terms[2].teacher_shape, done.terms[2].student_shape),
        (Some([2, 5, 4, 4]), [2, 5, 4, 4])
    );
}

/// Central differences of the total by every number of one of the student's tensors.
fn check_slopes(objective: &Objective, (teacher, student): (&Tensors, &Tensors), name: &str) {
    let run = |student: &Tensors| {
        objective.evaluate(teacher, student, Step::default(), &Cpu::new()).expect("maps that fit")
    };
    let gradient = run(student).gradients[name].array.clone();
    let gradient = gradient.as_slice::<f64>().expect("the tensor's type");
    let tensor = student.tensor(name).expect("there");
    let numbers = tensor.as_slice::<f64>().expect("f64");
    let scale = gradient.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    assert!(scale > 0.0);
    for (i, &got) in gradient.iter().enumerate() {
        let at = |delta: f64| {
            let mut moved = numbers.to_vec();
            moved[i] += delta;
            let mut student = student.clone();
            student.insert(name, Array::new(tensor.shape(), moved).expect("the same shape"));
            run(&student).total
        };
        let want = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((got - want).abs() <= 1e-7 * scale + 1e-10, "{name}[{i}]: {got:e}, not {want:e}");
    }
}

#[test]
fn gradients_to_maps_and_parameters_are_the_slopes_of_the_total() {
    let (teacher, student) = pair();
    let objective = parse(TERMS).expect("a valid objective");
    for name in ["logits", "features", "align.weight", "align.bias"] {
        check_slopes(&objective, (&teacher, &student), name);
    }
}

#[test]
fn the_teachers_side_may_be_adapted_with_the_students_parameters() {
    let (mut teacher, mut student) = pair();
    teacher.insert("map", tensor(&[2, 2, 3, 2], 7));
    student.insert("map", tensor(&[2, 5, 4, 4], 8));
    let mut term = ObjectiveTerm::new("map", Loss::Cwd.defaults());
    term.resize = Some(ResizeStep { side: Side::Teacher, mode: ResizeMode::Area });
    term.project = Some(ProjectStep { side: Side::Teacher, weight: "align.weight".into(), bias: None });
    let objective = Objective { terms: vec![term] };
    for name in ["map", "align.weight"] {
        check_slopes(&objective, (&teacher, &student), name);
    }
}

#[test]
fn a_schedule_holds_what_it_ends_in() {
    let weight = |x| Weight::new(x).expect("finite");
    let ramp = Ramp { from: weight(0.25), to: weight(1.25), steps: NonZeroU64::new(4).expect("steps") };
    let values = |schedule: Schedule| [0, 1, 2, 3, 4, 5, u64::MAX].map(|step| schedule.at(step));
    assert_eq!(values(Schedule::Constant), [1.0; 7]);
    assert_eq!(values(Schedule::Linear(ramp)), [0.25, 0.5, 0.75, 1.0, 1.25, 1.25, 1.25]);
    let half = (1.0 - std::f64::consts::FRAC_PI_4.cos()) / 2.0;
    close(&values(Schedule::Cosine(ramp)), &[0.25, 0.25 + half, 0.75, 1.25 - half, 1.25, 1.25, 1.25]);
    let yolov6 = Schedule::yolov6(NonZeroU64::new(300).expect("epochs"));
    for epoch in 0..=300_u32 {
        let e = f64::from(epoch);
        let published = ((1.0 - (e * std::f64::consts::PI / 300.0).cos()) / 2.0) * (0.01 - 1.0) + 1.0;
        assert!((yolov6.at(epoch.into()) - published).abs() < 1e-15, "{epoch}");
    }
}

#[test]
fn a_step_moves_the_weights_and_nothing_else() {
    let at = |number| evaluate(TERMS, Step { number, ..Step::default() });
    let (start, end) = (at(0), at(100));
    assert_eq!((start.terms[1].weight, end.terms[1].weight), (0.0, 2.0));
    assert_eq!((start.terms[1].weighted, start.terms[1].gradient_norms["logits"]), (0.0, 0.0));
    assert_eq!(start.terms[1].value, end.terms[1].value);
    assert_eq!(start.terms[0], end.terms[0]);
}

#[test]
fn labels_leave_positions_out_and_may_lie_with_either_network() {
    let text = "[[term]]\nname = \"pixels\"\nteacher = \"logits\"\nstudent = \"logits\"\nloss = \"pi\"\nlabels = \"y\"\n";
    let objective = parse(text).expect("a valid objective");
    let labels = |shape: &[usize]| {
        let mut values = vec![0; shape.iter().product()];
        values[..16].fill(255);
        Labels { shape: shape.to_vec(), values }
    };
    let run = |(teacher, student): (Tensors, Tensors)| {
        objective.evaluate(&teacher, &student, Step::default(), &Cpu::new())
    };
    let (mut with_teacher, mut with_student, mut transposed) = (pair(), pair(), pair());
    with_teacher.0.insert_labels("y", labels(&[2, 4, 4]));
    with_student.1.insert_labels("y", labels(&[2, 4, 4]));
    transposed.1.insert_labels("y", labels(&[2, 2, 8]));
    let (a, b) = (run(with_teacher).expect("labels"), run(with_student).expect("labels"));
    assert_eq!(a, b);
    let gradient = a.gradients["logits"].array.as_slice::<f64>().expect("f64").to_vec();
    assert!(gradient[..48].iter().all(|x| *x == 0.0) && gradient[48..].iter().any(|x| *x != 0.0));
    for (tensors, parts) in [
        (transposed, ["kd.toml:6:10: `labels` of term `pixels`", "[2, 2, 8]", "[2, 4, 4]"]),
        (pair(), ["kd.toml:6:10: `labels` of term `pixels`", "no tensor `y`", "correct the name"]),
    ] {
        let error = run(tensors).expect_err("no labels that fit").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn a_gradient_is_rounded_once_to_its_tensors_type() {
    let (teacher, mut student) = pair();
    let halves: Vec<f16> = numbers(96, 2).into_iter().map(f16::from_f64).collect();
    student.insert("logits", Array::new([2, 3, 4, 4], halves).expect("a shape"));
    let objective = parse(TERMS).expect("a valid objective");
    let run = |upstream| {
        let upstream = densekd::core::Upstream::new(upstream).expect("finite");
        objective
            .evaluate(&teacher, &student, Step { upstream, ..Step::default() }, &Cpu::new())
            .expect("maps")
    };
    let (plain, huge) = (run(1.0), run(1e9));
    assert!(plain.gradients["logits"].array.as_slice::<f16>().is_some());
    assert_eq!((plain.gradients["logits"].overflowed, huge.gradients["logits"].overflowed), (false, true));
    assert!(!huge.gradients["features"].overflowed);
    assert_eq!(plain.total, huge.total);
}

const HEAD: &str = "[[term]]\nname = \"a\"\nteacher = \"logits\"\nstudent = \"logits\"\n";

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
        (
            &lines("loss = \"cwd\"\nlabels = 3"),
            "kd.toml:6:10: `labels` of term `a`: it must be a name in quotes",
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
    for (text, wanted) in cases {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(wanted), "{text}\n{error}\nis not\n{wanted}");
    }
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
