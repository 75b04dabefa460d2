//! Ignored positions: left out as if they were not there, whatever stands in them.

use densekd::{Backend, Submission};
use densekd_core::{DType, Mask, Order, Shape, TensorMut};
use densekd_tests::backends::Sequential;
use densekd_tests::draws::{DIVISORS, Draw, bits, config, draws, largest};
use densekd_tests::engine::{Runner, Way, ask, plan};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, Divisor, Norm, Options, Samples};
use densekd_tests::tolerance::tolerance;
use proptest::prelude::*;

/// The image with its ignored positions cut out, as a map of one line; none if nothing is left.
fn compacted(case: &Case, image: usize) -> Option<Case> {
    let [_, c, h, w] = case.shape;
    let m = h * w;
    let counted = &case.counted.as_ref().expect("the case has a mask")[image * m..(image + 1) * m];
    let left: Vec<usize> = (0..m).filter(|&i| counted[i]).collect();
    let cut = |x: &[f64]| -> Vec<f64> {
        (0..c).flat_map(|channel| left.iter().map(move |i| x[(image * c + channel) * m + i])).collect()
    };
    (!left.is_empty()).then(|| Case {
        shape: [1, c, 1, left.len()],
        teacher: cut(&case.teacher),
        student: cut(&case.student),
        counted: None,
        options: case.options.clone(),
    })
}

fn masked(draw: &Draw) -> Case {
    let case = Draw { masked: true, divisor: Divisor::Sum, ..draw.clone() }.case(DType::F32);
    assert!(case.counted.is_some());
    case
}

/// Whether the position of an element counts.
fn counts(case: &Case, element: usize) -> bool {
    let [_, c, h, w] = case.shape;
    let m = h * w;
    case.counted.as_ref().is_none_or(|counted| counted[element / (c * m) * m + element % m])
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn a_masked_map_is_the_map_without_its_ignored_positions(draw in draws(&Kind::BEFORE), last: bool) {
        let case = masked(&draw);
        let order = if last { Order::Nhwc } else { Order::Nchw };
        let way = Way { order, ..Way::plain(DType::F32) };
        let got = ask(&case, way);
        let [n, c, h, w] = case.shape;
        let bound = tolerance(draw.kind, DType::F32);
        let mut sum = 0.0;
        for image in 0..n {
            let elements = (image * c * h * w..(image + 1) * c * h * w).filter(|&i| counts(&case, i));
            let Some(alone) = compacted(&case, image) else { continue };
            let want = ask(&alone, way);
            sum += want.outcome.sum;
            let elements: Vec<usize> = elements.collect();
            // The teacher's gradient is p times what the divergence leaves of a log-ratio.
            let less = want.value.abs() / draw.tau;
            let both = [(&got.grad_student, &want.grad_student, 0.0), (&got.grad_teacher, &want.grad_teacher, less)];
            for (got, want, less) in both {
                let scale = largest(want) + less;
                for (&i, want) in elements.iter().zip(want) {
                    prop_assert!((got[i] - want).abs() <= 2.0 * bound.gradient * scale, "{} {want}", got[i]);
                }
            }
        }
        prop_assert!((got.outcome.sum - sum).abs() <= 1e-6 * sum.abs() + 1e-12, "{} {sum}", got.outcome.sum);
    }

    #[test]
    fn gradients_of_ignored_positions_are_exactly_zero_and_nothing_there_matters(
        draw in draws(&Kind::BEFORE),
        junk in prop::sample::select(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e38, -3e38][..]),
        last: bool,
    ) {
        let case = masked(&draw);
        let order = if last { Order::Nhwc } else { Order::Nchw };
        let way = Way { order, runner: Runner::Threads(2), ..Way::plain(DType::F32) };
        let clean = ask(&case, way);
        let mut dirty = case.clone();
        for i in (0..case.student.len()).filter(|&i| !counts(&case, i)) {
            (dirty.teacher[i], dirty.student[i]) = (junk, -junk);
            prop_assert_eq!(clean.grad_student[i].to_bits(), 0.0_f64.to_bits());
            prop_assert_eq!(clean.grad_teacher[i].to_bits(), 0.0_f64.to_bits());
        }
        prop_assert_eq!(clean.bits(), ask(&dirty, way).bits());
    }

    #[test]
    fn labels_and_masks_say_the_same_and_both_say_either(draw in draws(&Kind::BEFORE), index in -3..300_i64) {
        let case = masked(&draw);
        let plan = plan(&case, Order::Nchw);
        let counted = case.counted.as_ref().expect("there is a mask");
        let shape = plan.shape();
        // A third of what is ignored is ignored by the label alone, a third by the mask alone.
        let by_label = |i: usize| !counted[i] && i % 3 != 1;
        let by_mask = |i: usize| !counted[i] && i % 3 != 2;
        let positions = 0..counted.len();
        let labels: Vec<i64> =
            positions.clone().map(|i| if by_label(i) { index } else { index + 1 + i64::from(i % 7 == 0) }).collect();
        let mask: Vec<u8> = positions.clone().map(|i| if by_mask(i) { 0 } else { 1 + u8::from(i % 5 == 0) * 254 }).collect();
        let all_labels: Vec<i64> = positions.clone().map(|i| if counted[i] { index + 1 } else { index }).collect();
        let all_mask: Vec<u8> = positions.map(|i| u8::from(counted[i])).collect();
        let float = |x: &[f64]| x.iter().map(|&x| {
            #[allow(clippy::cast_possible_truncation, reason = "the case is exact in f32")]
            let x = x as f32;
            x
        }).collect::<Vec<f32>>();
        let (teacher, student) = (float(&case.teacher), float(&case.student));
        let run = |labels: Option<&[i64]>, mask: Option<&[u8]>| {
            let mut gradient = vec![f32::NAN; student.len()];
            let mask = Mask::new(shape, labels.map(|labels| (labels, index)), mask).expect("it fits");
            let outcome = Sequential.submit(Submission {
                mask,
                grad_student: Some(TensorMut::from(&mut gradient[..])),
                ..Submission::new(&plan, &teacher[..], &student[..])
            });
            (outcome.expect("the plan runs"), gradient.iter().map(|x| x.to_bits()).collect::<Vec<u32>>())
        };
        let want = run(None, Some(&all_mask));
        prop_assert_eq!(&run(Some(&all_labels), None), &want);
        prop_assert_eq!(&run(Some(&labels), Some(&mask)), &want);
    }

    #[test]
    fn divisors_count_what_their_name_says(draw in draws(&[Kind::Kl]), c in prop::option::of(1..9_usize)) {
        let case = draw.case(DType::F32);
        let [n, channels, h, w] = case.shape;
        let channels = c.unwrap_or(channels);
        let m = h * w;
        let all = vec![true; n * m];
        let counted = case.counted.as_deref().unwrap_or(&all);
        let positions = counted.iter().filter(|&&x| x).count();
        let images = counted.chunks(m).filter(|x| x.contains(&true)).count();
        for divisor in DIVISORS {
            let options = Options { divisor, divisor_channels: c, ..case.options.clone() };
            let want = match divisor {
                Divisor::Sum => 1,
                Divisor::Batch => n,
                Divisor::Positions => m,
                Divisor::BatchChannels => channels * images,
                Divisor::BatchPositions => positions,
                Divisor::Elements => channels * positions,
            };
            let got = ask(&Case { options, ..case.clone() }, Way::plain(DType::F32));
            prop_assert_eq!(got.outcome.divisor.to_bits(), f64::from(u32::try_from(want).expect("small")).to_bits());
        }
    }

    #[test]
    fn the_first_sample_alone_is_summed_and_all_are_counted(draw in draws(&Kind::ALL)) {
        let case = draw.case(DType::F32);
        let options = Options { samples: Samples::First, ..case.options.clone() };
        let (all, first) = (ask(&case, Way::plain(DType::F32)), ask(&Case { options, ..case.clone() }, Way::plain(DType::F32)));
        let rows = all.rows.len() / case.shape[0];
        let elements = case.student.len() / case.shape[0];
        prop_assert_eq!(first.outcome.divisor.to_bits(), all.outcome.divisor.to_bits());
        prop_assert_eq!(bits(&first.rows[..rows]), bits(&all.rows[..rows]));
        prop_assert_eq!(bits(&first.grad_student[..elements]), bits(&all.grad_student[..elements]));
        prop_assert_eq!(bits(&first.grad_teacher[..elements]), bits(&all.grad_teacher[..elements]));
        let rest = first.rows[rows..].iter().chain(&first.grad_student[elements..]).chain(&first.grad_teacher[elements..]);
        prop_assert!(rest.into_iter().all(|&x| x == 0.0));
    }
}

#[test]
fn nothing_counted_is_nothing() {
    for kind in Kind::ALL {
        for divisor in DIVISORS {
            let options = Options { divisor, ..kind.options() };
            let case = Case {
                shape: [2, 2, 1, 3],
                teacher: vec![f64::NAN; 12],
                student: vec![f64::NAN; 12],
                counted: Some(vec![false; 6]),
                options,
            };
            if kind.is_after() {
                continue;
            }
            let got = ask(&case, Way::plain(DType::F32));
            assert!(got.value == 0.0 && got.outcome.sum == 0.0, "{kind} {divisor:?}: {}", got.value);
            assert!(
                got.grad_student.iter().chain(&got.grad_teacher).all(|&g| g == 0.0),
                "{kind} {divisor:?}"
            );
        }
    }
}

/// An image without a counted position takes no part in `batch_channels`.
#[test]
fn an_ignored_image_is_not_counted() {
    let options = Options { divisor: Divisor::BatchChannels, ..Kind::Kl.options() };
    let logits: Vec<f64> = (0..12).map(|i| f64::from(i % 5)).collect();
    let student: Vec<f64> = logits.iter().rev().copied().collect();
    let case = Case {
        shape: [2, 2, 1, 3],
        teacher: logits.clone(),
        student: student.clone(),
        counted: Some(vec![true, true, true, false, false, false]),
        options: options.clone(),
    };
    let alone = Case {
        shape: [1, 2, 1, 3],
        teacher: logits[..6].to_vec(),
        student: student[..6].to_vec(),
        counted: None,
        options,
    };
    let (got, want) = (ask(&case, Way::plain(DType::F32)), ask(&alone, Way::plain(DType::F32)));
    assert_eq!(got.outcome.divisor.to_bits(), 2.0_f64.to_bits());
    // A masked map is swept by itself, entry by entry.
    assert!((got.value - want.value).abs() <= 1e-6 * want.value);
}

/// `after`: what stands at an ignored position is in the softmax, and its term alone is dropped.
#[test]
fn a_logit_ignored_after_the_softmax_still_counts_in_it() {
    for norm in [Norm::Channel, Norm::Spatial] {
        for kind in [Kind::KlAfter, Kind::CeAfter] {
            let case = |junk: f64| Case {
                shape: [1, 2, 1, 3],
                teacher: vec![0.0, 1.0, 2.0, 1.0, 0.5, 0.0],
                student: vec![1.0, 1.0, junk, 0.0, 2.0, 0.0],
                counted: Some(vec![true, true, false]),
                options: Options { norm, ..kind.options() },
            };
            let finite = ask(&case(1.0), Way::plain(DType::F32));
            assert!(finite.value.is_finite() && finite.grad_student.iter().all(|g| g.is_finite()));
            let other = ask(&case(5.0), Way::plain(DType::F32));
            let moved = finite.value.to_bits() != other.value.to_bits();
            // A softmax over channels has the ignored position in a row of its own.
            assert_eq!(moved, norm == Norm::Channel, "{norm:?} {kind}");
            let value = ask(&case(f64::NAN), Way::plain(DType::F32)).value;
            assert!(value.is_nan(), "{norm:?} {kind}: {value}");
        }
    }
}

#[test]
fn a_mask_beyond_the_map_is_never_asked() {
    let shape = Shape::new([1, 1, 1, 2]).expect("a shape");
    let mask = Mask::new(shape, None, Some(&[1, 1])).expect("it fits");
    assert!(mask.counts(1) && !mask.counts(2));
}
