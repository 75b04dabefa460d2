//! Rows of int8: the careful form and the tables, against the oracle.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use densekd_core::single::{ExpTable, Int8Kl, Polynomial, Quantized, QuantizedChannels, RowKl};
use densekd_tests::oracle::fast;
use fastrand::Rng;

/// A row pair and what its steps mean.
struct Pair {
    teacher: Vec<i8>,
    student: Vec<i8>,
    scales: [f32; 2],
    zero_points: [i32; 2],
    tau: f32,
}

/// Steps about a centre, or over the whole of int8.
fn steps(rng: &mut Rng, len: usize) -> Vec<i8> {
    let spread = [2, 20, 127][rng.usize(0..3)];
    (0..len).map(|_| rng.i8(-spread..=spread)).collect()
}

fn pair(rng: &mut Rng, len: usize) -> Pair {
    let teacher = steps(rng, len);
    let one_scale = rng.bool();
    let student = match rng.usize(0..3) {
        0 => steps(rng, len),
        1 => teacher.iter().map(|t| t.saturating_add(rng.i8(-1..=1))).collect(),
        _ => teacher.iter().map(|t| t / 2).collect(),
    };
    let mut scale = || 10_f32.powf(rng.f32() * 3.0 - 2.5);
    let scales = [scale(), scale()];
    Pair {
        teacher,
        student,
        scales: if one_scale { [scales[0]; 2] } else { scales },
        zero_points: [rng.i32(-128..128), rng.i32(-128..128)],
        tau: [1.0, 4.0, 0.7][rng.usize(0..3)],
    }
}

/// Relative to the largest.
fn worst(got: &[f32], want: &[f64]) -> f64 {
    let largest = want.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    let off = got.iter().zip(want).fold(0.0_f64, |a, (&g, w)| a.max((f64::from(g) - w).abs()));
    if largest > 0.0 { off / largest } else { off }
}

/// What dequantisation gives, exactly.
fn dequantised(row: &[i8], scale: f32, zero_point: i32) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss, reason = "a few hundred steps")]
    row.iter().map(|&x| f64::from(scale * (i32::from(x) - zero_point) as f32)).collect()
}

#[test]
fn the_careful_form_is_as_exact_as_of_floats() {
    let mut rng = Rng::with_seed(1);
    for len in [1, 2, 7, 21, 49, 512, 2048] {
        for _ in 0..100 {
            let Pair { teacher, student, scales, zero_points, tau } = pair(&mut rng, len);
            let rows =
                [(&teacher, 0), (&student, 1)].map(|(row, i)| Quantized::new(row, scales[i], zero_points[i]));
            let (t, s) = (
                dequantised(&teacher, scales[0], zero_points[0]),
                dequantised(&student, scales[1], zero_points[1]),
            );
            let (kl, want) = (fast::kl_row(&t, &s, tau.into()), fast::kl_row_gradient(&t, &s, tau.into()));
            let mut gradient = vec![0.0; len];
            let got = RowKl::<Polynomial>::new(tau).unwrap().gradient(&rows[0], &rows[1], 1.0, &mut gradient);
            let bound = if len < 19 { 3e-6 } else { 1.5e-6 };
            // Below it a float of 32 bits has no digits.
            let floor = if kl > 1e-26 { bound * kl } else { 1e-26 };
            assert!((f64::from(got) - kl).abs() <= floor, "{len}: {got:e}, not {kl:e}");
            let is_held = worst(&gradient, &want) <= bound || want.iter().all(|x| x.abs() < 1e-32);
            assert!(is_held, "{len} {scales:?} {tau}: {}", worst(&gradient, &want));
        }
    }
}

#[test]
fn tables_keep_what_they_state() {
    let mut rng = Rng::with_seed(2);
    for len in [1, 2, 7, 21, 49, 512, 2048] {
        for _ in 0..100 {
            let Pair { teacher, student, scales, tau, .. } = pair(&mut rng, len);
            let exact =
                |row: &[i8], scale: f32| row.iter().map(|&x| f64::from(scale) * f64::from(x)).collect();
            let (t, s): (Vec<f64>, Vec<f64>) = (exact(&teacher, scales[0]), exact(&student, scales[1]));
            let (kl, want) = (fast::kl_row(&t, &s, tau.into()), fast::kl_row_gradient(&t, &s, tau.into()));
            let tables = scales.map(|scale| ExpTable::new(scale, tau).unwrap());
            let loss = Int8Kl::new(&tables[0], &tables[1]).unwrap();
            let mut gradient = vec![0.0; len];
            let got = loss.gradient(&teacher, &student, 1.0, &mut gradient);
            assert_eq!(got, loss.value(&teacher, &student));

            let [p, q] = [&t, &s].map(|row| log_probabilities(row, tau.into()));
            let ratio = p.iter().zip(&q).fold(0.0_f64, |a, (p, q)| a.max((p - q).abs()));
            let units = 2_f64.powi(-32);
            #[allow(clippy::cast_precision_loss, reason = "a length")]
            let bound = len as f64 * units * (1.0 + ratio) + kl * 6.0e-8;
            assert!((f64::from(got) - kl).abs() <= bound, "{len} {scales:?} {tau}: {got:e}, not {kl:e}");
            let largest = p.iter().chain(&q).fold(f64::NEG_INFINITY, |a, &b| a.max(b)).exp();
            for (&got, &want) in gradient.iter().zip(&want) {
                let bound = 16.0 * units * largest / f64::from(tau) + want.abs() * 1.8e-7;
                assert!((f64::from(got) - want).abs() <= bound, "{len} {scales:?}: {got:e}, not {want:e}");
            }
        }
    }
}

fn log_probabilities(row: &[f64], tau: f64) -> Vec<f64> {
    let top = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let log = row.iter().map(|x| ((x - top) / tau).exp()).sum::<f64>().ln();
    row.iter().map(|x| (x - top) / tau - log).collect()
}

#[test]
fn equal_and_shifted_rows_of_a_table_are_exactly_0() {
    let table = ExpTable::new(0.07, 3.0).unwrap();
    let loss = Int8Kl::new(&table, &table).unwrap();
    let teacher: Vec<i8> = (0..100).map(|i| (i * 37 % 101) as i8).collect();
    let student: Vec<i8> = teacher.iter().map(|t| t - 20).collect();
    let mut gradient = [7.0; 100];
    assert_eq!(loss.gradient(&teacher, &student, 1.0, &mut gradient), 0.0);
    assert_eq!(gradient, [0.0; 100]);
    assert_eq!(loss.gradient(&[], &[], 1.0, &mut []), 0.0);
}

#[test]
fn channels_of_one_meaning_are_a_tensor_and_of_several_are_their_numbers() {
    let mut rng = Rng::with_seed(3);
    let (teacher, student) = (steps(&mut rng, 19), steps(&mut rng, 19));
    let scales: Vec<f32> = (0..19).map(|_| 0.01 + rng.f32()).collect();
    let zero_points: Vec<i32> = (0..19).map(|_| rng.i32(-128..128)).collect();
    let loss = RowKl::<Polynomial>::new(2.0).unwrap();
    #[allow(clippy::cast_precision_loss, reason = "a few hundred steps")]
    let numbers = |row: &[i8]| -> Vec<f32> {
        row.iter().zip(&scales).zip(&zero_points).map(|((&x, s), z)| s * (i32::from(x) - z) as f32).collect()
    };
    let [t, s] = [&teacher, &student].map(|row| QuantizedChannels::new(row, &scales, &zero_points));
    assert_eq!(loss.value(&t, &s), loss.value(&numbers(&teacher)[..], &numbers(&student)[..]));
}

#[test]
fn tables_of_two_temperatures_and_endless_rows_are_refused() {
    let tables = [1.0, 2.0].map(|tau| ExpTable::new(0.1, tau).unwrap());
    assert!(Int8Kl::new(&tables[0], &tables[1]).is_none());
    assert!(
        [0.0, -1.0, f32::NAN, f32::INFINITY].into_iter().all(|scale| ExpTable::new(scale, 1.0).is_none())
    );
    let long = vec![0; (1 << 24) + 1];
    let loss = Int8Kl::new(&tables[0], &tables[0]).unwrap();
    assert!(loss.value(&long, &long).is_nan());
    let mut short = [7.0; 2];
    assert_eq!(loss.gradient(&long, &long, 1.0, &mut short), 0.0);
}
