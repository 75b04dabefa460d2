//! What is not finite in the maps of a map loss: the value hides it nowhere, and a gradient is lost as far as norms,
//! means and pools reach.

mod map_cases;

use densekd_tests::maps::has_teacher_gradient;
use densekd_tests::oracle::maps::{MapCase, Setting};
use map_cases::{at, case, pixel, run, zero};

use Setting::{Flag, Name, Pair};

const NAN: f64 = f64::NAN;
const NOT_FINITE: [f64; 3] = [NAN, f64::INFINITY, f64::NEG_INFINITY];

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
