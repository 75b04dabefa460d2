//! Positions that do not count, by labels and by masks.

use crate::{close, pair, parse};
use densekd::core::{self, Loss, Options, Order, ResizeMode, Shape, Side, Term};
use densekd::io::Labels;
use densekd::objective::{Evaluation, Objective, ObjectiveError, ObjectiveTerm, ResizeStep, Step, Tensors};
use densekd::{Cpu, TermSubmission};

/// Every seventh position of [2, 4, 4] is left out.
fn sevenths() -> Vec<u8> {
    (0..32).map(|i| u8::from(i % 7 != 3)).collect()
}

/// A class for each position of [2, 4, 4], and one ignored.
fn classes() -> Vec<i64> {
    (0..32).map(|i| if i == 9 { 255 } else { i % 3 }).collect()
}

fn whole(shape: &[usize], values: impl IntoIterator<Item = impl Into<i64>>) -> Labels {
    Labels { shape: shape.to_vec(), values: values.into_iter().map(Into::into).collect() }
}

/// A loss on the logits by itself, with mask and labels.
fn single(options: Options, mask: &[u8], labels: Option<&[i64]>) -> (f64, Vec<f64>) {
    let (teacher, student) = pair();
    let (teacher, student) =
        (teacher.tensor("logits").expect("there"), student.tensor("logits").expect("there"));
    let shape = Shape::new([2, 3, 4, 4]).expect("a shape");
    let term = Term::new(options, shape, shape, Order::Nchw).expect("a term");
    let labels = labels.map(|labels| core::Labels::new(labels, 2, 4, 4).expect("labels"));
    let teacher = options.takes_teacher().then(|| teacher.as_tensor());
    let mut gradient = vec![0.0; shape.len()];
    let submission = TermSubmission {
        labels,
        mask: Some(mask),
        grad_student: Some(gradient.as_mut_slice().into()),
        ..TermSubmission::new(&term, teacher, student.as_tensor())
    };
    let value = submission.submit(&Cpu::new()).expect("a pair").value();
    (value, gradient)
}

/// The term on the pair of logits, among whose student's tensors are a mask and labels.
fn masked(term: ObjectiveTerm, mask: Labels, labels: Labels) -> Result<Evaluation, ObjectiveError> {
    let (teacher, mut student) = pair();
    student.insert_labels("mask", mask);
    student.insert_labels("labels", labels);
    let objective = Objective { terms: vec![term] };
    objective.evaluate(&teacher, &student, Step::default(), &Cpu::new())
}

#[test]
fn a_masked_term_is_the_single_loss_with_that_mask() {
    let losses = Loss::ALL.iter().map(|loss| loss.defaults()).filter(Options::takes_mask);
    let mut tried = 0;
    for options in losses {
        for labelled in [true, false].into_iter().filter(|labelled| *labelled || !options.takes_labels()) {
            let (mask, labels) = (sevenths(), classes());
            let mut term = ObjectiveTerm::new("logits", options);
            term.teacher = term.teacher.filter(|_| options.takes_teacher());
            term.mask = Some("mask".to_owned());
            term.labels = labelled.then(|| "labels".to_owned());
            let done =
                masked(term.clone(), whole(&[2, 4, 4], mask.clone()), whole(&[2, 4, 4], labels.clone()));
            let done = done.expect("a mask that fits");
            let (value, gradient) = single(options, &mask, labelled.then_some(&labels));
            let name = options.loss();
            assert_eq!(done.terms[0].weighted.to_bits(), value.to_bits(), "{name}");
            close(done.gradients["logits"].array.as_slice::<f64>().expect("the tensor's type"), &gradient);
            let whole_map = masked(term, whole(&[2, 4, 4], [1; 32]), whole(&[2, 4, 4], labels));
            let plain = whole_map.expect("a mask that fits").total;
            assert!((plain - value).abs() > 1e-6 * plain.abs(), "{name}: the mask says nothing");
            tried += 1;
        }
    }
    assert!(tried >= 7, "cwd and pi with labels and without, and the losses of classes: {tried}");
}

#[test]
fn what_a_mask_leaves_out_may_be_anything_and_takes_no_gradient() {
    let (mut teacher, student) = pair();
    let mut map = teacher.tensor("logits").expect("there").to_f64();
    let out = |i: usize| sevenths()[i / 48 * 16 + i % 16] == 0;
    map.iter_mut().enumerate().filter(|(i, _)| out(*i)).for_each(|(_, x)| *x = f64::NAN);
    let plain = teacher.clone();
    teacher.insert("logits", densekd::io::Array::new([2, 3, 4, 4], map).expect("a shape"));
    let text =
        "[[term]]\nname = \"a\"\nteacher = \"logits\"\nstudent = \"logits\"\nloss = \"cwd\"\nmask = \"m\"\n";
    let objective = parse(text).expect("a valid objective");
    let run = |teacher: &Tensors| {
        let mut teacher = teacher.clone();
        // It may lie with the teacher's tensors too.
        teacher.insert_labels("m", whole(&[2, 4, 4], sevenths()));
        objective.evaluate(&teacher, &student, Step::default(), &Cpu::new()).expect("a mask that fits")
    };
    let done = run(&teacher);
    assert_eq!(done, run(&plain));
    let gradient = done.gradients["logits"].array.as_slice::<f64>().expect("f64").to_vec();
    assert!(gradient.iter().enumerate().all(|(i, x)| (*x == 0.0) == out(i)), "{gradient:?}");
}

#[test]
fn a_mask_is_of_the_adapted_maps_positions() {
    let (mut teacher, mut student) = pair();
    teacher.insert("small", teacher.tensor("features").expect("there"));
    student.insert("small", crate::tensor(&[2, 5, 2, 2], 9));
    student.insert_labels("fine", whole(&[2, 4, 4], sevenths()));
    student.insert_labels("coarse", whole(&[2, 2, 2], [1, 1, 0, 1, 1, 1, 1, 0]));
    let run = |mask: &str| {
        let mut term = ObjectiveTerm::new("small", Loss::Cwd.defaults());
        term.mask = Some(mask.to_owned());
        term.resize = Some(ResizeStep { side: Side::Student, mode: ResizeMode::Nearest });
        let objective = Objective { terms: vec![term] };
        objective.evaluate(&teacher, &student, Step::default(), &Cpu::new())
    };
    assert!(run("fine").expect("a mask of 4 x 4").total > 0.0);
    let error = run("coarse").expect_err("a mask of the map as stored").to_string();
    assert!(error.starts_with("`mask` of term `small`: `coarse` is [2, 2, 2], but "), "{error}");
    assert!(error.contains("wants [2, 4, 4]"), "{error}");
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let with = |loss: Loss, mask: &str| {
        let mut term = ObjectiveTerm::new("logits", loss.defaults());
        term.mask = Some(mask.to_owned());
        term
    };
    let cwd = || with(Loss::Cwd, "mask");
    let labels = || whole(&[2, 4, 4], classes());
    let cases = [
        (cwd(), whole(&[2, 4, 2], [1; 16]), "`mask` of term `logits`: `mask` is [2, 4, 2], but "),
        (cwd(), whole(&[4, 4], [1; 16]), "`mask` of term `logits`: `mask` is [4, 4], but "),
        (cwd(), whole(&[2, 1, 4, 4], [1; 32]), "`mask` of term `logits`: `mask` is [2, 1, 4, 4], but "),
        (
            cwd(),
            whole(&[2, 4, 4], classes()),
            "`mask` of term `logits`: `mask` holds 2 at [n, y, x] = [0, 0, 2], but a mask is 1 where",
        ),
        (
            with(Loss::At, "mask"),
            whole(&[2, 4, 4], [1; 32]),
            "`mask` of term `logits`: this loss does not take a mask: leave it out",
        ),
        (
            with(Loss::Cwd, "valid"),
            whole(&[2, 4, 4], [1; 32]),
            "`mask` of term `logits`: what was given holds no tensor `valid`, but labels, mask: correct the name",
        ),
    ];
    for (term, mask, wanted) in cases {
        let error = masked(term, mask, labels()).expect_err(wanted).to_string();
        assert!(error.starts_with(wanted), "{error}\nis not\n{wanted}");
    }
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
