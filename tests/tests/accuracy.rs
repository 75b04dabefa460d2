//! Every cell of the table of tolerances against the oracle: neither exceeded nor loose.

use std::fmt::Write;

use densekd_core::DType;
use densekd_tests::accuracy::{Errors, errors};
use densekd_tests::engine::{DTYPES, Way, ask};
use densekd_tests::error::row_error;
use densekd_tests::kind::Kind;
use densekd_tests::oracle::{Case, answer, fast};
use densekd_tests::samples::{Reach, log_between, pair};
use densekd_tests::search::search;
use densekd_tests::tolerance::{Bound, CONTRIVED, PROMISED_GRADIENT, SLACK, TABLE, tolerance};
use fastrand::Rng;

const REACHES: [Reach; 3] = [Reach::Ordinary, Reach::Deep, Reach::Far];

/// Short rows of a reach and one that is longer than a block.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are small")]
fn sample(kind: Kind, dtype: DType, reach: Reach) -> Vec<Case> {
    let mut rng = Rng::with_seed(5);
    let mut rows: Vec<Case> = (0..60)
        .map(|_| {
            let length = log_between(&mut rng, 2.0, 24.0) as usize;
            pair(&mut rng, kind, dtype, reach, length)
        })
        .collect();
    rows.push(pair(&mut rng, kind, dtype, reach, 300));
    rows
}

fn measured(kind: Kind, dtype: DType) -> Errors {
    let rows = REACHES.into_iter().flat_map(|reach| sample(kind, dtype, reach));
    rows.map(|case| errors(kind, dtype, &case, &answer(&case))).fold(Errors::default(), Errors::worst)
}

fn is_loose(seen: Errors, bound: &Bound) -> bool {
    bound.value > SLACK * seen.value
        || bound.gradient > SLACK * seen.gradient()
        || bound.sum.is_some_and(|sum| sum > SLACK * seen.sum)
}

/// Measures a column of the table and says everything that is wrong with it.
fn column_is_honest(dtype: DType) {
    let mut table = String::new();
    let mut wrong = 0;
    for line in TABLE {
        let (bound, seen) = (tolerance(line.kind, dtype), measured(line.kind, dtype));
        let verdict = match (seen.within(&bound), is_loose(seen, &bound)) {
            (false, _) => "EXCEEDED",
            (true, true) => "LOOSE",
            (true, false) => "",
        };
        wrong += usize::from(!verdict.is_empty());
        let Errors { value, student, teacher, sum } = seen;
        let (of_sum, sum) = bound.sum.map_or((0.0, 0.0), |bound| (bound, sum));
        writeln!(
            table,
            "{dtype:5} {:13} value {value:.1e} of {:.1e}, gradient {student:.1e}, {teacher:.1e} of {:.1e}, sum \
             {sum:.1e} of {of_sum:.1e} {verdict}: {}",
            line.kind, bound.value, bound.gradient, line.reason
        )
        .expect("text can be written");
    }
    println!("{table}");
    assert_eq!(wrong, 0, "seen, of what is tolerated:\n{table}");
}

#[test]
fn the_column_of_f32_is_honest() {
    column_is_honest(DType::F32);
}

#[test]
fn the_column_of_f64_is_honest() {
    column_is_honest(DType::F64);
}

#[test]
fn the_column_of_f16_is_honest() {
    column_is_honest(DType::F16);
}

#[test]
fn the_column_of_bf16_is_honest() {
    column_is_honest(DType::Bf16);
}

#[test]
fn every_row_loss_has_a_line() {
    let lines = TABLE.map(|line| line.kind);
    assert!(Kind::ALL.iter().all(|kind| lines.iter().filter(|line| *line == kind).count() == 1));
}

#[test]
fn kl_reaches_from_1e6_to_1e_26() {
    let values: Vec<f64> = REACHES
        .into_iter()
        .flat_map(|reach| sample(Kind::Kl, DType::F32, reach))
        .map(|case| fast::kl_row(&case.teacher, &case.student, case.options.tau))
        .collect();
    assert!(values.iter().any(|&kl| kl > 5e5));
    for digit in -26..=5 {
        let decade = 10.0_f64.powi(digit);
        let near = values.iter().any(|&kl| (decade / 10.0..decade * 100.0).contains(&kl));
        assert!(near, "no KL divergence near {decade:e}");
    }
}

/// Rows of many blocks, beyond the reach of big floats: the fast truth knows three values and one gradient.
#[test]
fn long_rows_keep_the_bounds() {
    for dtype in DTYPES {
        for reach in REACHES {
            let mut rng = Rng::with_seed(8);
            for length in [257, 512, 1000, 2049, 4096, 5000] {
                for kind in [Kind::Kl, Kind::ReverseKl, Kind::Js] {
                    let case = pair(&mut rng, kind, dtype, reach, length);
                    is_as_the_fast_truth(kind, dtype, &case);
                }
            }
        }
    }
}

fn is_as_the_fast_truth(kind: Kind, dtype: DType, case: &Case) {
    let (t, s, tau) = (&case.teacher, &case.student, case.options.tau);
    let mut bound = tolerance(kind, dtype);
    if dtype == DType::F64 || !kind.is_in_f32() {
        // What the vectors ask of f64: logits of 1e6 leave 1e-14 of their exponents.
        bound.value = 1e-12;
    }
    if dtype == DType::F64 {
        bound.gradient = 1e-12;
    }
    let truth = match kind {
        Kind::Kl => fast::kl_row(t, s, tau),
        Kind::ReverseKl => fast::reverse_kl_row(t, s, tau),
        _ => fast::js_row(t, s, tau),
    };
    let upstream = 1024.0;
    let got = ask(case, Way { upstream, grad_teacher: false, ..Way::plain(dtype) });
    let what = || format!("{kind} {dtype}, length {}, tau {tau}", t.len());
    // The fast truth is itself within 2e-15.
    let off = (got.value - truth).abs() / truth;
    assert!(truth < 1e-26 || off <= bound.value + 2e-15, "{}: {off:e} of {truth:e}", what());
    if kind != Kind::Kl {
        return;
    }
    let want = fast::kl_row_gradient(t, s, tau);
    let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    // Below, stored halves are subnormal.
    let floor = if matches!(dtype, DType::F16) { 2.0_f64.powi(-25) / upstream } else { 0.0 };
    for (got, want) in got.grad_student.iter().zip(&want) {
        let off = (got / upstream - want).abs();
        assert!(
            largest < 1e-20 || off <= (bound.gradient + 2e-15) * largest + floor,
            "{}: {got:e} for {want:e} of {largest:e}",
            what()
        );
    }
}

#[test]
fn contrived_rows_keep_their_bounds() {
    let found = search(15_000, 1, row_error);
    let (value, gradient, sum) =
        (found.worst_value.1.value, found.worst_gradient.1.gradient, found.worst_sum.1.sum);
    let seen = Errors { value, student: gradient, teacher: 0.0, sum };
    assert!(seen.within(&CONTRIVED), "{seen:?} of {CONTRIVED:?}");
    assert!(!is_loose(seen, &CONTRIVED), "{seen:?} of {CONTRIVED:?}");
}

/// The definitions ask more than the table where terms cancel: 2e-6 of each row's largest entry, on either
/// side. Ordinary rows only, where nothing underflows.
fn keeps_the_promise(kind: Kind) {
    let mut worst = (0.0_f64, String::new());
    let mut cases = sample(kind, DType::F32, Reach::Ordinary);
    // One position with nearly all the mass: what is pulled back through the softmax nearly cancels.
    cases.push(Case {
        shape: [1, 1, 1, 2],
        teacher: vec![2.130_287_170_410_156_3, -3.950_196_504_592_895_5],
        student: vec![-0.485_506_057_739_257_8, -5.373_569_488_525_391],
        counted: kind.is_after().then(|| vec![true, true]),
        options: kind.options(),
    });
    for case in cases {
        let truth = answer(&case);
        let got = ask(&case, Way::plain(DType::F32));
        let sides = [
            ("student", got.grad_student, &truth.grad_student),
            ("teacher", got.grad_teacher, &truth.grad_teacher),
        ];
        for (side, got, want) in sides {
            let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
            let off = got.iter().zip(want).fold(0.0_f64, |a, (g, w)| a.max((g - w).abs()));
            if off / largest > worst.0 {
                let Case { teacher, student, counted, options, .. } = &case;
                let row = format!(
                    "to the {side}, tau {}, teacher {teacher:?}, student {student:?}, counted {counted:?}: got \
                     {got:?}, want {want:?}",
                    options.tau
                );
                worst = (off / largest, row);
            }
        }
    }
    assert!(worst.0 <= PROMISED_GRADIENT, "{kind}: off by {:e} of the largest entry {}", worst.0, worst.1);
}

#[test]
fn gradients_of_kl_keep_the_promise() {
    keeps_the_promise(Kind::Kl);
}

#[test]
fn gradients_of_reverse_kl_keep_the_promise() {
    keeps_the_promise(Kind::ReverseKl);
}

#[test]
fn gradients_of_js_keep_the_promise() {
    keeps_the_promise(Kind::Js);
}

#[test]
fn gradients_of_ce_keep_the_promise() {
    keeps_the_promise(Kind::Ce);
}

#[test]
fn gradients_of_mse_keep_the_promise() {
    keeps_the_promise(Kind::Mse);
}

#[test]
fn gradients_of_kl_with_eps_keep_the_promise() {
    keeps_the_promise(Kind::KlEps);
}

#[test]
fn gradients_of_ce_with_eps_keep_the_promise() {
    keeps_the_promise(Kind::CeEps);
}

#[test]
fn gradients_of_kl_after_keep_the_promise() {
    keeps_the_promise(Kind::KlAfter);
}

#[test]
fn gradients_of_ce_after_keep_the_promise() {
    keeps_the_promise(Kind::CeAfter);
}

#[test]
fn gradients_of_unnormalised_rows_keep_the_promise() {
    keeps_the_promise(Kind::ChannelMean);
    keeps_the_promise(Kind::None);
}
