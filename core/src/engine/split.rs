//! Rows that one reference and a log-ratio do not hold: read twice more, about a reference of either side.

use super::{Buffers, Rows};
use crate::arithmetic::{Arithmetic, bregman};
use crate::normalize::Normalize;
use crate::row::{Kind, RowStatistics};

impl<R: Arithmetic> Rows<'_, R> {
    /// The two separate references of a row that one reference and a log-ratio do not hold.
    #[cold]
    pub(super) fn split<N: Normalize>(
        &self,
        row: usize,
        normalize: &N,
        to: &mut RowStatistics,
        buffers: &mut Buffers<R>,
    ) {
        let per_quarter = 4.0 * normalize.pull(to);
        let tops = self.tops(row, buffers);
        let sums = self.sums(row, per_quarter, tops, buffers);
        if to.split_about(tops, sums) {
            to.kl = nats_of_quarters(self.split_kl(row, per_quarter, to, buffers));
        }
    }

    /// The largest teacher and the largest student, in quarter units.
    pub(super) fn tops(&self, row: usize, buffers: &mut Buffers<R>) -> [f64; 2] {
        let [mut top_t, mut top_s] = [f64::NEG_INFINITY; 2];
        for block in self.blocks() {
            self.with_block(row, block, buffers, |block, _, _| {
                for (t, s, _) in block.triples() {
                    top_t = top_t.max(t.to_double() * 0.25);
                    top_s = top_s.max(s.to_double() * 0.25);
                }
            });
        }
        [top_t, top_s]
    }

    /// The sums of exponentials about them.
    pub(super) fn sums(
        &self,
        row: usize,
        per_quarter: f64,
        [top_t, top_s]: [f64; 2],
        buffers: &mut Buffers<R>,
    ) -> [f64; 2] {
        let [mut sum_t, mut sum_s] = [0.0; 2];
        for block in self.blocks() {
            self.with_block(row, block, buffers, |block, _, _| {
                let weight = |x: f64, top: f64| {
                    if x > f64::NEG_INFINITY { libm::exp((x - top) * per_quarter) } else { 0.0 }
                };
                for (t, s, _) in block.triples() {
                    sum_t += weight(t.to_double() * 0.25, top_t);
                    sum_s += weight(s.to_double() * 0.25, top_s);
                }
            });
        }
        [sum_t, sum_s]
    }

    /// The KL divergence of such a row, in quarters of a nat so that no difference overflows.
    #[cold]
    pub(super) fn split_kl(
        &self,
        row: usize,
        per_quarter: f64,
        of: &RowStatistics,
        buffers: &mut Buffers<R>,
    ) -> f64 {
        let (log_z_t, log_z_s) = (0.25 * libm::log(of.l), 0.25 * libm::log(of.z));
        let mut sum = 0.0;
        for block in self.blocks() {
            self.with_block(row, block, buffers, |block, _, _| {
                for (t, s, _) in block.triples() {
                    let (t, s) = (t.to_double() * 0.25, s.to_double() * 0.25);
                    // Finite logits have finite logarithms, however far they are out of range.
                    let log = |x: f64, top: f64, log_z: f64| {
                        ((x - top) * (0.25 * per_quarter) - log_z).max(-0.25 * f64::MAX)
                    };
                    let log_p = log(t, of.d, log_z_t);
                    let p = libm::exp(4.0 * log_p);
                    let log_q = log(s, of.m, log_z_s);
                    let out_of_range = p > 0.0 && log_q == -0.25 * f64::MAX;
                    if t > f64::NEG_INFINITY && (s == f64::NEG_INFINITY || out_of_range) {
                        sum = f64::INFINITY;
                    } else if s > f64::NEG_INFINITY {
                        // Each term of p log(p/q) - p + q is at least 0, so that nothing cancels.
                        let (ratio, q) = (log_p - log_q, libm::exp(4.0 * log_q));
                        sum += if ratio.abs() <= 0.25 {
                            0.25 * q * bregman(4.0 * ratio)
                        } else if p > 0.0 {
                            p * ratio + 0.25 * (q - p)
                        } else {
                            0.25 * q
                        };
                    }
                }
            });
        }
        sum
    }
}

impl RowStatistics {
    /// Puts the two references in; whether there are two distributions, whose divergence is then still to be found.
    pub(super) fn split_about(&mut self, [top_t, top_s]: [f64; 2], [sum_t, sum_s]: [f64; 2]) -> bool {
        (self.d, self.l, self.m, self.z) = (top_t, sum_t, top_s, sum_s);
        if top_t == f64::NEG_INFINITY {
            *self = Self { kind: Kind::Zero, ..Self::default() };
            return false;
        }
        top_s > f64::NEG_INFINITY
    }
}

/// The divergence from its quarters. Rounding may leave a tiny negative number where it is 0 in all digits.
pub(super) fn nats_of_quarters(sum: f64) -> f64 {
    if sum < 0.0 { 0.0 } else { 4.0 * sum }
}
