//! Rows at the edges of the definitions: what is not finite, what is empty, what is as large or as small as its
//! type allows, and temperatures to match. Every row loss, both gradients, against the oracle.

use densekd_core::DType;
use densekd_tests::engine::{Got, Way, ask, nearest, rounded};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Answer, Case, Options, answer};

const NONE: f64 = f64::NEG_INFINITY;
const NAN: f64 = f64::NAN;
const MANY: f64 = f64::INFINITY;

/// The types of the table; `bf16` has the range of `f32` and its arithmetic.
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::F64];

/// A number so large that differences of two still have a number: beyond it a log-ratio saturates.
fn huge(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::F64 => 4e307,
        _ => 3e38,
    }
}

/// The smallest number above 0.
fn tiny(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2.0_f64.powi(-24),
        DType::F64 => f64::from_bits(1),
        _ => 2.0_f64.powi(-149),
    }
}

/// A teacher and a student.
type Pair = (Vec<f64>, Vec<f64>);

fn pair(teacher: &[f64], student: &[f64]) -> Pair {
    (teacher.to_vec(), student.to_vec())
}

fn not_numbers() -> Vec<Pair> {
    vec![
        pair(&[0.0, NAN, 1.0], &[0.0, 1.0, 2.0]),
        pair(&[0.0, 1.0, 2.0], &[NAN, 1.0, 2.0]),
        pair(&[0.0, MANY, 1.0], &[0.0, 1.0, 2.0]),
        pair(&[0.0, 1.0, 2.0], &[0.0, 1.0, MANY]),
        pair(&[MANY, 1.0, 2.0], &[MANY, 1.0, 2.0]),
        pair(&[NONE, NONE, NONE], &[0.0, NAN, 1.0]),
        pair(&[NONE, NONE, NONE], &[0.0, MANY, NONE]),
        pair(&[0.0, NONE, NAN], &[NONE, NONE, 0.0]),
    ]
}

fn empty() -> Vec<Pair> {
    vec![
        pair(&[NONE, NONE, NONE], &[0.0, 1.0, 2.0]),
        pair(&[NONE, NONE, NONE], &[0.0, NONE, 2.0]),
        pair(&[NONE, NONE, NONE], &[NONE, NONE, NONE]),
        pair(&[0.0, 1.0, 2.0], &[NONE, NONE, NONE]),
        pair(&[0.0, NONE, 2.0], &[NONE, NONE, NONE]),
        pair(&[NONE], &[1.0]),
        pair(&[1.0], &[NONE]),
    ]
}

fn partly_empty() -> Vec<Pair> {
    vec![
        // Shared.
        pair(&[0.0, NONE, 2.0, 1.0], &[1.0, NONE, 0.5, 1.5]),
        // Shared, the rest an exact constant apart, or close.
        pair(&[0.0, NONE, 2.0, 1.0], &[1.0, NONE, 3.0, 2.0]),
        pair(&[0.0, NONE, 2.0, 1.0], &[0.0, NONE, 2.001, 1.0]),
        pair(&[1000.0, NONE, 998.0, 999.0], &[0.0, NONE, -2.0, -0.998]),
        // The teacher alone.
        pair(&[0.0, NONE, 2.0, 1.0], &[1.0, 0.25, 0.5, 1.5]),
        pair(&[0.0, NONE, 2.0, 1.0], &[1.0, 50.0, 0.5, 1.5]),
        pair(&[0.0, NONE, 2.0, 1.0], &[0.0, -50.0, 2.0, 1.0]),
        // The student alone, where the teacher has mass, however little.
        pair(&[0.0, 1.0, 2.0, 1.0], &[1.0, NONE, 0.5, 1.5]),
        pair(&[0.0, -9000.0, 2.0, 1.0], &[0.0, NONE, 2.0, 1.0]),
        // One finite pair, and all three kinds at once.
        pair(&[NONE, 3.0, NONE], &[NONE, 1.0, NONE]),
        pair(&[NONE, 3.0, NONE], &[0.5, 1.0, NONE]),
        pair(&[3.0, NONE, NONE], &[NONE, 1.0, NONE]),
        pair(&[0.0, NONE, NONE, 2.0, 1.0], &[NONE, 1.0, NONE, 0.5, 1.5]),
        pair(&[NONE, 0.0], &[0.0, NONE]),
    ]
}

fn trivial() -> Vec<Pair> {
    vec![
        pair(&[1.5], &[-2.0]),
        pair(&[0.25, -3.5, 7.0, 1.0], &[0.25, -3.5, 7.0, 1.0]),
        pair(&[0.25, -3.5, 7.0, 1.0], &[16.25, 12.5, 23.0, 17.0]),
        pair(&[0.0, 0.0, -0.0], &[-0.0, 0.0, 0.0]),
    ]
}

fn large(dtype: DType) -> Vec<Pair> {
    let h = huge(dtype);
    vec![
        pair(&[h], &[-h]),
        pair(&[h, -h, 0.0], &[h, -h, 0.0]),
        pair(&[h, -h, 0.0], &[-h, h, 0.0]),
        pair(&[h, 0.0, 0.0], &[0.0, h, 0.0]),
        pair(&[h, h, -h], &[h, -h, h]),
        pair(&[h, h, -h], &[h, h, h]),
        pair(&[h, 1.0, 2.0], &[2.0, 1.0, 0.5]),
        pair(&[0.5, 1.0, 2.0], &[2.0, 1.0, -h]),
        pair(&[-h, -h, -h], &[h, h, h]),
        pair(&[h / 2.0, h / 4.0, -h], &[h / 4.0, h / 2.0, -h]),
        pair(&[h, NONE, 0.0], &[0.0, NONE, h]),
        pair(&[h, NONE, 0.0], &[0.0, h, 1.0]),
    ]
}

fn small(dtype: DType) -> Vec<Pair> {
    let t = tiny(dtype);
    vec![
        pair(&[0.0, t, 2.0 * t], &[0.0, 0.0, 0.0]),
        pair(&[t, -t, 3.0 * t, 0.0], &[-t, t, 0.0, 5.0 * t]),
        pair(&[1.0, t, 2.0], &[1.0, 0.0, 2.0]),
        pair(&[t, NONE, 0.0], &[0.0, NONE, t]),
    ]
}

fn largest(x: &[f64]) -> f64 {
    x.iter().filter(|x| x.is_finite()).fold(0.0, |a: f64, x| a.max(x.abs()))
}

/// What is wrong, if anything. NaN and infinities are exact. Else a share of the value or of the row's largest
/// entry, over a floor where terms are subtracted: some ulp of logarithms of at most 12 or of the value, and of
/// 1 / tau of them in a gradient. An infinite gradient is one whose range reaches beyond its type; where the value
/// itself is beyond `f64`, a gradient made of it may be NaN.
fn miss(kind: Kind, dtype: DType, case: &Case, got: &Got, want: &Answer) -> Option<String> {
    let (relative, ulps) = if dtype == DType::F64 { (1e-12, 5e-15) } else { (2e-6, 2e-6) };
    let floor = ulps * if want.value.is_finite() { 1.0 + want.value.abs() } else { 1.0 };
    let (tau, value) = (case.options.tau, want.value);
    let of_value = match kind {
        Kind::Kl | Kind::ReverseKl | Kind::Js => 1e-37,
        Kind::KlEps | Kind::CeEps => floor,
        Kind::KlAfter => 1e-4 * ulps,
        Kind::ChannelMean | Kind::None => 0.0,
        _ => 1e-12,
    };
    // q - p and real numbers are not pulled back through anything.
    let is_plain = |side: &str| match kind {
        Kind::Kl | Kind::Ce => side == "student",
        Kind::ReverseKl => side == "teacher",
        Kind::ChannelMean | Kind::None => true,
        _ => false,
    };
    let near = |got: f64, want: f64, allowed: f64| {
        got.to_bits() == want.to_bits()
            || got == want
            || (got.is_nan() && want.is_nan())
            || (got.is_finite() && want.is_finite() && (got - want).abs() <= allowed)
    };
    if !near(got.value, want.value, relative * want.value.abs() + of_value) {
        return Some(format!("value {:e} for {:e}", got.value, want.value));
    }
    let (ulp, least) =
        if dtype == DType::F16 { (2.0_f64.powi(-11), 2.0_f64.powi(-25)) } else { (0.0, 1e-38) };
    let sides = [
        ("student", &got.grad_student, &want.grad_student),
        ("teacher", &got.grad_teacher, &want.grad_teacher),
    ];
    for (side, got, want) in sides {
        let stored: Vec<f64> = want.iter().map(|&x| nearest(dtype, x)).collect();
        let scale = relative * largest(want) + if is_plain(side) { least } else { floor / tau + least };
        for (i, ((&got, &want), &stored)) in got.iter().zip(want).zip(&stored).enumerate() {
            let allowed = scale + ulp * largest(&[want]);
            let overflows = nearest(dtype, want.abs() + allowed).is_infinite() && !got.is_nan();
            let of_overflow = value.is_infinite() && !is_plain(side) && got.is_nan();
            if !near(got, stored, allowed) && !overflows && !of_overflow {
                return Some(format!("grad_{side}[{i}] {got:e} for {want:e}"));
            }
        }
    }
    None
}

const ORDINARY: &[f64] = &[1.0, 4.0];

/// Temperatures under which nothing is left of any difference, or of all but the largest entry.
const EXTREME: &[f64] = &[1e-3, 1e30, 1e-30];

fn agrees(temperatures: &[f64], pairs: impl Fn(DType) -> Vec<Pair>) {
    let mut misses = Vec::new();
    let mut tried = 0;
    for dtype in DTYPES {
        for (teacher, student) in pairs(dtype) {
            for (kind, &tau) in
                Kind::ALL.iter().flat_map(|kind| temperatures.iter().map(move |tau| (*kind, tau)))
            {
                let length = teacher.len();
                let case = Case {
                    shape: [1, 1, 1, length],
                    teacher: rounded(dtype, &teacher),
                    student: rounded(dtype, &student),
                    counted: kind.is_after().then(|| (0..length).map(|i| i != 1).collect()),
                    options: Options { tau, ..kind.options() },
                };
                let (got, want) = (ask(&case, Way::plain(dtype)), answer(&case));
                tried += 1;
                if let Some(what) = miss(kind, dtype, &case, &got, &want) {
                    let row = if length < 9 { format!("{teacher:?} {student:?}") } else { String::new() };
                    misses.push(format!("{kind} {dtype} tau {tau:e} {row}: {what}"));
                }
            }
        }
    }
    assert!(misses.is_empty(), "{} of {tried}:\n{}", misses.len(), misses.join("\n"));
}

macro_rules! follow_the_table {
    ($($name:ident, $at_extremes:ident: $pairs:expr;)*) => {$(
        #[test]
        fn $name() {
            agrees(ORDINARY, $pairs);
        }

        #[test]
        fn $at_extremes() {
            agrees(EXTREME, $pairs);
        }
    )*};
}

follow_the_table! {
    rows_with_what_is_not_a_number, rows_with_what_is_not_a_number_at_extreme_temperatures: |_| not_numbers();
    empty_rows, empty_rows_at_extreme_temperatures: |_| empty();
    partly_empty_rows, partly_empty_rows_at_extreme_temperatures: |_| partly_empty();
    rows_without_a_difference, rows_without_a_difference_at_extreme_temperatures: |_| trivial();
    rows_of_the_largest_numbers, rows_of_the_largest_numbers_at_extreme_temperatures: large;
    rows_of_the_smallest_numbers, rows_of_the_smallest_numbers_at_extreme_temperatures: small;
}

/// A row of one entry has one distribution, whatever stands in it.
#[test]
fn a_row_of_one_entry_is_exactly_zero() {
    for dtype in DTYPES {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of_distributions()) {
            for (t, s) in [(1.5, -2.0), (0.0, 0.0), (huge(dtype), -huge(dtype)), (-tiny(dtype), 1.0)] {
                for tau in [1.0, 4.0, 0.3] {
                    let case = Case {
                        shape: [1, 1, 1, 1],
                        teacher: vec![t],
                        student: vec![s],
                        counted: kind.is_after().then(|| vec![true]),
                        options: Options { tau, ..kind.options() },
                    };
                    let got = ask(&case, Way::plain(dtype));
                    // log(1 + eps) is what ce with an epsilon is then.
                    let value = if kind == Kind::CeEps { -f64::ln_1p(case.options.eps) } else { 0.0 };
                    let tolerated = if value < 0.0 { 1.2e-7 } else { 0.0 };
                    assert!((got.value - value).abs() <= tolerated, "{kind} {dtype} {t} {s}: {}", got.value);
                    let zero = got.grad_student[0] == 0.0 && got.grad_teacher[0] == 0.0;
                    assert!(zero, "{kind} {dtype} {t} {s}: {:?} {:?}", got.grad_student, got.grad_teacher);
                }
            }
        }
    }
}

/// Rows of several blocks of which each has its own largest entry, at temperatures that leave nothing of the
/// others.
#[test]
fn cold_rows_of_several_blocks_are_numbers() {
    let mut teacher = vec![0.0; 538];
    let mut student = vec![0.0; 538];
    for (at, t, s) in
        [(154, 19.807_629, 11.180_641), (228, -4.311_349, 19.931_067), (326, 19.821_99, -5.075_761)]
    {
        (teacher[at], student[at]) = (t, s);
    }
    agrees(&[1e-5, 1e-30], |_| vec![(teacher.clone(), student.clone())]);
}
