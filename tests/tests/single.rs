//! A row pair in single precision alone: value and gradient against the oracle.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::cast_possible_truncation, reason = "temperatures and logits are stored in f32")]

use densekd_core::single::{Exponential, Libm, Polynomial, RowKl};
use densekd_tests::oracle::fast;
use densekd_tests::rows::{Genome, RowPair, decode, mutate, ordinary, random_genome};
use fastrand::Rng;

/// What a row is off by: the value relative to itself, the gradient to its largest entry.
#[derive(Clone, Copy, Debug, Default)]
struct Off {
    kl: f64,
    value: f64,
    gradient: f64,
}

fn off<X: Exponential>(pair: &RowPair) -> Off {
    let tau = pair.tau as f32;
    let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (teacher, student) = (wide(&pair.teacher), wide(&pair.student));
    let kl = fast::kl_row(&teacher, &student, f64::from(tau));
    let want = fast::kl_row_gradient(&teacher, &student, f64::from(tau));
    let loss = RowKl::<X>::new(tau).unwrap();
    let mut gradient = vec![0.0; want.len()];
    let value = f64::from(loss.gradient(&pair.teacher[..], &pair.student[..], 1.0, &mut gradient));
    assert!(value >= 0.0, "{value} for {kl}");
    assert_eq!(
        value,
        f64::from(loss.value(&pair.teacher[..], &pair.student[..])),
        "with and without a gradient"
    );
    let largest = want.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    let worst = gradient.iter().zip(&want).fold(0.0_f64, |a, (&g, w)| a.max((f64::from(g) - w).abs()));
    Off {
        kl,
        value: if kl > 1e-26 { (value / kl - 1.0).abs() } else { 0.0 },
        gradient: if largest > 1e-32 { worst / largest } else { 0.0 },
    }
}

/// Ordinary rows whose student is so much beside the teacher.
fn ordinary_rows<X: Exponential>(noise: f64, shift: f64, bound: f64) -> f64 {
    let (mut rng, mut smallest) = (Rng::with_seed(11), f64::INFINITY);
    for length in [2, 7, 19, 49, 512, 4096] {
        for _ in 0..(20_000 / length).clamp(5, 200) {
            let mut pair = ordinary(&mut rng, length, noise, shift);
            pair.tau = [1.0, 4.0, 0.7][rng.usize(0..3)];
            let off = off::<X>(&pair);
            // Few entries are no sample: what two are off by is what one is.
            let bound = if length < 19 { 2.0 * bound } else { bound };
            assert!(off.value <= bound && off.gradient <= bound, "{length} {noise:e} {shift}: {off:?}");
            smallest = smallest.min(off.kl);
        }
    }
    smallest
}

#[test]
fn ordinary_rows_keep_1e_6() {
    for noise in [3.0, 1.0, 0.1, 1e-3, 1e-6] {
        for shift in [0.0, 3.0] {
            ordinary_rows::<Polynomial>(noise, shift, 1e-6);
        }
    }
}

#[test]
fn near_rows_keep_their_digits_to_1e_20() {
    assert!(ordinary_rows::<Polynomial>(1e-9, 0.0, 1e-6) < 1e-20);
}

#[test]
fn a_shift_of_1000_keeps_the_digits_that_are_stored() {
    for noise in [1.0, 1e-3] {
        ordinary_rows::<Polynomial>(noise, 1000.0, 1.5e-6);
    }
}

#[test]
fn the_functions_of_libm_keep_what_they_state() {
    for noise in [1.0, 0.1, 1e-3] {
        ordinary_rows::<Libm>(noise, 0.0, 1.5e-6);
    }
}

#[test]
fn contrived_rows_keep_1e_5() {
    let mut rng = Rng::with_seed(5);
    let (mut at, mut height, mut stuck) = (random_genome(&mut rng), 0.0, 0);
    let mut worst: (Genome, Off) = (at, Off::default());
    for i in 0..30_000 {
        let next = if stuck > 60 { random_genome(&mut rng) } else { mutate(&at, &mut rng) };
        if stuck > 60 {
            (height, stuck) = (0.0, 0);
        }
        let off = off::<Polynomial>(&decode(&next));
        let here = if i / 2000 % 2 == 0 { off.value } else { off.gradient };
        if here > height {
            (at, height, stuck) = (next, here, 0);
        } else {
            stuck += 1;
        }
        if off.value.max(off.gradient) > worst.1.value.max(worst.1.gradient) {
            worst = (next, off);
        }
    }
    println!("{worst:?}");
    assert!(worst.1.value <= 1e-5 && worst.1.gradient <= 1e-5, "{worst:?}");
}

/// What a search has found: an exponential below the normal numbers, two that differ by less than the error of either, a
/// reference that eight sweeps find, and differences that are all in their second terms.
#[test]
#[allow(clippy::excessive_precision, reason = "numbers as they were found")]
fn rows_at_the_edges_of_f32_keep_1e_5() {
    let rows: [(&[f32], &[f32], f64); 4] = [
        (&[-0.199_286_684, -4.315_617_561], &[0.428_120_732, -4.293_637_753], 0.054_006_465),
        (&[-163.967_575, -694.395_63], &[111.373_322, -427.955_383], 7.701_642),
        (
            &[-3.758_748_770, -3.162_442_684, 1.407_122_850],
            &[-4.036_029_339, -3.463_747_978, 1.375_576_377],
            0.061_903_875,
        ),
        (
            &[468.274_963, 468.274_963, -824.343_689],
            &[0.006_580_206_1, 0.006_580_115_3, -1_389.764_404],
            18.716_774,
        ),
    ];
    for (teacher, student, tau) in rows {
        let off = off::<Polynomial>(&RowPair { teacher: teacher.to_vec(), student: student.to_vec(), tau });
        assert!(off.value <= 1e-5 && off.gradient <= 1e-5, "{teacher:?}: {off:?}");
    }
}

#[test]
fn equal_and_shifted_rows_are_exactly_0() {
    let mut rng = Rng::with_seed(3);
    for length in [1, 2, 7, 49, 1000] {
        for shift in [0.0, 100.0, -1000.0] {
            let teacher: Vec<f32> = (0..length).map(|_| (rng.f32() * 512.0).round() / 64.0).collect();
            let student: Vec<f32> = teacher.iter().map(|t| t + shift).collect();
            let mut gradient = vec![7.0; length];
            let kl = RowKl::<Polynomial>::new(0.7).unwrap().gradient(
                &teacher[..],
                &student[..],
                1.0,
                &mut gradient,
            );
            assert!(kl == 0.0 && gradient.iter().all(|&g| g == 0.0), "{length} {shift}: {kl} {gradient:?}");
        }
    }
}

/// The rows that are no ordinary ones, in the order in which they are told apart.
#[test]
fn degenerate_rows_are_as_defined() {
    const NONE: f32 = f32::NEG_INFINITY;
    const MANY: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;
    let rows: [(&[f32], &[f32]); 19] = [
        (&[0.0, NAN, 1.0], &[0.0, 1.0, 2.0]),
        (&[0.0, 1.0, 2.0], &[NAN, 1.0, 2.0]),
        (&[0.0, MANY, 1.0], &[0.0, 1.0, 2.0]),
        (&[0.0, 1.0, 2.0], &[0.0, 1.0, MANY]),
        (&[MANY, 1.0, 2.0], &[MANY, 1.0, 2.0]),
        (&[NONE, NONE, NONE], &[0.0, NAN, 1.0]),
        (&[NONE, NONE, NONE], &[0.0, MANY, NONE]),
        (&[0.0, NONE, NAN], &[NONE, NONE, 0.0]),
        (&[0.0, NAN, 1.0], &[NONE, NONE, NONE]),
        (&[NONE, NONE, NONE], &[0.0, 1.0, 2.0]),
        (&[NONE, NONE], &[NONE, NONE]),
        (&[0.0, NONE, 2.0], &[NONE, NONE, NONE]),
        (&[0.0, 1.0, NONE], &[0.5, 3.0, NONE]),
        (&[NONE, 1.0, 0.5], &[0.5, 3.0, 1.0]),
        (&[2.0, 1.0, 0.5], &[NONE, 3.0, 1.0]),
        (&[2.0], &[3.0]),
        (&[2.0], &[NONE]),
        (&[NONE, 9.0, -3.0], &[50.0, -1.0, 2.0]),
        (&[65504.0, -65504.0, 0.0], &[-65504.0, 65504.0, 1.0]),
    ];
    for (teacher, student) in rows {
        let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
        let (t, s) = (wide(teacher), wide(student));
        let (kl, want) = (fast::kl_row(&t, &s, 1.0), fast::kl_row_gradient(&t, &s, 1.0));
        let loss = RowKl::<Polynomial>::new(1.0).unwrap();
        let mut got = vec![7.0_f32; teacher.len()];
        let value = loss.gradient(teacher, student, 1.0, &mut got);
        let is = |got: f32, want: f64, size: f64| {
            let got = f64::from(got);
            got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= 1e-6 * size
        };
        assert!(is(value, kl, kl.abs()), "{teacher:?} {student:?}: {value}, not {kl}");
        assert!(is(loss.value(teacher, student), kl, kl.abs()));
        // NaN wins over what is empty.
        let want = if kl.is_nan() { vec![f64::NAN; want.len()] } else { want };
        let all = got.iter().zip(&want).all(|(&got, &want)| is(got, want, 1.0));
        assert!(all, "{teacher:?} {student:?}: {got:?}, not {want:?}");
    }
}

#[test]
fn nothing_is_no_row_and_lengths_may_differ() {
    let loss = RowKl::<Polynomial>::new(1.0).unwrap();
    assert_eq!(loss.gradient::<[f32], [f32]>(&[], &[], 1.0, &mut []), 0.0);
    let (teacher, student) = ([0.5_f32, 2.0, -1.0], [1.0_f32, 0.0, 0.5]);
    let short = loss.value(&teacher[..2], &student[..2]);
    assert_eq!(loss.value(&teacher, &student[..2]), short);
    assert_eq!(loss.gradient(&teacher[..2], &student, 1.0, &mut [0.0; 3]), short);
    assert_eq!(loss.gradient(&teacher, &student, 1.0, &mut [0.0; 2]), short);
    // Not even the largest entry of what is left out.
    assert!(loss.gradient(&[0.5, 2.0, 0.0], &[1.0, 0.0, 500.0], 1.0, &mut [0.0; 2]) == short);
    assert!(
        [0.0, -1.0, f32::NAN, f32::INFINITY].into_iter().all(|tau| RowKl::<Polynomial>::new(tau).is_none())
    );
}

#[test]
fn halves_are_what_they_are_as_f32() {
    let mut rng = Rng::with_seed(2);
    let pair = ordinary(&mut rng, 49, 1.0, 0.0);
    let half = |row: &[f32]| row.iter().map(|&x| half::f16::from_f32(x)).collect::<Vec<_>>();
    let (teacher, student) = (half(&pair.teacher), half(&pair.student));
    let wide = |row: &[half::f16]| row.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
    let loss = RowKl::<Polynomial>::new(4.0).unwrap();
    assert_eq!(loss.value(&teacher[..], &student[..]), loss.value(&wide(&teacher)[..], &wide(&student)[..]));
}
