//! States of parts of a row put together.

use super::spread::Spread;
use super::{RowState, Seen, per_quarter, wide};
use crate::Temperature;
use crate::arithmetic::Arithmetic;
use crate::row::part::{Part, conclusive, snap};

impl RowState {
    /// Adds a part of the row with references of its own: what its exponents may do, what no |r| is above, and its
    /// largest |p - w|.
    pub(super) fn add_part(
        &mut self,
        tau: Temperature,
        part: Part,
        (far, spread, largest): (f64, Spread, f64),
    ) {
        let scale = per_quarter(tau);
        let mut whole = part;
        if self.seen.has(Seen::REGULAR) {
            whole = Part::of(self.m, self.d, self.z, self.e, self.g).merge(&part, scale);
        }
        // What parts add by their shares alone is as far below the maximum as the smaller of them.
        let ours = (f64::from(self.far), self.largest.to_f64());
        let sides = [(far, largest, part.m, part.g()), (ours.0, ours.1, self.m, self.g)];
        let (mut own, mut deepest, mut error, mut most) = (0.0, 0.0_f64, 0.0, 0.0_f64);
        for (far, largest, m, g) in sides {
            let lower = (whole.m - m) * scale;
            if m > f64::NEG_INFINITY {
                let down = libm::exp(-lower);
                own += down * g;
                error += down * (far + lower * g);
                most = most.max(down * largest);
                deepest = deepest.max(lower);
            }
        }
        self.far = f32::from_f64(error + deepest * (whole.g() - own).max(0.0));
        self.largest = wide(most);
        let moved = |from: f64| ((from - whole.d) * scale).abs();
        let ours = if self.seen.has(Seen::REGULAR) { self.spread.moved(moved(self.d)) } else { Spread::NEAR };
        self.spread = spread.moved(moved(part.d)).max(ours);
        (self.m, self.d, self.z, self.g) = (whole.m, whole.d, whole.z, whole.g());
        self.e = whole.z * libm::expm1(whole.l);
    }

    /// Adds what another state has seen: the states of any split of a row give the row's, within the bound of
    /// the whole.
    pub fn merge(&mut self, tau: Temperature, other: &Self) {
        // How many entries there are, this state may know better.
        self.seen.note(other.seen.0 & !Seen::MANY.0, true);
        self.push_lone(tau, other.lone_m, other.lone_z);
        if other.seen.has(Seen::REGULAR) {
            let part = Part::of(other.m, other.d, other.z, other.e, other.g);
            self.add_part(tau, part, (f64::from(other.far), other.spread, other.largest.to_f64()));
            self.note(if other.seen.has(Seen::SEVERAL) { 2 } else { 1 });
            if !conclusive(self.z, self.e, self.g) {
                self.centre(tau);
            }
        }
    }

    /// Moves the reference of the log-ratio to where its rest is 0. That of the first parts may be far from it by the
    /// time that the last have come.
    pub(crate) fn centre(&mut self, tau: Temperature) {
        let part = Part::of(self.m, self.d, self.z, self.e, self.g);
        let centred = part.about(snap(self.d + part.l / per_quarter(tau)), per_quarter(tau));
        if self.seen.has(Seen::REGULAR) && centred.d.is_finite() && centred.l.is_finite() {
            self.spread = self.spread.moved((centred.d - self.d).abs() * per_quarter(tau));
            self.e = self.z * libm::expm1(centred.l);
            (self.d, self.g) = (centred.d, centred.g());
        }
    }
}
