//! Against `PyTorch` itself: resizes, 1x1 convolutions, and what `doctor` says that the usual forms print.
//! `tests/torch/make_vectors.py` made the vectors and says what each is.

use densekd::Cpu;
use densekd::doctor::{Usual, examine};
use densekd_core::{Alone, Conv1x1, Mask, Order, Resize, ResizeMode, Shape};
use half::f16;
use serde_json::Value;
use std::path::Path;

/// Of numbers of size 1 and their sums over a few dozen cells. `PyTorch` rounds the coordinate of a point between cells: at
/// most 2^3 cells, so by less than 2^-49, for differences of cells of at most 2^3.
const ADAPTED: f64 = 1e-13;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("torch").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn cases(vectors: &Value) -> &[Value] {
    let cases = vectors["cases"].as_array().expect("a list of cases");
    assert!(!cases.is_empty());
    cases
}

fn count(json: &Value) -> usize {
    json.as_u64().and_then(|x| usize::try_from(x).ok()).unwrap_or_else(|| panic!("{json} is no count"))
}

fn counts<const N: usize>(json: &Value) -> [usize; N] {
    let counts: Vec<usize> = json.as_array().expect("a list").iter().map(count).collect();
    counts.try_into().expect("a list of this length")
}

fn number(json: &Value) -> f64 {
    let named = json.as_str().and_then(|name| name.parse().ok());
    json.as_f64().or(named).unwrap_or_else(|| panic!("{json} is no number"))
}

fn numbers(json: &Value) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(number).collect()
}

#[track_caller]
fn assert_adapted(what: &str, got: &[f64], want: &Value) {
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= ADAPTED, "{what} [{i}]: {got} is not {want}");
    }
}

#[test]
fn resizes_and_their_gradients_are_those_of_interpolate() {
    let modes = [
        ("nearest", ResizeMode::Nearest),
        ("bilinear", ResizeMode::Bilinear { align_corners: false }),
        ("bilinear, corners aligned", ResizeMode::Bilinear { align_corners: true }),
        ("area", ResizeMode::Area),
    ];
    for case in cases(&vectors("resize.json")) {
        let (from, to): ([usize; 2], [usize; 2]) = (counts(&case["from"]), counts(&case["to"]));
        for (name, mode) in modes {
            let (what, want) = (format!("{name}, {from:?} to {to:?}"), &case["modes"][name]);
            let resize = Resize::new(mode, from, to).expect("small extents");
            let mut resized = vec![f64::NAN; to[0] * to[1]];
            resize.forward(&numbers(&case["plane"]), &mut resized).expect("planes of its sizes");
            assert_adapted(&what, &resized, &want["resized"]);
            let mut pulled = vec![f64::NAN; from[0] * from[1]];
            resize.pull(&numbers(&case["gradient"]), &mut pulled).expect("planes of its sizes");
            assert_adapted(&what, &pulled, &want["pulled"]);
        }
    }
}

/// `PyTorch` rounds from / to to `f32` and takes the floor of a product with that, which is off where i from / to is
/// whole. The vectors name every such cell.
#[test]
fn nearest_differs_from_interpolate_only_where_that_rounds_down_a_whole_number() {
    for case in cases(&vectors("nearest.json")) {
        let [from, to, at, taken] = ["from", "to", "at", "taken"].map(|key| count(&case[key]));
        assert_eq!((at * from % to, at * from / to), (0, taken + 1), "{case}");
        let cell = |i: u16| f64::from(i);
        let line: Vec<f64> = (0..u16::try_from(from).expect("a small extent")).map(cell).collect();
        let mut resized = vec![f64::NAN; to];
        let resize = Resize::new(ResizeMode::Nearest, [1, from], [1, to]).expect("small extents");
        resize.forward(&line, &mut resized).expect("planes of its sizes");
        assert_eq!(resized[at], line[taken + 1], "{case}");
    }
}

#[test]
fn convolutions_and_their_gradients_are_those_of_conv2d() {
    for case in cases(&vectors("conv1x1.json")) {
        let [n, inputs, h, w]: [usize; 4] = counts(&case["shape"]);
        let (outputs, m) = (count(&case["outputs"]), h * w);
        let (image, weight, gradient) =
            (numbers(&case["image"]), numbers(&case["weight"]), numbers(&case["gradient"]));
        let bias = Some(&case["bias"]).filter(|bias| !bias.is_null()).map(numbers);
        let conv = Conv1x1::new(&weight, bias.as_deref(), inputs, outputs).expect("sizes that fit");
        let mut mapped = vec![f64::NAN; n * outputs * m];
        let mut to_image = vec![f64::NAN; n * inputs * m];
        let (mut to_weight, mut to_bias) = (vec![0.0; weight.len()], vec![0.0; outputs]);
        // Images are mapped one by one, and the parameters' gradients are the sum over them.
        for i in 0..n {
            let (image, gradient) =
                (&image[i * inputs * m..][..inputs * m], &gradient[i * outputs * m..][..outputs * m]);
            conv.forward(image, &mut mapped[i * outputs * m..][..outputs * m], &Alone)
                .expect("sizes that fit");
            conv.pull(gradient, &mut to_image[i * inputs * m..][..inputs * m], &Alone)
                .expect("sizes that fit");
            let (mut weight, mut bias) = (vec![f64::NAN; weight.len()], vec![f64::NAN; outputs]);
            conv.pull_parameters(image, gradient, (&mut weight, &mut bias), &Alone).expect("sizes that fit");
            to_weight.iter_mut().zip(weight).for_each(|(sum, x)| *sum += x);
            to_bias.iter_mut().zip(bias).for_each(|(sum, x)| *sum += x);
        }
        assert_adapted("mapped", &mapped, &case["mapped"]);
        assert_adapted("to the image", &to_image, &case["pulled_image"]);
        assert_adapted("to the weight", &to_weight, &case["pulled_weight"]);
        if bias.is_some() {
            assert_adapted("to the bias", &to_bias, &case["pulled_bias"]);
        }
    }
}

/// A pair of maps of a case, examined.
fn examined(case: &Value) -> Usual {
    #[allow(clippy::cast_possible_truncation, reason = "the vectors hold multiples of 1/64")]
    let maps = ["teacher", "student"].map(|key| numbers(&case[key]).iter().map(|&x| x as f32).collect());
    let [teacher, student]: [Vec<f32>; 2] = maps;
    let shape = Shape::new(counts(&case["shape"])).expect("a shape");
    let (backend, order) = (Cpu::new(), Order::Nchw);
    let report = examine(&backend, shape, order, teacher[..].into(), student[..].into(), Mask::ALL);
    let usual = report.expect("a report").usual;
    usual.into_iter().find(|usual| usual.tau == number(&case["tau"])).expect("both temperatures")
}

/// Equal, both NaN, or so close.
#[track_caller]
fn assert_printed(what: &str, got: f64, want: f64, tolerance: f64) {
    let same = got == want || (got.is_nan() && want.is_nan());
    assert!(same || (got - want).abs() <= tolerance, "{what}: {got} is not {want} within {tolerance}");
}

#[test]
fn doctor_says_what_the_usual_forms_print() {
    for case in cases(&vectors("usual.json")) {
        let usual = examined(case);
        let what = format!("{}, tau {}", case["name"], usual.tau);
        let printed = |key: &str| number(&case[key]);
        // Exponentials that differ by an ulp of f32 rarely round to other halves: then a term is off by 2^-11.
        let f16 = printed("softmax_log_f16");
        assert_printed(&what, usual.softmax_log_f16, f16, f16.abs() * f64::from(f16::EPSILON));
        // Sums of p log p and p log q of up to 200 terms, in another order, each of about tau^2 ln 200.
        let sums = usual.tau * usual.tau * 200_f64.ln() * 2.0 * f64::from(f32::EPSILON);
        assert_printed(&what, usual.softmax_log, printed("softmax_log_f32"), sums);
        assert_printed(&what, usual.log_softmax, printed("log_softmax_f32"), sums);
    }
}
