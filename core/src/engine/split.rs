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
        let [mut top_t, mut top_s] = [f64::NEG_INFINITY; 2];
        for block in self.blocks() {
            self.with_block(row, block, buffers, |block, _, _| {
                for (t, s, _) in block.triples() {
                    top_t = top_t.max(t.to_double() * 0.25);
                    top_s = top_s.max(s.to_double() * 0.25);
                }
            });
        }
        let per_quarter = 4.0 * normalize.pull(to);
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
        (to.d, to.l, to.m, to.z) = (top_t, sum_t, top_s, sum_s);
        if top_t == f64::NEG_INFINITY {
            *to = RowStatistics { kind: Kind::Zero, ..RowStatistics::default() };
            return;
        }
        if top_s > f64::NEG_INFINITY {
            to.kl = self.split_kl(row, per_quarter, to, buffers);
        }
    }

    /// The KL divergence of such a row, in quarters of a nat so that no difference overflows.
    #[cold]
    fn split_kl(&self, row: usize, per_quarter: f64, of: &RowStatistics, buffers: &mut Buffers<R>) -> f64 {
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
        // Rounding may leave a tiny negative number where the divergence is 0 in all digits.
        if sum < 0.0 { 0.0 } else { 4.0 * sum }
    }
}
