//! Row pairs of logits up to [`WIDEST`]: the engine agrees with the oracle; up to [`LARGEST`] also in two pieces.
#![no_main]

use densekd_core::{Kl, RowLoss, RowState, Softmax, Temperature};
use densekd_tests::oracle::fast;
use libfuzzer_sys::fuzz_target;

/// States of logits far beyond it do not hold the digits of their log-ratio, and ask for the row once more.
const LARGEST: f32 = 1e6;

/// Far beyond it the oracle's pairs of floats do not hold the difference of two logits to [`WIDE_FLOOR`].
const WIDEST: f32 = 1e18;

/// What the value may be off by whatever its size: `f32` terms do not reach it.
const FLOOR: f64 = 1e-26;

/// The same of logits above [`LARGEST`].
const WIDE_FLOOR: f64 = 1e-10;

/// A divergence above which a row is swept once more about two references, which a state cannot do.
const LARGE: f64 = 1e3;

/// Nats between the two maxima from which a state does not hold the log-ratio's last digits.
const APART: f64 = 1e6;

fuzz_target!(|data: &[u8]| {
    let [tau, cut, rest @ ..] = data else { return };
    // Folded rather than refused: most of what four bytes may be is larger.
    let (most, floor) = if cut % 2 == 0 { (LARGEST, FLOOR) } else { (WIDEST, WIDE_FLOOR) };
    let numbers: Vec<f32> = rest.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x) % most).collect();
    let (t, s) = numbers.split_at(numbers.len() / 2);
    let s = &s[..t.len()];
    if t.is_empty() || !numbers.iter().all(|x| x.is_finite()) {
        return;
    }
    let tau = f64::from(*tau).max(1.0) / 16.0;
    let temperature = Temperature::new(tau).expect("a positive number");
    let value = RowLoss::new(Softmax::new(temperature), Kl).value(t, s);
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let truth = fast::kl_row(&wide(t), &wide(s), tau);
    assert!(value >= 0.0);
    assert!((value - truth).abs() <= 1e-5 * truth + floor, "{value} instead of {truth}");
    let top = |x: &[f32]| x.iter().fold(f64::NEG_INFINITY, |top, &x| top.max(f64::from(x)));
    if truth > LARGE || most > LARGEST || (top(t) - top(s)).abs() > APART * tau {
        return;
    }
    let cut = usize::from(*cut) / 2 % t.len();
    let (mut left, mut right) = (RowState::new(), RowState::new());
    left.push(temperature, &t[..cut], &s[..cut]);
    right.push(temperature, &t[cut..], &s[cut..]);
    left.merge(temperature, &right);
    let merged = left.finish(temperature).kl_divergence();
    assert!((merged - truth).abs() <= 1e-5 * truth + FLOOR, "merged {merged} instead of {truth}");
});
