//! A piece of a row in the form that merges without cancellation: KL divergence obeys a chain rule.

use crate::arithmetic::{Arithmetic, bregman, log1p_excess};
use crate::logarithm::ln_1p;

/// The mutually normalised form of a state: what merges without cancellation.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) m: f64,
    pub(super) z: f64,
    pub(super) d: f64,
    /// log(sum p / sum w) - d / tau.
    pub(super) l: f64,
    /// KL divergence of the part's own two distributions.
    pub(super) k: f64,
}

/// Whether KL = G/(1+E) - c(E) loses at most one bit.
pub(super) fn conclusive(z: f64, e: f64, g: f64) -> bool {
    if e.abs() <= 0.5 * z {
        // c(E) (1 + E) <= 0.75 E^2 there.
        return 1.5 * e * e <= g * z;
    }
    let mean = e / z;
    mean > -0.75 && mean < 1e6 && g / z >= 2.0 * log1p_excess(mean) * (1.0 + mean)
}

/// The nearest number that an `f32` kernel can hold in two terms.
pub(super) fn snap(d: f64) -> f64 {
    let high = f64::from(f32::from_f64(d));
    if high.is_finite() { high + f64::from(f32::from_f64(d - high)) } else { d }
}

/// log(1 + e^x).
pub(super) fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + libm::log1p(libm::exp(-x)) } else { libm::log1p(libm::exp(x)) }
}

impl Part {
    /// The same with the reference near the log-ratio, so that no entry is the small difference of the two.
    pub(super) fn centred(self, scale: f64) -> Self {
        let d = if self.l.abs() <= 0.25 { self.d } else { snap(self.d + self.l / scale) };
        self.about(d, scale)
    }

    /// The same about another reference of the log-ratio.
    pub(super) fn about(self, d: f64, scale: f64) -> Self {
        Self { d, l: self.l - (d - self.d) * scale, ..self }
    }

    /// The Bregman sum about the part's reference.
    pub(super) fn g(&self) -> f64 {
        let e = libm::expm1(self.l);
        self.z * (self.k + log1p_excess(e)) * (1.0 + e)
    }

    pub(super) fn of(m: f64, d: f64, z: f64, e: f64, g: f64) -> Self {
        let mean = e / z;
        // Rounding may leave a tiny negative number where the divergence is 0 in all digits.
        let k = (g / z) / (1.0 + mean) - log1p_excess(mean);
        Self { m, z, d, l: ln_1p(mean), k: if k < 0.0 { 0.0 } else { k } }
    }

    /// KL obeys a chain rule: the parts' own divergences, weighted by the teacher's shares, plus the
    /// divergence between the shares. Every term is at least 0, so nothing cancels.
    ///
    /// References stay with the part of the larger share: its entries are the ones whose log-ratios must keep
    /// their last digits.
    pub(super) fn merge(&self, other: &Self, scale: f64) -> Self {
        let larger = libm::log(other.z / self.z) + (other.m - self.m) * scale;
        if larger > 0.0 { other.merge_smaller(self, scale) } else { self.merge_smaller(other, scale) }
    }

    fn merge_smaller(&self, other: &Self, scale: f64) -> Self {
        let top = self.m.max(other.m);
        let weight = |part: &Self| part.z * libm::exp((part.m - top) * scale);
        let z = weight(self) + weight(other);
        // Log of the other's student and teacher share over ours.
        let student = libm::log(other.z / self.z) + (other.m - self.m) * scale;
        let delta = (other.d - self.d) * scale + (other.l - self.l);
        let (log_q, log_p) = (-softplus(student), -softplus(student + delta));
        let (log_q_other, log_p_other) = (-softplus(-student), -softplus(-(student + delta)));
        let (q_other, p) = (libm::exp(log_q_other), libm::exp(log_p));
        let p_other = libm::exp(log_p_other);
        // Our log-ratio about the whole's; where the shares are close it is taken without cancellation.
        let near = delta.abs() <= 1.0;
        let r = if near { -libm::log1p(q_other * libm::expm1(delta)) } else { log_p - log_q };
        let r_other = if near { delta + r } else { log_p_other - log_q_other };
        let term = |log_q: f64, p: f64, r: f64| {
            let q = libm::exp(log_q);
            if r.abs() <= 1.0 { q * bregman(r) } else { p * (r - 1.0) + q }
        };
        let between = term(log_q, p, r) + term(log_q_other, p_other, r_other);
        let k = p * self.k + p_other * other.k + between;
        Self { m: top, z, d: self.d, l: self.l - r, k }.centred(scale)
    }
}
