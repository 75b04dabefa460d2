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

use self::target::{excess, target, term};
use super::About;
use crate::arithmetic::{log1p_excess_near, two_difference};
use crate::logarithm::{ln_1p_fast, ln_fast};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Lanewise, LogSumExp, Maps, Measured, Needs, PIECE, Samples, Shapes,
    Softmaxes, Targets, cut_mut, head, lanewise, real, row, sum,
};
use crate::options::options;
use crate::row::per_quarter;
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

/// The two softmaxes over the classes other than the label's.
#[derive(Clone, Copy)]
struct Rest {
    t: LogSumExp,
    s: LogSumExp,
    /// The logarithm of the teacher's sum over the student's.
    ratio: f64,
}

/// A class of the rest.
struct Entry {
    /// The student's share.
    q: f64,
    /// The teacher's share over it.
    excess: f64,
    /// What it adds to the divergence.
    term: f64,
}

impl Rest {
    #[inline(always)]
    const fn new([top_t, sum_t, top_s, sum_s, ratio]: [f64; 5]) -> Self {
        Self { t: LogSumExp { top: top_t, sum: sum_t }, s: LogSumExp { top: top_s, sum: sum_s }, ratio }
    }

    /// (t - s) / tau, without the log-ratio of the two sums: the log-ratio of an entry where both are finite.
    #[inline(always)]
    fn log_ratio(&self, scale: f64, t: f64, s: f64) -> f64 {
        let (high, low) = two_difference(t * 0.25, s * 0.25);
        let (high_top, low_top) = two_difference(self.t.top, self.s.top);
        ((high - high_top) + (low - low_top)) * scale - self.ratio
    }

    #[inline(always)]
    fn entry(&self, scale: f64, t: f64, s: f64) -> Entry {
        let (p, q) = (self.t.share(scale, t), self.s.share(scale, s));
        let r = self.log_ratio(scale, t, s);
        let (near, far) = (excess(q, p, r), p - q);
        // A finite logit has mass, whether or not it underflows.
        let lone = if t > s { f64::INFINITY } else { q };
        let missing = t == f64::NEG_INFINITY || s == f64::NEG_INFINITY;
        Entry {
            q,
            excess: if missing { far } else { near },
            term: if missing { lone } else { term(q, p, r) },
        }
    }
}

/// What is kept of a position: its class, what it adds to the sum, [`Rest`], and `c - b`, the student's share of the
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

/// The log-ratio of the sums.
struct Ratio;

impl Lanewise<1, 2> for Ratio {
    #[inline(always)]
    fn at(&self, _: [f64; 1], [t, s]: [f64; 2]) -> [f64; 1] {
        [ln_fast(t) - ln_fast(s)]
    }
}

/// The sums G and E, of class c more.
struct Terms {
    c: f64,
    scale: f64,
}

impl Lanewise<2, 8> for Terms {
    #[inline(always)]
    fn at(&self, [divergence, excess]: [f64; 2], x: [f64; 8]) -> [f64; 2] {
        let [t, s, class, top_t, sum_t, top_s, sum_s, ratio] = x;
        let rest = Rest::new([top_t, sum_t, top_s, sum_s, ratio]);
        let entry = rest.entry(self.scale, t, s);
        if class == self.c { [divergence, excess] } else { [divergence + entry.term, excess + entry.excess] }
    }
}

/// What is kept of a position, from its sums.
struct Position {
    scale: f64,
    alpha: f64,
    beta: f64,
}

impl Lanewise<3, 7> for Position {
    #[inline(always)]
    fn at(&self, [divergence, ratio, excess]: [f64; 3], x: [f64; 7]) -> [f64; 3] {
        let [class, own_t, own_s, top_t, sum_t, top_s, sum_s] = x;
        // What the teacher's shares of the rest sum to beyond 1 is the error of the log-ratios.
        let known = excess.abs() <= 0.1;
        let ratio = if known { ratio + ln_1p_fast(excess) } else { ratio };
        let corrected = divergence / (1.0 + excess) - log1p_excess_near(excess);
        // Rounding may leave a tiny negative number where the divergence is 0 in all digits.
        let corrected = if corrected < 0.0 { 0.0 } else { corrected };
        let of_rest = if known { corrected } else { divergence };
        let rest = Rest::new([top_t, sum_t, top_s, sum_s, ratio]);
        let of_rest = if rest.t.is_empty() { 0.0 } else { of_rest };
        let (odds_t, odds_s) = (rest.t.log_odds(self.scale, own_t), rest.s.log_odds(self.scale, own_s));
        let difference = rest.log_ratio(self.scale, own_t, own_s);
        let finite = odds_t.abs() < f64::INFINITY && odds_s.abs() < f64::INFINITY;
        let (of_target, pull) = target(odds_t, odds_s, if finite { difference } else { odds_t - odds_s });
        let of_target = if self.alpha == 0.0 { 0.0 } else { self.alpha * of_target };
        let of_rest = if self.beta == 0.0 { 0.0 } else { self.beta * of_rest };
        let value = of_target + of_rest;
        let junk = |own: f64, sum: f64| !(own < f64::INFINITY) || sum.is_nan();
        let junk = junk(own_t, sum_t) || junk(own_s, sum_s);
        let value = if junk { f64::NAN } else { value };
        let pull = if value.is_nan() { f64::NAN } else { pull };
        let nothing = class < 0.0 || (!junk && rest.t.is_empty() && own_t == f64::NEG_INFINITY);
        if nothing { [0.0, ratio, 0.0] } else { [value, ratio, pull] }
    }
}

/// The gradient at class c, from logits and what is kept of their position.
struct Pull {
    c: f64,
    scale: f64,
    alpha: f64,
    beta: f64,
    tau: f64,
}

impl Lanewise<1, 9> for Pull {
    #[inline(always)]
    fn at(&self, _: [f64; 1], x: [f64; 9]) -> [f64; 1] {
        let [t, s, class, top_t, sum_t, top_s, sum_s, ratio, pull] = x;
        let rest = Rest::new([top_t, sum_t, top_s, sum_s, ratio]);
        let Entry { q, excess, .. } = rest.entry(self.scale, t, s);
        let of_rest = if rest.t.is_empty() { 0.0 } else { self.beta * excess };
        let own = self.alpha * pull;
        let pull = if class == self.c { own } else { -(own * q) - of_rest };
        [if class < 0.0 { 0.0 } else { pull / self.tau }]
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
            lanewise([&mut *ratio], [sum_t, sum_s], &Ratio);
            value.fill(0.0);
            pull.fill(0.0);
            let mut buffers = [[0.0; PIECE]; 2];
            let [of_t, of_s] = &mut buffers;
            for c in 0..shape.channels() {
                let t = samples.read(maps.teacher, c, &tile, of_t);
                let s = samples.read(maps.student, c, &tile, of_s);
                let terms = Terms { c: real(c), scale };
                lanewise([&mut *value, &mut *pull], [t, s, class, top_t, sum_t, top_s, sum_s, ratio], &terms);
            }
            let position = Position { scale, alpha: self.alpha.get(), beta: self.beta.get() };
            lanewise([value, ratio, pull], [class, own_t, own_s, top_t, sum_t, top_s, sum_s], &position);
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
            tau: self.tau.get(),
        };
        let mut buffers = [[0.0; PIECE]; 2];
        let [of_t, of_s] = &mut buffers;
        let t = maps.teacher.positions(at.n, at.c, at.positions.start, head(of_t, &at.positions));
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(of_s, &at.positions));
        for (i, of_tile, here) in samples.over(at.n, &at.positions) {
            let [class, _, top_t, sum_t, top_s, sum_s, ratio, of_target] = samples.kept(state, i, &of_tile);
            let [t, s] = [t, s].map(|x| x.get(here.clone()).unwrap_or_default());
            let out = out.get_mut(here).unwrap_or_default();
            lanewise([out], [t, s, class, top_t, sum_t, top_s, sum_s, ratio, of_target], &pull);
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
