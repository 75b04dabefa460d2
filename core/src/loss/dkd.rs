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
//! Both maps `[N, C, H, W]`, labels `[N, H, W]`. Source: arXiv 2203.08679. Cost: two reads of both maps, one more for
//! the gradient to the student (there is none to the teacher); 7 numbers a position.
//!
//! # Close pairs
//! Of the rest the first read leaves two log-sum-exps, and so every log-ratio `r_j = log p^_j - log q^_j` but for a
//! rounding that is the same in all. The second read takes two sums about them:
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

use super::About;
use crate::arithmetic::{Arithmetic, bregman, log1p_excess, two_difference};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, LogSumExp, Maps, Measured, Needs, PIECE, Shapes, Targets, head, real,
    spans,
};
use crate::options::options;
use crate::row::{per_quarter, softplus};
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
    const EMPTY: Self = Self { t: LogSumExp::EMPTY, s: LogSumExp::EMPTY, ratio: 0.0 };

    /// (t - s) / tau, without the log-ratio of the two sums: the log-ratio of an entry where both are finite.
    #[inline(always)]
    fn log_ratio(&self, scale: f64, t: f64, s: f64) -> f64 {
        let (high, low) = two_difference(t * 0.25, s * 0.25);
        let (high_top, low_top) = two_difference(self.t.top, self.s.top);
        ((high - high_top) + (low - low_top)) * scale - self.ratio
    }

    fn entry(&self, scale: f64, t: f64, s: f64) -> Entry {
        let q = self.s.share(scale, s);
        if t == f64::NEG_INFINITY || s == f64::NEG_INFINITY {
            let p = self.t.share(scale, t);
            // A finite logit has mass, whether or not it underflows.
            return Entry { q, excess: p - q, term: if t > s { f64::INFINITY } else { q } };
        }
        let r = self.log_ratio(scale, t, s);
        if r.abs() <= 1.0 {
            let excess = q * (r + r * r * r.expm1_rest());
            return Entry { q, excess, term: q * bregman(r) };
        }
        let p = self.t.share(scale, t);
        Entry { q, excess: p - q, term: term(q, p, r) }
    }
}

/// q k(r) for p = q e^r.
fn term(q: f64, p: f64, r: f64) -> f64 {
    if r.abs() <= 1.0 {
        q * bregman(r)
    } else if p == 0.0 && r < f64::INFINITY {
        q
    } else {
        p * (r - 1.0) + q
    }
}

/// The divergence of the target's share and the rest's, and `c - b`, from the log-odds of the target in both
/// softmaxes and their difference.
fn target(odds_t: f64, odds_s: f64, difference: f64) -> (f64, f64) {
    if odds_t == odds_s && odds_t.is_infinite() {
        return (0.0, 0.0);
    }
    let shares = |odds: f64| (libm::exp(-softplus(-odds)), libm::exp(-softplus(odds)));
    let ((b, rest), (c, rest_c)) = (shares(odds_t), shares(odds_s));
    let (r, r_rest) = if difference.abs() <= 1.0 {
        (-libm::log1p(rest_c * libm::expm1(-difference)), -libm::log1p(c * libm::expm1(difference)))
    } else {
        (softplus(-odds_s) - softplus(-odds_t), softplus(odds_s) - softplus(odds_t))
    };
    let excess = |q: f64, p: f64, r: f64| if r.abs() <= 1.0 { q * libm::expm1(r) } else { p - q };
    // The smaller of the two shares keeps its digits.
    let pull = if odds_s > 0.0 { excess(rest_c, rest, r_rest) } else { -excess(c, b, r) };
    (term(c, b, r) + term(rest_c, rest, r_rest), pull)
}

/// Positions that are gathered at once.
const SPAN: usize = PIECE / 2;

/// What is gathered of a position on the way through its classes.
#[derive(Clone, Copy)]
struct Gathered {
    target: Option<usize>,
    own: [f64; 2],
    rest: Rest,
    divergence: f64,
    excess: f64,
}

/// What is kept of a position.
struct Kept {
    value: f64,
    rest: Rest,
    /// `c - b`: the student's share of the target over the teacher's.
    pull: f64,
}

impl Kept {
    const LEN: usize = 7;

    fn read(from: &[f64]) -> Self {
        match *from {
            [value, top_t, sum_t, top_s, sum_s, ratio, pull, ..] => {
                let (t, s) = (LogSumExp { top: top_t, sum: sum_t }, LogSumExp { top: top_s, sum: sum_s });
                Self { value, rest: Rest { t, s, ratio }, pull }
            }
            _ => Self { value: f64::NAN, rest: Rest::EMPTY, pull: f64::NAN },
        }
    }

    fn write(self, to: &mut [f64]) {
        let Self { value, rest: Rest { t, s, ratio }, pull } = self;
        let from = [value, t.top, t.sum, s.top, s.sum, ratio, pull];
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    }
}

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

    fn position(&self, at: &Gathered) -> Kept {
        let Gathered { target: class, own: [own_t, own_s], mut rest, divergence, excess } = *at;
        if class.is_none() {
            return Kept { value: 0.0, rest, pull: 0.0 };
        }
        let bad = |own: f64, rest: &LogSumExp| own.is_nan() || own == f64::INFINITY || rest.sum.is_nan();
        if bad(own_t, &rest.t) || bad(own_s, &rest.s) {
            return Kept { value: f64::NAN, rest, pull: f64::NAN };
        }
        if rest.t.is_empty() && own_t == f64::NEG_INFINITY {
            return Kept { value: 0.0, rest, pull: 0.0 };
        }
        // What the teacher's shares of the rest sum to beyond 1 is the error of the log-ratios.
        let mut of_rest = if rest.t.is_empty() { 0.0 } else { divergence };
        if excess.abs() <= 0.5 {
            rest.ratio += libm::log1p(excess);
            of_rest = of_rest / (1.0 + excess) - log1p_excess(excess);
            // Rounding may leave a tiny negative number where the divergence is 0 in all digits.
            of_rest = if of_rest < 0.0 { 0.0 } else { of_rest };
        }
        let scale = per_quarter(self.tau);
        let (odds_t, odds_s) = (rest.t.log_odds(scale, own_t), rest.s.log_odds(scale, own_s));
        let difference = if odds_t.is_finite() && odds_s.is_finite() {
            rest.log_ratio(scale, own_t, own_s)
        } else {
            odds_t - odds_s
        };
        let (of_target, pull) = target(odds_t, odds_s, difference);
        let weighted = |weight: f64, x: f64| if weight == 0.0 { 0.0 } else { weight * x };
        let value = weighted(self.alpha.get(), of_target) + weighted(self.beta.get(), of_rest);
        Kept { value, rest, pull }
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
        shapes.student.images() * shapes.student.positions() * Kept::LEN
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let targets = Targets::checked(maps, self.ignore_index)?;
        let scale = per_quarter(self.tau);
        let shape = maps.student.shape();
        let (m, classes) = (shape.positions(), shape.channels());
        on.chunks(state, PIECE * Kept::LEN, &|chunk, state| {
            let from = chunk * PIECE;
            let mut buffers = [[0.0; PIECE]; 2];
            let [of_t, of_s] = &mut buffers;
            let empty =
                Gathered { target: None, own: [0.0; 2], rest: Rest::EMPTY, divergence: 0.0, excess: 0.0 };
            let mut gathered = [empty; SPAN];
            let mut kept = state.chunks_mut(Kept::LEN);
            for (n, piece) in spans(shape, from..from + kept.len(), SPAN) {
                let gathered = gathered.get_mut(..piece.len()).unwrap_or_default();
                for (at, position) in gathered.iter_mut().zip(piece.clone()) {
                    let target = targets.at(n * m + position);
                    let own = |class| [maps.teacher, maps.student].map(|view| view.at(n, class, position));
                    *at = Gathered { target, own: target.map_or([0.0; 2], own), ..empty };
                }
                let mut sweep = |gathered: &mut [Gathered], see: fn(&mut Gathered, f64, f64, f64)| {
                    for c in 0..classes {
                        let t = maps.teacher.positions(n, c, piece.start, head(of_t, &piece));
                        let s = maps.student.positions(n, c, piece.start, head(of_s, &piece));
                        for (at, (&t, &s)) in gathered.iter_mut().zip(t.iter().zip(s)) {
                            if at.target.is_some_and(|target| target != c) {
                                see(at, scale, t, s);
                            }
                        }
                    }
                };
                sweep(gathered, |at, scale, t, s| {
                    at.rest.t.add(scale, t);
                    at.rest.s.add(scale, s);
                });
                for at in &mut *gathered {
                    at.rest.ratio = libm::log(at.rest.t.sum) - libm::log(at.rest.s.sum);
                }
                sweep(gathered, |at, scale, t, s| {
                    let entry = at.rest.entry(scale, t, s);
                    at.divergence += entry.term;
                    at.excess += entry.excess;
                });
                for (at, kept) in gathered.iter().zip(&mut kept) {
                    self.position(at).write(kept);
                }
            }
        });
        let sum = state.chunks(Kept::LEN).map(|kept| Kept::read(kept).value).sum();
        let divisor = match self.divisor {
            Divisor::Batch => real(shape.images()),
            Divisor::BatchPositions => real(targets.count()),
            _ => 1.0,
        };
        Ok(Measured { sum, divisor })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let scale = per_quarter(self.tau);
        let from = at.n * maps.student.shape().positions() + at.positions.start;
        let targets = Targets::of(maps, self.ignore_index);
        let (alpha, beta) = (self.alpha.get(), self.beta.get());
        let mut buffers = [[0.0; PIECE]; 2];
        let [of_t, of_s] = &mut buffers;
        let t = maps.teacher.positions(at.n, at.c, at.positions.start, head(of_t, &at.positions));
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(of_s, &at.positions));
        let kept = state.get(from * Kept::LEN..).unwrap_or_default().chunks(Kept::LEN).map(Kept::read);
        for ((out, (&t, &s)), (position, kept)) in out.iter_mut().zip(t.iter().zip(s)).zip((from..).zip(kept))
        {
            let pull = match targets.at(position) {
                None => 0.0,
                Some(_) if kept.value.is_nan() => f64::NAN,
                Some(class) if class == at.c => alpha * kept.pull,
                Some(_) => {
                    let Entry { q, excess, .. } = kept.rest.entry(scale, t, s);
                    let of_rest = if kept.rest.t.is_empty() { 0.0 } else { beta * excess };
                    -(alpha * kept.pull * q) - of_rest
                }
            };
            *out = pull / self.tau.get();
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
