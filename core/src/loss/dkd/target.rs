//! The divergence of two shares and the rests beside them, in vectors.

use crate::logarithm::ln_1p_lanes;
use crate::simd::Doubles;

/// `p - q` and `q k(r)` for p = q e^r, for |r| below 1.
#[inline(always)]
pub(super) fn close<L: Doubles>(l: L, q: L::D, r: L::D) -> [L::D; 2] {
    let (squared, g) = (r * r, l.expm1_rest(r));
    let rest = squared * g;
    [q * (r + rest), q * l.fma(r, rest, squared * (l.splat(1.0) - g))]
}

/// `q k(r)` for other r.
#[inline(always)]
pub(super) fn apart<L: Doubles>(l: L, [q, p]: [L::D; 2], r: L::D) -> L::D {
    let far = l.fma(p, r - l.splat(1.0), q);
    // Nothing is left of an underflowed share, however far it is.
    let rest = l.select(l.less(r, l.splat(f64::INFINITY)), q, far);
    l.select(l.equal(p, l.splat(0.0)), rest, far)
}

/// `p - q` and `q k(r)` for any r.
#[inline(always)]
fn both<L: Doubles>(l: L, [q, p]: [L::D; 2], r: L::D) -> [L::D; 2] {
    let (near, [excess, term]) = (l.less(l.abs(r), l.splat(1.0)), close(l, q, r));
    [l.select(near, excess, p - q), l.select(near, term, apart(l, [q, p], r))]
}

/// The target's share in a softmax, and the rest's.
struct Odds<L: Doubles> {
    /// Their logarithms, negative.
    logs: [L::D; 2],
    shares: [L::D; 2],
}

impl<L: Doubles> Odds<L> {
    #[inline(always)]
    fn new(l: L, odds: L::D) -> Self {
        let (zero, one) = (l.splat(0.0), l.splat(1.0));
        let other = l.exp(zero - l.abs(odds));
        let (log, positive) = (ln_1p_lanes(l, other), l.less(zero, odds));
        let large = one / (one + other);
        let small = other * large;
        Self {
            logs: [log + l.select(positive, zero, zero - odds), log + l.select(positive, odds, zero)],
            shares: [l.select(positive, large, small), l.select(positive, small, large)],
        }
    }
}

/// The divergence of the target's share and the rest's, and `c - b`, from the log-odds of the target in both
/// softmaxes and their difference.
#[inline(always)]
pub(super) fn target<L: Doubles>(l: L, [odds_t, odds_s]: [L::D; 2], difference: L::D) -> [L::D; 2] {
    let (of_t, of_s, zero) = (Odds::new(l, odds_t), Odds::new(l, odds_s), l.splat(0.0));
    let ([b, rest], [c, rest_c]) = (of_t.shares, of_s.shares);
    let ([log_b, log_rest], [log_c, log_rest_c]) = (of_t.logs, of_s.logs);
    let r = ratio(l, rest_c, zero - difference, log_c - log_b);
    let r_rest = ratio(l, c, difference, log_rest_c - log_rest);
    let [excess, of_target] = both(l, [c, b], r);
    let [rest_excess, of_rest] = both(l, [rest_c, rest], r_rest);
    // The smaller of the two shares keeps its digits.
    let pull = l.select(l.less(zero, odds_s), rest_excess, zero - excess);
    let finite = l.less(l.abs(odds_t), l.splat(f64::INFINITY));
    // Infinite and the same, there is nothing between them.
    let same = l.equal(odds_t, odds_s);
    let divergence = of_target + of_rest;
    [
        l.select(same, l.select(finite, divergence, zero), divergence),
        l.select(same, l.select(finite, pull, zero), pull),
    ]
}

/// The log-ratio of a share, `-log(1 + other (e^d - 1))`, from the share of the rest and how far the log-odds of that are
/// apart; `far` where these are not near.
#[inline(always)]
fn ratio<L: Doubles>(l: L, other: L::D, d: L::D, far: L::D) -> L::D {
    let (near, zero, [excess, _]) = (l.less(l.abs(d), l.splat(1.0)), l.splat(0.0), close(l, other, d));
    l.select(near, zero - ln_1p_lanes(l, l.select(near, excess, zero)), far)
}
