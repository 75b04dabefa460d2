//! What holds for every row pair, whatever its numbers: checked on random ones.
#![allow(clippy::unwrap_used, reason = "what cannot be made or run is a failed test")]

use densekd::{Backend, Cpu, Statistics, Submission};
use densekd_core::{
    Call, Divergence, Element, Inputs, Kl, Mask, Norm, Order, Outputs, Plan, PreparedTeacher, Recipe,
    RowLoss, RowOptions, RowState, RowStatistics, Shape, Slab, Softmax, Temperature, Upstream, Weight, run,
};
use densekd_tests::backends::isa;
use proptest::prelude::*;
use std::num::NonZeroUsize;

fn softmax_kl() -> RowLoss<Softmax, Kl> {
    RowLoss::new(Softmax::new(Temperature::ONE), Kl)
}

fn plan(options: RowOptions, shape: [usize; 4], order: Order) -> Plan {
    Plan::new(Recipe::new(options).unwrap(), Shape::new(shape).unwrap(), order).unwrap()
}

fn value_and_gradient(plan: &Plan, t: &[f32], s: &[f32], mask: Mask<'_>) -> (f64, Vec<f32>) {
    let mut gradient = vec![0.0_f32; s.len()];
    let inputs = Inputs::new(plan, t, s, mask).unwrap();
    let sink = &mut Slab::new(&mut gradient, 0);
    let outputs = Outputs { grad_student: Some(sink), ..Outputs::default() };
    let value = Call::new(inputs, Upstream::ONE).with_isa(isa()).run_all(outputs).unwrap().value();
    (value, gradient)
}

fn logits(n: std::ops::Range<usize>) -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (n, prop_oneof![Just(1e-3_f32), Just(1.0), Just(30.0), Just(1e4)]).prop_flat_map(|(n, size)| {
        let row = || prop::collection::vec(-size..size, n);
        (row(), row())
    })
}

/// Finite options of every kind, on `[2, 3, 4, 5]` maps.
fn every_option() -> Vec<RowOptions> {
    let mut all = Vec::new();
    for norm in [Norm::Channel, Norm::Spatial] {
        for &divergence in Divergence::ALL {
            all.push(RowOptions { norm, divergence, ..RowOptions::CWD });
        }
    }
    for norm in [Norm::ChannelMean, Norm::None] {
        all.push(RowOptions { norm, divergence: Divergence::Mse, ..RowOptions::CWD });
    }
    all
}

/// Whether two gradients agree within the bounds of either.
fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = a.iter().fold(0.0_f32, |top, x| top.max(x.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 4e-6 * largest)
}

/// Rows are taken up by cache lines, and neighbours together: neither says anything of their numbers.
#[test]
fn where_a_map_lies_does_not_change_a_bit() {
    let mut rng = fastrand::Rng::with_seed(11);
    for (shape, order) in [
        ([2, 3, 1, 70], Order::Nchw),
        ([1, 19, 5, 7], Order::Nchw),
        ([1, 150, 1, 40], Order::Nchw),
        ([1, 1100, 1, 33], Order::Nchw),
        ([1, 37, 7, 7], Order::Nhwc),
        ([2, 3, 7, 7], Order::Nchw),
    ] {
        for noise in [3.0, 1.0, 1e-3] {
            let options = if order == Order::Nchw { RowOptions::PI } else { RowOptions::CWD };
            let (plan, len) = (plan(options, shape, order), shape.iter().product::<usize>());
            let row = |spread: f32, rng: &mut fastrand::Rng| -> Vec<f32> {
                (0..len).map(|_| spread * (rng.f32() + rng.f32() - 1.0)).collect()
            };
            let t = row(12.0, &mut rng);
            let s: Vec<f32> = t.iter().zip(row(noise, &mut rng)).map(|(t, noise)| t + noise).collect();
            let found = |shift: usize| {
                let moved = |x: &[f32]| [&vec![0.0; shift], x].concat();
                let (t, s, mut gradient) = (moved(&t), moved(&s), vec![0.0_f32; shift + len]);
                let mut rows = vec![0.0; plan.rows()];
                let submission = Submission {
                    grad_student: Some((&mut gradient[shift..]).into()),
                    row_values: Some(&mut rows),
                    ..Submission::new(&plan, &t[shift..], &s[shift..])
                };
                let value = Cpu::new().submit(submission).unwrap().value();
                let bits = gradient[shift..].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                (value.to_bits(), rows.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits)
            };
            let wanted = found(0);
            for shift in 1..17 {
                assert!(found(shift) == wanted, "{shape:?} {order:?} {noise} {shift}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_divergence_is_never_negative_and_its_gradient_sums_to_0((t, s) in logits(1..600)) {
        let mut gradient = vec![0.0_f32; s.len()];
        let value = softmax_kl().gradient(&t, &s, Upstream::ONE, &mut gradient).unwrap();
        prop_assert!(value >= 0.0);
        let sum: f64 = gradient.iter().map(|&g| f64::from(g)).sum();
        let size: f64 = gradient.iter().map(|&g| f64::from(g.abs())).sum();
        prop_assert!(sum.abs() <= 1e-5 * size + 1e-38, "{sum} of {size}");
    }

    #[test]
    fn equal_maps_and_exactly_shifted_ones_are_exactly_0((t, _) in logits(1..600), shift in -1000_i16..1000) {
        // A grid on which the shift is exact.
        let s: Vec<f32> = t.iter().map(|x| (x * 64.0).round() / 64.0).collect();
        let t: Vec<f32> = s.iter().map(|x| x + f32::from(shift)).collect();
        prop_assume!(s.iter().zip(&t).all(|(s, t)| f64::from(*t) - f64::from(*s) == f64::from(shift)));
        for divergence in [Divergence::Kl, Divergence::ReverseKl, Divergence::Js, Divergence::Mse] {
            let plan = plan(RowOptions { divergence, ..RowOptions::CWD }, [1, 1, 1, s.len()], Order::Nchw);
            let (value, gradient) = value_and_gradient(&plan, &t, &s, Mask::ALL);
            prop_assert_eq!(value, 0.0);
            prop_assert!(gradient.iter().all(|&g| g == 0.0));
        }
    }

    #[test]
    fn streaming_in_any_split_equals_the_whole((t, s) in logits(2..900), cuts in prop::collection::vec(0_usize..900, 0..5)) {
        let tau = Temperature::ONE;
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % t.len()).collect();
        cuts.extend([0, t.len()]);
        cuts.sort_unstable();
        let mut parts: Vec<RowState> = cuts.windows(2).map(|w| {
            let mut state = RowState::new();
            state.push(tau, &t[w[0]..w[1]], &s[w[0]..w[1]]);
            state
        }).collect();
        // Merged from the back, an order that no sweep has.
        let mut whole = parts.pop().unwrap();
        while let Some(part) = parts.pop() {
            whole.merge(tau, &part);
        }
        let (merged, once) = (whole.finish(tau).kl_divergence(), softmax_kl().value(&t, &s));
        // Below that, terms of one sweep underflow in f32.
        prop_assert!((merged - once).abs() <= 2e-6 * once + 1e-37, "{merged} {once}");
    }

    #[test]
    fn positions_may_be_permuted((t, s) in logits(2..400)) {
        let turn = |x: &[f32]| x.iter().rev().copied().collect::<Vec<_>>();
        let (value, turned) = (softmax_kl().value(&t, &s), softmax_kl().value(&turn(&t), &turn(&s)));
        prop_assert!((value - turned).abs() <= 2e-6 * value);
    }

    #[test]
    fn weight_and_upstream_are_linear((t, s) in logits(6..7), power in -8_i32..8) {
        let factor = 2.0_f64.powi(power);
        let heavy = RowOptions { weight: Weight::new(factor).unwrap(), ..RowOptions::CWD };
        let shape = [1, 1, 2, 3];
        let (value, gradient) = value_and_gradient(&plan(RowOptions::CWD, shape, Order::Nchw), &t, &s, Mask::ALL);
        let (heavier, steeper) = value_and_gradient(&plan(heavy, shape, Order::Nchw), &t, &s, Mask::ALL);
        prop_assert_eq!(heavier, value * factor);
        for (a, b) in gradient.iter().zip(&steeper) {
            prop_assert!(f64::from(*b) == f64::from(*a) * factor || a.abs() < 1e-30);
        }
    }

    #[test]
    fn memory_orders_agree((t, s) in logits(120..121)) {
        let [n, c, m] = [2, 3, 20];
        let last = |x: &[f32]| (0..n * m * c).map(|i| {
            let (image, position, channel) = (i / (m * c), i / c % m, i % c);
            x[(image * c + channel) * m + position]
        }).collect::<Vec<f32>>();
        for options in every_option() {
            let (a, g) = value_and_gradient(&plan(options, [2, 3, 4, 5], Order::Nchw), &t, &s, Mask::ALL);
            let (b, h) = value_and_gradient(&plan(options, [2, 3, 4, 5], Order::Nhwc), &last(&t), &last(&s), Mask::ALL);
            let in_vectors = options.divergence == Divergence::Kl && matches!(options.norm, Norm::Channel | Norm::Spatial);
            let bound = if in_vectors { 1e-6 } else { 1e-12 };
            prop_assert!((a - b).abs() <= bound * a.abs() + 1e-26, "{options:?}: {a} {b}");
            if in_vectors {
                // Rows in a line and rows that interleave are of two kernels, each within 2e-6 of its row's largest.
                let largest = g.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
                prop_assert!(last(&g).iter().zip(&h).all(|(a, b)| (a - b).abs() <= 4e-6 * largest), "{g:?} {h:?}");
            } else {
                // Rows are the same numbers in the same order, so the gradient is the same to the bit.
                prop_assert_eq!(last(&g), h);
            }
        }
    }

    #[test]
    fn ignored_positions_do_not_exist((t, s) in logits(36..37), kept in prop::collection::vec(prop::bool::ANY, 12)) {
        prop_assume!(kept.iter().any(|&kept| kept));
        let mask: Vec<u8> = kept.iter().map(|&kept| u8::from(kept)).collect();
        let shape = Shape::new([1, 3, 3, 4]).unwrap();
        let mut spoiled = s.clone();
        for (i, x) in spoiled.iter_mut().enumerate() {
            if !kept[i % 12] {
                *x = f32::NAN;
            }
        }
        let small = |x: &[f32]| x.iter().enumerate().filter(|(i, _)| kept[i % 12]).map(|(_, &x)| x).collect::<Vec<_>>();
        let count = kept.iter().filter(|&&kept| kept).count();
        let mask = Mask::new(shape, None, Some(&mask)).unwrap();
        let (a, g) = value_and_gradient(&plan(RowOptions::CWD, [1, 3, 3, 4], Order::Nchw), &t, &spoiled, mask);
        let (b, h) = value_and_gradient(&plan(RowOptions::CWD, [1, 3, 1, count], Order::Nchw), &small(&t), &small(&s), Mask::ALL);
        // A masked row is swept entry by entry, a whole one by vectors of them.
        prop_assert!((a - b).abs() <= 2e-6 * a.abs(), "{a} {b}");
        prop_assert!(close(&small(&g), &h), "{g:?} {h:?}");
        prop_assert!(g.iter().enumerate().all(|(i, &g)| kept[i % 12] || g == 0.0));
    }

    #[test]
    fn threads_change_no_bit((t, s) in logits(1..700), channels in 1_usize..5) {
        let positions = t.len() / channels;
        prop_assume!(positions > 0);
        let n = channels * positions;
        for options in [RowOptions::CWD, RowOptions::PI] {
            for order in [Order::Nchw, Order::Nhwc] {
                let plan = plan(options, [1, channels, 1, positions], order);
                let run = |threads: usize| {
                    let cpu = Cpu::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap();
                    let mut gradient = vec![0.0_f32; n];
                    let grad_student = Some(gradient.as_mut_slice().into());
                    let submission = Submission { grad_student, ..Submission::new(&plan, &t[..n], &s[..n]) };
                    (cpu.submit(submission).unwrap().value().to_bits(), gradient)
                };
                let one = run(1);
                prop_assert_eq!(&one, &run(2));
                prop_assert_eq!(&one, &run(5));
                let (value, gradient) = value_and_gradient(&plan, &t[..n], &s[..n], Mask::ALL);
                prop_assert_eq!(one, (value.to_bits(), gradient));
            }
        }
    }

    #[test]
    fn two_calls_equal_one((t, s) in logits(120..121)) {
        for options in every_option() {
            let plan = plan(options, [2, 3, 4, 5], Order::Nchw);
            let (value, gradient) = value_and_gradient(&plan, &t, &s, Mask::ALL);
            let mut kept = vec![RowStatistics::default(); plan.rows()];
            let statistics = Statistics::Write(&mut kept);
            let first = Cpu::new().submit(Submission { statistics, ..Submission::new(&plan, &t[..], &s[..]) }).unwrap();
            prop_assert_eq!(first.value(), value);
            let mut second = vec![0.0_f32; s.len()];
            let grad_student = Some(second.as_mut_slice().into());
            let statistics = Statistics::Read(&kept);
            Cpu::new().submit(Submission { statistics, grad_student, ..Submission::new(&plan, &t[..], &s[..]) }).unwrap();
            prop_assert_eq!(&second, &gradient);
        }
    }

    #[test]
    fn gradients_are_slopes((t, s) in logits(120..121), at in 0_usize..120) {
        prop_assume!(t.iter().chain(&s).all(|x| x.abs() <= 30.0));
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let (t, s) = (wide(&t), wide(&s));
        for options in every_option() {
            let plan = plan(options, [2, 3, 4, 5], Order::Nchw);
            let value = |t: &[f64], s: &[f64]| {
                run(&Inputs::new(&plan, t, s, Mask::ALL).unwrap(), Upstream::ONE, Outputs::default()).unwrap().value()
            };
            let (mut to_student, mut to_teacher) = (vec![0.0_f64; 120], vec![0.0_f64; 120]);
            let outputs = Outputs {
                grad_student: Some(&mut Slab::new(&mut to_student, 0)),
                grad_teacher: Some(&mut Slab::new(&mut to_teacher, 0)),
                ..Outputs::default()
            };
            run(&Inputs::new(&plan, &t[..], &s[..], Mask::ALL).unwrap(), Upstream::ONE, outputs).unwrap();
            let h = 1e-3;
            let slope = |teacher: bool| {
                let moved = |by: f64| {
                    let (mut t, mut s) = (t.clone(), s.clone());
                    (if teacher { &mut t } else { &mut s })[at] += by;
                    value(&t, &s)
                };
                (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h)
            };
            let scale = value(&t, &s).abs() + 1.0;
            for (got, want) in [(to_student[at], slope(false)), (to_teacher[at], slope(true))] {
                prop_assert!((got - want).abs() <= 1e-7 * scale, "{options:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_prepared_teacher_costs_one_rounding((t, s) in logits(24..25)) {
        prop_assume!(t.iter().chain(&s).all(|x| x.abs() <= 30.0));
        let plan = plan(RowOptions::CWD, [1, 2, 3, 4], Order::Nchw);
        let mut table = vec![0.0_f32; 24];
        let prepared = PreparedTeacher::prepare(&plan, &t[..], Mask::ALL, table.as_mut_slice()).unwrap();
        let inputs = prepared.inputs(&plan, &s[..], Mask::ALL).unwrap();
        let a = run(&inputs, Upstream::ONE, Outputs::default()).unwrap().value();
        let (b, _) = value_and_gradient(&plan, &t, &s, Mask::ALL);
        prop_assert!((a - b).abs() <= 1e-4 * b + 1e-5, "{a} {b}");
    }

    #[test]
    fn types_may_be_mixed((t, s) in logits(24..25)) {
        let plan = plan(RowOptions::PI, [1, 2, 3, 4], Order::Nchw);
        let half: Vec<half::f16> = t.iter().map(|&t| half::f16::narrow(t)).collect();
        let wide: Vec<f32> = half.iter().map(|t| t.to_f32()).collect();
        let value = |inputs: Inputs<'_>| run(&inputs, Upstream::ONE, Outputs::default()).unwrap().value();
        let a = value(Inputs::new(&plan, &half[..], &s[..], Mask::ALL).unwrap());
        let b = value(Inputs::new(&plan, &wide[..], &s[..], Mask::ALL).unwrap());
        prop_assert_eq!(a, b);
    }
}

#[test]
fn at_a_high_temperature_the_loss_is_a_variance() {
    let (t, s) = ([0.5_f64, -1.0, 2.0, 0.0, 3.0], [0.0_f64, 1.0, 0.25, -0.5, 2.0]);
    let tau = 1e6;
    let loss = RowLoss::new(Softmax::new(Temperature::new(tau).unwrap()), Kl);
    let d: Vec<f64> = t.iter().zip(&s).map(|(t, s)| t - s).collect();
    let mean = d.iter().sum::<f64>() / 5.0;
    let limit = d.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 10.0;
    assert!((tau * tau * loss.value(&t, &s) / limit - 1.0).abs() < 1e-5);
}
