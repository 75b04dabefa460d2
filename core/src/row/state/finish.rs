//! What a state says of its row once all of it has been seen.

use super::{FAR, RowState, Seen, per_quarter};
use crate::Temperature;
use crate::row::part::{Part, softplus};
use crate::row::statistics::{Kind, RowStatistics};

impl RowState {
    /// A fresh state to sweep the row with once more, in `f64` and about the log-ratio now known: for rows
    /// whose KL divergence sits far below their maximum, where rounding at the maximum drowns what matters.
    /// Contrived rows only. Without it the value keeps its bound and the gradient may not.
    #[must_use]
    pub fn again(&self, tau: Temperature) -> Option<Self> {
        let far = self.seen.has(Seen::FAR) && f64::from(self.far) > FAR * self.g;
        let d = self.d + libm::log1p(self.e / self.z) / per_quarter(tau);
        let fresh = Self { d, seen: Seen(Seen::CENTRED | Seen::CAREFUL), ..Self::new() };
        (far && !self.seen.has(Seen::CENTRED) && d.is_finite()).then_some(fresh)
    }

    /// The statistics of the row as pushed so far.
    ///
    /// A row in which the student is -inf where the teacher is not has an infinite KL divergence; its other
    /// divergences and its gradient need the row once more (see [`crate::run`]). So does every number of a row
    /// whose two maxima are more than a million nats apart, or whose KL divergence is above 1000: what one sweep
    /// knows of its value may be off in the fourth digit, or NaN.
    pub fn finish(&self, tau: Temperature) -> RowStatistics {
        let seen = self.seen;
        let blank = RowStatistics::default();
        if seen.has(Seen::NOT_A_NUMBER) {
            return RowStatistics { kl: f64::NAN, kind: Kind::NotANumber, ..blank };
        }
        if seen.has(Seen::STUDENT_MISSING) {
            return RowStatistics { kl: f64::INFINITY, kind: Kind::Split, ..blank };
        }
        if !seen.has(Seen::REGULAR) {
            return RowStatistics { kind: Kind::Zero, ..blank };
        }
        let mut part = Part::of(self.m, self.d, self.z, self.e, self.g);
        if !seen.has(Seen::SEVERAL) {
            part.k = 0.0;
            if self.lone_z == 0.0 {
                let Part { m, z, d, l, k: kl } = part;
                return RowStatistics { m, z, d, l, kl, kind: Kind::Single };
            }
        }
        let scale = per_quarter(tau);
        let mut lost = 0.0;
        if self.lone_z > 0.0 {
            // The lone entries take the student's share e^lone : 1 and none of the teacher's.
            let lone = libm::log(self.lone_z / part.z) + (self.lone_m - part.m) * scale;
            lost = softplus(lone);
            let top = part.m.max(self.lone_m);
            part.z = part.z * libm::exp((part.m - top) * scale)
                + self.lone_z * libm::exp((self.lone_m - top) * scale);
            part.m = top;
            part.l -= lost;
            part.k += lost;
        }
        // A log-ratio in which the last digits of what it is compared with would be lost, or sums that
        // overflowed: two separate references. The KL divergence is not small then.
        let part = part.centred(scale);
        let holds = lost <= 30.0 && part.k <= 1e3 && part.l.abs() <= 1.0;
        if seen.has(Seen::APART) || !(holds && part.z.is_finite() && part.k.is_finite()) {
            return RowStatistics {
                kl: if part.k.is_finite() { part.k } else { f64::NAN },
                kind: Kind::Split,
                ..blank
            };
        }
        let near = part.d == self.d && self.spread.is_near(part.l);
        // The gradient takes exponents from the final maximum, which may be far above that of the sums.
        let far = f64::from(self.far) > FAR * self.g;
        let kind = if seen.has(Seen::CAREFUL) || far {
            Kind::Careful
        } else if near {
            Kind::Near
        } else {
            Kind::Full
        };
        RowStatistics { m: part.m, z: part.z, d: part.d, l: part.l, kl: part.k, kind }
    }
}
