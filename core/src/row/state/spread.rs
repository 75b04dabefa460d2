//! How far the log-ratios of what a state has seen go.

use super::NEAR;

/// What no |r| about `d` is above, in 64ths of a nat: [`NEAR`] at first, more where `d` has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spread(u8);

impl Spread {
    pub(super) const NEAR: Self = Self(48);
    /// Where one exponential an entry ends to be enough.
    pub(super) const WIDEST: Self = Self(64);
    pub(super) const UNKNOWN: Self = Self(u8::MAX);

    /// That of entries none of whose |r| is above.
    pub(super) fn of(spread: f64) -> Self {
        if spread <= NEAR { Self::NEAR } else { Self::UNKNOWN }
    }

    /// The same about a reference that is so many nats from this one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 64")]
    pub(super) fn moved(self, nats: f64) -> Self {
        if nats <= 1.0 { Self(self.0.saturating_add(libm::ceil(64.0 * nats) as u8)) } else { Self::UNKNOWN }
    }

    /// Whether one exponential an entry is enough when the rest of the log-ratio has been taken off.
    pub(super) fn is_near(self, rest: f64) -> bool {
        f64::from(self.0) + 64.0 * rest.abs() <= f64::from(Self::WIDEST.0)
    }
}
