//! Decoupled distillation (DKD): the target's share and the other classes, weighted apart.
//!
//! `p`, `q` = softmax over the C classes of t / tau, s / tau at a counted position with label y; `b = p_y`, b' the sum
//! of the rest; `c`, c' the same of the student.
//!
//! ```text
//! TCKD = b log(b / c) + b' log(b' / c')      NCKD = KL(p^ || q^), the softmaxes over the classes other than y
//! loss = weight * tau^2 / divisor * sum over positions of  alpha TCKD + beta NCKD
//! ```
//!
//! Both maps `[N, C, H, W]`, labels `[N, H, W]`. Source: arXiv 2203.08679. Cost: one read of both maps (a tile's channels
//! three times, twice of them from a cache), one more for the gradient to the student (there is none to the teacher);
//! 8 numbers a position.
//!
//! # Close pairs
//! Of the rest the first sweeps leave two log-sum-exps, and so every log-ratio `r_j = log p^_j - log q^_j` but for a
//! rounding that is the same in all. The last sweep takes two sums about them:
//!
//! ```text
//! G = sum q^ k(r), k(r) = r e^r - e^r + 1      E = sum q^ (e^r - 1), 0 but for that rounding
//! NCKD = G / (1 + E) - (log(1 + E) - E / (1 + E))
//! ```
//!
//! All terms of G are at least 0 and each is right by itself, so that nothing cancels; the gradient is taken of
//! `r - log(1 + E)`. TCKD is the same sum of two terms, with d the difference of the log-odds of the target, which is
//! a log-ratio, too:
//!
//! ```text
//! log(b / c) = -log(1 + c' (e^-d - 1))      log(b' / c') = -log(1 + c (e^d - 1))
//! ```
//!
//! # Gradient
//! ```text
//! dTCKD/ds_j = (b'/c' - b/c) c (delta_jy - q_j) / tau      and      (b'/c' - b/c) c = (c - b) / c'
//! ```
//!
//! so it is `c - b` at the target and `-(c - b) q^_j` elsewhere, over tau; dNCKD is `q^_j - p^_j` there, over tau.

mod target;

use self::target::{apart, close, target};
use super::About;
use crate::arithmetic::log1p_excess_near;
use crate::logarithm::{ln_1p_lanes, ln_lanes};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, LogSumExp, Maps, Measured, Needs, PIECE, Samples, Shapes, Softmaxes,
    Sweep, Targets, cut_mut, head, real, row, sum, sweep, term,
};
use crate::options::options;
use crate::row::per_quarter;
use crate::simd::{Doubles, difference};
use crate::{Divisor, Error, Preset, Temperature, Weight};
use core::fmt;

options! {
    /// Options of decoupled distillation.
    ///
    /// ```
    /// use densekd_core::DkdOptions;
    /// assert_eq!(DkdOptions::DEFAULT.beta.get(), 8.0);
    /// ```
    DkdOptions {
        /// Temperature: p = softmax(t / tau), q = softmax(s / tau).
        tau: Temperature = Temperature::FOUR,
        /// Multiply by tau^2, which keeps the gradient's size the same for every tau.
        tau_square: bool = true,
        /// Weight of the target's share (TCKD).
        alpha: Weight = Weight::ONE,
        /// Weight of the other classes (NCKD).
        beta: Weight = Weight::literal(8.0),
        /// What the sum over positions is divided by: 1 (sum), N (batch) or the counted positions
        /// (`batch_positions`).
        divisor: Divisor = Divisor::BatchPositions,
        /// The label of positions to leave out.
        ignore_index: i64 = 255,
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// The two softmaxes over the classes other than the label's, in vectors: largest logits, reciprocals of sums, and the
/// logarithm of the teacher's sum over the student's.
#[derive(Clone, Copy)]
struct Rest<L: Doubles> {
    t: [L::D; 2],
    s: [L::D; 2],
    ratio: L::D,
}

/// A class of the rest.
struct Entry<L: Doubles> {
    /// The student's share.
    q: L::D,
    /// The teacher's share over it.
    excess: L::D,
    /// What it adds to the divergence.
    term: L::D,
}

impl<L: Doubles> Rest<L> {
    #[inline(always)]
    fn entry(&self, l: L, scale: f64, t: L::D, s: L::D) -> Entry<L> {
        let r = log_ratio(l, scale, [t, s], [self.t[0], self.s[0], self.ratio]);
        let q = share(l, scale, s, self.s);
        let (near, [excess, term]) = (l.less(l.abs(r), l.splat(1.0)), close(l, q, r));
        if l.all(near) {
            return Entry { q, excess, term };
        }
        let p = share(l, scale, t, self.t);
        let far = apart(l, [q, p], r);
        let (excess, term) = (l.select(near, excess, p - q), l.select(near, term, far));
        // A finite logit has mass, whether or not it underflows.
        let lone = l.select(l.less(s, t), l.splat(f64::INFINITY), q);
        let lowest = l.splat(f64::NEG_INFINITY);
        let (no_t, no_s) = (l.equal(t, lowest), l.equal(s, lowest));
        let excess = l.select(no_t, p - q, l.select(no_s, p - q, excess));
        Entry { q, excess, term: l.select(no_t, lone, l.select(no_s, lone, term)) }
    }
}

/// The softmax at one of the logits, by the reciprocal of the sum.
#[inline(always)]
fn share<L: Doubles>(l: L, scale: f64, x: L::D, [top, per_sum]: [L::D; 2]) -> L::D {
    let of = term(l, scale, x, top) * per_sum;
    l.select(l.equal(x, l.splat(f64::NEG_INFINITY)), l.splat(0.0), of)
}

/// (t - s) / tau, without the log-ratio of the two sums: the log-ratio of an entry where both are finite.
#[inline(always)]
fn log_ratio<L: Doubles>(l: L, scale: f64, [t, s]: [L::D; 2], [top_t, top_s, ratio]: [L::D; 3]) -> L::D {
    let quarter = l.splat(0.25);
    let (high, low) = difference(t * quarter, s * quarter);
    let (high_top, low_top) = difference(top_t, top_s);
    ((high - high_top) + (low - low_top)) * l.splat(scale) - ratio
}

/// What is kept of a position for its gradient: its class, what it adds to the sum, [`Rest`], and `c - b`, the student's share of the
/// target over the teacher's.
const KEPT: usize = 8;

impl DkdOptions {
    pub(crate) const ABOUT: About = About {
        name: "dkd",
        summary: "decoupled distillation: KL of the target's share, and KL of the other classes among themselves",
        source: "arXiv 2203.08679",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        Preset {
            name: "mmrazor-dkd",
            options: Options::Map(MapOptions::Dkd(DkdOptions {
                tau: Temperature::ONE,
                beta: Weight::literal(0.5),
                divisor: Divisor::Sum,
                ..DkdOptions::DEFAULT
            })),
            repository: "open-mmlab/mmrazor",
            source: "mmrazor/models/losses/decoupled_kd.py, config (size_average=False sums; its class default divides by N)",
        },
        Preset {
            name: "mdistiller-dkd",
            options: Options::Map(MapOptions::Dkd(DkdOptions::DEFAULT)),
            repository: "megvii-research/mdistiller",
            source: "mdistiller/distillers/DKD.py, mdistiller/engine/cfg.py",
        },
    ];
}

/// The log-ratio of the sums, and their reciprocals.
#[derive(Clone, Copy)]
struct Ratio;

impl Sweep<2, 3> for Ratio {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [t, s]: [L::D; 2], out: &mut [L::D; 3], _: &mut [L::D; 0]) {
        let one = l.splat(1.0);
        *out = [ln_lanes(l, t) - ln_lanes(l, s), one / t, one / s];
    }
}

/// The sums G and E, of class c more.
#[derive(Clone, Copy)]
struct Terms {
    c: f64,
    scale: f64,
}

impl Sweep<8, 2> for Terms {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 8], [divergence, excess]: &mut [L::D; 2], _: &mut [L::D; 0]) {
        let [t, s, class, top_t, per_sum_t, top_s, per_sum_s, ratio] = x;
        let rest = Rest { t: [top_t, per_sum_t], s: [top_s, per_sum_s], ratio };
        let entry = rest.entry(l, self.scale, t, s);
        let is_own = l.equal(class, l.splat(self.c));
        *divergence = *divergence + l.select(is_own, l.splat(0.0), entry.term);
        *excess = *excess + l.select(is_own, l.splat(0.0), entry.excess);
    }
}

/// What is kept of a position, from its sums.
#[derive(Clone, Copy)]
struct Position {
    scale: f64,
    alpha: f64,
    beta: f64,
}

impl Sweep<7, 3> for Position {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 7], out: &mut [L::D; 3], _: &mut [L::D; 0]) {
        let [class, own_t, own_s, top_t, sum_t, top_s, sum_s] = x;
        let [divergence, ratio, excess] = *out;
        let (zero, infinity, nan) = (l.splat(0.0), l.splat(f64::INFINITY), l.splat(f64::NAN));
        // What the teacher's shares of the rest sum to beyond 1 is the error of the log-ratios.
        let known = l.less(l.abs(excess), l.splat(0.1));
        let ratio = l.select(known, ratio + ln_1p_lanes(l, l.select(known, excess, zero)), ratio);
        let corrected = divergence / (l.splat(1.0) + excess) - log1p_excess_near(|x| l.splat(x), excess);
        // Rounding may leave a tiny negative number where the divergence is 0 in all digits.
        let corrected = l.select(l.less(corrected, zero), zero, corrected);
        let of_rest = l.select(known, corrected, divergence);
        let (rest_t, rest_s) = (LogSumExp { top: top_t, sum: sum_t }, LogSumExp { top: top_s, sum: sum_s });
        let of_rest = l.select(rest_t.is_empty(l), zero, of_rest);
        let (odds_t, odds_s) = (rest_t.log_odds(l, self.scale, own_t), rest_s.log_odds(l, self.scale, own_s));
        let apart = odds_t - odds_s;
        let difference = log_ratio(l, self.scale, [own_t, own_s], [top_t, top_s, ratio]);
        let difference = l.select(l.less(l.abs(odds_t), infinity), difference, apart);
        let difference = l.select(l.less(l.abs(odds_s), infinity), difference, apart);
        let [of_target, pull] = target(l, [odds_t, odds_s], difference);
        let of_target = if self.alpha == 0.0 { zero } else { l.splat(self.alpha) * of_target };
        let of_rest = if self.beta == 0.0 { zero } else { l.splat(self.beta) * of_rest };
        let value = of_target + of_rest;
        let pull = l.select(l.equal(value, value), pull, nan);
        // 1 of a position that counts, 0 of one that has no class or whose teacher is no softmax, and NaN of one with an entry
        // that is no number.
        let of_none = l.select(l.equal(own_t, l.splat(f64::NEG_INFINITY)), zero, l.splat(1.0));
        let counts = l.select(rest_t.is_empty(l), of_none, l.splat(1.0));
        let counts = l.select(l.less(own_t, infinity), l.select(l.equal(sum_t, sum_t), counts, nan), nan);
        let counts = l.select(l.less(own_s, infinity), l.select(l.equal(sum_s, sum_s), counts, nan), nan);
        let counts = l.select(l.less(class, zero), zero, counts);
        let (nothing, sound) = (l.equal(counts, zero), l.equal(counts, counts));
        let value = l.select(nothing, zero, l.select(sound, value, nan));
        *out = [value, ratio, l.select(nothing, zero, l.select(sound, pull, nan))];
    }
}

/// The gradient at class c, from logits and what is kept of their position.
#[derive(Clone, Copy)]
struct Pull {
    c: f64,
    scale: f64,
    alpha: f64,
    beta: f64,
    per_tau: f64,
}

impl Sweep<9, 1> for Pull {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 9], [out]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let ([t, s, class, top_t, per_sum_t, top_s, per_sum_s, ratio, pull], zero) = (x, l.splat(0.0));
        let rest = Rest { t: [top_t, per_sum_t], s: [top_s, per_sum_s], ratio };
        let Entry { q, excess, .. } = rest.entry(l, self.scale, t, s);
        let is_empty = l.equal(per_sum_t, l.splat(f64::INFINITY));
        let of_rest = l.select(is_empty, zero, l.splat(self.beta) * excess);
        let own = l.splat(self.alpha) * pull;
        let pull = l.select(l.equal(class, l.splat(self.c)), own, zero - own * q - of_rest);
        *out = l.select(l.less(class, zero), zero, pull * l.splat(self.per_tau));
    }
}

impl Formula for DkdOptions {
    fn needs(&self) -> Needs {
        Needs { teacher: true, labels: true, projection: false, teacher_gradient: false }
    }

    fn scale(&self) -> f64 {
        let tau = self.tau.get();
        self.weight.get() * if self.tau_square { tau * tau } else { 1.0 }
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        match self.divisor {
            Divisor::Sum | Divisor::Batch | Divisor::BatchPositions => shapes.same(),
            found => Err(Error::Divisor { found }),
        }
    }

    fn state(&self, shapes: &Shapes) -> usize {
        Samples::new(shapes.student).state(KEPT)
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let targets = Targets::checked(maps, self.ignore_index)?;
        let scale = per_quarter(self.tau);
        let shape = maps.student.shape();
        let samples = Samples::new(shape);
        on.chunks(state, samples.width() * KEPT, &|i, state| {
            let tile = samples.tile(i);
            let [class, value, top_t, sum_t, top_s, sum_s, ratio, pull] = cut_mut(state, [tile.len(); KEPT]);
            targets.fill(tile.clone(), class);
            let class = &*class;
            let mut owns = [[0.0; PIECE]; 2];
            let [own_t, own_s] = owns.each_mut().map(|own| own.get_mut(..tile.len()).unwrap_or_default());
            let sides = [
                (maps.teacher, &mut *own_t, &mut *top_t, &mut *sum_t),
                (maps.student, &mut *own_s, &mut *top_s, &mut *sum_s),
            ];
            for (view, own, top, sum) in sides {
                Softmaxes { class, own, top, sum }.take(scale, &samples, (view, &tile), |_, _, _| {});
            }
            let mut reciprocals = [[0.0; PIECE]; 2];
            let [per_sum_t, per_sum_s] =
                reciprocals.each_mut().map(|of| of.get_mut(..tile.len()).unwrap_or_default());
            sweep(maps.isa, [sum_t, sum_s], [&mut *ratio, &mut *per_sum_t, &mut *per_sum_s], Ratio);
            value.fill(0.0);
            pull.fill(0.0);
            let mut buffers = [[0.0; PIECE]; 2];
            let [of_t, of_s] = &mut buffers;
            for c in 0..shape.channels() {
                let t = samples.read(maps.teacher, c, &tile, of_t);
                let s = samples.read(maps.student, c, &tile, of_s);
                let terms = Terms { c: real(c), scale };
                let x = [t, s, class, &*top_t, &*per_sum_t, &*top_s, &*per_sum_s, &*ratio];
                sweep(maps.isa, x, [&mut *value, &mut *pull], terms);
            }
            let position = Position { scale, alpha: self.alpha.get(), beta: self.beta.get() };
            let x = [class, own_t, own_s, top_t, sum_t, top_s, sum_s];
            sweep(maps.isa, x, [value, ratio, pull], position);
            for (sum, per_sum) in [(sum_t, per_sum_t), (sum_s, per_sum_s)] {
                sum.iter_mut().zip(per_sum).for_each(|(to, from)| *to = *from);
            }
        });
        let tiles = state.chunks((samples.width() * KEPT).max(1)).enumerate();
        let value = tiles.map(|(i, state)| sum(row(state, 1, samples.tile(i).len()), |value| value)).sum();
        let divisor = match self.divisor {
            Divisor::Batch => real(shape.images()),
            Divisor::BatchPositions => real(targets.count()),
            _ => 1.0,
        };
        Ok(Measured { sum: value, divisor })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let samples = Samples::new(maps.student.shape());
        let pull = Pull {
            c: real(at.c),
            scale: per_quarter(self.tau),
            alpha: self.alpha.get(),
            beta: self.beta.get(),
            per_tau: 1.0 / self.tau.get(),
        };
        let mut buffers = [[0.0; PIECE]; 2];
        let [of_t, of_s] = &mut buffers;
        let t = maps.teacher.positions(at.n, at.c, at.positions.start, head(of_t, &at.positions));
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(of_s, &at.positions));
        for (i, of_tile, here) in samples.over(at.n, &at.positions) {
            let [class, _, top_t, per_sum_t, top_s, per_sum_s, ratio, of_target] =
                samples.kept(state, i, &of_tile);
            let [t, s] = [t, s].map(|x| x.get(here.clone()).unwrap_or_default());
            let out = out.get_mut(here).unwrap_or_default();
            let x = [t, s, class, top_t, per_sum_t, top_s, per_sum_s, ratio, of_target];
            sweep(maps.isa, x, [out], pull);
        }
    }
}

impl Explain for DkdOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tau = self.tau.get();
        writeln!(
            f,
            "p, q = softmax over the C channels of t / {tau}, s / {tau};  y the label,  b = p_y, c = q_y"
        )?;
        writeln!(f, "TCKD = b log(b / c) + (1 - b) log((1 - b) / (1 - c))")?;
        writeln!(f, "NCKD = KL of the softmaxes over the classes other than y")?;
        write!(f, "loss = {}", self.weight.get())?;
        if self.tau_square {
            write!(f, " * {tau}^2")?;
        }
        f.write_str(match self.divisor {
            Divisor::Batch => " / N",
            Divisor::BatchPositions => " / n",
            _ => "",
        })?;
        let (alpha, beta) = (self.alpha.get(), self.beta.get());
        write!(f, " * sum over the n positions with a label other than {} of ", self.ignore_index)?;
        write!(f, "{alpha} TCKD + {beta} NCKD")
    }
}
