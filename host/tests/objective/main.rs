//! Several terms: sums of single terms, schedules, adapters; positions that do not count; faults by line and key.

mod faults;
mod positions;

use densekd::core::{Loss, OptionValue, Options, Order, ResizeMode, Shape, Side, Weight};
use densekd::io::Array;
use densekd::objective::{
    Evaluation, Objective, ObjectiveError, ObjectiveTerm, ProjectStep, Ramp, ResizeStep, Schedule, Step,
    Tensors,
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
