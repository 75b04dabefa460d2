//! The running state of a row pair: filled chunk by chunk, merged in any order.

mod finish;
mod merge;
mod spread;

use super::part::{Part, conclusive, snap};
use super::statistics::RowStatistics;
use super::sweep::{BLOCK, Reference, Workspace, maxima};
use crate::Temperature;
use crate::arithmetic::Arithmetic;
use half::bf16;
use spread::Spread;

/// The state of one row pair under a softmax: 64 bytes that see each entry once, in chunks of any size, and
/// merge with the states of other parts of the row (lanes, threads, devices, ranks).
///
/// Entries are pushed as they stand (logits, not divided by the temperature). Ignored positions are simply
/// not pushed. Every push and merge of one row must name the same temperature.
///
/// Cost: one sweep; a block of 256 entries is swept again, in cache, where its own data ask for another
/// reference. Accuracy and derivation: [the row module](crate::row).
///
/// ```
/// use densekd_core::{RowState, Temperature};
/// let (teacher, student) = ([0.5_f32, -1.0, 2.0, 0.0], [0.25_f32, -1.0, 1.0, 0.5]);
/// let tau = Temperature::ONE;
///
/// let mut whole = RowState::new();
/// whole.push(tau, &teacher, &student);
///
/// let (mut left, mut right) = (RowState::new(), RowState::new());
/// left.push(tau, &teacher[..1], &student[..1]);
/// right.push(tau, &teacher[1..], &student[1..]);
/// left.merge(tau, &right);
///
/// let (a, b) = (whole.finish(tau).kl_divergence(), left.finish(tau).kl_divergence());
/// assert!(a > 0.0 && (a - b).abs() <= 1e-6 * a);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowState {
    /// The student's largest logit so far, in quarter units; sums are in units of e^m.
    m: f64,
    /// The reference of the log-ratio, in quarter units.
    d: f64,
    /// sum w, sum w (e^r - 1), sum w k(r) over entries with both logits finite.
    z: f64,
    e: f64,
    g: f64,
    /// Reference and sum of w over entries whose teacher alone is -inf.
    lone_m: f64,
    lone_z: f64,
    /// The error that exponents about `m` have in `g`, in units of epsilon.
    far: f32,
    /// The largest |p - w|, coarsely.
    largest: bf16,
    spread: Spread,
    seen: Seen,
}

// What a runtime sets aside for a row, and a C program's opaque struct.
const _: () = assert!(size_of::<RowState>() == 64);

/// What a state has met, a bit each.
#[derive(Clone, Copy, Debug)]
struct Seen(u8);

impl Seen {
    const NOT_A_NUMBER: u8 = 1;
    const STUDENT_MISSING: u8 = 2;
    /// Entries that need policies, or that `f32` does not hold.
    const CAREFUL: u8 = 4;
    /// An entry with both logits finite, and more than one.
    const REGULAR: u8 = 8;
    const SEVERAL: u8 = 128;
    /// The KL divergence of some block sits far below the row's maximum.
    const FAR: u8 = 16;
    /// `d` was found by an earlier sweep of the whole row, and everything is to be taken in `f64`.
    const CENTRED: u8 = 32;
    /// The two maxima are so far apart that the log-ratio's last digits matter.
    const APART: u8 = 64;

    /// A row of two entries or more, none of them special.
    const MANY: Self = Self(Self::REGULAR | Self::SEVERAL);

    const fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }

    fn note(&mut self, what: u8, seen: bool) {
        if seen {
            self.0 |= what;
        }
    }
}

/// What became of a block.
enum Swept {
    Added,
    /// The arithmetic holds it, but its exponents have lost digits that matter.
    TooFar,
    /// An entry is not finite, or the arithmetic cannot hold it.
    OutOfRange,
}

/// The error of exponents that is tolerated in a block's Bregman sum, in units of epsilon.
pub(super) const FAR: f64 = 3.5;

/// A row whose sum is below this many times its largest term has one position that outweighs the rest.
const PEAK: f64 = 3.0;

/// The share of the largest |p - w| that their mean may be: a mean four times what is left of that entry, whose
/// rounding is then within 2.5e-7 of the entry.
pub(super) const CENTRED: f64 = 0.8;

/// Nats between the maxima of teacher and student from which the log-ratio of a block, kept to 2^-48 of itself,
/// could be off by more than 4e-9.
const APART: f64 = 1e6;

/// |r| up to which a row stays one of a single exponential an entry when its reference moves by the rest of 1.
pub(super) const NEAR: f64 = 0.75;

impl Default for RowState {
    fn default() -> Self {
        Self::new()
    }
}

/// `4 / tau`: nats per quarter unit.
pub(crate) fn per_quarter(tau: Temperature) -> f64 {
    4.0 / tau.get()
}

impl RowState {
    /// A row of which nothing has been seen.
    pub const fn new() -> Self {
        Self {
            m: f64::NEG_INFINITY,
            d: 0.0,
            z: 0.0,
            e: 0.0,
            g: 0.0,
            lone_m: f64::NEG_INFINITY,
            lone_z: 0.0,
            far: 0.0,
            largest: bf16::ZERO,
            spread: Spread::NEAR,
            seen: Seen(0),
        }
    }

    /// A state of two entries or more, swept about `m` and `d` (in quarter units) within the bounds of one: its sums,
    /// and the largest |r|.
    pub(super) fn swept((m, d): (f64, f64), (z, e, g): (f64, f64, f64), spread: f64) -> Self {
        Self { m, d, z, e, g, spread: Spread::of(spread), seen: Seen::MANY, ..Self::new() }
    }

    /// The state of which these are the statistics: of a row whose entries are evaluated about one reference.
    pub(crate) fn known(statistics: &RowStatistics) -> Self {
        let RowStatistics { m, z, d, l, kl: k, kind } = *statistics;
        let part = Part { m, z, d, l, k };
        let spread = if kind.is_near() { Spread::NEAR } else { Spread::UNKNOWN };
        Self { m, d, z, e: z * libm::expm1(l), g: part.g(), spread, seen: Seen::MANY, ..Self::new() }
    }

    /// Adds a chunk of entries. Where the slices differ in length, the longer one's rest is not read.
    pub fn push<R: Arithmetic>(&mut self, tau: Temperature, teacher: &[R], student: &[R]) {
        let mut workspace = Workspace::new();
        for (t, s) in teacher.chunks(BLOCK).zip(student.chunks(BLOCK)) {
            let n = t.len().min(s.len());
            if let (Some(t), Some(s)) = (t.get(..n), s.get(..n)) {
                self.push_block(tau, t, s, &mut workspace);
            }
        }
    }

    /// Adds a block of at most [`BLOCK`] entries.
    pub(crate) fn push_block<R: Arithmetic>(
        &mut self,
        tau: Temperature,
        t: &[R],
        s: &[R],
        workspace: &mut Workspace<R>,
    ) {
        if t.is_empty() {
            return;
        }
        let double = R::UNIT < R::one();
        let in_range = double || (1e-30..1e30).contains(&tau.get());
        let far = if double { FAR * 1e6 } else { FAR };
        let swept = if self.seen.has(Seen::CENTRED) || !in_range {
            Swept::OutOfRange
        } else {
            self.sweep_block(tau, t, s, workspace, far)
        };
        match swept {
            Swept::Added => {}
            Swept::TooFar => {
                self.seen.note(Seen::FAR, true);
                self.push_careful(tau, t, s);
            }
            Swept::OutOfRange => {
                self.seen.note(Seen::CAREFUL, true);
                self.push_careful(tau, t, s);
            }
        }
    }

    /// The block by the policy for entries that are not finite, the rest of it in `f64`.
    #[cold]
    fn push_careful<R: Arithmetic>(&mut self, tau: Temperature, t: &[R], s: &[R]) {
        let mut finite = [[0.0_f64; BLOCK]; 2];
        let mut n = 0;
        let [kept_t, kept_s] = &mut finite;
        let mut room = kept_t.iter_mut().zip(kept_s.iter_mut());
        for (t, s) in t.iter().zip(s).map(|(t, s)| (t.to_double(), s.to_double())) {
            if t.is_nan() || s.is_nan() || t == f64::INFINITY || s == f64::INFINITY {
                self.seen.note(Seen::NOT_A_NUMBER, true);
            } else if s == f64::NEG_INFINITY {
                self.seen.note(Seen::STUDENT_MISSING, t != s);
            } else if t == f64::NEG_INFINITY {
                self.push_lone(tau, s * 0.25, 1.0);
            } else if let Some((a, b)) = room.next() {
                (*a, *b) = (t, s);
                n += 1;
            }
        }
        let (t, s) = (kept_t.get(..n).unwrap_or_default(), kept_s.get(..n).unwrap_or_default());
        if n > 0 {
            self.sweep_block(tau, t, s, &mut Workspace::new(), f64::INFINITY);
        }
    }

    /// An entry whose teacher alone is -inf: it takes part in the student's sum only.
    fn push_lone(&mut self, tau: Temperature, m: f64, z: f64) {
        if z > 0.0 {
            let top = m.max(self.lone_m);
            let scaled =
                |at: f64, z: f64| if z > 0.0 { z * libm::exp((at - top) * per_quarter(tau)) } else { 0.0 };
            self.lone_z = scaled(self.lone_m, self.lone_z) + scaled(m, z);
            self.lone_m = top;
        }
    }

    /// Sweeps a block of finite entries and adds it, if the arithmetic can hold it within `far` units of exponent
    /// error (infinite: the last resort, which always adds).
    fn sweep_block<R: Arithmetic>(
        &mut self,
        tau: Temperature,
        t: &[R],
        s: &[R],
        workspace: &mut Workspace<R>,
        far: f64,
    ) -> Swept {
        let scale = per_quarter(tau);
        let (top_t, top_s) = maxima(t, s);
        let top_here = top_s;
        let (top_t, top_s) = (top_t.to_double() * 0.25, top_s.to_double() * 0.25);
        let apart = !((top_t - top_s).abs() * scale <= APART);
        let first = !self.seen.has(Seen::REGULAR);
        let last_resort = far == f64::INFINITY;
        let tolerable = |error: f64, g: f64| last_resort || error <= far * g;
        let mut near = self.spread <= Spread::WIDEST;
        let mut sweep = |m: f64, d: f64| {
            let at = Reference::new(m, d, scale, 0.0);
            let mut sums = workspace.sweep(t, s, &at, near);
            if near && !(sums.spread <= 1.0) {
                near = false;
                sums = workspace.sweep(t, s, &at, near);
            }
            let finite = sums.z.is_finite() && sums.e.is_finite() && sums.g.is_finite();
            (finite || last_resort).then_some(sums)
        };

        // About the row's references, where the sums may simply be added. Far below its maximum, e^r of the
        // teacher's top would overflow.
        let mut d =
            if first && !self.seen.has(Seen::CENTRED) { guess(t, s, top_here, scale) } else { self.d };
        let mut own = None;
        let m = top_s.max(self.m);
        if (top_t - m - d) * scale <= 10.0 {
            let Some(sums) = sweep(m, d) else { return Swept::OutOfRange };
            let mut total = *self;
            total.raise(tau, m);
            total.d = d;
            (total.z, total.e, total.g) = (total.z + sums.z, total.e + sums.e, total.g + sums.g);
            total.largest = total.largest.max(wide(sums.largest));
            let centred = is_centred(total.z, total.e, total.largest.to_f64());
            if !centred {
                own = Some(snap(d + libm::log1p(sums.e / sums.z) / scale));
            }
            if centred && conclusive(total.z, total.e, total.g) {
                total.far += f32::from_f64(sums.exponent_error());
                if !tolerable(f64::from(total.far), total.g) {
                    return Swept::TooFar;
                }
                total.note(t.len());
                total.spread = total.spread.max(Spread::of(sums.spread));
                total.seen.note(Seen::APART, apart);
                *self = total;
                return Swept::Added;
            }
        }

        // About references of its own, and then as a part.
        // Both sides' largest terms must be in reach of the reference, or a sum underflows.
        let reaches = |d: &f64| ((top_t - top_s - d) * scale).abs() <= 10.0;
        d = own.filter(reaches).unwrap_or_else(|| snap(top_t - top_s));
        for attempts_left in (0..7).rev() {
            let Some(sums) = sweep(top_s, d) else { return Swept::OutOfRange };
            let better = snap(d + libm::log1p(sums.e / sums.z) / scale);
            let right = conclusive(sums.z, sums.e, sums.g) && is_centred(sums.z, sums.e, sums.largest);
            let settled = right || better == d || !better.is_finite();
            if settled || attempts_left == 0 {
                let mut total = *self;
                let part = Part::of(top_s, d, sums.z, sums.e, sums.g);
                let spread = Spread::of(sums.spread);
                total.add_part(tau, part, (sums.exponent_error(), spread, sums.largest));
                if !tolerable(f64::from(total.far), total.g) {
                    return Swept::TooFar;
                }
                total.note(t.len());
                total.seen.note(Seen::APART, apart);
                *self = total;
                break;
            }
            d = better;
        }
        Swept::Added
    }

    fn note(&mut self, entries: usize) {
        self.seen.note(Seen::SEVERAL, entries > 1 || self.seen.has(Seen::REGULAR));
        self.seen.note(Seen::REGULAR, true);
    }

    /// Moves the reference of the student's exponents up, exactly.
    fn raise(&mut self, tau: Temperature, m: f64) {
        if m > self.m {
            if self.seen.has(Seen::REGULAR) {
                let lower = (m - self.m) * per_quarter(tau);
                let down = libm::exp(-lower);
                self.far = f32::from_f64(down * (f64::from(self.far) + lower * self.g));
                self.largest = wide(down * self.largest.to_f64());
                self.z *= down;
                self.e *= down;
                self.g *= down;
            }
            self.m = m;
        }
    }
}

/// Whether the rounding of `e`, which shifts every log-ratio, is small beside the largest entry of the gradient:
/// what is left of the largest |p - w| when the mean is taken off. A mean above 1 would round the same way in
/// every entry.
pub(super) fn is_centred(z: f64, e: f64, largest: f64) -> bool {
    e.abs() <= z * (CENTRED * largest).min(1.0)
}

/// The nearest number that the state keeps for an orientation.
fn wide(x: f64) -> bf16 {
    bf16::from_f32(f32::from_f64(x))
}

/// The log-ratio's first reference, in quarter units: the largest position's own difference where it seems to
/// outweigh the rest, else the mean of the first differences; exact where they are all equal.
fn guess<R: Arithmetic>(t: &[R], s: &[R], top: R, scale: f64) -> f64 {
    let pairs = || t.iter().zip(s).take(16).map(|(t, s)| (t.to_double() * 0.25, s.to_double() * 0.25));
    let top_s = top.to_double() * 0.25;
    let top = log_ratio_at(top, t, s);
    let below = pairs().fold(0.0, |sum, (_, s)| sum + ((s - top_s) * scale).exp_fast());
    if below <= 0.5 * PEAK {
        return top;
    }
    let (sum, n) = pairs().fold((0.0, 0.0), |(sum, n), (t, s)| (sum + ((t - s) - top), n + 1.0));
    snap(top + sum / n)
}

/// The difference at the first position whose student is this large, in quarter units.
fn log_ratio_at<R: Arithmetic>(top_s: R, t: &[R], s: &[R]) -> f64 {
    let at = t.iter().zip(s).find(|(_, s)| **s == top_s);
    at.map_or(0.0, |(t, s)| snap(t.to_double() * 0.25 - s.to_double() * 0.25))
}
