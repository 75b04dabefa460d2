//! Resizes and 1x1 convolutions: against the definitions of torch as written, and against their own transposes.

use densekd_core::{Alone, Conv1x1, Error, Resize, ResizeMode};
use densekd_tests::draws::config;
use fastrand::Rng;
use proptest::prelude::*;

const MODES: [ResizeMode; 4] = [
    ResizeMode::Nearest,
    ResizeMode::Bilinear { align_corners: false },
    ResizeMode::Bilinear { align_corners: true },
    ResizeMode::Area,
];

fn numbers(count: usize, rng: &mut Rng) -> Vec<f64> {
    (0..count).map(|_| rng.f64() * 2.0 - 1.0).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn forward(resize: &Resize, plane: &[f64]) -> Vec<f64> {
    let [h, w] = resize.to();
    let mut to = vec![f64::NAN; h * w];
    resize.forward(plane, &mut to).expect("planes of its sizes");
    to
}

fn pull(resize: &Resize, gradient: &[f64]) -> Vec<f64> {
    let [h, w] = resize.from();
    let mut to = vec![f64::NAN; h * w];
    resize.pull(gradient, &mut to).expect("planes of its sizes");
    to
}

/// One output cell of an axis as the sources of torch have it: cells and weights.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "extents of tests are small"
)]
fn axis(mode: ResizeMode, i: usize, from: usize, to: usize) -> Vec<(usize, f64)> {
    let around = |at: f64| {
        let low = (at.floor() as usize).min(from - 1);
        vec![(low, 1.0 - (at - low as f64)), ((low + 1).min(from - 1), at - low as f64)]
    };
    match mode {
        ResizeMode::Nearest => vec![((i * from / to).min(from - 1), 1.0)],
        ResizeMode::Bilinear { align_corners: true } if to == 1 => around(0.0),
        ResizeMode::Bilinear { align_corners: true } => around((i * (from - 1)) as f64 / (to - 1) as f64),
        ResizeMode::Bilinear { align_corners: false } => {
            around(((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0))
        }
        ResizeMode::Area => {
            let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
            (start..end).map(|cell| (cell, 1.0 / (end - start) as f64)).collect()
        }
    }
}

/// A plane resized by the definitions.
fn defined(mode: ResizeMode, [h, w]: [usize; 2], [high, wide]: [usize; 2], plane: &[f64]) -> Vec<f64> {
    let cell = |i: usize| {
        let (rows, columns) = (axis(mode, i / wide, h, high), axis(mode, i % wide, w, wide));
        rows.iter()
            .flat_map(|(y, a)| columns.iter().map(move |(x, b)| (y * w + x, a * b)))
            .map(|(at, weight)| weight * plane[at])
            .sum()
    };
    (0..high * wide).map(cell).collect()
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn a_resize_is_what_torch_defines(
        mode in prop::sample::select(&MODES[..]), from in [1_usize..12, 1..90], to in [1_usize..12, 1..90], seed: u64
    ) {
        let plane = numbers(from[0] * from[1], &mut Rng::with_seed(seed));
        let resize = Resize::new(mode, from, to).expect("small extents");
        for (got, want) in forward(&resize, &plane).into_iter().zip(defined(mode, from, to, &plane)) {
            prop_assert!((got - want).abs() <= 1e-13, "{got} is not {want}");
        }
    }

    #[test]
    fn a_pull_is_the_transpose(
        mode in prop::sample::select(&MODES[..]), from in [1_usize..12, 1..90], to in [1_usize..12, 1..90], seed: u64
    ) {
        let mut rng = Rng::with_seed(seed);
        let (plane, gradient) = (numbers(from[0] * from[1], &mut rng), numbers(to[0] * to[1], &mut rng));
        let resize = Resize::new(mode, from, to).expect("small extents");
        let (there, back) = (dot(&gradient, &forward(&resize, &plane)), dot(&pull(&resize, &gradient), &plane));
        prop_assert!((there - back).abs() <= 1e-12, "{there} is not {back}");
    }

    #[test]
    fn a_constant_stays_and_equal_sizes_are_the_identity(
        mode in prop::sample::select(&MODES[..]), from in [1_usize..12, 1..90], to in [1_usize..12, 1..90], seed: u64
    ) {
        let resize = Resize::new(mode, from, to).expect("small extents");
        for x in forward(&resize, &vec![3.0; from[0] * from[1]]) {
            prop_assert!((x - 3.0).abs() <= 1e-14, "{x}");
        }
        let plane = numbers(from[0] * from[1], &mut Rng::with_seed(seed));
        let same = Resize::new(mode, from, from).expect("small extents");
        prop_assert_eq!(forward(&same, &plane), plane.clone());
        prop_assert_eq!(pull(&same, &plane), plane);
    }

    #[test]
    fn a_convolutions_gradients_are_its_transposes(
        inputs in 1_usize..9, outputs in 1_usize..9, m in 1_usize..40, seed: u64
    ) {
        let mut rng = Rng::with_seed(seed);
        let (weight, bias) = (numbers(inputs * outputs, &mut rng), numbers(outputs, &mut rng));
        let (image, gradient) = (numbers(inputs * m, &mut rng), numbers(outputs * m, &mut rng));
        let conv = Conv1x1::new(&weight, Some(&bias), inputs, outputs).expect("sizes that fit");
        let mut mapped = vec![f64::NAN; outputs * m];
        conv.forward(&image, &mut mapped, &Alone).expect("sizes that fit");
        for (i, got) in mapped.iter().enumerate() {
            let (o, p) = (i / m, i % m);
            let want = bias[o] + (0..inputs).map(|c| weight[o * inputs + c] * image[c * m + p]).sum::<f64>();
            prop_assert!((got - want).abs() <= 1e-14);
        }
        let (mut to_image, mut to_weight, mut to_bias) =
            (vec![f64::NAN; inputs * m], vec![f64::NAN; inputs * outputs], vec![f64::NAN; outputs]);
        conv.pull(&gradient, &mut to_image, &Alone).expect("sizes that fit");
        conv.pull_parameters(&image, &gradient, (&mut to_weight, &mut to_bias), &Alone).expect("sizes that fit");
        // <g, W x + b> is linear in x, in W and in b.
        let value = dot(&gradient, &mapped);
        let of_bias = dot(&to_bias, &bias);
        prop_assert!((value - (dot(&to_image, &image) + of_bias)).abs() <= 1e-12);
        prop_assert!((value - (dot(&to_weight, &weight) + of_bias)).abs() <= 1e-12);
    }
}

#[test]
fn a_number_without_a_share_does_not_matter() {
    for mode in MODES {
        let resize = Resize::new(mode, [1, 3], [1, 3]).expect("small extents");
        assert_eq!(forward(&resize, &[f64::NAN, 1.0, 2.0])[1..], [1.0, 2.0], "{mode:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mode = ResizeMode::Nearest;
    assert!(matches!(Resize::new(mode, [0, 3], [2, 2]), Err(Error::EmptyDimension { .. })));
    assert!(matches!(Resize::new(mode, [2, 2], [1, 1 << 31]), Err(Error::TooLarge { .. })));
    let resize = Resize::new(mode, [2, 2], [1, 1]).expect("small extents");
    let short = resize.forward(&[1.0; 3], &mut [0.0]);
    assert_eq!(short, Err(Error::Length { buffer: "plane", found: 3, wanted: 4 }));
    let long = resize.pull(&[1.0; 2], &mut [0.0; 4]);
    assert_eq!(long, Err(Error::Length { buffer: "resized plane", found: 2, wanted: 1 }));

    assert!(matches!(Conv1x1::new(&[], None, 0, 1), Err(Error::EmptyDimension { .. })));
    assert!(matches!(Conv1x1::new(&[1.0; 5], None, 2, 3), Err(Error::Length { found: 5, wanted: 6, .. })));
    assert!(matches!(Conv1x1::new(&[1.0; 6], Some(&[1.0; 2]), 2, 3), Err(Error::Length { wanted: 3, .. })));
    let conv = Conv1x1::new(&[1.0; 6], None, 2, 3).expect("sizes that fit");
    assert!(conv.forward(&[1.0; 3], &mut [0.0; 3], &Alone).is_err());
    assert!(conv.forward(&[1.0; 4], &mut [0.0; 5], &Alone).is_err());
}
