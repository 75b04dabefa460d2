//! Small maps with every option at once, in `f64`, against the oracle; and the gradients once more against
//! differences of the value, which nobody but the engine had a hand in.

use densekd_core::{DType, Order};
use densekd_tests::draws::{Draw, config, draws_of, largest};
use densekd_tests::engine::{Runner, Way, ask};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, Norm, Options, Samples, answer};
use proptest::prelude::*;

/// A loss with every option that does not make it another one.
fn cases(kinds: &'static [Kind]) -> impl Strategy<Value = Case> {
    let draw = draws_of(kinds, (1..=2_usize, 1..=4_usize, 1..=3_usize, 1..=3_usize));
    let options = (any::<bool>(), any::<bool>(), prop::option::of(1..=5_usize));
    (draw, options).prop_map(|(draw, (tau_square, first, divisor_channels))| {
        let case = draw.case(DType::F64);
        let samples = if first { Samples::First } else { Samples::All };
        Case { options: Options { tau_square, samples, divisor_channels, ..case.options.clone() }, ..case }
    })
}

/// Values to 1e-11; gradients to as much of the tensor's largest entry, and to some ulp of 1 where pulls cancel.
fn is_the_answer(case: &Case, way: Way) -> Result<(), TestCaseError> {
    let (got, want) = (ask(case, way), answer(case));
    let close = |got: &[f64], want: &[f64]| {
        let scale = 1e-11 * largest(want) + 1e-14;
        got.iter().zip(want).all(|(got, want)| (got - want).abs() <= scale)
    };
    prop_assert!(
        (got.value - want.value).abs() <= 1e-11 * want.value.abs() + 1e-15,
        "{} {}",
        got.value,
        want.value
    );
    prop_assert!(close(&got.rows, &want.rows), "{:?} {:?}", got.rows, want.rows);
    prop_assert!(
        close(&got.grad_student, &want.grad_student),
        "{:?} {:?}",
        got.grad_student,
        want.grad_student
    );
    prop_assert!(
        close(&got.grad_teacher, &want.grad_teacher),
        "{:?} {:?}",
        got.grad_teacher,
        want.grad_teacher
    );
    Ok(())
}

/// Both gradients against `(f(x + h) - f(x - h)) / 2h`, whose own error is h^2 and 1e-16 of the value over h.
fn are_the_differences(case: &Case) -> Result<(), TestCaseError> {
    let step = 1e-5;
    let way = Way::plain(DType::F64);
    let got = ask(case, way);
    let value_alone = Way { grad_student: false, grad_teacher: false, ..way };
    let scale = 1e-8 * (1.0 + got.value.abs() + largest(&got.grad_student) + largest(&got.grad_teacher));
    for i in 0..case.student.len() {
        let value = |student: f64, teacher: f64| {
            let mut case = case.clone();
            case.student[i] += student;
            case.teacher[i] += teacher;
            ask(&case, value_alone).value
        };
        let to_student = (value(step, 0.0) - value(-step, 0.0)) / (2.0 * step);
        let to_teacher = (value(0.0, step) - value(0.0, -step)) / (2.0 * step);
        for (got, want) in [(got.grad_student[i], to_student), (got.grad_teacher[i], to_teacher)] {
            prop_assert!((got - want).abs() <= scale, "entry {i}: {got} for {want}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn every_option_is_the_oracles(case in cases(&Kind::ALL), threads in 1..=3_usize, last: bool) {
        let order = if last { Order::Nhwc } else { Order::Nchw };
        is_the_answer(&case, Way { order, runner: Runner::Threads(threads), ..Way::plain(DType::F64) })?;
    }

    #[test]
    fn gradients_are_the_differences_of_the_value(case in cases(&Kind::ALL)) {
        are_the_differences(&case)?;
    }
}

/// Kl, reverse kl, js, ce and mse of an enlarged map, and both with an epsilon.
const ENLARGED: [Kind; 7] =
    [Kind::Kl, Kind::ReverseKl, Kind::Js, Kind::Ce, Kind::Mse, Kind::KlEps, Kind::CeEps];

fn enlarged_cases() -> impl Strategy<Value = Case> {
    let draw = draws_of(&ENLARGED, (1..=2_usize, 1..=3_usize, 1..=3_usize, 1..=4_usize));
    (draw, 2..=3_usize).prop_map(|(draw, upsample)| {
        let case = Draw { spatial: true, masked: false, ..draw }.case(DType::F64);
        Case { options: Options { upsample, ..case.options.clone() }, ..case }
    })
}

/// Bilinear interpolation of one number, corners aligned.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "coordinates of a small map"
)]
fn resized(map: &[f64], (h, w): (usize, usize), factor: usize) -> Vec<f64> {
    let at = |i: usize, from: usize| {
        let to = from * factor;
        let x = if to > 1 { i as f64 * (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
        let low = (x + 1e-12).floor().min((from - 1) as f64);
        (low as usize, (low as usize + 1).min(from - 1), (x - low).max(0.0))
    };
    let mut out = Vec::new();
    for y in 0..h * factor {
        let (y0, y1, fy) = at(y, h);
        for x in 0..w * factor {
            let (x0, x1, fx) = at(x, w);
            let line = |y: usize| map[y * w + x0] * (1.0 - fx) + map[y * w + x1] * fx;
            out.push(line(y0) * (1.0 - fy) + line(y1) * fy);
        }
    }
    out
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn upsampling_is_an_explicit_resize(case in enlarged_cases(), last: bool, threads in 1..=3_usize) {
        let [n, c, h, w] = case.shape;
        let factor = case.options.upsample;
        let enlarge = |x: &[f64]| -> Vec<f64> {
            x.chunks(h * w).flat_map(|map| resized(map, (h, w), factor)).collect()
        };
        let explicit = Case {
            shape: [n, c, h * factor, w * factor],
            teacher: enlarge(&case.teacher),
            student: enlarge(&case.student),
            counted: None,
            options: Options { upsample: 1, ..case.options.clone() },
        };
        let order = if last { Order::Nhwc } else { Order::Nchw };
        let way = Way { order, runner: Runner::Threads(threads), ..Way::plain(DType::F64) };
        let (got, want) = (ask(&case, way), ask(&explicit, Way::plain(DType::F64)));
        prop_assert_eq!(case.options.norm, Norm::Spatial);
        prop_assert_eq!(got.outcome.divisor.to_bits(), want.outcome.divisor.to_bits());
        prop_assert!((got.value - want.value).abs() <= 1e-12 * want.value.abs() + 1e-16, "{} {}", got.value, want.value);
        // The transpose of a resize is linear: <resize x, g> = <x, pull g> for the resized map itself.
        for (x, enlarged, g, pulled) in [
            (&case.student, &explicit.student, &want.grad_student, &got.grad_student),
            (&case.teacher, &explicit.teacher, &want.grad_teacher, &got.grad_teacher),
        ] {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let size: f64 = enlarged.iter().zip(g).map(|(a, b)| (a * b).abs()).sum();
            // Where pulls cancel, either gradient is good to some ulp of 1.
            let floor = 1e-14 * enlarged.iter().map(|x| x.abs()).sum::<f64>();
            prop_assert!((dot(enlarged, g) - dot(x, pulled)).abs() <= 1e-12 * size + floor);
        }
    }

    #[test]
    fn gradients_of_an_enlarged_map_are_the_differences_of_its_value(case in enlarged_cases()) {
        are_the_differences(&case)?;
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn an_enlarged_map_is_the_oracles(case in enlarged_cases(), last: bool) {
        let order = if last { Order::Nhwc } else { Order::Nchw };
        is_the_answer(&case, Way { order, ..Way::plain(DType::F64) })?;
    }
}

/// A cell without a share of an enlarged position does not reach it, whatever stands in it.
#[test]
fn what_is_not_finite_reaches_its_own_neighbourhood_of_an_enlarged_map() {
    for kind in ENLARGED {
        for junk in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for of_teacher in [false, true] {
                let logits = |k: i32| (0..24).map(|i| f64::from(i * k % 11) / 4.0).collect::<Vec<f64>>();
                let options = Options { norm: Norm::Spatial, upsample: 2, ..kind.options() };
                let (mut teacher, mut student) = (logits(7), logits(5));
                // The second cell is a neighbour of the first enlarged position, with a share of 0.
                (if of_teacher { &mut teacher } else { &mut student })[1] = junk;
                let case = Case { shape: [1, 2, 3, 4], teacher, student, counted: None, options };
                let (got, want) = (ask(&case, Way::plain(DType::F64)), answer(&case));
                let same = |got: f64, want: f64| {
                    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-12
                };
                let all =
                    |got: &[f64], want: &[f64]| got.iter().zip(want).all(|(&got, &want)| same(got, want));
                let what = format!("{kind} {junk} {of_teacher}");
                assert!(all(&got.rows, &want.rows), "{what}: {:?} {:?}", got.rows, want.rows);
                assert!(want.rows.iter().filter(|x| x.is_finite()).count() >= 24, "{what}");
                for (got, want) in
                    [(&got.grad_student, &want.grad_student), (&got.grad_teacher, &want.grad_teacher)]
                {
                    assert!(all(got, want), "{what}: {got:?} {want:?}");
                }
            }
        }
    }
}
