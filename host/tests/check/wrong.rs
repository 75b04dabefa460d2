//! Gradients that are wrong are found, and told from right ones.

use super::support::{Maskless, SHAPE, Spoilt, half_ignored, len, maps, plan, recipes, run};
use densekd::Cpu;
use densekd::check::Failure;
use densekd::core::{Ignore, Mask, Norm, Order, Plan, RowOptions, Shape};
use half::{bf16, f16};

/// Adds a share of each row's largest entry to all of its entries. NCHW only.
pub(crate) fn off_by(plan: &Plan, gradient: &mut [f64], share: f64) {
    let m = plan.shape().positions();
    let c = plan.shape().channels();
    let spatial = plan.recipe().options().norm == Norm::Spatial;
    let row = |i: usize| if spatial { i / (c * m) * m + i % m } else { i / m };
    let mut largest = vec![0.0_f64; gradient.len()];
    for (i, x) in gradient.iter().enumerate() {
        largest[row(i)] = largest[row(i)].max(x.abs());
    }
    gradient.iter_mut().enumerate().for_each(|(i, x)| *x += share * largest[row(i)]);
}

#[test]
fn gradients_off_by_a_thousandth_of_the_largest_entry_fail() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let off = Spoilt(|plan: &Plan, gradient: &mut [f64]| off_by(plan, gradient, 1e-3));
    for options in recipes() {
        let plan = plan(options, Order::Nchw);
        let pair = (teacher.as_slice(), student.as_slice());
        let reports = [
            run::<f32>(&off, &plan, pair, Mask::ALL, 64),
            run::<f64>(&off, &plan, pair, Mask::ALL, 64),
            run::<f16>(&off, &plan, pair, Mask::ALL, 64),
        ];
        for report in reports {
            assert_eq!(report.failure, Some(Failure::Differs), "{options:?}\n{report}");
            assert!(report.max_error > 4e-4 && report.max_error < 1.6e-3, "{report}");
            assert!(report.to_string().lines().last().is_some_and(|line| line.starts_with("FAILED")));
        }
    }
}

#[test]
fn half_a_gradient_and_none_fail() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let pair = (teacher.as_slice(), student.as_slice());
    let plan = plan(RowOptions::CWD, Order::Nchw);
    for (factor, error) in [(0.5, 0.5), (0.0, 1.0), (-1.0, 2.0), (2.0, 0.5)] {
        let spoilt =
            Spoilt(move |_: &Plan, gradient: &mut [f64]| gradient.iter_mut().for_each(|x| *x *= factor));
        for report in [
            run::<f32>(&spoilt, &plan, pair, Mask::ALL, 64),
            run::<f16>(&spoilt, &plan, pair, Mask::ALL, 64),
            run::<bf16>(&spoilt, &plan, pair, Mask::ALL, 64),
        ] {
            assert_eq!(report.failure, Some(Failure::Differs), "{factor}\n{report}");
            // Half types tell best where the entry is smaller than its row's largest.
            let least = if report.dtype == "f32" { error - 0.02 } else { 0.5 * error };
            assert!((least..=error + 0.02).contains(&report.max_error), "{factor}\n{report}");
        }
    }
}

#[test]
fn a_forgotten_mask_fails() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let shape = Shape::new(SHAPE).expect("the shape has elements");
    let ignored = half_ignored();
    let mask = Mask::new(shape, None, Some(&ignored)).expect("the mask fits");
    for (options, failure) in [
        (RowOptions::CWD, Failure::IgnoredNotZero),
        (RowOptions::PI, Failure::IgnoredNotZero),
        (RowOptions { ignore: Ignore::After, ..RowOptions::CWD }, Failure::Differs),
    ] {
        let plan = plan(options, Order::Nchw);
        let report = run::<f32>(&Maskless, &plan, (&teacher, &student), mask, 64);
        assert_eq!(report.failure, Some(failure), "{report}");
        let right = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), mask, 64);
        assert!(right.ok, "{right}");
        let expected = if options.ignore == Ignore::Before { len() / 3 } else { 0 };
        assert_eq!(right.ignored, expected);
    }
}

#[test]
fn one_ignored_entry_that_is_not_zero_is_found_wherever_it_is() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let shape = Shape::new(SHAPE).expect("the shape has elements");
    let ignored = half_ignored();
    let mask = Mask::new(shape, None, Some(&ignored)).expect("the mask fits");
    let plan = plan(RowOptions::CWD, Order::Nchw);
    for wrong in [f64::NAN, 1e-30] {
        let spoilt = Spoilt(move |_: &Plan, gradient: &mut [f64]| gradient[42 * 6 + 12] = wrong);
        let report = run::<f32>(&spoilt, &plan, (&teacher, &student), mask, 1);
        assert_eq!(report.failure, Some(Failure::IgnoredNotZero), "{report}");
        assert_eq!(report.worst.map(|worst| worst.index), Some([1, 1, 1, 5]));
    }
}

#[test]
fn one_entry_off_by_a_thousandth_of_its_rows_largest_fails() {
    // KL divergences of the rows from about 1 down to 1e-12.
    for (spread, apart) in [(3.0, 2.0), (1.0, 1e-2), (1.0, 1e-6)] {
        let (teacher, student) = maps(len(), spread, apart);
        let pair = (teacher.as_slice(), student.as_slice());
        for flat in [0, 100, len() - 1] {
            let off = Spoilt(move |plan: &Plan, gradient: &mut [f64]| {
                let mut all_off = gradient.to_vec();
                off_by(plan, &mut all_off, 1e-3);
                gradient[flat] = all_off[flat];
            });
            for options in [RowOptions::CWD, RowOptions::PI] {
                let plan = plan(options, Order::Nchw);
                let report = run::<f64>(&off, &plan, pair, Mask::ALL, len());
                assert_eq!(report.failure, Some(Failure::Differs), "{apart}\n{report}");
                assert!((report.max_error - 1e-3).abs() < 1e-5, "{apart}\n{report}");
                let found = report.worst.map(|worst| worst.index);
                let [_, c, h, w] = SHAPE;
                let (image, rest) = (flat / (c * h * w), flat % (c * h * w));
                assert_eq!(found, Some([image, rest / (h * w), rest % (h * w) / w, rest % w]), "{report}");
            }
        }
    }
}
