//! The integer row against the oracle.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use densekd_core::single::IntegerKl;
use densekd_tests::oracle::fast;
use fastrand::Rng;

/// Row pairs whose entries are `spread` apart at most, the student near the teacher or not.
fn pair(rng: &mut Rng, len: usize, spread: f32, offset: f32) -> (Vec<f32>, Vec<f32>) {
    let mut number = || (rng.f32() - 0.5) * spread;
    let teacher: Vec<f32> = (0..len).map(|_| number() + offset).collect();
    let near = [1.0, 0.01][len % 2];
    let student = teacher.iter().map(|t| if near < 1.0 { t + near * number() } else { number() }).collect();
    (teacher, student)
}

#[test]
fn rows_keep_the_error_that_is_stated() {
    let mut rng = Rng::with_seed(6);
    let (mut worst, mut worst_gradient) = (0.0_f64, 0.0_f64);
    for len in [1, 2, 7, 49, 512, 4096] {
        for (spread, offset) in [(1.0, 0.0), (8.0, 0.0), (8.0, 1000.0), (20.0, -3.0), (1e-3, 7.0), (0.0, 2.0)]
        {
            for tau in [1.0_f32, 4.0, 0.9] {
                let (teacher, student) = pair(&mut rng, len, spread * tau.min(1.0), offset);
                let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
                let (t, s) = (wide(&teacher), wide(&student));
                let (kl, want) =
                    (fast::kl_row(&t, &s, tau.into()), fast::kl_row_gradient(&t, &s, tau.into()));
                let loss = IntegerKl::new(tau).unwrap();
                let mut gradient = vec![0.0; len];
                let got = loss.gradient(&teacher[..], &student[..], -3.0, &mut gradient).unwrap();
                assert_eq!(Some(got), loss.value(&teacher[..], &student[..]));
                let [(p, of_p), (q, of_q)] = [&t, &s].map(|row| log_probabilities(row, tau.into()));
                let ratio = p.iter().zip(&q).fold(0.0_f64, |a, (p, q)| a.max((p - q).abs()));
                #[allow(clippy::cast_precision_loss, reason = "a length")]
                let bound = 4e-8 * (1.0 + ratio) * len as f64 / of_p.min(of_q);
                let off = (f64::from(got) - kl).abs() - 6e-8 * kl;
                assert!(off <= bound, "{len} {spread} {offset} {tau}: {got:e}, not {kl:e}, to {bound:e}");
                worst = worst.max(off);
                let largest = p.iter().chain(&q).fold(f64::NEG_INFINITY, |a, &b| a.max(b)).exp();
                for (&got, &want) in gradient.iter().zip(&want) {
                    let off = (f64::from(got) + 3.0 * want).abs() * f64::from(tau) / 3.0;
                    assert!(
                        off <= 1e-7 * largest + 1.2e-7 * want.abs(),
                        "{len} {spread} {tau}: {got:e}, not {want:e}"
                    );
                    worst_gradient = worst_gradient.max(off / largest);
                }
            }
        }
    }
    println!("{worst:e} {worst_gradient:e}");
}

/// And the sum of exponentials below the largest.
fn log_probabilities(row: &[f64], tau: f64) -> (Vec<f64>, f64) {
    let top = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let sum = row.iter().map(|x| ((x - top) / tau).exp()).sum::<f64>();
    (row.iter().map(|x| (x - top) / tau - sum.ln()).collect(), sum)
}

#[test]
fn equal_rows_are_exactly_0() {
    let mut rng = Rng::with_seed(3);
    let (teacher, _) = pair(&mut rng, 100, 9.0, 0.0);
    let mut gradient = vec![7.0; 100];
    let loss = IntegerKl::new(0.7).unwrap();
    assert_eq!(loss.gradient(&teacher[..], &teacher[..], 1.0, &mut gradient), Some(0.0));
    assert_eq!(gradient, vec![0.0; 100]);
}

#[test]
fn what_it_has_no_answer_for_is_none() {
    let loss = IntegerKl::new(1.0).unwrap();
    let usual = [0.0_f32, 1.0, 2.0];
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 40.0, -40.0, 3e38, -3e38] {
        assert!(loss.value(&[0.0, bad, 1.0], &usual).is_none(), "{bad}");
        assert!(loss.value(&usual, &[0.0, bad, 1.0]).is_none(), "{bad}");
    }
    assert!(loss.value::<[f32], [f32]>(&[], &[]).is_none());
    assert!(loss.value(&[0.0_f32, 1e-30], &[0.0_f32, 0.0]).is_none());
    assert_eq!(loss.value(&[0.0_f32, -0.0, 1e-40], &[5.0_f32; 3]), Some(0.0));
    assert!([0.0, f32::NAN].into_iter().all(|tau| IntegerKl::new(tau).is_none()));
}

#[test]
fn factors_beyond_an_exponent_are_multiplied() {
    let (teacher, student) = ([0.0_f32, 1.0, 2.0], [1.0_f32, 0.0, 0.5]);
    let loss = IntegerKl::new(1.0).unwrap();
    let mut usual = [0.0; 3];
    loss.gradient(&teacher, &student, 1.0, &mut usual).unwrap();
    for factor in [0.0, 1e-30, 1e30] {
        let mut got = [7.0; 3];
        loss.gradient(&teacher, &student, factor, &mut got).unwrap();
        assert!(
            got.iter().zip(&usual).all(|(got, usual)| (got - usual * factor).abs() <= 1e-6 * factor),
            "{got:?}"
        );
    }
}
