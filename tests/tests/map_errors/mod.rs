//! Requests that only losses of whole maps can get wrong.

use densekd::{BackendError, Cpu, TermSubmission};
use densekd_core::{Error, Labels, Loss, OptionError, OptionValue, Options, Order, Projection, Shape, Term};

use crate::Provoked;

const DIMS: [usize; 4] = [1, 2, 3, 3];
const MAP: [f32; 18] = [1.0; 18];

fn options(loss: Loss, settings: &[(&str, OptionValue<'_>)]) -> Options {
    let mut options = loss.defaults();
    for (name, value) in settings {
        options.set(name, *value).expect("an option of the loss");
    }
    options
}

fn term_of(options: Options, student: [usize; 4], teacher: [usize; 4]) -> Result<Term, Error> {
    let shape = |dims| Shape::new(dims).expect("a shape");
    Term::new(options, shape(student), shape(teacher), Order::Nchw)
}

fn term(loss: Loss) -> Term {
    term_of(loss.defaults(), DIMS, DIMS).expect("a loss on its shapes")
}

/// What a submission is refused for.
fn refused<'a>(term: &'a Term, teacher: bool, ask: impl FnOnce(&mut TermSubmission<'a>)) -> Error {
    let mut submission = TermSubmission::new(term, teacher.then(|| MAP[..].into()), &MAP[..]);
    ask(&mut submission);
    match submission.submit(&Cpu::new()) {
        Err(BackendError::Request(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn labels(labels: &[i64]) -> Labels<'_> {
    Labels::new(labels, 1, 3, 3).expect("9 labels")
}

fn inputs() -> Vec<Provoked> {
    let (at, dkd, mimic, cwd) = (term(Loss::At), term(Loss::Dkd), term(Loss::Mimic), term(Loss::Cwd));
    let generator =
        term_of(options(Loss::Ho, &[("role", OptionValue::Name("generator"))]), DIMS, DIMS).expect("scores");
    let classes = [0_i64, 1, 0, 1, 0, 1, 0, 1, 255];
    let (two, mut gradient) = ([1.0_f64; 2], MAP);
    let projection = Projection { weight: Some(&[1.0; 4]), bias: None };
    let unused = &["does not take", "leave it out"][..];
    let missing_teacher = &["compares with a teacher", "give its map"][..];
    vec![
        (refused(&at, false, |_| {}), "teacher_missing", missing_teacher),
        (refused(&cwd, false, |_| {}), "teacher_missing", missing_teacher),
        (refused(&generator, true, |_| {}), "unused", unused),
        (refused(&at, true, |x| x.labels = Some(labels(&classes))), "unused", unused),
        (refused(&at, true, |x| x.mask = Some(&[1, 1, 1, 1, 1, 1, 1, 1, 0])), "unused", unused),
        (refused(&at, true, |x| x.projection = projection), "unused", unused),
        (refused(&cwd, true, |x| x.projection = projection), "unused", unused),
        (refused(&dkd, true, |_| {}), "labels_missing", &["classes from labels"][..]),
        (
            refused(&mimic, true, |x| x.projection = Projection { weight: Some(&two), bias: None }),
            "length",
            &["projection holds 2", "asks for 4"],
        ),
        (
            refused(&mimic, true, |x| x.projection = Projection { weight: None, bias: Some(&[1.0; 3]) }),
            "length",
            &["bias holds 3", "asks for 2"],
        ),
        {
            let submission = TermSubmission {
                labels: Some(labels(&classes)),
                grad_teacher: Some(gradient.as_mut_slice().into()),
                ..TermSubmission::new(&dkd, Some(MAP[..].into()), &MAP[..])
            };
            let Err(BackendError::Request(error)) = submission.submit(&Cpu::new()) else {
                panic!("no gradient")
            };
            (error, "teacher_gradient", &["no gradient to the teacher", "the student's alone"][..])
        },
    ]
}

fn labels_and_shapes() -> Vec<Provoked> {
    let dkd = term(Loss::Dkd);
    let smooth = term(Loss::SmoothCe);
    let wrong = [0_i64, 1, 0, 1, 2, 1, 0, 1, 255];
    let negative = [0_i64, 1, -1, 1, 0, 1, 0, 1, 255];
    let clip = [("border", OptionValue::Name("clip"))];
    let of = |options, student, teacher| term_of(options, student, teacher).expect_err("refused");
    let [n, c, h, w] = DIMS;
    let border = &["has no pixel with all its neighbours", "border clip"][..];
    let align = &["1x1 convolution"][..];
    let resize = &["resize one of them"][..];
    let mimic = term_of(Loss::Mimic.defaults(), DIMS, [n, 3, h, w]);
    let mut provoked: Vec<Provoked> = vec![
        (refused(&dkd, true, |x| x.labels = Some(labels(&wrong))), "label", &["label 2 at 4", "(0 to 1)"]),
        (refused(&smooth, false, |x| x.labels = Some(labels(&negative))), "label", &["label -1 at 2"]),
        (of(Loss::La.defaults(), [1, 2, 2, 9], [1, 2, 2, 9]), "border", border),
        (of(Loss::La.defaults(), [1, 2, 9, 1], [1, 2, 9, 1]), "border", border),
        (of(options(Loss::La, &clip), [1, 2, 1, 1], [1, 2, 1, 1]), "border", border),
        (of(Loss::Cwd.defaults(), DIMS, [n, 3, h, w]), "shape_mismatch", align),
    ];
    for name in ["positions", "batch_channels", "elements"] {
        let divisor = [("divisor", OptionValue::Name(name))];
        let error = of(options(Loss::Dkd, &divisor), DIMS, DIMS);
        provoked.push((error, "divisor", &["use sum, batch or batch_positions"]));
    }
    for loss in [Loss::Pkd, Loss::Dist, Loss::Dkd] {
        provoked.push((of(loss.defaults(), DIMS, [n, 3, h, w]), "shape_mismatch", align));
    }
    for loss in [Loss::At, Loss::La, Loss::Pa, Loss::Ifvd, Loss::Pkd, Loss::Dist, Loss::Dkd, Loss::Mimic] {
        for teacher in [[n, c, h + 1, w], [n, c, h, w + 1], [n + 1, c, h, w]] {
            provoked.push((of(loss.defaults(), DIMS, teacher), "shape_mismatch", resize));
        }
    }
    // Whether a projection aligns the channels is known with the data alone.
    if let Ok(mimic) = mimic {
        let teacher = [1.0_f32; 27];
        let submission = TermSubmission::new(&mimic, Some(teacher[..].into()), &MAP[..]);
        let Err(BackendError::Request(error)) = submission.submit(&Cpu::new()) else { panic!("not aligned") };
        provoked.push((error, "shape_mismatch", align));
    }
    provoked
}

fn settings() -> Vec<Provoked> {
    let of = |loss: Loss, name, value| match loss.defaults().set(name, value) {
        Err(OptionError::Value(error)) => error,
        other => panic!("{other:?}"),
    };
    let share = &["a share is", "from 0 to 1"][..];
    vec![
        (of(Loss::SmoothCe, "smoothing", OptionValue::Number(1.5)), "share", share),
        (of(Loss::SmoothCe, "smoothing", OptionValue::Number(-0.1)), "share", share),
        (of(Loss::SmoothCe, "smoothing", OptionValue::Number(f64::NAN)), "share", share),
        (of(Loss::Dist, "tau", OptionValue::Integer(0)), "temperature", &["above 0"]),
        (of(Loss::At, "eps", OptionValue::Number(-1.0)), "epsilon", &["at least 0"]),
        (of(Loss::Rkd, "distance_weight", OptionValue::Number(f64::INFINITY)), "weight", &["finite"]),
    ]
}

/// All of them.
pub(crate) fn provoked() -> Vec<Provoked> {
    [inputs(), labels_and_shapes(), settings()].concat()
}

/// Options that a loss does not have, or not of this kind or name.
#[test]
fn option_errors_say_what_the_option_may_be() {
    let of = |loss: Loss, name, value| {
        let mut options = loss.defaults();
        let error = options.set(name, value).expect_err("refused");
        assert_eq!(options, loss.defaults(), "a refused option is set");
        error.to_string()
    };
    let texts = [
        (of(Loss::At, "tau", OptionValue::Integer(1)), "has mode, p, eps, weight"),
        (of(Loss::At, "p", OptionValue::Integer(0)), "p must be an integer of at least 1"),
        (of(Loss::At, "p", OptionValue::Number(2.5)), "p must be an integer of at least 1"),
        (of(Loss::At, "mode", OptionValue::Name("l1")), "mode must be one of code, paper"),
        (of(Loss::Pa, "kernel", OptionValue::Pair([0, 2])), "kernel must be null or two integers"),
        (of(Loss::Pa, "detach_norm", OptionValue::Integer(1)), "detach_norm must be true or false"),
        (of(Loss::Ifvd, "ignore_index", OptionValue::Number(1.5)), "ignore_index must be an integer"),
    ];
    for (text, says) in texts {
        assert!(text.contains(says), "{text:?} does not say {says:?}");
    }
    for loss in Loss::ALL {
        for field in loss.defaults().fields() {
            let value = loss.defaults().get(field.name).expect("every option has a value");
            loss.defaults().set(field.name, value).expect("its own value is one that it may have");
            assert!(!field.help.is_empty() && !field.wanted.is_empty(), "{loss} {}", field.name);
        }
        let unknown = loss.defaults().set("colour", OptionValue::Null).expect_err("no loss has a colour");
        assert!(matches!(unknown, OptionError::Unknown { .. }), "{loss}");
    }
}
