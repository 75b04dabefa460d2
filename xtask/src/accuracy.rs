//! The accuracy table of the README: error against the size of the KL divergence.

use densekd_core::{Element, Kl, RowLoss, Softmax, Temperature};
use densekd_tests::oracle::fast;
use densekd_tests::rows::ordinary;
use fastrand::Rng;
use half::{bf16, f16};

/// Row pairs a line of the table.
const ROWS: usize = 200;
/// Positions of a row.
const LENGTH: usize = 1024;

/// `sum p (log p - log q)` as it is usually written, softmax first, all in `f32`.
fn softmax_then_log(t: &[f32], s: &[f32]) -> f32 {
    let softmax = |x: &[f32]| {
        let top = x.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f32> = x.iter().map(|x| (x - top).exp()).collect();
        let z: f32 = e.iter().sum();
        e.into_iter().map(|e| e / z).collect::<Vec<f32>>()
    };
    softmax(t).iter().zip(softmax(s)).map(|(p, q)| p * (p.ln() - q.ln())).sum()
}

/// The same with log-softmax, the better of the usual forms, all in `f32`.
fn log_softmax_form(t: &[f32], s: &[f32]) -> f32 {
    let log_softmax = |x: &[f32]| {
        let top = x.iter().copied().fold(f32::MIN, f32::max);
        let log_z = x.iter().map(|x| (x - top).exp()).sum::<f32>().ln();
        x.iter().map(|x| x - top - log_z).collect::<Vec<f32>>()
    };
    log_softmax(t).iter().zip(log_softmax(s)).map(|(lp, lq)| lp.exp() * (lp - lq)).sum()
}

/// The value of a row stored in a type, and its relative error against the oracle on the values as stored.
fn stored<E: Element>(t: &[f64], s: &[f64]) -> (f64, f64) {
    let loss = RowLoss::new(Softmax::new(Temperature::ONE), Kl);
    let store = |x: &[f64]| x.iter().map(|&x| E::narrow(x)).collect::<Vec<E>>();
    let (t, s) = (store(t), store(s));
    let widen = |x: &[E]| x.iter().map(|x| x.widen()).collect::<Vec<f64>>();
    let truth = fast::kl_row(&widen(&t), &widen(&s), 1.0);
    (truth, relative(loss.value(&t, &s), truth))
}

fn relative(value: f64, truth: f64) -> f64 {
    if truth == value { 0.0 } else { (value / truth - 1.0).abs() }
}

/// Prints the table as Markdown.
pub(crate) fn run() {
    println!(
        "Largest relative error over {ROWS} row pairs of {LENGTH} positions, tau 1, shift 5, against the oracle;"
    );
    println!(
        "f16 and bf16 on the values as stored, whose own KL divergence is named (`cargo xtask accuracy`).\n"
    );
    println!(
        "| KL divergence | densekd f32 | log-softmax form f32 | softmax, then log f32 | densekd f16 | densekd bf16 |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut rng = Rng::with_seed(7);
    for noise in [3.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6] {
        let mut truth = 0.0_f64;
        let mut worst = [0.0_f64; 3];
        let mut halves = [(0.0_f64, 0.0_f64); 2];
        for _ in 0..ROWS {
            let pair = ordinary(&mut rng, LENGTH, noise, 5.0);
            let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (t, s) = (wide(&pair.teacher), wide(&pair.student));
            let (kl, ours) = stored::<f32>(&t, &s);
            truth = truth.max(kl);
            let usual = [
                ours,
                relative(f64::from(log_softmax_form(&pair.teacher, &pair.student)), kl),
                relative(f64::from(softmax_then_log(&pair.teacher, &pair.student)), kl),
            ];
            // NaN is the worst error there is.
            worst
                .iter_mut()
                .zip(usual)
                .for_each(|(worst, error)| *worst = if error <= *worst { *worst } else { error });
            let now = [stored::<f16>(&t, &s), stored::<bf16>(&t, &s)];
            for (half, (kl, error)) in halves.iter_mut().zip(now) {
                *half = (half.0.max(kl), half.1.max(error));
            }
        }
        let half = |(kl, error): (f64, f64)| format!("{error:.0e} (KL {kl:.0e})");
        println!(
            "| {truth:.1e} | {:.0e} | {:.0e} | {:.0e} | {} | {} |",
            worst[0],
            worst[1],
            worst[2],
            half(halves[0]),
            half(halves[1])
        );
    }
}
