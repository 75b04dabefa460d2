//! The divergence of two shares and the rests beside them.

use crate::arithmetic::{Arithmetic as _, bregman_near, expm1_near};
use crate::logarithm::ln_1p_fast;
use crate::simd::Doubles;

/// [`excess`] and [`term`] in vectors, for |r| below 1.
#[inline(always)]
pub(super) fn close<L: Doubles>(l: L, q: L::D, r: L::D) -> [L::D; 2] {
    let (squared, g) = (r * r, l.expm1_rest(r));
    let rest = squared * g;
    [q * (r + rest), q * l.fma(r, rest, squared * (l.splat(1.0) - g))]
}

/// [`term`] in vectors, for other r.
#[inline(always)]
pub(super) fn apart<L: Doubles>(l: L, [q, p]: [L::D; 2], r: L::D) -> L::D {
    let far = l.fma(p, r - l.splat(1.0), q);
    // Nothing is left of an underflowed share, however far it is.
    let rest = l.select(l.less(r, l.splat(f64::INFINITY)), q, far);
    l.select(l.equal(p, l.splat(0.0)), rest, far)
}

/// q k(r) for p = q e^r.
#[inline(always)]
fn term(q: f64, p: f64, r: f64) -> f64 {
    let (near, far) = (q * bregman_near(r), p * (r - 1.0) + q);
    let far = if p == 0.0 && r < f64::INFINITY { q } else { far };
    if r.abs() <= 1.0 { near } else { far }
}

/// p - q for p = q e^r.
#[inline(always)]
fn excess(q: f64, p: f64, r: f64) -> f64 {
    let near = q * expm1_near(r);
    if r.abs() <= 1.0 { near } else { p - q }
}

/// The target's share in a softmax.
struct Odds {
    /// Its logarithm's and the rest's, negative.
    logs: [f64; 2],
    shares: [f64; 2],
}

impl Odds {
    #[inline(always)]
    fn new(odds: f64) -> Self {
        let other = (-odds.abs()).exp_fast();
        let (log, positive) = (ln_1p_fast(other), odds > 0.0);
        let (large, small) = (1.0 / (1.0 + other), other / (1.0 + other));
        Self {
            logs: [if positive { 0.0 } else { -odds } + log, if positive { odds } else { 0.0 } + log],
            shares: if positive { [large, small] } else { [small, large] },
        }
    }
}

/// The divergence of the target's share and the rest's, and `c - b`, from the log-odds of the target in both
/// softmaxes and their difference.
#[inline(always)]
pub(super) fn target(odds_t: f64, odds_s: f64, difference: f64) -> (f64, f64) {
    let (of_t, of_s) = (Odds::new(odds_t), Odds::new(odds_s));
    let ([b, rest], [c, rest_c]) = (of_t.shares, of_s.shares);
    let near = difference.abs() <= 1.0;
    let ([log_b, log_rest], [log_c, log_rest_c]) = (of_t.logs, of_s.logs);
    let close = -ln_1p_fast(rest_c * expm1_near(-difference));
    let r = if near { close } else { log_c - log_b };
    let close = -ln_1p_fast(c * expm1_near(difference));
    let r_rest = if near { close } else { log_rest_c - log_rest };
    // The smaller of the two shares keeps its digits.
    let pull = if odds_s > 0.0 { excess(rest_c, rest, r_rest) } else { -excess(c, b, r) };
    let same = odds_t == odds_s && odds_t.is_infinite();
    let divergence = term(c, b, r) + term(rest_c, rest, r_rest);
    if same { (0.0, 0.0) } else { (divergence, pull) }
}
