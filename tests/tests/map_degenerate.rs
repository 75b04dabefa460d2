//! The map losses at the edges of their definitions: zero vectors, constant maps, labels of no class, one of
//! everything, and numbers as large or small as their type allows.

mod map_cases;

use densekd_tests::maps::MapGot;
use densekd_tests::oracle::maps::{MapCase, Setting, value};
use map_cases::{at, case, pixel, run, zero};

use Setting::{Flag, Integer, Name, Number};

const NAN: f64 = f64::NAN;

/// The answer, its value being the oracle's.
fn checked(case: &MapCase) -> MapGot {
    let (got, want) = (run(case), value(case));
    let scale = want.abs() + 1e-3;
    assert!((got.value - want).abs() <= 1e-12 * scale, "{:e}, not {want:e}: {case:?}", got.value);
    let gradients = got.grad_student.iter().chain(&got.grad_teacher);
    assert!(gradients.into_iter().all(|x| x.is_finite() && x.abs() < 1e4), "{got:?} {case:?}");
    got
}

/// The same number in all channels of a position.
fn fill(x: &mut [f64], shape: [usize; 4], n: usize, i: usize, number: f64) {
    (0..shape[1]).for_each(|c| x[at(shape, n, c, i)] = number);
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
                "at" | "pa" | "ifvd" => m == 1,
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
