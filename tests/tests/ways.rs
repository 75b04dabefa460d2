//! One answer whatever the way: memory orders, threads, stored types, one call or two, one gradient or both.

use densekd::{Backend, Statistics, Submission};
use densekd_core::{
    CrossEntropy, DType, Diverge, Element, Epsilon, JensenShannon, Kl, Mask, MeanOverPositions, Mse,
    Normalize, Order, Raw, ReverseKl, RowLoss, RowStatistics, SmoothedCrossEntropy, SmoothedKl, Softmax,
    Temperature, Upstream,
};
use densekd_tests::backends::{Sequential, isa};
use densekd_tests::draws::{Draw, bits, config, draws};
use densekd_tests::engine::{Got, Runner, Stored, Way, ask, cpu, plan, rounded, row_of};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, Divisor, Options};
use densekd_tests::tolerance::{PROMISED_GRADIENT, stored, tolerance};
use fastrand::Rng;
use proptest::prelude::*;

/// Everything but the sum over rows, whose order the memory order decides.
fn same_rows(a: &Got, b: &Got) -> Result<(), TestCaseError> {
    prop_assert_eq!(bits(&a.rows), bits(&b.rows), "rows");
    prop_assert_eq!(bits(&a.grad_student), bits(&b.grad_student), "grad_student");
    prop_assert_eq!(bits(&a.grad_teacher), bits(&b.grad_teacher), "grad_teacher");
    prop_assert!((a.value - b.value).abs() <= 1e-14 * a.value.abs(), "{} {}", a.value, b.value);
    prop_assert_eq!(a.outcome.divisor.to_bits(), b.outcome.divisor.to_bits());
    Ok(())
}

/// Rows of either memory order, where they are walked by different kernels in `f32`: each within its bound of the
/// truth, so within both of each other.
fn close_rows(case: &Case, dtype: DType, a: &Got, b: &Got) -> Result<(), TestCaseError> {
    let value = 2.0 * tolerance(Kind::Kl, dtype).value;
    for (a, b) in a.rows.iter().zip(&b.rows) {
        prop_assert!((a - b).abs() <= value * a.abs() + 1e-26, "rows: {a:e} {b:e}");
    }
    // The mean of |log p - log q| is at most KL + sqrt(2 KL): no term p (log p - log q - KL) of the teacher's, which
    // may cancel, is above.
    let pulled = a.outcome.scale / a.outcome.divisor / case.options.tau;
    let terms = |row: usize| pulled * (2.0 * a.rows[row] + (2.0 * a.rows[row]).sqrt());
    let sides = [(&a.grad_student, &b.grad_student, false), (&a.grad_teacher, &b.grad_teacher, true)];
    let (share, floor) = stored(dtype);
    for (a, b, cancels) in sides {
        let mut largest: Vec<f64> =
            (0..plan(case, Order::Nchw).rows()).map(|row| if cancels { terms(row) } else { 0.0 }).collect();
        for (i, a) in a.iter().enumerate() {
            let row = &mut largest[row_of(case, i)];
            *row = row.max(a.abs());
        }
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            let largest = largest[row_of(case, i)];
            let bound = 2.0 * (PROMISED_GRADIENT * largest + share * a.abs() + floor);
            prop_assert!((a - b).abs() <= bound, "gradient {i}: {a:e} {b:e} of {largest:e}");
        }
    }
    prop_assert_eq!(a.outcome.divisor.to_bits(), b.outcome.divisor.to_bits());
    Ok(())
}

/// What two memory orders must agree in.
fn alike(kind: Kind, dtype: DType, case: &Case, a: &Got, b: &Got) -> Result<(), TestCaseError> {
    if is_in_f32(kind, case) && dtype != DType::F64 { close_rows(case, dtype, a, b) } else { same_rows(a, b) }
}

fn same(a: &Got, b: &Got) -> Result<(), TestCaseError> {
    same_rows(a, b)?;
    prop_assert_eq!(a.value.to_bits(), b.value.to_bits(), "value");
    prop_assert_eq!(a.outcome, b.outcome);
    Ok(())
}

/// Whether narrow types are evaluated in `f32`; without a mask, `after` is the plain loss.
fn is_in_f32(kind: Kind, case: &Case) -> bool {
    kind.is_in_f32() || (kind == Kind::KlAfter && case.counted.is_none())
}

fn dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(&densekd_tests::engine::DTYPES[..])
}

/// Value and gradient to the student of a map of one row, by the types.
fn one_row<E: Element>(kind: Kind, case: &Case) -> (f64, Vec<f64>) {
    fn run<E: Element, N: Normalize, D: Diverge<N::Space>>(
        loss: RowLoss<N, D>,
        case: &Case,
    ) -> (f64, Vec<f64>) {
        let stored = |x: &[f64]| x.iter().map(|&x| E::narrow(x)).collect::<Vec<E>>();
        let (teacher, student) = (stored(&case.teacher), stored(&case.student));
        let mut gradient = vec![E::default(); student.len()];
        let loss = loss.with_isa(isa());
        let value = loss.gradient(&teacher, &student, Upstream::ONE, &mut gradient).expect("lengths fit");
        assert_eq!(value.to_bits(), loss.value(&teacher, &student).to_bits());
        (value, gradient.iter().map(|g| g.widen()).collect())
    }
    let tau = Temperature::new(case.options.tau).expect("a temperature");
    let eps = Epsilon::new(case.options.eps).expect("an epsilon");
    let softmax = Softmax::new(tau);
    match kind {
        Kind::Kl | Kind::KlAfter => run::<E, _, _>(RowLoss::new(softmax, Kl), case),
        Kind::ReverseKl => run::<E, _, _>(RowLoss::new(softmax, ReverseKl), case),
        Kind::Js => run::<E, _, _>(RowLoss::new(softmax, JensenShannon), case),
        Kind::Ce | Kind::CeAfter => run::<E, _, _>(RowLoss::new(softmax, CrossEntropy), case),
        Kind::Mse => run::<E, _, _>(RowLoss::new(softmax, Mse), case),
        Kind::KlEps => run::<E, _, _>(RowLoss::new(softmax, SmoothedKl::new(eps)), case),
        Kind::CeEps => run::<E, _, _>(RowLoss::new(softmax, SmoothedCrossEntropy::new(eps)), case),
        Kind::ChannelMean => run::<E, _, _>(RowLoss::new(MeanOverPositions::new(tau), Mse), case),
        Kind::None => run::<E, _, _>(RowLoss::new(Raw, Mse), case),
    }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn memory_orders_give_the_same_rows(draw in draws(&Kind::ALL), dtype in dtype()) {
        // Terms that cancel make a value, and with it its rounding, of any size.
        prop_assume!(draw.kind != Kind::KlAfter && draw.kind != Kind::KlEps);
        let case = draw.case(dtype);
        let first = ask(&case, Way::plain(dtype));
        let last = ask(&case, Way { order: Order::Nhwc, ..Way::plain(dtype) });
        alike(draw.kind, dtype, &case, &first, &last)?;
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits(
        draw in draws(&Kind::ALL),
        dtype in dtype(),
        order in prop::sample::select(&[Order::Nchw, Order::Nhwc][..]),
    ) {
        let case = draw.case(dtype);
        let way = Way { order, ..Way::plain(dtype) };
        let first = ask(&case, way);
        for threads in [1, 2, 3, 5] {
            same(&first, &ask(&case, Way { runner: Runner::Threads(threads), ..way }))?;
        }
    }

    #[test]
    fn a_half_gradient_is_the_wide_one_rounded_once(
        draw in draws(&Kind::ALL),
        dtype in prop::sample::select(&[DType::F16, DType::Bf16][..]),
    ) {
        let case = draw.case(dtype);
        let arithmetic = if is_in_f32(draw.kind, &case) { DType::F32 } else { DType::F64 };
        let (half, wide) = (ask(&case, Way::plain(dtype)), ask(&case, Way::plain(arithmetic)));
        prop_assert_eq!(bits(&half.rows), bits(&wide.rows));
        prop_assert_eq!(bits(&half.grad_student), bits(&rounded(dtype, &wide.grad_student)));
        prop_assert_eq!(bits(&half.grad_teacher), bits(&rounded(dtype, &wide.grad_teacher)));
    }

    #[test]
    fn mixed_types_are_the_wider_one(draw in draws(&Kind::ALL), narrow in dtype(), wide in dtype()) {
        // What both types hold, and the arithmetic of the wider.
        let case = draw.case(DType::F16);
        let case = Case { teacher: rounded(DType::Bf16, &case.teacher), student: rounded(DType::Bf16, &case.student), ..case };
        let double = narrow == DType::F64 || wide == DType::F64 || !is_in_f32(draw.kind, &case);
        let all = Way::plain(if double { DType::F64 } else { DType::F32 });
        let (mixed, widened) = (ask(&case, Way { teacher: narrow, student: wide, ..all }), ask(&case, all));
        prop_assert_eq!(bits(&mixed.rows), bits(&widened.rows));
        prop_assert_eq!(bits(&mixed.grad_student), bits(&rounded(wide, &widened.grad_student)));
        prop_assert_eq!(bits(&mixed.grad_teacher), bits(&rounded(narrow, &widened.grad_teacher)));
    }

    #[test]
    fn one_gradient_does_not_change_the_other(draw in draws(&Kind::ALL), dtype in dtype()) {
        let case = draw.case(dtype);
        let both = ask(&case, Way::plain(dtype));
        let student = ask(&case, Way { grad_teacher: false, ..Way::plain(dtype) });
        let teacher = ask(&case, Way { grad_student: false, ..Way::plain(dtype) });
        let none = ask(&case, Way { grad_student: false, grad_teacher: false, ..Way::plain(dtype) });
        prop_assert!(student.grad_teacher.is_empty() && teacher.grad_student.is_empty());
        prop_assert_eq!(bits(&student.grad_student), bits(&both.grad_student));
        prop_assert_eq!(bits(&teacher.grad_teacher), bits(&both.grad_teacher));
        for one in [student, teacher, none] {
            prop_assert_eq!(bits(&one.rows), bits(&both.rows));
            prop_assert_eq!(one.outcome, both.outcome);
        }
    }

    #[test]
    fn a_loss_and_then_its_gradient_are_the_two_in_one(
        draw in draws(&Kind::ALL),
        dtype in dtype(),
        order in prop::sample::select(&[Order::Nchw, Order::Nhwc][..]),
    ) {
        let case = Case { counted: None, ..draw.case(dtype) };
        let plan = plan(&case, order);
        // The memory as it is drawn: which order it is said to be in does not matter here.
        let (teacher, student) = (Stored::new(dtype, &case.teacher), Stored::new(dtype, &case.student));
        let counted: Vec<u8> = (0..plan.shape().images() * plan.shape().positions())
            .map(|i| u8::from(!draw.masked || (draw.seed >> (i % 61)) & 3 != 0))
            .collect();
        let mask = Mask::new(plan.shape(), None, Some(&counted)).expect("the mask fits");
        let zeros = vec![0.0; plan.shape().len()];
        let run = |backend: &dyn Backend, statistics: Statistics<'_>, gradients: bool| {
            let (mut to_student, mut to_teacher) = (Stored::new(dtype, &zeros), Stored::new(dtype, &zeros));
            let outcome = backend
                .submit(Submission {
                    mask,
                    statistics,
                    grad_student: gradients.then(|| to_student.tensor_mut()),
                    grad_teacher: gradients.then(|| to_teacher.tensor_mut()),
                    ..Submission::new(&plan, teacher.tensor(), student.tensor())
                })
                .expect("the plan runs");
            (outcome, bits(&to_student.to_f64()), bits(&to_teacher.to_f64()))
        };
        let whole = run(&Sequential, Statistics::Drop, true);
        for (first, second) in [(1, 1), (3, 2)] {
            let mut kept = vec![RowStatistics::default(); plan.rows()];
            let (outcome, ..) = run(cpu(first), Statistics::Write(&mut kept), false);
            prop_assert_eq!(outcome, whole.0);
            prop_assert_eq!(&run(cpu(second), Statistics::Read(&kept), true), &whole);
            prop_assert_eq!(&run(&Sequential, Statistics::Read(&kept), true), &whole);
        }
    }

    #[test]
    fn a_row_loss_is_a_plan_of_one_row(draw in draws(&Kind::BEFORE), dtype in dtype()) {
        let [n, c, h, w] = draw.shape;
        let draw = Draw { shape: [1, 1, 1, n * c * h * w], spatial: false, masked: false, divisor: Divisor::Sum, ..draw };
        let case = draw.case(dtype);
        let case = Case { options: Options { weight: 1.0, ..case.options.clone() }, ..case };
        let got = ask(&case, Way::plain(dtype));
        let (value, gradient) = match dtype {
            DType::F32 => one_row::<f32>(draw.kind, &case),
            DType::F16 => one_row::<half::f16>(draw.kind, &case),
            DType::Bf16 => one_row::<half::bf16>(draw.kind, &case),
            _ => one_row::<f64>(draw.kind, &case),
        };
        prop_assert_eq!(value.to_bits(), got.value.to_bits(), "{} {}", value, got.value);
        prop_assert_eq!(bits(&gradient), bits(&got.grad_student));
    }

    #[test]
    fn rows_divisor_and_scale_make_the_value(draw in draws(&Kind::ALL), dtype in dtype()) {
        let got = ask(&draw.case(dtype), Way::plain(dtype));
        let sum: f64 = got.rows.iter().sum();
        let sizes: f64 = got.rows.iter().map(|x| x.abs()).sum();
        prop_assert!((sum - got.outcome.sum).abs() <= 1e-14 * sizes, "{sum} {}", got.outcome.sum);
        prop_assert_eq!(got.outcome.scale, 3.0);
        let value = if got.outcome.divisor == 0.0 { 0.0 } else { 3.0 * got.outcome.sum / got.outcome.divisor };
        prop_assert_eq!(got.value.to_bits(), value.to_bits());
    }
}

/// Maps of several jobs, none of which divides evenly, in all four layouts.
#[test]
fn large_ragged_maps_give_the_same_by_every_way() {
    for shape in [
        [1, 37, 61, 53],
        [3, 19, 33, 47],
        [2, 3, 210, 211],
        [1, 150, 40, 41],
        [5, 17, 1, 1],
        [1, 1, 257, 300],
    ] {
        for (spatial, masked) in [(false, false), (true, true), (false, true), (true, false)] {
            let draw =
                Draw { shape, kind: Kind::Kl, spatial, divisor: Divisor::Sum, tau: 4.0, masked, seed: 1 };
            let case = draw.case(DType::F32);
            let first = ask(&case, Way::plain(DType::F32));
            // Rows of one entry are 0.
            let trivial = if spatial { shape[1] == 1 } else { shape[2] * shape[3] == 1 };
            assert!((first.value > 0.0) != trivial && first.grad_student.iter().all(|g| g.is_finite()));
            let last = ask(&case, Way { order: Order::Nhwc, ..Way::plain(DType::F32) });
            alike(Kind::Kl, DType::F32, &case, &first, &last)
                .unwrap_or_else(|error| panic!("{shape:?} {spatial} {masked}: {error}"));
            for (order, want) in [(Order::Nchw, &first), (Order::Nhwc, &last)] {
                for threads in [1, 2, 3, 5] {
                    let way = Way { order, runner: Runner::Threads(threads), ..Way::plain(DType::F32) };
                    assert!(want.bits() == ask(&case, way).bits(), "{shape:?} {spatial} {order:?} {threads}");
                }
            }
        }
    }
}

/// What stands in the outputs before does not matter, and a gradient overflow of a half type is said.
#[test]
fn a_gradient_too_large_for_its_type_is_reported_and_infinite() {
    let mut rng = Rng::with_seed(1);
    let mut row = || (0..8).map(|_| f64::from(rng.i8(-8..8))).collect::<Vec<f64>>();
    let case = Case {
        shape: [1, 1, 2, 4],
        teacher: row(),
        student: row(),
        counted: None,
        options: Kind::Kl.options(),
    };
    let weighted = |weight: f64| Case { options: Options { weight, ..case.options.clone() }, ..case.clone() };
    for runner in [Runner::Core, Runner::Threads(2)] {
        let way = Way { runner, ..Way::plain(DType::F16) };
        let fits = ask(&weighted(1e4), way);
        assert!(!fits.outcome.overflowed.student && fits.grad_student.iter().all(|g| g.is_finite()));
        let large = ask(&weighted(1e7), way);
        assert!(large.outcome.overflowed.student && large.value.is_finite());
        assert!(large.grad_student.iter().any(|g| g.is_infinite()));
        assert!(large.grad_student.iter().all(|g| !g.is_nan()));
        let wide = ask(&weighted(1e7), Way { runner, ..Way::plain(DType::F32) });
        assert!(!wide.outcome.overflowed.student && wide.grad_student.iter().all(|g| g.is_finite()));
    }
}
