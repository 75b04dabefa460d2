//! The rows' states as the kernels keep them, from and to the statistics that the CPU keeps.

use crate::Error;
use densekd_core::{RowStatistics, RowSums, Temperature};

/// The same bytes as `State` in `kernels/maths.h`: both references, teacher and student, both sums, the log-ratio as the
/// sum of two, the KL divergence, and the teacher's entropy, which is not kept.
pub(crate) type State = [f32; 8];

const _: () = assert!(size_of::<State>() == crate::task::STATE);

#[allow(clippy::cast_possible_truncation, reason = "the kernels' arithmetic is f32")]
const fn narrow(x: f64) -> f32 {
    x as f32
}

/// A reference that `f32` holds, and the sum about it.
fn narrowed(tau: Temperature, (reference, sum): (f64, f64)) -> (f32, f32) {
    let at = narrow(reference);
    let moved = if at.is_finite() { ((reference - f64::from(at)) / tau.get()).exp() } else { 1.0 };
    (at, narrow(sum * moved))
}

/// The states that a launch is to read.
pub(crate) fn read_states(tau: Temperature, kept: &[RowStatistics]) -> Result<Vec<State>, Error> {
    let state = |(row, kept): (usize, &RowStatistics)| {
        let RowSums { teacher, student, log_ratio, kl } = kept.sums(tau).ok_or(Error::Statistics { row })?;
        let [(t, teacher), (s, student)] = [teacher, student].map(|side| narrowed(tau, side));
        let high = narrow(log_ratio);
        // An infinite log-ratio has no rest.
        let low = if high.is_finite() { narrow(log_ratio - f64::from(high)) } else { 0.0 };
        Ok([t, s, teacher, student, high, low, narrow(kl), 0.0])
    };
    kept.iter().enumerate().map(state).collect()
}

/// Keeps what a launch has written.
pub(crate) fn written_states(tau: Temperature, written: &[State], kept: &mut [RowStatistics]) {
    for (kept, state) in kept.iter_mut().zip(written) {
        let [t, s, teacher, student, high, low, kl, _] = state.map(f64::from);
        let sums = RowSums { teacher: (t, teacher), student: (s, student), log_ratio: high + low, kl };
        *kept = RowStatistics::from_sums(tau, &sums);
    }
}
