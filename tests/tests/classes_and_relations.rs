//! Losses of classes and of relations: gradients against differences of the value, every way through the library,
//! close pairs, and inputs that are degenerate or not finite.

use densekd::{Backend, BackendError, TermSubmission, selftest};
use densekd_core::{DType, Error, Labels, Loss, OptionValue, Options, Order, Shape, Term};
use densekd_tests::backends::{ChannelsLast, Sequential};
use densekd_tests::engine::{DTYPES, Stored, cpu};
use fastrand::Rng;

const LOSSES: [Loss; 4] = [Loss::SmoothCe, Loss::Dkd, Loss::Dist, Loss::Rkd];

const INF: f64 = f64::INFINITY;

/// A question, whatever the loss takes of it.
#[derive(Clone, Debug)]
struct Question {
    options: Options,
    shape: [usize; 4],
    teacher: Vec<f64>,
    student: Vec<f64>,
    labels: Vec<i64>,
    mask: Option<Vec<u8>>,
    dtype: DType,
}

#[derive(Debug, PartialEq)]
struct Answer {
    value: f64,
    student: Vec<f64>,
    teacher: Vec<f64>,
}

fn with(loss: Loss, settings: &[(&str, OptionValue<'_>)]) -> Options {
    let mut options = loss.defaults();
    for &(name, value) in settings {
        options.set(name, value).expect("an option of the loss");
    }
    options
}

impl Question {
    fn new(options: Options, shape: [usize; 4], teacher: Vec<f64>, student: Vec<f64>) -> Self {
        let [n, c, h, w] = shape;
        let labels = (0..n * h * w).map(|i| i64::try_from(i % c).expect("a class")).collect();
        Self { options, shape, teacher, student, labels, mask: None, dtype: DType::F64 }
    }

    fn random(options: Options, shape: [usize; 4], noise: f64, rng: &mut Rng) -> Self {
        let student: Vec<f64> = (0..shape.iter().product()).map(|_| 4.0 * rng.f64() - 2.0).collect();
        let teacher = student.iter().map(|x| x + noise * (rng.f64() - 0.5)).collect();
        Self::new(options, shape, teacher, student)
    }

    fn ask(&self, backend: &dyn Backend) -> Result<Answer, BackendError> {
        let shape = Shape::new(self.shape)?;
        let term = Term::new(self.options, shape, shape, Order::Nchw)?;
        let Term::Map(plan) = term else { panic!("a map loss") };
        let (teacher, student) =
            (Stored::new(self.dtype, &self.teacher), Stored::new(self.dtype, &self.student));
        let zeros = Stored::new(self.dtype, &vec![0.0; shape.len()]);
        let (mut to_teacher, mut to_student) = (zeros.clone(), zeros);
        let [n, _, h, w] = self.shape;
        let labels = Labels::new(&self.labels, n, h, w)?;
        let outcome = TermSubmission {
            labels: plan.takes_labels().then_some(labels),
            mask: self.mask.as_deref(),
            grad_student: Some(to_student.tensor_mut()),
            grad_teacher: plan.has_teacher_gradient().then(|| to_teacher.tensor_mut()),
            ..TermSubmission::new(&term, plan.takes_teacher().then(|| teacher.tensor()), student.tensor())
        }
        .submit(backend)?;
        Ok(Answer { value: outcome.value(), student: to_student.to_f64(), teacher: to_teacher.to_f64() })
    }

    fn answer(&self) -> Answer {
        self.ask(&Sequential).expect("an answer")
    }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |a, x| a.max(x.abs()))
}

fn variants() -> Vec<Options> {
    use OptionValue::{Flag, Name, Number};
    let mut options: Vec<Options> = LOSSES.iter().map(|loss| loss.defaults()).collect();
    options.extend([
        with(Loss::SmoothCe, &[("tau", Number(2.0)), ("smoothing", Number(0.0))]),
        with(
            Loss::Dkd,
            &[
                ("tau", Number(0.5)),
                ("alpha", Number(2.0)),
                ("beta", Number(0.5)),
                ("divisor", Name("batch")),
            ],
        ),
        with(Loss::Dist, &[("tau", Number(3.0)), ("inter_weight", Number(0.3)), ("eps", Number(0.01))]),
        with(Loss::Rkd, &[("normalize", Flag(false))]),
        with(Loss::Rkd, &[("distance_weight", Number(0.0))]),
    ]);
    options
}

const SHAPES: [[usize; 4]; 4] = [[3, 4, 2, 3], [5, 6, 1, 1], [2, 3, 1, 7], [4, 2, 2, 2]];

#[test]
fn gradients_are_the_differences_of_the_value() {
    let mut rng = Rng::with_seed(1);
    for (options, shape) in variants().into_iter().flat_map(|options| SHAPES.map(|shape| (options, shape))) {
        let mut question = Question::random(options, shape, 3.0, &mut rng);
        question.labels[1] = 255;
        let answer = question.answer();
        let step = 1e-5;
        for i in 0..question.student.len() {
            let difference = |side: fn(&mut Question) -> &mut Vec<f64>| {
                let value = |step: f64| {
                    let mut moved = question.clone();
                    side(&mut moved)[i] += step;
                    moved.answer().value
                };
                (value(step) - value(-step)) / (2.0 * step)
            };
            let to_student = difference(|question| &mut question.student);
            let scale = 1e-8 * (1.0 + answer.value.abs());
            assert!((to_student - answer.student[i]).abs() < scale, "{options:?} {shape:?} student {i}");
            if !matches!(options.loss(), Loss::SmoothCe | Loss::Dkd) {
                let to_teacher = difference(|question| &mut question.teacher);
                assert!((to_teacher - answer.teacher[i]).abs() < scale, "{options:?} {shape:?} teacher {i}");
            }
        }
    }
}

/// The same bits in either memory order, on any number of threads; pieces and stripes are crossed.
#[test]
fn every_way_gives_the_same_bits() {
    let mut rng = Rng::with_seed(2);
    for (options, dtype) in variants().into_iter().flat_map(|options| DTYPES.map(|dtype| (options, dtype))) {
        for shape in [[3, 5, 31, 29], [301, 7, 1, 1], [2, 3, 40, 60]] {
            if shape[0] > 100 && options.loss() == Loss::Rkd {
                continue;
            }
            let mut question = Question { dtype, ..Question::random(options, shape, 1.0, &mut rng) };
            if options.fields().iter().any(|field| field.name == "ignore_index") {
                question.mask = Some(question.labels.iter().map(|_| u8::from(rng.bool())).collect());
            }
            let answer = question.answer();
            for backend in [&Sequential as &dyn Backend, cpu(1), cpu(3)] {
                assert_eq!(question.ask(backend).expect("an answer"), answer, "{options:?} {shape:?}");
                let last = question.ask(&ChannelsLast(backend)).expect("an answer");
                assert_eq!(last, answer, "{options:?} {shape:?} {dtype} channels last");
            }
        }
    }
}

/// What the vectors ask of `f32` inputs holds of the same numbers in `f64`, much closer.
#[test]
fn vectors_hold_in_f64() {
    let mut cases = selftest::built_in();
    cases.retain(|case| LOSSES.iter().any(|loss| loss.name() == case.loss));
    assert_eq!(cases.len(), 17);
    for case in &mut cases {
        "f64".clone_into(&mut case.dtype);
        case.tolerance.value = [1e-12, 1e-300];
        case.tolerance.gradient = [1e-12, 1e-300];
    }
    for backend in [&Sequential as &dyn Backend, &ChannelsLast(cpu(2))] {
        let report = selftest::run(backend, &cases);
        let failed: Vec<_> = report.cases.iter().filter(|case| !case.ok).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

/// DKD of T = S + c + x noise falls as x^2, and its gradient as x, as far as logits can say it.
#[test]
fn close_pairs_keep_their_digits() {
    let mut rng = Rng::with_seed(3);
    for classes in [2, 3, 19, 300] {
        let shape = [2, classes, 1, 3];
        let options = Loss::Dkd.defaults();
        let student: Vec<f64> = (0..6 * classes).map(|_| (rng.f64() * 64.0).floor() / 8.0).collect();
        let noise: Vec<f64> = (0..6 * classes).map(|_| (rng.f64() * 64.0).floor() - 32.0).collect();
        // Powers of 2: every logit is exact.
        let at = |power: i32| {
            let teacher =
                student.iter().zip(&noise).map(|(s, x)| s + 7.0 + x * 2.0_f64.powi(power)).collect();
            (Question::new(options, shape, teacher, student.clone()).answer(), 2.0_f64.powi(power))
        };
        let (near, x) = at(-40);
        let (nearer, y) = at(-44);
        assert!((near.value / nearer.value / (x / y).powi(2) - 1.0).abs() < 1e-8, "{classes}");
        for (near, nearer) in near.student.iter().zip(&nearer.student) {
            assert!((near / x - nearer / y).abs() < 1e-9 * largest(&noise), "{classes}");
        }
        let teacher = student.iter().map(|s| s + 7.0).collect();
        let same = Question::new(options, shape, teacher, student.clone()).answer();
        assert_eq!((same.value, largest(&same.student)), (0.0, 0.0));
    }
}

/// DIST without eps, and RKD, of T = S + x noise.
#[test]
fn close_relations_fall_as_the_square() {
    let mut rng = Rng::with_seed(4);
    for options in [with(Loss::Dist, &[("eps", OptionValue::Number(0.0))]), Loss::Rkd.defaults()] {
        let far = Question::random(options, [3, 5, 2, 2], 1.0, &mut rng);
        let at = |x: f64| {
            let pairs = far.teacher.iter().zip(&far.student);
            let teacher = pairs.map(|(t, s)| s + x * (t - s)).collect();
            Question { teacher, ..far.clone() }.answer()
        };
        let (near, nearer) = (at(1e-5), at(1e-6));
        assert!((near.value / nearer.value / 100.0 - 1.0).abs() < 1e-3, "{} {}", near.value, nearer.value);
        assert_eq!(at(0.0).value, 0.0);
        for (near, nearer) in [(&near.student, &nearer.student), (&near.teacher, &nearer.teacher)] {
            let scale = largest(near);
            assert!(near.iter().zip(nearer).all(|(a, b)| (a - 10.0 * b).abs() < 1e-3 * scale));
        }
    }
}

fn logits(options: Options, shape: [usize; 4]) -> Question {
    Question::random(options, shape, 1.0, &mut Rng::with_seed(5))
}

#[test]
fn what_is_not_finite_stays_in_its_position_of_a_loss_of_classes() {
    for loss in [Loss::SmoothCe, Loss::Dkd] {
        // Entry 3 is class 1 of position 0, whose label is 0; entry 1 is class 0 of position 1, whose label is 1.
        for (entry, position) in [(3, 0), (1, 1), (0, 0)] {
            for junk in [f64::NAN, INF] {
                let mut question = logits(loss.defaults(), [1, 4, 1, 3]);
                question.student[entry] = junk;
                let answer = question.answer();
                assert!(answer.value.is_nan());
                for (i, x) in answer.student.iter().enumerate() {
                    assert_eq!(x.is_nan(), i % 3 == position, "{loss} {entry} {junk} {i}");
                }
                question.labels[position] = 255;
                let answer = question.answer();
                assert!(answer.value.is_finite());
                assert!((0..4).all(|c| answer.student[c * 3 + position] == 0.0));
            }
        }
    }
}

#[test]
fn minus_infinity_follows_the_rules_of_rows() {
    let dkd = with(Loss::Dkd, &[("tau", OptionValue::Number(1.0)), ("beta", OptionValue::Number(1.0))]);
    let ask = |teacher: [f64; 3], student: [f64; 3]| {
        let question = Question::new(dkd, [1, 3, 1, 1], teacher.to_vec(), student.to_vec());
        question.answer()
    };
    let close = |got: &[f64], want: [f64; 3]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15);
    // Empty teacher.
    let empty = ask([-INF; 3], [0.0, 1.0, 2.0]);
    assert_eq!((empty.value, largest(&empty.student)), (0.0, 0.0));
    // A teacher without its target: -log(1 - q) and no gradient of the rest but through it.
    let answer = ask([-INF, 0.0, 0.0], [0.0; 3]);
    assert!((answer.value - 1.5_f64.ln()).abs() < 1e-15);
    assert!(close(&answer.student, [1.0 / 3.0, -1.0 / 6.0, -1.0 / 6.0]));
    // Nothing but its target: -log q, and no rest to compare.
    let answer = ask([0.0, -INF, -INF], [0.0; 3]);
    assert!((answer.value - 3.0_f64.ln()).abs() < 1e-15);
    assert!(close(&answer.student, [-2.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]));
    // A student without a class that the teacher has: infinite, the gradient finite.
    let answer = ask([0.0; 3], [0.0, 0.0, -INF]);
    assert_eq!(answer.value, INF);
    assert!(close(&answer.student, [1.0 / 6.0, 1.0 / 3.0, -0.5]));
    let answer = ask([0.0; 3], [-INF, 0.0, 0.0]);
    assert_eq!(answer.value, INF);
    assert!(close(&answer.student, [-1.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0]));
    let answer = ask([0.0; 3], [-INF; 3]);
    assert_eq!(answer.value, INF);
    assert!(close(&answer.student, [-1.0 / 3.0, -0.5, -0.5]));
    // Missing in both: as if there were no such class.
    let answer = ask([0.0, 1.0, -INF], [0.0, 2.0, -INF]);
    let two = Question::new(dkd, [1, 2, 1, 1], vec![0.0, 1.0], vec![0.0, 2.0]).answer();
    assert!((answer.value - two.value).abs() < 1e-15 && answer.student[2] == 0.0);
    let answer = ask([-INF, 0.0, 0.0], [-INF, 0.0, 0.0]);
    assert_eq!((answer.value, largest(&answer.student)), (0.0, 0.0));

    let ce = |smoothing: f64, student: [f64; 3]| {
        let options = with(Loss::SmoothCe, &[("smoothing", OptionValue::Number(smoothing))]);
        Question::new(options, [1, 3, 1, 1], Vec::new(), student.to_vec()).answer()
    };
    let answer = ce(0.0, [0.0, 0.0, -INF]);
    assert!((answer.value - 2.0_f64.ln()).abs() < 1e-15 && close(&answer.student, [-0.5, 0.5, 0.0]));
    let answer = ce(0.3, [0.0, 0.0, -INF]);
    assert!(answer.value == INF && close(&answer.student, [-0.3, 0.4, -0.1]));
    let answer = ce(0.3, [-INF; 3]);
    assert!(answer.value == INF && close(&answer.student, [-0.8, -0.1, -0.1]));
    let answer = ce(0.0, [-INF, 0.0, 0.0]);
    assert!(answer.value == INF && close(&answer.student, [-1.0, 0.5, 0.5]));
}

#[test]
fn what_is_not_finite_is_not_hidden_by_a_relation() {
    for loss in [Loss::Dist, Loss::Rkd] {
        for shape in [[2, 3, 1, 2], [1, 3, 1, 2]] {
            for junk in [f64::NAN, INF, -INF] {
                for of_teacher in [false, true] {
                    let mut question = logits(loss.defaults(), shape);
                    (if of_teacher { &mut question.teacher } else { &mut question.student })[4] = junk;
                    let answer = question.answer();
                    assert!(answer.value.is_nan(), "{loss} {shape:?} {junk}");
                    assert!(answer.student.iter().chain(&answer.teacher).all(|x| x.is_nan()));
                }
            }
        }
    }
}

#[test]
fn large_and_confident_logits_stay_finite() {
    for loss in [Loss::SmoothCe, Loss::Dkd, Loss::Dist] {
        for size in [65504.0, 1e30, 1e300] {
            let mut question = logits(loss.defaults(), [2, 4, 1, 3]);
            question.student.iter_mut().for_each(|x| *x *= size);
            let answer = question.answer();
            assert!(answer.value.is_finite() && answer.value >= 0.0, "{loss} {size}: {}", answer.value);
            assert!(answer.student.iter().chain(&answer.teacher).all(|x| x.is_finite()), "{loss} {size}");
        }
    }
    // 1 - q_y is 1e-44, and neither 0 nor what is left of 1 - 1.
    let options = with(Loss::SmoothCe, &[("smoothing", OptionValue::Number(0.0))]);
    let answer = Question::new(options, [1, 2, 1, 1], Vec::new(), vec![100.0, 0.0]).answer();
    let share = (-100.0_f64).exp();
    assert!((answer.value / share - 1.0).abs() < 1e-14 && (answer.student[1] / share - 1.0).abs() < 1e-14);
    assert!((answer.student[0] / share + 1.0).abs() < 1e-14);
}

#[test]
fn nothing_to_compare_is_zero() {
    for loss in [Loss::SmoothCe, Loss::Dkd] {
        let one_class = logits(loss.defaults(), [2, 1, 1, 3]).answer();
        assert_eq!((one_class.value, largest(&one_class.student)), (0.0, 0.0), "{loss}");
        let mut ignored = logits(loss.defaults(), [2, 3, 1, 3]);
        ignored.labels.fill(255);
        let ignored = ignored.answer();
        assert_eq!((ignored.value, largest(&ignored.student)), (0.0, 0.0), "{loss}");
    }
    for normalize in [true, false] {
        let options = with(Loss::Rkd, &[("normalize", OptionValue::Flag(normalize))]);
        let one_image = logits(options, [1, 3, 1, 3]).answer();
        assert_eq!(
            (one_image.value, largest(&one_image.student), largest(&one_image.teacher)),
            (0.0, 0.0, 0.0)
        );
    }
}

/// A uniform pixel or a constant channel correlates with nothing, and takes no gradient.
#[test]
fn rows_without_spread_take_no_gradient() {
    let mut question = logits(Loss::Dist.defaults(), [2, 3, 1, 2]);
    for c in 0..3 {
        question.student[c * 2] = 0.3;
    }
    let only_rows = with(Loss::Dist, &[("intra_weight", OptionValue::Number(0.0))]);
    let answer = Question { options: only_rows, ..question.clone() }.answer();
    assert!((0..3).all(|c| answer.student[c * 2] == 0.0 && answer.teacher[c * 2] == 0.0));
    assert!(answer.student[1] != 0.0);
    // The same logits in every position: no column has spread.
    let only_columns = with(Loss::Dist, &[("inter_weight", OptionValue::Number(0.0))]);
    let student = [0.1, 0.7, -0.4].iter().flat_map(|&x| [x, x]).collect::<Vec<f64>>().repeat(2);
    let answer = Question { options: only_columns, student, ..question.clone() }.answer();
    assert_eq!((answer.value, largest(&answer.student), largest(&answer.teacher)), (1.0, 0.0, 0.0));
    // One position.
    let one = logits(only_columns, [1, 3, 1, 1]).answer();
    assert_eq!((one.value, largest(&one.student)), (1.0, 0.0));
    // A zero image.
    let mut question = logits(Loss::Rkd.defaults(), [3, 3, 1, 2]);
    question.student[..6].fill(0.0);
    let answer = question.answer();
    assert!(
        answer.value > 0.0 && largest(&answer.student[..6]) == 0.0 && largest(&answer.student[6..]) > 0.0
    );
}

#[test]
fn requests_that_are_wrong_have_their_own_errors() {
    let request = |question: &Question| match question.ask(&Sequential) {
        Err(BackendError::Request(error)) => error,
        other => panic!("{other:?}"),
    };
    for loss in [Loss::SmoothCe, Loss::Dkd] {
        let mut question = logits(loss.defaults(), [2, 3, 1, 2]);
        question.labels[2] = 3;
        assert_eq!(request(&question), Error::Label { found: 3, position: 2, classes: 3 });
        question.labels[2] = -1;
        assert_eq!(request(&question), Error::Label { found: -1, position: 2, classes: 3 });
        question.mask = Some(vec![1, 1, 0, 1]);
        assert!(question.ask(&Sequential).is_ok(), "what is ignored is not looked at");
    }
    for divisor in ["positions", "batch_channels", "elements"] {
        let options = with(Loss::Dkd, &[("divisor", OptionValue::Name(divisor))]);
        let error = request(&logits(options, [2, 3, 1, 2]));
        assert!(error.code() == "divisor" && error.to_string().contains(divisor), "{error}");
    }
}
