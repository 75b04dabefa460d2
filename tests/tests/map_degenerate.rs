//! The map losses at the edges of their definitions: zero vectors, constant maps, what is not finite, labels of no
//! class, one of everything, and numbers as large or small as their type allows.

use densekd_core::DType;
use densekd_tests::backends::{ChannelsLast, Sequential};
use densekd_tests::engine::cpu;
use densekd_tests::maps::{MapGot, MapWay, ask, has_teacher_gradient};
use densekd_tests::oracle::maps::{MapCase, Setting, value};
use densekd_tests::samples::normal;
use fastrand::Rng;

use Setting::{Flag, Integer, Name, Number, Pair};

const NAN: f64 = f64::NAN;
const NOT_FINITE: [f64; 3] = [NAN, f64::INFINITY, f64::NEG_INFINITY];

/// The settings of a loss that its definition names first.
fn settings(loss: &str) -> Vec<(&'static str, Setting)> {
    let mut settings = match loss {
        "at" => vec![("mode", Name("code")), ("p", Integer(2)), ("eps", Number(1e-12))],
        "la" => vec![
            ("mode", Name("l2")),
            ("squared", Flag(true)),
            ("border", Name("interior")),
            ("eps", Number(1e-8)),
        ],
        "pa" => vec![
            ("pool", Name("max")),
            ("kernel", Pair([1, 1])),
            ("pool_scale", Number(0.5)),
            ("eps_mode", Name("max")),
            ("eps", Number(1e-12)),
            ("detach_norm", Flag(false)),
        ],
        "ifvd" => {
            vec![("num_classes", Integer(2)), ("ignore_index", Integer(255)), ("count_ignored", Flag(true))]
        }
        "mimic" => vec![("standardise", Flag(false)), ("eps", Number(1e-6))],
        "pkd" => vec![("eps", Number(1e-6))],
        "dist" => vec![
            ("tau", Number(1.0)),
            ("tau_square", Flag(true)),
            ("inter_weight", Number(1.0)),
            ("intra_weight", Number(1.0)),
            ("eps", Number(1e-8)),
        ],
        "dkd" => vec![
            ("tau", Number(4.0)),
            ("tau_square", Flag(true)),
            ("alpha", Number(1.0)),
            ("beta", Number(8.0)),
            ("divisor", Name("batch_positions")),
            ("ignore_index", Integer(255)),
        ],
        "rkd" => {
            vec![("normalize", Flag(true)), ("distance_weight", Number(25.0)), ("angle_weight", Number(50.0))]
        }
        "smooth_ce" => vec![("tau", Number(1.0)), ("smoothing", Number(0.1)), ("ignore_index", Integer(255))],
        "ho" => vec![("role", Name("gradient_penalty")), ("adversary", Name("wgan-gp"))],
        other => panic!("{other} is no loss of maps"),
    };
    settings.push(("weight", Number(1.0)));
    settings
}

/// Random maps, labels 0 and 1.
fn case(loss: &str, shape: [usize; 4]) -> MapCase {
    let mut rng = Rng::with_seed(9);
    let [n, c, h, w] = shape;
    let mut map = || (0..n * c * h * w).map(|_| normal(&mut rng)).collect::<Vec<f64>>();
    let (student, teacher) = (map(), map());
    let teacher = (!["ho", "smooth_ce"].contains(&loss)).then_some(teacher);
    let labels = (0..n * h * w).map(|i| i64::from(i % 2 == 1 && c > 1)).collect();
    let labelled = ["ifvd", "dkd", "smooth_ce"].contains(&loss);
    MapCase {
        settings: settings(loss),
        labels: labelled.then_some((labels, [h, w])),
        ..MapCase::new(loss, shape, student, teacher)
    }
}

/// The answer in `f64`, which every other way gives, too.
fn run(case: &MapCase) -> MapGot {
    let way = MapWay { dtype: DType::F64, backend: &Sequential, upstream: 1.0 };
    let ask = |way| ask(case, way).unwrap_or_else(|error| panic!("{error}: {case:?}"));
    let got = ask(way);
    let kinds = |got: &MapGot| {
        let all = [got.value].into_iter().chain(got.grad_student.iter().chain(&got.grad_teacher).copied());
        all.map(|x| {
            if x.is_finite() {
                0
            } else if x.is_nan() {
                1
            } else {
                2
            }
        })
        .collect::<Vec<_>>()
    };
    for backend in [cpu(2) as &dyn densekd::Backend, &ChannelsLast(cpu(2))] {
        assert_eq!(kinds(&ask(MapWay { backend, ..way })), kinds(&got), "{case:?}");
    }
    got
}

/// The answer, its value being the oracle's.
fn checked(case: &MapCase) -> MapGot {
    let (got, want) = (run(case), value(case));
    let scale = want.abs() + 1e-3;
    assert!((got.value - want).abs() <= 1e-12 * scale, "{:e}, not {want:e}: {case:?}", got.value);
    let gradients = got.grad_student.iter().chain(&got.grad_teacher);
    assert!(gradients.into_iter().all(|x| x.is_finite() && x.abs() < 1e4), "{got:?} {case:?}");
    got
}

fn zero(x: &[f64]) -> bool {
    x.iter().all(|x| *x == 0.0)
}

/// Index of an element.
fn at([_, c, h, w]: [usize; 4], n: usize, channel: usize, i: usize) -> usize {
    (n * c + channel) * h * w + i
}

/// The same number in all channels of a position.
fn fill(x: &mut [f64], shape: [usize; 4], n: usize, i: usize, number: f64) {
    (0..shape[1]).for_each(|c| x[at(shape, n, c, i)] = number);
}

fn pixel(x: &[f64], shape: [usize; 4], n: usize, i: usize) -> Vec<f64> {
    (0..shape[1]).map(|c| x[at(shape, n, c, i)]).collect()
}

/// A number that is none in one element of a side: which gradients become NaN, by (image, channel, position)
/// of the bad element and of another one. The value is never finite.
fn spreads(case: &MapCase, is_nan: impl Fn([usize; 3], [usize; 3]) -> Option<bool>) {
    let shape = case.shape;
    let [n, c, h, w] = shape;
    let m = h * w;
    let place = |i: usize| [i / (c * m), i / m % c, i % m];
    for bad in [0, n * c * m / 2, n * c * m - 1] {
        for number in NOT_FINITE {
            for of_teacher in [false, true] {
                let mut case = case.clone();
                match (of_teacher, &mut case.teacher) {
                    (true, Some(teacher)) => teacher[bad] = number,
                    (true, None) => continue,
                    (false, _) => case.student[bad] = number,
                }
                let got = run(&case);
                assert!(!got.value.is_finite(), "{}: {case:?}", got.value);
                assert!(
                    number.is_finite() || !number.is_nan() || got.value.is_nan(),
                    "{}: {case:?}",
                    got.value
                );
                let gradients =
                    [Some(&got.grad_student), has_teacher_gradient(&case).then_some(&got.grad_teacher)];
                for gradient in gradients.into_iter().flatten() {
                    for (i, x) in gradient.iter().enumerate() {
                        if let Some(want) = is_nan(place(bad), place(i)) {
                            assert_eq!(!x.is_finite(), want, "entry {i} is {x}, {bad} is {number}: {case:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_spreads_as_far_as_norms_means_and_pools_reach() {
    let shape = [3, 2, 3, 7];
    for mode in ["code", "paper"] {
        let at = case("at", shape).with("mode", Name(mode));
        spreads(&at, |bad, entry| Some(bad[0] == entry[0]));
    }
    spreads(&case("pkd", shape), |bad, entry| Some(bad[1] == entry[1]));
    let standardised = case("mimic", shape).with("standardise", Flag(true));
    spreads(&standardised, |bad, entry| Some(bad[1] == entry[1]));
    spreads(&case("mimic", shape), |bad, entry| Some(bad == entry));
    for pool in ["max", "avg"] {
        let pa = case("pa", shape).with("pool", Name(pool)).with("kernel", Pair([2, 2]));
        spreads_nan_only(&pa, |bad, entry| (bad[0] != entry[0]).then_some(false));
    }
    spreads(&case("ifvd", shape), |bad, entry| (bad[0] != entry[0]).then_some(false));
    for mode in ["l2", "cos"] {
        let la = case("la", shape).with("mode", Name(mode));
        spreads(&la, |bad, entry| {
            let far = (bad[2] % 7).abs_diff(entry[2] % 7) > 2;
            if bad[0] != entry[0] || far { Some(false) } else { (bad == entry).then_some(true) }
        });
    }
    let small = [3, 2, 1, 2];
    spreads(&case("dist", small), |_, _| Some(true));
    for normalize in [true, false] {
        spreads(&case("rkd", small).with("normalize", Flag(normalize)), |_, _| Some(true));
    }
    spreads(&case("ho", small), |bad, entry| Some(bad[0] == entry[0]));
}

/// As [`spreads`], for NaN alone: a maximum passes over -inf, as it may.
fn spreads_nan_only(case: &MapCase, is_nan: impl Fn([usize; 3], [usize; 3]) -> Option<bool>) {
    let [_, c, h, w] = case.shape;
    let m = h * w;
    let place = |i: usize| [i / (c * m), i / m % c, i % m];
    for bad in 0..case.student.len() {
        let mut case = case.clone();
        case.student[bad] = NAN;
        let got = run(&case);
        assert!(got.value.is_nan(), "{}: {case:?}", got.value);
        let in_its_image = got.grad_student.iter().enumerate().filter(|(i, _)| place(*i)[0] == place(bad)[0]);
        assert!(in_its_image.into_iter().any(|(_, x)| x.is_nan()), "{bad}: {got:?}");
        for (i, x) in got.grad_student.iter().enumerate() {
            if let Some(want) = is_nan(place(bad), place(i)) {
                assert_eq!(x.is_nan(), want, "entry {i} is {x}, {bad} is NaN: {case:?}");
            }
        }
    }
}

/// The rows of dkd and `smooth_ce` are positions; an ignored one is left out, whatever stands there.
#[test]
fn a_row_of_logits_is_lost_alone_and_an_ignored_one_not_at_all() {
    let shape = [2, 3, 1, 3];
    for loss in ["dkd", "smooth_ce"] {
        let case = case(loss, shape);
        for number in [NAN, f64::INFINITY] {
            for of_teacher in [false, true] {
                let mut bad = case.clone();
                match (of_teacher, &mut bad.teacher) {
                    (true, Some(teacher)) => teacher[at(shape, 1, 2, 0)] = number,
                    (true, None) => continue,
                    (false, _) => bad.student[at(shape, 1, 2, 0)] = number,
                }
                let got = run(&bad);
                assert!(got.value.is_nan(), "{got:?} {bad:?}");
                for (i, x) in got.grad_student.iter().enumerate() {
                    assert_eq!(x.is_nan(), i / 9 == 1 && i % 3 == 0, "entry {i} is {x}: {bad:?}");
                }
                bad.labels.as_mut().expect("labels").0[3] = 255;
                let mut masked = case.clone();
                (masked.student, masked.teacher) = (bad.student.clone(), bad.teacher.clone());
                masked.counted = Some((0..6).map(|i| i != 3).collect());
                for left_out in [&bad, &masked] {
                    let mut whole = left_out.clone();
                    (whole.student, whole.teacher) = (case.student.clone(), case.teacher.clone());
                    let (got, want) = (run(left_out), run(&whole));
                    assert_eq!(
                        (got.value, &got.grad_student),
                        (want.value, &want.grad_student),
                        "{left_out:?}"
                    );
                    assert!(zero(&pixel(&got.grad_student, shape, 1, 0)), "{left_out:?}");
                }
            }
        }
    }
}

#[test]
fn nothing_counted_is_nothing_lost() {
    let shape = [2, 3, 2, 2];
    for loss in ["ifvd", "dkd", "smooth_ce"] {
        let case = case(loss, shape);
        let (mut ignored, mut masked) = (case.clone(), case.clone());
        ignored.labels = Some((vec![255; 8], [2, 2]));
        masked.counted = Some(vec![false; 8]);
        for mut nothing in [ignored, masked] {
            for count_ignored in [true, false] {
                if loss == "ifvd" {
                    nothing = nothing.with("count_ignored", Flag(count_ignored));
                }
                for number in [1.0, NAN] {
                    // A pixel without a class shares no prototype with any other.
                    nothing.student[0] = number;
                    let got = run(&nothing);
                    assert_eq!(got.value, 0.0, "{nothing:?}");
                    assert!(zero(&got.grad_student) && zero(&got.grad_teacher), "{got:?} {nothing:?}");
                }
            }
        }
    }
}

#[test]
fn labels_of_no_class_have_no_term() {
    let shape = [1, 3, 2, 2];
    let mut case = case("ifvd", shape);
    for label in [2, -1, 255, i64::MAX, i64::MIN] {
        case.labels = Some((vec![0, 0, label, 0], [2, 2]));
        let got = checked(&case);
        assert!(got.value > 0.0 && zero(&pixel(&got.grad_student, shape, 0, 2)), "{got:?}");
    }
    // Class 1 is absent, one pixel of class 0: its own prototype.
    case.labels = Some((vec![255, 255, 0, 255], [2, 2]));
    let got = checked(&case);
    assert!(got.value < 1e-30 && got.grad_student.iter().all(|x| x.abs() < 1e-15), "{got:?}");
}

/// The zero vector has direction 0 and takes no gradient.
#[test]
fn zero_vectors_take_no_gradient() {
    let shape = [3, 3, 3, 4];
    let [_, c, h, w] = shape;
    let image = c * h * w;
    for loss in ["at", "rkd", "ho"] {
        let mut case = case(loss, shape);
        case.student[..image].fill(0.0);
        let got = checked(&case);
        assert!(zero(&got.grad_student[..image]) && !zero(&got.grad_student[image..]), "{loss}: {got:?}");
        if let Some(teacher) = &mut case.teacher {
            teacher[..image].fill(0.0);
            assert!(zero(&checked(&case).grad_teacher[..image]), "{loss}");
        }
        case.student.fill(0.0);
        assert!(zero(&checked(&case).grad_student), "{loss}");
    }
    for p in 1..=4 {
        let mut case = case("at", shape).with("p", Integer(p)).with("mode", Name("paper"));
        case.student[..image].fill(0.0);
        assert!(zero(&checked(&case).grad_student[..image]), "p {p}");
        // A zero beside others has sign 0.
        case.student[image] = 0.0;
        assert_eq!(checked(&case).grad_student[image], 0.0, "p {p}");
    }
    for (loss, setting) in [("la", ("mode", "cos")), ("pa", ("eps_mode", "max")), ("pa", ("eps_mode", "add"))]
    {
        for detached in [false, true] {
            let mut case = case(loss, shape).with(setting.0, Name(setting.1));
            if loss == "pa" {
                case = case.with("detach_norm", Flag(detached));
            }
            fill(&mut case.student, shape, 0, 5, 0.0);
            let got = checked(&case);
            assert!(zero(&pixel(&got.grad_student, shape, 0, 5)), "{loss}: {got:?}");
            assert!(!zero(&pixel(&got.grad_student, shape, 0, 6)), "{loss}: {got:?}");
            case.student.fill(0.0);
            assert!(zero(&checked(&case).grad_student), "{loss}");
        }
    }
    // In ifvd it is still a member of its prototype.
    let mut case = case("ifvd", shape);
    fill(&mut case.student, shape, 0, 5, 0.0);
    assert!(!zero(&pixel(&checked(&case).grad_student, shape, 0, 5)));
    case.student.fill(0.0);
    assert!(zero(&checked(&case).grad_student));
    // Two opposite pixels: the prototype is 0.
    case = self::case("ifvd", [1, 2, 1, 2]);
    (case.student, case.labels) = (vec![1.5, -1.5, 0.25, -0.25], Some((vec![1, 1], [1, 2])));
    assert!(zero(&checked(&case).grad_student));
}

#[test]
fn constant_maps_have_no_direction() {
    let shape = [2, 3, 3, 4];
    let [_, _, h, w] = shape;
    // A constant whose mean is rounded.
    for number in [0.1, 0.0, 1e6 + 0.1] {
        for squared in [true, false] {
            let mut case = case("la", shape).with("squared", Flag(squared));
            case.student.fill(number);
            assert!(zero(&checked(&case).grad_student), "{number}");
        }
        for loss in ["pkd", "mimic"] {
            let mut case = case(loss, shape);
            if loss == "mimic" {
                case = case.with("standardise", Flag(true));
            }
            let channel = |n: usize| at(shape, n, 1, 0)..at(shape, n, 1, 0) + h * w;
            (0..2).for_each(|n| case.student[channel(n)].fill(number));
            let got = checked(&case);
            assert!(
                zero(&got.grad_student[channel(0)]) && zero(&got.grad_student[channel(1)]),
                "{loss} {number}"
            );
            assert!(!zero(&got.grad_student[..h * w]), "{loss} {number}");
            case.student.fill(number);
            assert!(zero(&checked(&case).grad_student), "{loss} {number}");
        }
        // A uniform position's row has no spread; its columns have.
        let mut case = case("dist", [2, 3, 1, 2]).with("intra_weight", Number(0.0));
        fill(&mut case.student, [2, 3, 1, 2], 0, 1, number);
        assert!(zero(&pixel(&checked(&case).grad_student, [2, 3, 1, 2], 0, 1)), "{number}");
        case.student.fill(number);
        let got = checked(&case.with("intra_weight", Number(1.0)));
        assert!(zero(&got.grad_student) && (got.value - 2.0).abs() < 1e-12, "{got:?}");
    }
}

#[test]
fn samples_that_coincide_have_no_direction_between_them() {
    let shape = [3, 2, 1, 2];
    for normalize in [true, false] {
        let mut case = case("rkd", shape).with("normalize", Flag(normalize));
        let first = case.student[..4].to_vec();
        case.student[4..8].copy_from_slice(&first);
        checked(&case);
        (0..3).for_each(|n| case.student[n * 4..n * 4 + 4].copy_from_slice(&first));
        assert!(zero(&checked(&case).grad_student));
    }
}

#[test]
fn one_of_everything() {
    for loss in ["at", "pa", "ifvd", "mimic", "pkd", "dist", "dkd", "rkd", "smooth_ce", "ho"] {
        for shape in [[1, 1, 1, 1], [1, 3, 1, 1], [2, 1, 1, 1], [1, 1, 1, 4], [2, 1, 2, 2], [2, 3, 1, 1]] {
            let case = case(loss, shape);
            let got = checked(&case);
            let [n, c, h, w] = shape;
            let (m, rounding) = (h * w, 1e-15);
            let nothing = |got: &MapGot| {
                got.value.abs() <= rounding && got.grad_student.iter().all(|x| x.abs() <= rounding)
            };
            let none = match loss {
                "at" | "pa" => m == 1,
                "ifvd" => m == 1,
                "pkd" => n * m == 1,
                "dkd" | "smooth_ce" => c == 1,
                "rkd" => n == 1,
                _ => false,
            };
            assert!(!none || nothing(&got), "{loss} {shape:?}: {got:?}");
            if loss == "rkd" && n == 1 {
                assert!(got.value == 0.0 && zero(&got.grad_student));
            }
            if loss == "dist" && c == 1 {
                // Softmaxes of one class are 1: no row and no column has spread.
                assert!((got.value - 2.0).abs() < rounding && zero(&got.grad_student), "{got:?}");
            }
        }
    }
    for shape in [[1, 1, 3, 3], [1, 1, 1, 2], [1, 1, 2, 1]] {
        for mode in ["l2", "cos"] {
            checked(&case("la", shape).with("mode", Name(mode)).with("border", Name("clip")));
        }
    }
}

/// Squares of these leave the range of `f32`, and fourth powers that of `f64`.
#[test]
fn scale_is_no_matter_to_directions() {
    let shape = [3, 3, 2, 3];
    for loss in ["at", "pa", "pkd", "rkd", "ifvd"] {
        for factor in [1e30, 1e15, 1e-3] {
            let mut case = case(loss, shape);
            if loss == "at" {
                case = case.with("p", Integer(4));
            }
            let before = run(&case);
            case.student.iter_mut().for_each(|x| *x *= factor);
            let (got, want) = (run(&case), value(&case));
            assert!(
                (got.value - want).abs() <= 1e-12 * want,
                "{loss} {factor:e}: {:e}, not {want:e}",
                got.value
            );
            // The last direction is eps's own.
            for (got, want) in got.grad_student.iter().zip(&before.grad_student).filter(|_| factor > 1.0) {
                let error = (got * factor - want).abs();
                assert!(error < 1e-5, "{loss} {factor:e}: {got:e} times it is not {want:e}");
            }
        }
    }
    for factor in [1e200, 1e-200] {
        let mut case = case("ho", shape);
        case.student.iter_mut().for_each(|x| *x *= factor);
        let (got, want) = (run(&case), value(&case));
        let equal = got.value == want || (got.value - want).abs() <= 1e-12 * want;
        assert!(equal && got.grad_student.iter().all(|x| x.is_finite()), "{got:?}, not {want:e}");
    }
}

/// A thousand deviations of offset.
#[test]
fn offsets_do_not_hurt() {
    for (loss, mode) in [("pkd", None), ("mimic", Some(("standardise", Flag(true)))), ("la", None)] {
        let mut case = case(loss, [2, 3, 3, 4]);
        if let Some((name, setting)) = mode {
            case = case.with(name, setting);
        }
        let offset = 4096.0;
        // Numbers of 40 bits: they keep every one of them.
        let coarse = |x: &mut f64| *x = (*x * 1024.0).round() / 1024.0;
        case.student.iter_mut().for_each(coarse);
        let before = run(&case);
        case.student.iter_mut().for_each(|x| *x += offset);
        let got = run(&case);
        assert!((got.value - before.value).abs() <= 1e-11 * before.value, "{loss}");
        for (got, want) in got.grad_student.iter().zip(&before.grad_student) {
            assert!((got - want).abs() < 1e-10, "{loss}: {got:e}, not {want:e}");
        }
    }
}
