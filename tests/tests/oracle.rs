//! The oracle against the golden vectors, which other code computed in 130 digits, and against its own rules.

#![allow(clippy::float_cmp, reason = "exact zeros, infinities and equal runs are what is promised")]

mod vectors;

use densekd_tests::oracle::{Case, Divergence, Ignore, Norm, Options, Samples, answer};

/// What is wrong with an answer, if anything: it equals a vector to the bit, as both were rounded once, but
/// vectors say 0 below 1e-100.
fn miss(got: f64, want: f64) -> Option<String> {
    let equal = got == want || (got.is_nan() && want.is_nan()) || (want == 0.0 && got.abs() < 1e-100);
    (!equal).then(|| format!("{got:e} for {want:e}"))
}

fn tensor_miss(got: &[f64], want: &[f64]) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{} entries for {}", got.len(), want.len()));
    }
    let mut misses = got.iter().zip(want).enumerate();
    misses.find_map(|(i, (&got, &want))| miss(got, want).map(|what| format!("entry {i}: {what}")))
}

fn equals_every_vector(loss: &str, count: usize) {
    let vectors = vectors::load(loss);
    assert_eq!(vectors.len(), count);
    let mut misses = Vec::new();
    for vector in &vectors {
        let got = answer(&vector.case);
        let parts = [
            ("value", miss(got.value, vector.value)),
            ("grad_student", tensor_miss(&got.grad_student, &vector.grad_student)),
            (
                "grad_teacher",
                vector.grad_teacher.as_ref().and_then(|want| tensor_miss(&got.grad_teacher, want)),
            ),
        ];
        for (part, what) in parts {
            misses.extend(what.map(|what| format!("{} {part}: {what}", vector.name)));
        }
    }
    assert!(misses.is_empty(), "{} misses:\n{}", misses.len(), misses.join("\n"));
}

#[test]
fn equals_every_cwd_vector() {
    equals_every_vector("cwd", 57);
}

#[test]
fn equals_every_pi_vector() {
    equals_every_vector("pi", 15);
}

/// `sum p (log p - log q)` by two `log_softmax` in plain f64.
fn textbook_kl(teacher: &[f64], student: &[f64], tau: f64) -> f64 {
    let log_softmax = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_z = row.iter().map(|x| ((x - largest) / tau).exp()).sum::<f64>().ln();
        row.iter().map(|x| (x - largest) / tau - log_z).collect::<Vec<_>>()
    };
    let (lp, lq) = (log_softmax(teacher), log_softmax(student));
    lp.iter().zip(&lq).map(|(lp, lq)| lp.exp() * (lp - lq)).sum()
}

#[test]
fn the_textbook_formula_in_f64_loses_close_rows() {
    let vectors = vectors::load("cwd");
    let near = |name: &str| {
        let vector = vectors.iter().find(|x| x.name == name).expect("the vector is there");
        let [n, c, h, w] = vector.case.shape;
        let rows = vector.case.teacher.chunks(h * w).zip(vector.case.student.chunks(h * w));
        let sum: f64 = rows.map(|(t, s)| textbook_kl(t, s, vector.case.options.tau)).sum();
        let count = u32::try_from(n * c).expect("few rows");
        let want = answer(&vector.case).value;
        let got = sum / f64::from(count) * vector.case.options.weight;
        ((got - want) / want).abs()
    };
    assert!(near("cwd-kl-1-tau1.0") < 1e-14);
    assert!(near("cwd-near-1e-12") > 1e-6);
    assert!(near("cwd-near-1e-20") > 1.0);
}

/// A case of random logits.
fn random(shape: [usize; 4], options: Options, seed: u64) -> Case {
    let mut source = fastrand::Rng::with_seed(seed);
    let length = shape.iter().product();
    let mut logits = || (0..length).map(|_| 6.0 * source.f64() - 3.0).collect::<Vec<_>>();
    Case { shape, teacher: logits(), student: logits(), counted: None, options }
}

const SOFTMAX_PHI: [Divergence; 5] =
    [Divergence::Kl, Divergence::Ce, Divergence::Mse, Divergence::Js, Divergence::ReverseKl];

/// Options that between them take every branch of value and gradient, with and without a mask.
fn every_kind() -> Vec<(Options, bool)> {
    let mut kinds = Vec::new();
    for divergence in SOFTMAX_PHI {
        for (norm, mask) in [(Norm::Channel, false), (Norm::Spatial, true)] {
            kinds.push((Options { divergence, norm, ..Options::cwd() }, mask));
        }
    }
    for divergence in [Divergence::Kl, Divergence::Ce] {
        kinds.push((Options { divergence, eps: 1e-3, ..Options::cwd() }, false));
        kinds.push((Options { divergence, ignore: Ignore::After, ..Options::cwd() }, true));
    }
    for norm in [Norm::ChannelMean, Norm::None] {
        let options = Options { norm, divergence: Divergence::Mse, ..Options::cwd() };
        kinds.push((Options { samples: Samples::First, ..options.clone() }, true));
        kinds.push((options, false));
    }
    kinds.push((Options { upsample: 3, ..Options::pi() }, false));
    kinds
}

#[test]
fn gradients_are_the_central_differences_of_the_value() {
    let step = 1e-5;
    for (kind, (options, mask)) in (0..).zip(every_kind()) {
        let mut case = random([2, 2, 2, 2], options, kind);
        case.counted = mask.then(|| vec![true, false, true, true, false, true, false, true]);
        let truth = answer(&case);
        for i in 0..case.student.len() {
            let moved = |teacher: f64, student: f64| {
                let mut case = case.clone();
                case.teacher[i] += teacher;
                case.student[i] += student;
                answer(&case).value
            };
            let to_student = (moved(0.0, step) - moved(0.0, -step)) / (2.0 * step);
            let to_teacher = (moved(step, 0.0) - moved(-step, 0.0)) / (2.0 * step);
            for (got, want) in [(truth.grad_student[i], to_student), (truth.grad_teacher[i], to_teacher)] {
                assert!((got - want).abs() < 1e-8 * (1.0 + want.abs()), "{:?}: {got} {want}", case.options);
            }
        }
    }
}

#[test]
fn rows_and_divisor_make_the_value() {
    let case = random([2, 3, 1, 5], Options { tau: 2.0, weight: 6.0, ..Options::cwd() }, 1);
    let truth = answer(&case);
    assert_eq!(truth.rows.len(), 6);
    assert!((truth.rows.iter().sum::<f64>() * 4.0 - truth.value).abs() < 1e-14 * truth.value);
    let spatial = answer(&Case { options: Options::pi(), ..case });
    assert_eq!(spatial.rows.len(), 10);
}

#[test]
fn rows_equal_up_to_a_constant_are_exactly_zero() {
    for divergence in [Divergence::Kl, Divergence::Mse, Divergence::Js, Divergence::ReverseKl] {
        let mut case = random([1, 2, 2, 3], Options { divergence, ..Options::cwd() }, 2);
        case.teacher.iter_mut().for_each(|t| *t = (*t * 64.0).round());
        case.student = case.teacher.iter().map(|t| t + 1000.0).collect();
        let truth = answer(&case);
        assert_eq!(truth.value, 0.0, "{divergence:?}");
        assert!(truth.grad_student.iter().chain(&truth.grad_teacher).all(|&g| g == 0.0), "{divergence:?}");
    }
}

/// One row of three logits with every option at 1.
fn three(divergence: Divergence, teacher: [f64; 3], student: [f64; 3]) -> Case {
    let options = Options { divergence, tau: 1.0, weight: 1.0, ..Options::cwd() };
    Case { shape: [1, 1, 1, 3], teacher: teacher.into(), student: student.into(), counted: None, options }
}

const NONE: f64 = f64::NEG_INFINITY;

#[test]
fn nan_and_plus_infinity_make_the_row_nan() {
    for divergence in SOFTMAX_PHI {
        for bad in [f64::NAN, f64::INFINITY] {
            for case in
                [three(divergence, [NONE; 3], [0.0, bad, 0.0]), three(divergence, [bad, 0.0, 0.0], [0.0; 3])]
            {
                let truth = answer(&case);
                assert!(truth.value.is_nan());
                assert!(truth.grad_student.iter().chain(&truth.grad_teacher).all(|g| g.is_nan()));
            }
        }
    }
}

#[test]
fn an_empty_teacher_says_nothing() {
    for divergence in SOFTMAX_PHI {
        let truth = answer(&three(divergence, [NONE; 3], [0.0, 1.0, NONE]));
        assert_eq!(truth.value, 0.0);
        assert!(truth.grad_student.iter().chain(&truth.grad_teacher).all(|&g| g == 0.0));
    }
}

#[test]
fn entries_without_mass_follow_the_table() {
    let teacher_has_none = |divergence| answer(&three(divergence, [0.0, 0.0, NONE], [0.0; 3]));
    let student_has_none = |divergence| answer(&three(divergence, [0.0; 3], [0.0, 0.0, NONE]));
    let student_is_empty = |divergence| answer(&three(divergence, [0.0; 3], [NONE; 3]));
    let (third, ln2) = (1.0 / 3.0, std::f64::consts::LN_2);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");

    near(teacher_has_none(Divergence::Kl).value, 1.5_f64.ln());
    near(teacher_has_none(Divergence::Kl).grad_student[2], third);
    let reverse = teacher_has_none(Divergence::ReverseKl);
    assert_eq!(reverse.value, f64::INFINITY);
    assert!(reverse.grad_student.iter().all(|g| g.is_nan()));
    near(reverse.grad_teacher[2], -third);
    near(
        teacher_has_none(Divergence::Js).value,
        0.5 * 1.2_f64.ln() + third * 0.8_f64.ln() + third * ln2 / 2.0,
    );

    for divergence in [Divergence::Kl, Divergence::Ce] {
        let truth = student_has_none(divergence);
        assert_eq!(truth.value, f64::INFINITY);
        near(truth.grad_student[2], -third);
        assert!(truth.grad_teacher.iter().all(|g| g.is_nan()));
        let truth = student_is_empty(divergence);
        assert_eq!(truth.value, f64::INFINITY);
        near(truth.grad_student[0], -third);
    }
    assert!(student_has_none(Divergence::Js).value.is_finite());
    near(student_is_empty(Divergence::Mse).value, third);
    near(student_is_empty(Divergence::Js).value, ln2 / 2.0);
    assert_eq!(student_is_empty(Divergence::ReverseKl).value, 0.0);
    for divergence in [Divergence::Mse, Divergence::Js, Divergence::ReverseKl] {
        assert!(student_is_empty(divergence).grad_student.iter().all(|&g| g == 0.0));
    }
}

#[test]
fn probabilities_below_every_float_keep_their_logarithms() {
    let truth = answer(&three(Divergence::Kl, [1e30, 0.0, 0.0], [0.0, 1e30, 0.0]));
    assert_eq!(truth.value, 1e30);
    assert_eq!(truth.grad_student, [-1.0, 1.0, 0.0]);
    let truth = answer(&three(Divergence::Kl, [9000.0, 0.0, 0.0], [9000.0, 0.0, NONE]));
    assert_eq!(truth.value, f64::INFINITY);
    let truth = answer(&three(Divergence::Js, [1e30, 0.0, -1e30], [0.0, 1e30, -1e30]));
    assert!((truth.value - std::f64::consts::LN_2).abs() < 1e-15);
}
