//! What the definitions imply of any map: invariances, signs, exact zeros, sums and scaling.

use densekd_core::{DType, Order};
use densekd_tests::draws::{Draw, bits, config, draws, largest};
use densekd_tests::engine::{Way, ask, row_of};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, Norm, Options};
use densekd_tests::samples::normal;
use densekd_tests::tolerance::tolerance;
use fastrand::Rng;
use proptest::prelude::*;

/// Divergences that are 0 for equal rows.
const DISTANCES: [Kind; 4] = [Kind::Kl, Kind::ReverseKl, Kind::Js, Kind::Mse];

/// Logits that are multiples of 1/64, so that a shift by an integer is exact in `f32`.
fn on_a_grid(case: &mut Case) {
    let snap = |x: &mut f64| *x = (*x * 64.0).round() / 64.0;
    case.teacher.iter_mut().for_each(snap);
    case.student.iter_mut().for_each(snap);
}

/// A constant for every row, different for every row.
fn shifts(case: &Case, seed: u64) -> Vec<f64> {
    let mut rng = Rng::with_seed(seed);
    let of_rows: Vec<f64> = case.student.iter().map(|_| f64::from(rng.i16(-1000..=1000))).collect();
    (0..case.student.len()).map(|i| of_rows[row_of(case, i)]).collect()
}

fn plus(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// Both answers within a multiple of what each is allowed to be off the truth.
fn agree(kind: Kind, a: (&[f64], &[f64]), b: (&[f64], &[f64])) -> Result<(), TestCaseError> {
    let bound = tolerance(kind, DType::F32);
    for (x, y) in a.0.iter().zip(b.0) {
        prop_assert!((x - y).abs() <= 2.0 * bound.value * x.abs(), "{x:e} and {y:e}");
    }
    // Of terms that are pulled back through a softmax a tenth is left, in ordinary rows.
    let scale = 10.0 * largest(a.1);
    for (x, y) in a.1.iter().zip(b.1) {
        prop_assert!((x - y).abs() <= 2.0 * bound.gradient * scale, "{x:e} and {y:e} of {scale:e}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn a_constant_added_to_a_row_changes_nothing(draw in draws(&Kind::PLAIN), seed: u64) {
        let mut case = draw.case(DType::F32);
        on_a_grid(&mut case);
        let mut moved = case.clone();
        moved.teacher = plus(&case.teacher, &shifts(&case, seed));
        moved.student = plus(&case.student, &shifts(&case, seed ^ 1));
        let (a, b) = (ask(&case, Way::plain(DType::F32)), ask(&moved, Way::plain(DType::F32)));
        agree(draw.kind, (&a.rows, &a.grad_student), (&b.rows, &b.grad_student))?;
    }

    #[test]
    fn a_permutation_of_positions_permutes_the_gradient(draw in draws(&Kind::PLAIN)) {
        let case = Draw { masked: false, ..draw.clone() }.case(DType::F32);
        let [_, c, h, w] = case.shape;
        let m = h * w;
        let mut order: Vec<usize> = (0..m).collect();
        Rng::with_seed(draw.seed).shuffle(&mut order);
        let permuted = |x: &[f64]| -> Vec<f64> { (0..x.len()).map(|i| x[i / m * m + order[i % m]]).collect() };
        let moved = Case { teacher: permuted(&case.teacher), student: permuted(&case.student), ..case.clone() };
        let (a, b) = (ask(&case, Way::plain(DType::F32)), ask(&moved, Way::plain(DType::F32)));
        if draw.spatial {
            // Positions are rows: each is evaluated as it was.
            let rows: Vec<f64> = (0..a.rows.len()).map(|i| a.rows[i / m * m + order[i % m]]).collect();
            prop_assert_eq!(bits(&rows), bits(&b.rows));
            prop_assert_eq!(bits(&permuted(&a.grad_student)), bits(&b.grad_student));
            prop_assert_eq!(bits(&permuted(&a.grad_teacher)), bits(&b.grad_teacher));
        } else {
            agree(draw.kind, (&a.rows, &permuted(&a.grad_student)), (&b.rows, &b.grad_student))?;
        }
        prop_assert!(c > 0);
    }

    #[test]
    fn a_permutation_of_channels_permutes_rows_bit_for_bit(draw in draws(&Kind::ALL)) {
        let case = Draw { spatial: false, ..draw.clone() }.case(DType::F32);
        let [n, c, h, w] = case.shape;
        let m = h * w;
        let mut order: Vec<usize> = (0..c).collect();
        Rng::with_seed(draw.seed).shuffle(&mut order);
        let from = |row: usize| row / c * c + order[row % c];
        let permuted = |x: &[f64]| -> Vec<f64> { (0..x.len()).map(|i| x[from(i / m) * m + i % m]).collect() };
        let moved = Case { teacher: permuted(&case.teacher), student: permuted(&case.student), ..case.clone() };
        let (a, b) = (ask(&case, Way::plain(DType::F32)), ask(&moved, Way::plain(DType::F32)));
        let rows: Vec<f64> = (0..n * c).map(|row| a.rows[from(row)]).collect();
        prop_assert_eq!(bits(&rows), bits(&b.rows));
        prop_assert_eq!(bits(&permuted(&a.grad_student)), bits(&b.grad_student));
        prop_assert_eq!(bits(&permuted(&a.grad_teacher)), bits(&b.grad_teacher));
    }

    #[test]
    fn rows_equal_up_to_an_exact_constant_are_exactly_zero(
        draw in draws(&DISTANCES),
        shifted: bool,
        dtype in prop::sample::select(&densekd_tests::engine::DTYPES[..]),
    ) {
        // A quarter of f16's and bf16's grid at this size.
        let mut case = draw.case(dtype);
        case.teacher.iter_mut().for_each(|x| *x = (*x * 4.0).round().clamp(-16.0, 16.0) / 4.0);
        let constant = if shifted { 16.0 } else { 0.0 };
        case.student = case.teacher.iter().map(|t| t + constant).collect();
        let got = ask(&case, Way::plain(dtype));
        prop_assert!(got.value == 0.0 && got.rows.iter().all(|&x| x == 0.0), "{} {:?}", got.value, got.rows);
        prop_assert!(got.grad_student.iter().chain(&got.grad_teacher).all(|&g| g == 0.0), "{got:?}");
    }

    #[test]
    fn gradients_of_a_softmax_sum_to_zero_over_every_row(draw in draws(&Kind::PLAIN)) {
        for dtype in [DType::F32, DType::F64] {
            let case = draw.case(dtype);
            let got = ask(&case, Way::plain(dtype));
            for (of_student, gradient) in [(true, &got.grad_student), (false, &got.grad_teacher)] {
                // A plain difference of p and q, whose terms are the gradient's own.
                let plain = matches!((draw.kind, of_student), (Kind::Kl | Kind::Ce, true) | (Kind::ReverseKl, false));
                let tolerated = match (dtype, plain) {
                    (DType::F64, _) => 1e-11,
                    (_, true) => 1e-6,
                    // What is pulled back through a softmax is measured by its terms, elsewhere.
                    (_, false) => continue,
                };
                // Of probabilities whose difference is an ulp of theirs.
                let floor = if dtype == DType::F64 { 1e-18 } else { 0.0 };
                let (mut sums, mut sizes) = (vec![0.0; got.rows.len()], vec![0.0; got.rows.len()]);
                for (i, g) in gradient.iter().enumerate() {
                    sums[row_of(&case, i)] += g;
                    sizes[row_of(&case, i)] += g.abs();
                }
                for (sum, size) in sums.iter().zip(&sizes) {
                    prop_assert!(sum.abs() <= tolerated * size + floor, "{dtype}: {sum:e} of {size:e}");
                }
            }
        }
    }

    #[test]
    fn powers_of_two_scale_exactly(draw in draws(&Kind::ALL), exponent in -20..=20_i32) {
        let case = draw.case(DType::F32);
        let factor = 2.0_f64.powi(exponent);
        let plain = ask(&case, Way::plain(DType::F32));
        let options = Options { weight: case.options.weight * factor, ..case.options.clone() };
        let weighted = ask(&Case { options, ..case.clone() }, Way::plain(DType::F32));
        let upstream = ask(&case, Way { upstream: factor, ..Way::plain(DType::F32) });
        let scaled = |x: &[f64]| -> Vec<u64> { x.iter().map(|x| (x * factor).to_bits()).collect() };
        prop_assert_eq!(weighted.value.to_bits(), (plain.value * factor).to_bits());
        prop_assert_eq!(upstream.value.to_bits(), plain.value.to_bits());
        prop_assert_eq!(bits(&weighted.rows), bits(&plain.rows));
        let normal = |x: &f64| *x == 0.0 || (x * factor).abs() > 1e-36 && x.abs() > 1e-36;
        if plain.grad_student.iter().chain(&plain.grad_teacher).all(normal) {
            for got in [&weighted, &upstream] {
                prop_assert_eq!(bits(&got.grad_student), scaled(&plain.grad_student));
                prop_assert_eq!(bits(&got.grad_teacher), scaled(&plain.grad_teacher));
            }
        }
    }

    #[test]
    fn any_weight_and_upstream_scale_linearly(draw in draws(&Kind::ALL), weight in -9.0_f64..9.0, upstream in -9.0_f64..9.0) {
        let case = draw.case(DType::F64);
        let plain = ask(&case, Way::plain(DType::F64));
        let options = Options { weight: weight * case.options.weight, ..case.options.clone() };
        let got = ask(&Case { options, ..case }, Way { upstream, ..Way::plain(DType::F64) });
        prop_assert!((got.value - weight * plain.value).abs() <= 1e-15 * got.value.abs());
        for (got, plain) in got.grad_student.iter().zip(&plain.grad_student) {
            prop_assert!((got - weight * upstream * plain).abs() <= 2e-15 * got.abs(), "{got:e} {plain:e}");
        }
    }
}

/// Any finite `f32`, and rows a few ulp apart.
fn any_rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    use prop::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let finite = POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO;
    let ordinary = -20.0_f32..20.0;
    let row = prop_oneof![prop::collection::vec(finite, 1..40), prop::collection::vec(ordinary, 1..600)];
    (row, any::<bool>(), any::<u64>()).prop_map(|(student, close, seed)| {
        let mut rng = Rng::with_seed(seed);
        let near = |s: f32| {
            let ulps = rng.u32(0..3);
            let moved = f32::from_bits(s.to_bits().wrapping_add(ulps));
            if moved.is_finite() { moved } else { s }
        };
        let teacher: Vec<f32> = if close {
            student.iter().copied().map(near).collect()
        } else {
            let mut teacher = student.clone();
            Rng::with_seed(seed).shuffle(&mut teacher);
            teacher
        };
        (teacher, student)
    })
}

/// Value and gradients of one row, seen as a channel and as a position, in either memory order.
fn is_never_negative_nor_infinite(
    kind: Kind,
    tau: f64,
    (teacher, student): (&[f32], &[f32]),
) -> Result<(), TestCaseError> {
    let wide = |x: &[f32]| x.iter().copied().map(f64::from).collect::<Vec<f64>>();
    for spatial in [false, true] {
        let n = teacher.len();
        let norm = if spatial { Norm::Spatial } else { Norm::Channel };
        let case = Case {
            shape: if spatial { [1, n, 1, 1] } else { [1, 1, 1, n] },
            teacher: wide(teacher),
            student: wide(student),
            counted: None,
            options: Options { tau, norm, ..kind.options() },
        };
        for order in [Order::Nchw, Order::Nhwc] {
            let got = ask(&case, Way { order, ..Way::plain(DType::F32) });
            prop_assert!(got.value >= 0.0 && got.value.is_finite(), "{order:?}: {}", got.value);
            // They carry 1/tau, which may itself be more than an f32 holds.
            prop_assert!(got.grad_student.iter().all(|g| !g.is_nan()), "{order:?}: {:?}", got.grad_student);
        }
    }
    Ok(())
}

const TEMPERATURES: [f64; 3] = [1.0, 4.0, 1e-3];

/// Reciprocals that leave the range of `f32` with logits of any size.
const EXTREMES: [f64; 2] = [1e30, 1e-30];

macro_rules! never_negative {
    ($($name:ident, $at_extremes:ident: $kind:expr),* $(,)?) => {
        proptest! {
            #![proptest_config(config(256))]

            $(
                #[test]
                fn $name(pair in any_rows(), tau in prop::sample::select(&TEMPERATURES[..])) {
                    is_never_negative_nor_infinite($kind, tau, (&pair.0, &pair.1))?;
                }

                #[test]
                fn $at_extremes(pair in any_rows(), tau in prop::sample::select(&EXTREMES[..])) {
                    is_never_negative_nor_infinite($kind, tau, (&pair.0, &pair.1))?;
                }
            )*
        }
    };
}

never_negative! {
    kl_is_never_negative, kl_is_never_negative_at_extreme_temperatures: Kind::Kl,
    reverse_kl_is_never_negative, reverse_kl_is_never_negative_at_extreme_temperatures: Kind::ReverseKl,
    js_is_never_negative, js_is_never_negative_at_extreme_temperatures: Kind::Js,
    mse_is_never_negative, mse_is_never_negative_at_extreme_temperatures: Kind::Mse,
}

/// tau^2 KL -> sum (d - mean d)^2 / (2 L) as tau grows: the logits themselves are compared.
#[test]
fn hot_rows_compare_logits() {
    let mut rng = Rng::with_seed(3);
    for (dtype, tau, tolerance) in [(DType::F64, 1e7, 2e-6), (DType::F32, 1e6, 2e-5)] {
        for length in [2, 7, 300] {
            let mut row = || (0..length).map(|_| normal(&mut rng)).collect::<Vec<f64>>();
            let (teacher, student) = (row(), row());
            let d: Vec<f64> = teacher.iter().zip(&student).map(|(t, s)| t - s).collect();
            #[allow(clippy::cast_precision_loss, reason = "lengths are small")]
            let count = length as f64;
            let mean = d.iter().sum::<f64>() / count;
            let limit = d.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (2.0 * count);
            let options = Options { tau, tau_square: true, ..Kind::Kl.options() };
            let case = Case { shape: [1, 1, 1, length], teacher, student, counted: None, options };
            let got = ask(&case, Way::plain(dtype)).value;
            assert!((got / limit - 1.0).abs() < tolerance, "{dtype}, {length}: {got} for {limit}");
        }
    }
}

/// A row whose exponents overflow far from its largest entry.
#[test]
fn exponents_beyond_f32_leave_no_gradient() {
    let teacher = [1e-45, -8.673_565e33, 3e-45, 3e-45, 0.0, 3e-45, 1e-45, -1e-45, 1.772_875_2e37];
    let student = [0.0, -8.673_564_4e33, 0.0, 0.0, 0.0, 0.0, 0.0, -0.0, 1.772_875_2e37];
    assert!(is_never_negative_nor_infinite(Kind::Kl, 1e-3, (&teacher, &student)).is_ok());
}
