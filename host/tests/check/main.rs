//! The check passes right gradients and fails wrong ones.

mod maps;
mod support;
mod wrong;

use densekd::check::{Failure, Options, check};
use densekd::core::{
    Divergence, Error, Ignore, Mask, Norm, Order, Plan, Preset, RowOptions, Shape, Temperature, Weight,
};
use densekd::{Backend, BackendError, Cpu};
use half::{bf16, f16};
use std::num::NonZeroUsize;
use support::{Narrow, SHAPE, Spoilt, half_ignored, len, maps, plan, recipes, run, stored};
use wrong::off_by;

#[test]
fn right_gradients_of_every_loss_order_and_type_pass() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let shape = Shape::new(SHAPE).expect("the shape has elements");
    let ignored = half_ignored();
    let masked = Mask::new(shape, None, Some(&ignored)).expect("the mask fits");
    for options in recipes() {
        for order in [Order::Nchw, Order::Nhwc] {
            let plan = plan(options, order);
            for mask in [Mask::ALL, masked] {
                let pair = (teacher.as_slice(), student.as_slice());
                let reports = [
                    run::<f32>(&Cpu::new(), &plan, pair, mask, 40),
                    run::<f64>(&Cpu::new(), &plan, pair, mask, 40),
                    run::<f16>(&Cpu::new(), &plan, pair, mask, 40),
                    run::<bf16>(&Cpu::new(), &plan, pair, mask, 40),
                ];
                for report in reports {
                    assert!(report.ok && report.entries >= 20, "{options:?} {order:?}\n{report}");
                    // Under `after` a row's terms have both signs, and differences of a row whose terms were
                    // dropped tell nothing.
                    let after = options.ignore == Ignore::After && !mask.is_all();
                    assert!(report.unresolved == 0 || after, "{options:?} {order:?}\n{report}");
                }
            }
        }
    }
}

#[test]
fn every_preset_passes() {
    let (teacher, student) = maps(len(), 4.0, 1.0);
    for preset in Preset::ALL {
        let Some(options) = preset.options.row() else { continue };
        let report =
            run::<f32>(&Cpu::new(), &plan(*options, Order::Nchw), (&teacher, &student), Mask::ALL, 24);
        assert!(report.ok && report.entries >= 16 && report.unresolved == 0, "{}\n{report}", preset.name);
    }
}

#[test]
fn close_maps_pass_and_are_still_told_from_wrong_ones() {
    let off = Spoilt(|plan: &Plan, gradient: &mut [f64]| off_by(plan, gradient, 1e-3));
    for apart in [1e-2, 1e-4, 1e-6, 1e-8] {
        let (teacher, student) = maps(len(), 1.0, apart);
        let pair = (teacher.as_slice(), student.as_slice());
        for options in [RowOptions::CWD, RowOptions::PI] {
            let plan = plan(options, Order::Nchw);
            for (right, wrong) in [
                (
                    run::<f64>(&Cpu::new(), &plan, pair, Mask::ALL, 40),
                    run::<f64>(&off, &plan, pair, Mask::ALL, 40),
                ),
                (
                    run::<f32>(&Cpu::new(), &plan, pair, Mask::ALL, 40),
                    run::<f32>(&off, &plan, pair, Mask::ALL, 40),
                ),
            ] {
                assert!(right.ok && right.unresolved == 0, "{apart}: {right}");
                // Maps that f32 cannot hold apart have gradient 0 and nothing to be off by.
                assert!(!wrong.ok || wrong.dtype == "f32" && apart < 1e-7, "{apart}: {wrong}");
            }
        }
    }
}

#[test]
fn close_half_maps_pass_and_are_still_told_from_wrong_ones() {
    // Half numbers are a step of 2^-11 or 2^-8 apart, so the closest maps differ in one place.
    let halved = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient.iter_mut().for_each(|x| *x *= 0.5));
    let (teacher, mut student) = maps(len(), 1e-3, 0.0);
    student.iter_mut().step_by(3).for_each(|s| *s *= 1.01);
    let pair = (teacher.as_slice(), student.as_slice());
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let value = densekd::loss(RowOptions::CWD, SHAPE, &stored::<f16>(&teacher), &stored::<f16>(&student));
    assert!(value.expect("the tensors fit") < 1e-9);
    for right in [
        run::<f16>(&Cpu::new(), &plan, pair, Mask::ALL, 40),
        run::<bf16>(&Cpu::new(), &plan, pair, Mask::ALL, 40),
    ] {
        assert!(right.ok && right.unresolved == 0, "{right}");
    }
    let wrong = run::<f16>(&halved, &plan, pair, Mask::ALL, 40);
    assert!(!wrong.ok && wrong.upstream > 1.0, "{wrong}");
    assert!(!run::<bf16>(&halved, &plan, pair, Mask::ALL, 40).ok);
}

#[test]
fn rows_that_are_not_finite_are_counted_and_the_others_checked() {
    let (mut teacher, mut student) = maps(len(), 3.0, 2.0);
    teacher[3] = f64::NAN;
    student[50] = f64::INFINITY;
    student[100] = f64::NEG_INFINITY;
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 64);
    assert!(report.ok && report.skipped_non_finite == 3 && report.rows == 7, "{report}");
    assert!(report.to_string().contains("3 rows whose value is NaN or infinite"));
}

#[test]
fn a_map_that_cannot_be_checked_does_not_pass() {
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let (teacher, student) = (vec![f64::NAN; len()], vec![0.0; len()]);
    let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 64);
    assert_eq!((report.failure, report.skipped_non_finite), (Some(Failure::NothingChecked), 10), "{report}");
    assert!(report.to_string().contains("FAILED"));
}

#[test]
fn a_gradient_that_is_not_finite_where_the_value_is_fails() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let plan = plan(RowOptions::CWD, Order::Nchw);
    for wrong in [f64::NAN, f64::INFINITY] {
        let spoilt = Spoilt(move |_: &Plan, gradient: &mut [f64]| gradient[300] = wrong);
        let report = run::<f32>(&spoilt, &plan, (&teacher, &student), Mask::ALL, 1);
        assert_eq!(report.failure, Some(Failure::NotFinite), "{report}");
        let json = serde_json::to_value(&report).expect("a report is JSON");
        assert_eq!((&json["ok"], &json["max_error"]), (&false.into(), &"inf".into()));
        assert_eq!(json["failure"], "not_finite");
    }
}

#[test]
fn shared_and_lone_infinities_of_finite_rows_have_gradient_0() {
    let (mut teacher, mut student) = maps(len(), 3.0, 2.0);
    for i in (0..len()).step_by(5) {
        (teacher[i], student[i]) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    }
    teacher[1] = f64::NEG_INFINITY;
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 420);
    assert!(report.ok && report.entries == 420 && report.unresolved == 0, "{report}");
    let spoilt = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient[5] = 1e-3);
    assert!(!run::<f32>(&spoilt, &plan, (&teacher, &student), Mask::ALL, 420).ok);
}

#[test]
fn equal_shifted_and_constant_maps_pass() {
    let (teacher, _) = maps(len(), 3.0, 0.0);
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let shifted: Vec<f64> = teacher.iter().map(|t| t + 8.0).collect();
    let flat = vec![2.0; len()];
    for pair in [(&teacher, &teacher), (&teacher, &shifted), (&flat, &flat)] {
        for report in [
            run::<f64>(&Cpu::new(), &plan, (pair.0, pair.1), Mask::ALL, 40),
            run::<f32>(&Cpu::new(), &plan, (pair.0, pair.1), Mask::ALL, 40),
            run::<f16>(&Cpu::new(), &plan, (pair.0, pair.1), Mask::ALL, 40),
        ] {
            assert!(report.ok && report.unresolved == 0 && report.entries == 40, "{report}");
        }
    }
    // A gradient that the value does not have shows at equal maps too.
    let spoilt = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient.iter_mut().for_each(|x| *x += 1e-12));
    assert!(!run::<f64>(&spoilt, &plan, (&teacher, &teacher), Mask::ALL, 40).ok);
}

#[test]
fn sharp_and_huge_logits_pass() {
    for spread in [30.0, 1e3, 6e4] {
        let (teacher, student) = maps(len(), spread, spread);
        for options in [RowOptions::CWD, RowOptions::PI] {
            let plan = plan(options, Order::Nchw);
            let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 64);
            assert!(report.ok && report.entries >= 32, "{spread}: {report}");
        }
    }
}

#[test]
fn logits_too_large_for_differences_are_said_to_be_unchecked() {
    let (teacher, student) = maps(len(), 1e8, 1e8);
    let report =
        run::<f32>(&Cpu::new(), &plan(RowOptions::CWD, Order::Nchw), (&teacher, &student), Mask::ALL, 64);
    assert!(!report.ok && report.entries == 0, "{report}");
    assert!(report.to_string().contains("nothing could be checked"), "{report}");
}

#[test]
fn temperatures_and_weights_of_any_size_pass() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    for (tau, weight) in [(1e-2, 1.0), (100.0, -3.0), (4.0, 1e6), (1.0, 1e-12), (2.0, 0.0)] {
        let options = RowOptions {
            tau: Temperature::new(tau).expect("it is above 0"),
            weight: Weight::new(weight).expect("it is finite"),
            ..RowOptions::CWD
        };
        let plan = plan(options, Order::Nhwc);
        for report in [
            run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 40),
            run::<f16>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 40),
        ] {
            assert!(report.ok && report.unresolved == 0, "{tau} {weight}\n{report}");
        }
    }
}

#[test]
fn an_enlarged_map_is_checked_through_all_its_rows() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let three = NonZeroUsize::new(3).expect("three is not 0");
    let options = RowOptions { upsample: three, ..RowOptions::PI };
    let halved = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient.iter_mut().for_each(|x| *x *= 0.5));
    for order in [Order::Nchw, Order::Nhwc] {
        let plan = plan(options, order);
        let right = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 24);
        assert!(right.ok && right.entries == 24 && right.unresolved == 0, "{right}");
        assert!(!run::<f32>(&halved, &plan, (&teacher, &student), Mask::ALL, 24).ok);
    }
}

#[test]
fn close_enlarged_maps_of_large_logits_pass() {
    // Interpolation rounds the logits, which shows in the slope as soon as that is small.
    let (teacher, student) = maps(len(), 70.0, 1e-7);
    let two = NonZeroUsize::new(2).expect("two is not 0");
    let tau = Temperature::new(0.5).expect("it is above 0");
    let plan = plan(RowOptions { upsample: two, tau, ..RowOptions::PI }, Order::Nhwc);
    for report in [
        run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 24),
        run::<bf16>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 24),
    ] {
        assert!(report.ok, "{report}");
    }
}

#[test]
fn steps_that_cannot_be_equal_do_not_bias_the_slope() {
    // Logits with all their bits in use, a temperature that is no power of two, and nothing to find.
    let (teacher, _) = maps(len(), 90.0, 0.0);
    let tau = Temperature::new(2.016).expect("it is above 0");
    for divergence in [Divergence::Kl, Divergence::Ce, Divergence::Js, Divergence::ReverseKl] {
        let plan = plan(RowOptions { tau, divergence, ..RowOptions::CWD }, Order::Nchw);
        let report = run::<f64>(&Cpu::new(), &plan, (&teacher, &teacher), Mask::ALL, 64);
        assert!(report.ok, "{divergence}\n{report}");
    }
}

#[test]
fn a_row_of_nan_is_skipped_whatever_the_norm() {
    let (mut teacher, mut student) = maps(len(), 3.0, 2.0);
    (teacher[50], student[50]) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    student[42] = f64::NEG_INFINITY;
    for norm in [Norm::ChannelMean, Norm::None] {
        let plan = plan(RowOptions { norm, divergence: Divergence::Mse, ..RowOptions::CWD }, Order::Nchw);
        let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 64);
        assert!(report.ok && report.skipped_non_finite == 1, "{norm}\n{report}");
    }
}

#[test]
fn the_seed_and_the_number_of_entries_decide_what_is_looked_at() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let report = |entries| run::<f32>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, entries);
    assert_eq!(report(33), report(33));
    for (asked, looked_at) in [(0, 1), (1, 1), (7, 7), (64, 64), (420, 420), (usize::MAX, 420)] {
        assert_eq!(report(asked).entries, looked_at);
    }
}

#[test]
fn a_map_without_counted_positions_has_nothing_wrong() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let shape = Shape::new(SHAPE).expect("the shape has elements");
    let none = vec![0; SHAPE[0] * SHAPE[2] * SHAPE[3]];
    let mask = Mask::new(shape, None, Some(&none)).expect("the mask fits");
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), mask, 64);
    assert!(report.ok && report.entries == 0 && report.ignored == len(), "{report}");
}

#[test]
fn tensors_and_backends_that_do_not_fit_are_errors() {
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let (short, whole) = (vec![0.0_f32; 3], vec![0.0_f32; len()]);
    let run = |backend: &dyn Backend, student: &[f32]| {
        check(backend, &plan, whole.as_slice().into(), student.into(), Mask::ALL, Options::default())
    };
    assert!(matches!(run(&Cpu::new(), &short), Err(BackendError::Request(Error::Length { found: 3, .. }))));
    assert!(matches!(run(&Narrow, &whole), Err(BackendError::Unsupported(_))));
}

#[test]
fn the_text_is_aligned_and_ends_in_its_verdict() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let text = run::<f16>(&Cpu::new(), &plan, (&teacher, &student), Mask::ALL, 64).to_string();
    assert!(text.ends_with("\nok"), "{text}");
    let lines = text.lines().filter(|line| *line != "ok");
    for line in lines {
        let value = line.chars().skip(11).take(2).collect::<String>();
        assert!(value.starts_with(' ') && !value.ends_with(' '), "{text}");
    }
}

#[test]
fn rows_whose_differences_overflow_do_not_pass() {
    // The values are finite, and infinite after any step.
    let (teacher, student) = (vec![0.0; len()], vec![1e153; len()]);
    let options = RowOptions { norm: Norm::None, divergence: Divergence::Mse, ..RowOptions::CWD };
    let halved = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient.iter_mut().for_each(|x| *x *= 0.5));
    for backend in [&Cpu::new() as &dyn Backend, &halved] {
        let report = run::<f64>(backend, &plan(options, Order::Nchw), (&teacher, &student), Mask::ALL, 64);
        assert_eq!(report.failure, Some(Failure::NothingChecked), "{report}");
        assert_eq!((report.entries, report.unresolved, report.skipped_non_finite), (0, 64, 0), "{report}");
    }
}

#[test]
fn a_scale_that_overflows_does_not_pass() {
    let (teacher, student) = maps(len(), 3.0, 2.0);
    let options = RowOptions {
        tau: Temperature::new(1e10).expect("it is above 0"),
        weight: Weight::new(1e300).expect("it is finite"),
        ..RowOptions::CWD
    };
    let none = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient.fill(0.0));
    let report = run::<f64>(&none, &plan(options, Order::Nchw), (&teacher, &student), Mask::ALL, 64);
    assert!(!report.ok, "{report}");
}

#[test]
fn a_map_without_counted_positions_has_nothing_wrong_after_the_softmax_either() {
    let (mut teacher, student) = maps(len(), 3.0, 2.0);
    let shape = Shape::new(SHAPE).expect("the shape has elements");
    let none = vec![0; SHAPE[0] * SHAPE[2] * SHAPE[3]];
    let mask = Mask::new(shape, None, Some(&none)).expect("the mask fits");
    let wrong = Spoilt(|_: &Plan, gradient: &mut [f64]| gradient[17] = 1e-3);
    for norm in [Norm::Channel, Norm::Spatial] {
        let plan = plan(RowOptions { norm, ignore: Ignore::After, ..RowOptions::CWD }, Order::Nchw);
        let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), mask, 64);
        assert!(report.ok, "{norm}\n{report}");
        assert!(!run::<f32>(&wrong, &plan, (&teacher, &student), mask, 64).ok, "{norm}");
    }
    teacher[17] = f64::NAN;
    for norm in [Norm::Channel, Norm::Spatial] {
        let plan = plan(RowOptions { norm, ignore: Ignore::After, ..RowOptions::CWD }, Order::Nchw);
        let report = run::<f32>(&Cpu::new(), &plan, (&teacher, &student), mask, 64);
        assert!(report.ok && report.skipped_non_finite == 1, "{norm}\n{report}");
    }
}

#[test]
fn the_tensor_that_does_not_fit_is_named() {
    let plan = plan(RowOptions::CWD, Order::Nchw);
    let (short, whole) = (vec![0.0_f32; 3], vec![0.0_f32; len()]);
    let error = |teacher: &[f32], student: &[f32]| {
        let found = check(&Cpu::new(), &plan, teacher.into(), student.into(), Mask::ALL, Options::default());
        found.expect_err("a tensor is too short").to_string()
    };
    assert!(error(&whole, &short).contains("student") && !error(&whole, &short).contains("grad_"));
    assert!(error(&short, &whole).contains("teacher"));
}
