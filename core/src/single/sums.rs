//! What a sweep adds up, and what that says of a row.

use super::sweep::{Kind, References};
use crate::arithmetic::two_difference;
use core::f32::consts::LN_2;
use core::hint::black_box;

/// Of each entry's exponential w, of its excess p - w and of its Bregman term.
pub(super) type Terms = [f32; 3];

/// Sums of sums of [`GROUP`] terms, with what adding these up has rounded off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub(super) group: Terms,
    whole: Terms,
    lost: Terms,
    /// Of the excesses' magnitudes.
    pub(super) size: f32,
    /// How many entries there have been.
    pub(super) len: usize,
}

/// Terms that are added up before the sums take them.
const GROUP: usize = 16;

/// The largest mean of the student's exponentials: above, what they are taken beside is too far below the largest.
const MEAN: f32 = 64.0;

/// The least share and the largest sum of the teacher's: less is what sums have rounded off.
const LEAST: f32 = 1e-5;
const MOST: f32 = 1e38;

/// |s| up to which [`logs`] has all digits.
const CLOSE: f32 = 0.25;

/// The share that the sum of p - w may have of the sum of magnitudes: where it is more, its rounding, which is shared
/// out among all entries of the gradient, matters.
const CENTRED: f32 = 0.5;

/// Sweeps that are tried: each finds some seven digits of the log-ratio's reference.
const ATTEMPTS: u8 = 8;

impl Sums {
    /// Of nothing.
    #[inline(never)]
    pub(super) fn new() -> Self {
        // A number that is not known beforehand: no call of a C library's `memset`.
        let zero = black_box(0.0);
        let none = [zero; 3];
        Self { group: none, whole: none, lost: none, size: zero, len: 0 }
    }

    /// Takes the group's terms. Whether the sums are still within reach.
    #[cold]
    #[inline(never)]
    fn end_group(&mut self) -> bool {
        for ((whole, lost), group) in self.whole.iter_mut().zip(&mut self.lost).zip(&self.group) {
            let term = *group - *lost;
            let sum = *whole + term;
            *lost = (sum - *whole) - term;
            *whole = sum;
        }
        let [w, excess, _] = self.whole;
        let is_within = w + excess < MOST;
        if !is_within {
            // Whatever comes, the row is to be swept again.
            self.whole[0] = f32::NAN;
        }
        is_within
    }

    /// Before an entry: ends the group where it is full.
    #[inline(always)]
    pub(super) fn next(&mut self, group: &mut Terms, len: usize) -> bool {
        if !len.is_multiple_of(GROUP) {
            return true;
        }
        self.group = *group;
        *group = [0.0; 3];
        self.end_group()
    }

    /// After the last entry, and again.
    fn total(&mut self) -> Terms {
        self.end_group();
        (self.group, self.lost) = ([0.0; 3], [0.0; 3]);
        self.whole
    }
}

/// What a row turned out to be.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    pub(super) kl: f32,
    /// What `scale w` and `scale (p - w)` are multiplied by. The latter is not positive where all of the gradient is as the
    /// divergence is: 0 where no entry has mass of the teacher, else NaN.
    of_w: f32,
    of_excess: f32,
}

impl Verdict {
    /// What w and p - w are multiplied by; none where all of the gradient is as the divergence is.
    #[inline(always)]
    pub(super) fn shares(self, scale: f32) -> Option<(f32, f32)> {
        (self.of_excess > 0.0).then_some((scale * self.of_w, scale * self.of_excess))
    }
}

/// What log(1 + e) and its excess over e/(1 + e) are, for s = e/(2 + e) within -1/4 and 1/4.
#[inline(always)]
fn logs(s: f32) -> (f32, f32) {
    let y = s * s;
    // (atanh s - s) / s^3.
    let rest = 1.0 / 3.0 + y * (0.2 + y * (1.0 / 7.0 + y * (1.0 / 9.0)));
    (2.0 * s * (1.0 + y * rest), 2.0 * y * (1.0 / (1.0 + s) + s * rest))
}

/// log x within 0.03, as a number's exponent and digits have it: near enough for [`logs`] to go on.
#[inline(always)]
fn far_log(x: f32) -> f32 {
    /// The bits of 1, less half of what a logarithm is above the digits at most.
    const ONE: i32 = 0x3f7a_7dd1;
    const STEP: f32 = LN_2 / 8_388_608.0;
    #[allow(clippy::cast_precision_loss, reason = "a few digits are enough")]
    let steps = x.to_bits().cast_signed().wrapping_sub(ONE) as f32;
    STEP * steps
}

impl References {
    /// What a row has turned out to be, by its sums about these references; or none, and other references to sweep it about.
    #[inline(never)]
    pub(super) fn settle(&mut self, sums: &mut Sums, per_unit: f32) -> Option<Verdict> {
        let (from, up, low);
        if self.kind.has(Kind::SOUGHT) {
            // Without any mass exponentials are 0 beside any number.
            let reach = |x: f32| if x == f32::NEG_INFINITY { 0.0 } else { x };
            (self.m, self.kind) = (reach(self.m), Kind::TOPS);
            (from, up, low) = (reach(self.d.0), -self.m, 0.0);
        } else {
            self.attempts = self.attempts.saturating_add(1);
            let [z, e, g] = sums.total();
            let sum = z + e;
            #[allow(clippy::cast_precision_loss, reason = "a bound of no precision")]
            let most = MEAN * sums.len as f32;
            let is_sampled = self.kind.is_sampled();
            let least = LEAST * f32::from(u8::from(is_sampled));
            if !(z <= most && sum > least * z && sum < MOST) {
                // Out of reach of either's mass: their own largest entries are within.
                if is_sampled {
                    self.kind = Kind::SOUGHT;
                    (self.m, self.d.0) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
                    return None;
                }
                // The teacher has no mass, or there is an entry that is none.
                let all = if sum == 0.0 { 0.0 } else { f32::NAN };
                return Some(Verdict { kl: all, of_w: all, of_excess: all });
            }
            let s = e / (z + sum);
            let (log, excess) = logs(s);
            let kl = g / sum - excess;
            let mut better = None;
            if z > 0.0 && self.attempts < ATTEMPTS {
                let shift = self.d.0 * per_unit;
                if !(s.abs() <= CLOSE) {
                    better = Some(far_log(sum / z));
                } else if !self.kind.has(Kind::EXACT) && !(shift * shift * sum <= 8.0 * g) {
                    self.kind = self.kind.and_exact();
                    better = Some(0.0);
                } else if !(kl >= excess && e.abs() <= CENTRED * sums.size) {
                    better = Some(log);
                }
            }
            let Some(nats) = better else {
                // The sums being numbers, so are the entries: what is none is the difference to a student of minus infinity.
                let kl = match kl {
                    _ if kl.is_nan() => f32::INFINITY,
                    _ if kl < 0.0 => 0.0,
                    _ => kl,
                };
                let of_w = if z > 0.0 { e / (z * sum) } else { 0.0 };
                return Some(Verdict { kl, of_w, of_excess: 1.0 / sum });
            };
            (from, up, low) = (self.d.0, nats / per_unit, self.d.1);
        }
        let (high, rest) = two_difference(from, -up);
        self.d = (high, rest + low);
        None
    }
}
