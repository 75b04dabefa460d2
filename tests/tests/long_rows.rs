//! Rows that are cut into segments: the same bits whoever runs them, right whatever the segments are like; and gradients
//! in the student's place.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rows are those of f32")]

use densekd::{Backend, Statistics, Submission};
use densekd_core::{DType, Error, Mask, Order, Plan, Recipe, RowOptions, RowStatistics, Shape, Temperature};
use densekd_tests::backends::Sequential;
use densekd_tests::draws::{Draw, bits};
use densekd_tests::engine::{DTYPES, Runner, Stored, Way, ask, cpu, plan};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, Divisor, fast};
use densekd_tests::samples::normal;
use fastrand::Rng;

/// Maps whose rows are cut: channels, in either order, and the channels of one position.
const LONG: [([usize; 4], bool); 3] =
    [([1, 2, 300, 450], false), ([2, 3, 61, 600], false), ([1, 140_001, 1, 1], true)];

fn long_case(rng: &mut Rng, kind: Kind, dtype: DType) -> (Case, Order) {
    let masked = rng.bool();
    let (shape, spatial) = LONG[rng.usize(..LONG.len())];
    let order = if shape[2] == 61 || rng.bool() { Order::Nhwc } else { Order::Nchw };
    let spatial = spatial && kind.is_of_distributions();
    let draw = Draw { shape, kind, spatial, divisor: Divisor::Sum, tau: 2.0, masked, seed: rng.u64(..) };
    (draw.case(dtype), order)
}

#[test]
fn segments_give_the_same_bits_whoever_runs_them() {
    let mut rng = Rng::with_seed(3);
    let mut cut = 0;
    for (i, &kind) in Kind::ALL.iter().cycle().take(2 * Kind::ALL.len()).enumerate() {
        let dtype = if i < Kind::ALL.len() { DType::F32 } else { DTYPES[rng.usize(..4)] };
        let (case, order) = long_case(&mut rng, kind, dtype);
        cut += usize::from(plan(&case, order).is_cut());
        let way = Way { order, ..Way::plain(dtype) };
        let want = ask(&case, way).bits();
        for threads in [1, 2, 3] {
            let got = ask(&case, Way { runner: Runner::Threads(threads), ..way });
            assert!(want == got.bits(), "{kind:?}, {dtype}, {order:?}, {:?}, {threads}", case.shape);
        }
    }
    assert!(cut > Kind::ALL.len(), "{cut}");
}

#[test]
fn two_calls_of_a_long_row_are_one() {
    let mut rng = Rng::with_seed(4);
    for order in [Order::Nchw, Order::Nhwc] {
        let shape = Shape::new([1, 2, 300, 450]).unwrap();
        let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, order).unwrap();
        let student: Vec<f32> = (0..shape.len()).map(|_| 2.0 * normal(&mut rng) as f32).collect();
        let teacher: Vec<f32> = student.iter().map(|s| s + 0.1 * normal(&mut rng) as f32).collect();
        let run = |backend: &dyn Backend, statistics: Statistics<'_>| {
            let mut gradient = vec![f32::NAN; shape.len()];
            let outcome = backend.submit(Submission {
                statistics,
                grad_student: Some(gradient.as_mut_slice().into()),
                ..Submission::new(&plan, &teacher[..], &student[..])
            });
            (outcome.unwrap(), gradient)
        };
        let whole = run(&Sequential, Statistics::Drop);
        let mut kept = vec![RowStatistics::default(); plan.rows()];
        assert!(run(cpu(2), Statistics::Write(&mut kept)) == whole);
        assert!(run(cpu(3), Statistics::Read(&kept)) == whole);
        assert!(run(&Sequential, Statistics::Read(&kept)) == whole);
    }
}

const TAU: f64 = 2.0;

/// Value and gradient of long rows against the oracle: the value's relative error and the gradient's, of its largest
/// entry.
fn errors(teacher: &[f32], student: &[f32], order: Order) -> (f64, f64, f64) {
    let n = teacher.len();
    // In the other order beside a channel of its own.
    let channels = if order == Order::Nchw { 1 } else { 2 };
    let shape = Shape::new([1, channels, 1, n]).unwrap();
    let options = RowOptions { tau: Temperature::new(TAU).unwrap(), ..RowOptions::CWD };
    let plan = Plan::new(Recipe::new(options).unwrap(), shape, order).unwrap();
    assert!(plan.is_cut());
    let spread = |x: &[f32]| x.iter().flat_map(|&x| std::iter::repeat_n(x, channels)).collect::<Vec<f32>>();
    let (t, s) = (spread(teacher), spread(student));
    let (mut values, mut gradient) = (vec![f64::NAN; channels], vec![f32::NAN; t.len()]);
    cpu(2)
        .submit(Submission {
            row_values: Some(&mut values),
            grad_student: Some(gradient.as_mut_slice().into()),
            ..Submission::new(&plan, &t[..], &s[..])
        })
        .unwrap();
    let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (teacher, student) = (wide(teacher), wide(student));
    let want = fast::kl_row(&teacher, &student, TAU);
    assert!(values.iter().all(|&value| value >= 0.0), "{values:?}");
    let off = if want == 0.0 { values[0] } else { (values[0] - want).abs() / want };
    let scale = TAU * TAU / channels as f64;
    let wanted = fast::kl_row_gradient(&teacher, &student, TAU);
    let top = wanted.iter().fold(0.0_f64, |top, x| top.max(x.abs()));
    let got = gradient.iter().step_by(channels).zip(&wanted);
    let worst = got.fold(0.0_f64, |worst, (g, want)| worst.max((f64::from(*g) / scale - want).abs()));
    (want, off, if top == 0.0 { worst } else { worst / top })
}

/// What the rows of a test are like, entry by entry.
type Make = fn(&mut Rng, usize) -> (f64, f64);

#[test]
fn long_rows_are_right_whatever_their_segments_are_like() {
    // A million entries, in segments of 131072 (of 32768 where rows interleave).
    let all: [(&str, usize, Make); 9] = [
        ("ordinary", 1 << 20, |rng, _| {
            let s = 3.0 * normal(rng);
            (s + 0.5 * normal(rng), s)
        }),
        ("near", 1 << 20, |rng, _| {
            let s = 3.0 * normal(rng);
            (s + 1e-3 * normal(rng), s)
        }),
        ("near and shifted", 1 << 20, |rng, _| {
            let s = 3.0 * normal(rng);
            (s + 1000.0 + 1e-3 * normal(rng), s)
        }),
        ("one entry is an ulp off", 1 << 20, |rng, i| {
            let s = f64::from(f32::from_bits(0x3f80_0000 + rng.u32(..1 << 22)));
            (if i == 777_777 { s + f64::from(f32::EPSILON) } else { s }, s)
        }),
        ("an offset of its own in each segment", 1 << 20, |rng, i| {
            let s = normal(rng);
            (s + 1e-3 * f64::from(u32::try_from(i >> 15).unwrap()) + 1e-4 * normal(rng), s)
        }),
        ("mass in one segment", 1 << 20, |rng, i| {
            let s = normal(rng) + if i >> 17 == 5 { 60.0 } else { 0.0 };
            (s + 0.3 * normal(rng), s)
        }),
        ("segments that double, of which the first is off", 1 << 21, |rng, i| {
            let s = 0.1 * normal(rng) + TAU * 0.69 * f64::from(u32::try_from(i >> 17).unwrap());
            (s + if i >> 17 == 0 { 0.1 } else { 1e-5 * normal(rng) }, s)
        }),
        ("a constant apart", 1 << 20, |rng, _| {
            let s = f64::from(rng.i8(-64..64)) / 8.0;
            (s + 16.0, s)
        }),
        ("far", (1 << 20) + 12_345, |rng, _| (4.0 * normal(rng), 4.0 * normal(rng))),
    ];
    for (name, n, make) in all {
        let mut rng = Rng::with_seed(7);
        let pairs: Vec<(f32, f32)> =
            (0..n).map(|i| make(&mut rng, i)).map(|(t, s)| (t as f32, s as f32)).collect();
        let (teacher, student): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        for order in [Order::Nchw, Order::Nhwc] {
            let (want, value, gradient) = errors(&teacher, &student, order);
            println!("{name}, {order:?}: kl {want:e}, off {value:.1e}, gradient {gradient:.1e}");
            assert!(value <= 1e-6 && gradient <= 2e-6, "{name}, {order:?}: {want:e} {value:e} {gradient:e}");
        }
    }
}

/// Entries of a row that are something else.
type Changes = &'static [(usize, f32)];

/// The exact engine's policies hold across segments.
#[test]
fn entries_that_are_not_finite_are_met_in_any_segment() {
    const NONE: f32 = f32::NEG_INFINITY;
    let n = 300_000;
    let base: Vec<f32> = (0..n).map(|i| (i % 13) as f32 / 4.0).collect();
    let other: Vec<f32> = (0..n).map(|i| (i % 11) as f32 / 4.0).collect();
    let changed = |x: &[f32], changes: &[(usize, f32)]| {
        let mut x = x.to_vec();
        for &(at, to) in changes {
            x[at] = to;
        }
        x
    };
    let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
    let cases: [(Changes, Changes); 6] = [
        (&[(290_000, f32::NAN)], &[]),
        (&[(290_000, NONE)], &[]),
        (&[(5, NONE)], &[(5, NONE)]),
        (&[], &[(290_000, NONE)]),
        (&[(5, 2e6)], &[(290_000, 4e6)]),
        (&[(5, 3e3)], &[]),
    ];
    for (of_teacher, of_student) in cases {
        let (teacher, student) = (changed(&base, of_teacher), changed(&other, of_student));
        let case = Case {
            shape: [1, 1, 1, n],
            teacher: wide(&teacher),
            student: wide(&student),
            counted: None,
            options: Kind::Kl.options(),
        };
        let want = fast::kl_row(&case.teacher, &case.student, case.options.tau);
        let got = ask(&case, Way::plain(DType::F32));
        let value = got.rows[0];
        let same = (value.is_nan() && want.is_nan()) || value == want;
        assert!(
            same || (value - want).abs() <= 1e-6 * want,
            "{of_teacher:?} {of_student:?}: {value:e} {want:e}"
        );
        let side_by_side = ask(&case, Way { runner: Runner::Threads(3), ..Way::plain(DType::F32) });
        assert!(got.bits() == side_by_side.bits(), "{of_teacher:?} {of_student:?}");
        for kind in [Kind::Js, Kind::ReverseKl] {
            let case = Case { options: kind.options(), ..case.clone() };
            let one = ask(&case, Way::plain(DType::F32));
            let three = ask(&case, Way { runner: Runner::Threads(3), ..Way::plain(DType::F32) });
            assert!(one.bits() == three.bits(), "{kind:?} {of_teacher:?} {of_student:?}");
        }
    }
}

/// The bits of outcome, values and gradient in the student's place are those of a gradient of its own.
#[test]
fn a_gradient_in_the_students_place_has_the_same_bits() {
    let mut rng = Rng::with_seed(9);
    for i in 0..80 {
        let kind = Kind::ALL[i % Kind::ALL.len()];
        let dtype = DTYPES[rng.usize(..4)];
        let (case, order) = if i < 2 * Kind::ALL.len() && i % 2 == 0 {
            (long_case(&mut rng, kind, dtype).0, Order::Nchw)
        } else {
            let shape = [rng.usize(1..3), rng.usize(1..40), rng.usize(1..50), rng.usize(1..50)];
            let spatial = rng.bool() && kind.is_of_distributions();
            let divisor = Divisor::Sum;
            let draw =
                Draw { shape, kind, spatial, divisor, tau: 2.0, masked: rng.bool(), seed: rng.u64(..) };
            (draw.case(dtype), if spatial { Order::Nhwc } else { Order::Nchw })
        };
        let plan = plan(&case, order);
        let counted: Option<Vec<u8>> =
            case.counted.as_ref().map(|x| x.iter().map(|&x| u8::from(x)).collect());
        let mask = Mask::new(plan.shape(), None, counted.as_deref()).unwrap();
        // The memory as it is drawn: which order it is said to be in does not matter here.
        let (teacher, student) = (Stored::new(dtype, &case.teacher), Stored::new(dtype, &case.student));
        let run = |backend: &dyn Backend, in_place: bool| {
            let (mut written, mut rows) = (student.clone(), vec![f64::NAN; plan.rows()]);
            let mut submission = if in_place {
                Submission::new(&plan, teacher.tensor(), written.tensor_mut())
            } else {
                let grad_student = Some(written.tensor_mut());
                Submission { grad_student, ..Submission::new(&plan, teacher.tensor(), student.tensor()) }
            };
            submission.mask = mask;
            submission.row_values = Some(&mut rows);
            let outcome = backend.submit(submission).unwrap();
            (outcome.sum.to_bits(), outcome.overflowed, bits(&rows), bits(&written.to_f64()))
        };
        let want = run(&Sequential, false);
        for backend in [&Sequential as &dyn Backend, cpu(1), cpu(2), cpu(3)] {
            let name = backend.name();
            assert!(run(backend, true) == want, "{name}, {kind:?}, {dtype}, {:?}", case.shape);
        }
    }
}

#[test]
fn what_cannot_be_in_place_is_said_and_nothing_is_written() {
    let six = [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0];
    let of = |options, order| {
        Plan::new(Recipe::new(options).unwrap(), Shape::new([1, 2, 1, 3]).unwrap(), order).unwrap()
    };
    let lie_together = of(RowOptions::CWD, Order::Nchw);
    let interleave = of(RowOptions::CWD, Order::Nhwc);
    let upsample = of(RowOptions { upsample: 2.try_into().unwrap(), ..RowOptions::PI }, Order::Nhwc);
    let refused = |plan: &Plan, ask: fn(&mut Submission<'_>)| {
        let mut student = six;
        let mut submission = Submission::new(plan, &six[..], &mut student[..]);
        ask(&mut submission);
        for backend in [cpu(2) as &dyn Backend, &Sequential] {
            assert!(backend.capability(plan, DType::F32, DType::F32).is_ok());
        }
        let error = cpu(2).submit(submission).unwrap_err();
        assert_eq!(student, six);
        error.to_string()
    };
    let keep = "keep the student, and give the gradient a tensor of its own";
    let said = [
        (refused(&interleave, |_| ()), "rows that interleave"),
        (refused(&upsample, |_| ()), "upsample"),
        (refused(&lie_together, |x| x.grad_student = Some(vec![0.0_f32; 6].leak().into())), "beside it"),
        (refused(&lie_together, |x| x.grad_teacher = Some(vec![0.0_f32; 6].leak().into())), "to the teacher"),
    ];
    for (error, what) in said {
        assert!(error.contains(what) && error.contains(keep), "{error}");
    }
    let mut kept = [RowStatistics::default()];
    let mut student = six;
    let submission = Submission {
        statistics: Statistics::Write(&mut kept),
        ..Submission::new(&lie_together, &six[..], &mut student[..])
    };
    let error = cpu(1).submit(submission).unwrap_err().to_string();
    assert_eq!(error, Error::Length { buffer: "statistics", found: 1, wanted: 2 }.to_string());
    assert_eq!(student, six);
    let unfilled = [RowStatistics::default(); 2];
    let submission = Submission {
        statistics: Statistics::Read(&unfilled),
        ..Submission::new(&lie_together, &six[..], &mut student[..])
    };
    assert!(cpu(1).submit(submission).is_err());
    assert_eq!(student, six);
}
