//! Any row pair of logits up to [`LARGEST`]: the engine agrees with the oracle, in one piece and in two.
#![no_main]

use densekd_core::{Kl, RowLoss, RowState, Softmax, Temperature};
use densekd_tests::oracle::fast;
use libfuzzer_sys::fuzz_target;

/// Far beyond it the rounding of exponents adds up to more than [`FLOOR`].
const LARGEST: f32 = 1e6;

/// What the value may be off by whatever its size: `f32` terms do not reach it.
const FLOOR: f64 = 1e-26;

/// A divergence above which a row is swept once more about two references, which a state cannot do.
const LARGE: f64 = 1e3;

fuzz_target!(|data: &[u8]| {
    let [tau, cut, rest @ ..] = data else { return };
    // Folded rather than refused: most of what four bytes may be is larger.
    let numbers: Vec<f32> =
        rest.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x) % LARGEST).collect();
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
    assert!((value - truth).abs() <= 1e-5 * truth + FLOOR, "{value} instead of {truth}");
    if truth > LARGE {
        return;
    }
    let cut = usize::from(*cut) % t.len();
    let (mut left, mut right) = (RowState::new(), RowState::new());
    left.push(temperature, &t[..cut], &s[..cut]);
    right.push(temperature, &t[cut..], &s[cut..]);
    left.merge(temperature, &right);
    let merged = left.finish(temperature).kl_divergence();
    assert!((merged - truth).abs() <= 1e-5 * truth + FLOOR, "merged {merged} instead of {truth}");
});
