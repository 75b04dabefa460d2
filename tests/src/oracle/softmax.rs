//! The softmax of a row at a temperature.

use super::number::Number;

/// A row's probabilities and their logarithms.
pub(super) struct Softmax {
    /// `p_i = exp(t_i/tau) / sum_j exp(t_j/tau)`; all 0 for a row of -inf.
    pub(super) p: Vec<Number>,
    /// `log p_i = t_i/tau - log sum_j exp(t_j/tau)`; -inf exactly where the logit is.
    pub(super) log_p: Vec<Number>,
    /// `sum p`: 1, or 0 for a row of -inf.
    pub(super) total: Number,
}

impl Softmax {
    /// The softmax of logits without NaN or +inf.
    ///
    /// The largest logit is subtracted from every one first. That changes nothing in exact arithmetic, it is
    /// exact here, and rows that differ by a constant become the same row.
    pub(super) fn new(logits: &[Number], tau: &Number) -> Self {
        let largest = logits.iter().fold(Number::MINUS_INFINITY, Number::max);
        if largest.is_minus_infinity() {
            let empty = vec![Number::zero(); logits.len()];
            return Self { p: empty, log_p: logits.to_vec(), total: Number::zero() };
        }
        let x: Vec<Number> = logits.iter().map(|t| (t - &largest) / tau).collect();
        let e: Vec<Number> = x.iter().map(Number::exp).collect();
        let z: Number = e.iter().cloned().sum();
        let log_z = z.ln();
        Self {
            p: e.iter().map(|e| e / &z).collect(),
            log_p: x.iter().map(|x| x - &log_z).collect(),
            total: Number::one(),
        }
    }

    /// Whether `p_i > 0` as a real number, even if far below the smallest float.
    pub(super) fn has_mass(&self, i: usize) -> bool {
        !self.log_p[i].is_minus_infinity()
    }

    /// The pull-back of a cotangent g of the probabilities to the logits:
    /// `J_p(g)_i = p_i (g_i - sum_j p_j g_j) / tau`, with no term where `p = 0`.
    pub(super) fn pull(&self, g: &[Number], tau: &Number) -> Vec<Number> {
        let mean: Number = (0..g.len()).filter(|&j| self.has_mass(j)).map(|j| &self.p[j] * &g[j]).sum();
        (0..g.len())
            .map(|i| if self.has_mass(i) { &self.p[i] * (&g[i] - &mean) / tau } else { Number::zero() })
            .collect()
    }
}
