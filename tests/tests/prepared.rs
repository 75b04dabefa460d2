//! A teacher normalised once stands in for its logits, within one rounding of each stored number.

use densekd_core::{
    DType, Inputs, Mask, Order, Outcome, Outputs, PreparedTeacher, Slab, TensorMut, Upstream, run,
};
use densekd_tests::draws::{Draw, config, draws, largest};
use densekd_tests::engine::{DTYPES, Stored, plan};
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, Divisor, Options};
use proptest::prelude::*;

/// Losses of two distributions that a table of log-probabilities serves.
const SERVED: [Kind; 7] =
    [Kind::Kl, Kind::ReverseKl, Kind::Js, Kind::Ce, Kind::Mse, Kind::KlEps, Kind::CeEps];

/// Half an ulp of a stored number.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2.0_f64.powi(-24),
        DType::F16 => 2.0_f64.powi(-11),
        DType::Bf16 => 2.0_f64.powi(-8),
        _ => 2.0_f64.powi(-53),
    }
}

fn outcome_of(inputs: &Inputs<'_>, gradient: &mut [f64]) -> Outcome {
    let outputs = Outputs { grad_student: Some(&mut Slab::new(gradient, 0)), ..Outputs::default() };
    run(inputs, Upstream::ONE, outputs).expect("the plan runs")
}

/// tau log p of every element, over the counted positions of its row.
fn log_probabilities(case: &Case) -> Vec<f64> {
    let [n, c, h, w] = case.shape;
    let (m, tau) = (h * w, case.options.tau);
    let row = |i: usize| densekd_tests::engine::row_of(case, i);
    let counts = |i: usize| case.counted.as_ref().is_none_or(|x| x[i / (c * m) * m + i % m]);
    let rows = n * c.max(m) * c.min(m);
    let mut top = vec![f64::NEG_INFINITY; rows];
    let mut sum = vec![0.0; rows];
    for (i, &t) in case.teacher.iter().enumerate().filter(|(i, _)| counts(*i)) {
        top[row(i)] = f64::max(top[row(i)], t);
    }
    for (i, &t) in case.teacher.iter().enumerate().filter(|(i, _)| counts(*i)) {
        sum[row(i)] += ((t - top[row(i)]) / tau).exp();
    }
    let shift = |row: usize| if sum[row] > 0.0 { top[row] + tau * f64::ln(sum[row]) } else { 0.0 };
    case.teacher.iter().enumerate().map(|(i, t)| t - shift(row(i))).collect()
}

fn drawn(draw: &Draw) -> Case {
    Draw { divisor: Divisor::Sum, ..draw.clone() }.case(DType::F32)
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn the_table_is_tau_log_p_rounded_once(draw in draws(&SERVED), dtype in prop::sample::select(&DTYPES[..])) {
        let case = drawn(&draw);
        let plan = plan(&case, Order::Nchw);
        let counted: Option<Vec<u8>> = case.counted.as_ref().map(|x| x.iter().map(|&x| u8::from(x)).collect());
        let mask = Mask::new(plan.shape(), None, counted.as_deref()).expect("it fits");
        let teacher = Stored::new(DType::F32, &case.teacher);
        let mut table = Stored::new(dtype, &vec![f64::NAN; case.teacher.len()]);
        PreparedTeacher::prepare(&plan, teacher.tensor(), mask, table.tensor_mut()).expect("it is prepared");
        for (got, want) in table.to_f64().iter().zip(log_probabilities(&case)) {
            // A few roundings in f64 on the way, of logits of this size.
            let tolerated = rounding(dtype) * want.abs() * (1.0 + 1e-6) + 1e-13 + if dtype == DType::F16 { 3e-8 } else { 0.0 };
            prop_assert!((got - want).abs() <= tolerated, "{dtype}: {got} for {want}");
        }
    }

    #[test]
    fn a_prepared_teacher_is_the_teacher_within_the_rounding_of_its_table(
        draw in draws(&SERVED),
        dtype in prop::sample::select(&DTYPES[..]),
        last: bool,
    ) {
        let case = drawn(&draw);
        let plan = plan(&case, if last { Order::Nhwc } else { Order::Nchw });
        let counted: Option<Vec<u8>> = case.counted.as_ref().map(|x| x.iter().map(|&x| u8::from(x)).collect());
        let mask = Mask::new(plan.shape(), None, counted.as_deref()).expect("it fits");
        // In either order: what is compared is one memory with itself.
        let (teacher, student) = (Stored::new(DType::F64, &case.teacher), Stored::new(DType::F64, &case.student));
        let mut table = Stored::new(dtype, &vec![f64::NAN; case.teacher.len()]);
        let prepared =
            PreparedTeacher::prepare(&plan, teacher.tensor(), mask, table.tensor_mut()).expect("it is prepared");
        let (mut got, mut want) = (vec![f64::NAN; case.teacher.len()], vec![f64::NAN; case.teacher.len()]);
        let a = outcome_of(&prepared.inputs(&plan, student.tensor(), mask).expect("it fits"), &mut got);
        let b = outcome_of(
            &Inputs::new(&plan, teacher.tensor(), student.tensor(), mask).expect("it fits"),
            &mut want,
        );
        // log p is off by at most this in every entry, and so is the log-ratio; every divergence here has
        // derivatives to log p of at most p (1 + |r|) and rows of logits within 40.
        let tau = case.options.tau;
        let deepest = largest(&table.to_f64()) / tau;
        let off = (rounding(dtype) * deepest + 1e-12) * (1.0 + deepest);
        let rows = f64::from(u32::try_from(plan.rows()).expect("a small map"));
        prop_assert!((a.sum - b.sum).abs() <= 2.0 * off * rows, "{} {}", a.sum, b.sum);
        for (got, want) in got.iter().zip(&want) {
            // Of probabilities of at most 1, under the weight 3.
            prop_assert!((got - want).abs() <= 3.0 * 4.0 * off / tau, "{got} {want} {off}");
        }
    }
}

#[test]
fn a_table_is_used_as_a_teacher_and_read_again_later() {
    let options = Options { tau: 4.0, ..Kind::Kl.options() };
    let case = Case {
        shape: [1, 2, 1, 4],
        teacher: vec![3.0, 1.0, f64::NEG_INFINITY, 0.5, f64::NAN, 1.0, f64::INFINITY, 2.0],
        student: vec![0.0; 8],
        counted: None,
        options,
    };
    let plan = plan(&case, Order::Nchw);
    let (teacher, student) = (Stored::new(DType::F32, &case.teacher), Stored::new(DType::F32, &case.student));
    let mut table = [0.0_f32; 8];
    let prepared =
        PreparedTeacher::prepare(&plan, teacher.tensor(), Mask::ALL, TensorMut::from(&mut table[..]))
            .expect("it is prepared");
    let mut first = [0.0; 8];
    let a = outcome_of(&prepared.inputs(&plan, student.tensor(), Mask::ALL).expect("it fits"), &mut first);
    // What is not finite stays what it is, and the row keeps its defined result.
    assert!(table[2] == f32::NEG_INFINITY && table[4].is_nan() && table[6] == f32::INFINITY);
    assert!(a.sum.is_nan());
    assert!(first[..4].iter().all(|g| g.is_finite()) && first[4..].iter().all(|g| g.is_nan()));
    let again = PreparedTeacher::from_table(&plan, &table[..]).expect("it fits");
    let mut second = [0.0; 8];
    outcome_of(&again.inputs(&plan, student.tensor(), Mask::ALL).expect("it fits"), &mut second);
    assert_eq!(first.map(f64::to_bits), second.map(f64::to_bits));
}
