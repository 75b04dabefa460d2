//! Cross-entropy with smoothed labels: the task's own loss beside a teacher's.
//!
//! ```text
//! q = softmax over the C classes of s / tau      y = (1 - a) onehot(label) + a / C
//! loss = weight / n * sum over the n counted positions of  -sum_j y_j log q_j
//! ```
//!
//! The gradient is (q - y) / (n tau). Student `[N, C, H, W]`, labels `[N, H, W]`. Source: arXiv 1512.00567, section 7.
//! Cost: one read of the map (a tile's channels twice, the second time from a cache), one more for the gradient;
//! 5 numbers a position.
//!
//! Everything is taken from the log-sum-exp of the classes other than the label's: with l the log-odds of the label,
//! its logit over tau less that, the label's term is log(1 + e^-l) and the others' share 1 / (1 + e^l). A confident
//! student, whose probability of the label rounds to 1, loses no digit of either.

use super::About;
use crate::logarithm::softplus_lanes;
use crate::map::{
    At, Executor, Explain, Formula, LogSumExp, Maps, Measured, Needs, PIECE, Samples, Shapes, Softmaxes,
    Sweep, Targets, cut_mut, head, real, row, sum, sweep, term,
};
use crate::options::options;
use crate::row::per_quarter;
use crate::simd::Doubles;
use crate::{Error, Preset, Shape, Share, Temperature, Weight};
use core::fmt;

options! {
    /// Options of the smoothed cross-entropy, which compares with labels and takes no teacher.
    ///
    /// ```
    /// use densekd_core::SmoothCeOptions;
    /// assert_eq!(SmoothCeOptions::DEFAULT.smoothing.get(), 0.1);
    /// ```
    SmoothCeOptions {
        /// Temperature: q = softmax(s / tau).
        tau: Temperature = Temperature::ONE,
        /// The share of the target that is spread over all classes.
        smoothing: Share = Share::literal(0.1),
        /// The label of positions to leave out.
        ignore_index: i64 = 255,
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// What is kept of a position: its class, what it adds to the sum, of the classes other than its own the largest
/// logit and what multiplies e^(x / tau) over the largest, and their share.
const KEPT: usize = 5;

impl SmoothCeOptions {
    pub(crate) const ABOUT: About = About {
        name: "smooth_ce",
        summary: "cross-entropy of the student with smoothed labels; no teacher",
        source: "arXiv 1512.00567, section 7",
    };

    pub(crate) const PRESETS: &[Preset] = &[];

    fn spread(&self, shape: Shape) -> f64 {
        self.smoothing.get() / real(shape.channels())
    }
}

/// The sum of the logits of a position's other classes over its own, in quarters.
#[derive(Clone, Copy)]
struct Above {
    c: f64,
}

impl Sweep<3, 1> for Above {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x, class, own]: [L::D; 3], [above]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let quarter = l.splat(0.25);
        let is_own = l.equal(class, l.splat(self.c));
        *above = *above + l.select(is_own, l.splat(0.0), x * quarter - own * quarter);
    }
}

/// What is kept of a position, from its own logit, the others' sum and how far they are above; its class and the
/// largest of the others.
#[derive(Clone, Copy)]
struct Position {
    scale: f64,
    spread: f64,
}

impl Sweep<2, 3> for Position {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [class, top]: [L::D; 2], out: &mut [L::D; 3], _: &mut [L::D; 0]) {
        let [own, sum, above] = *out;
        let (zero, one, infinity, nan) =
            (l.splat(0.0), l.splat(1.0), l.splat(f64::INFINITY), l.splat(f64::NAN));
        let rest = LogSumExp { top, sum };
        let odds = rest.log_odds(l, self.scale, own);
        let odds = l.select(l.less(own, infinity), l.select(l.equal(sum, sum), odds, nan), nan);
        let other = l.exp(zero - l.abs(odds));
        let share = l.select(l.less(zero, odds), other, one) / (one + other);
        let own_term = softplus_lanes(l, zero - odds);
        let less = own_term - l.splat(self.spread) * (above * l.splat(self.scale));
        let value = if self.spread == 0.0 { own_term } else { less };
        let value = l.select(l.equal(own_term, infinity), own_term, value);
        let weight = l.select(rest.is_empty(l), zero, share / sum);
        *out = [l.select(l.less(class, zero), zero, value), weight, share];
    }
}

/// q - y over tau at class c, from a logit and what is kept of its position.
#[derive(Clone, Copy)]
struct Pull {
    c: f64,
    scale: f64,
    own: f64,
    spread: f64,
    per_tau: f64,
}

impl Sweep<5, 1> for Pull {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 5], [out]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let ([x, class, top, weight, share], zero) = (x, l.splat(0.0));
        let other = weight * term(l, self.scale, x, top) - l.splat(self.spread);
        let pull = l.select(l.equal(class, l.splat(self.c)), l.splat(self.own) - share, other);
        *out = l.select(l.less(class, zero), zero, pull * l.splat(self.per_tau));
    }
}

impl Formula for SmoothCeOptions {
    fn needs(&self) -> Needs {
        Needs { teacher: false, labels: true, projection: false, teacher_gradient: false }
    }

    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, _shapes: &Shapes) -> Result<(), Error> {
        Ok(())
    }

    fn state(&self, shapes: &Shapes) -> usize {
        Samples::new(shapes.student).state(KEPT)
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let targets = Targets::checked(maps, self.ignore_index)?;
        let (view, scale) = (maps.student, per_quarter(self.tau));
        let samples = Samples::new(view.shape());
        let position = Position { scale, spread: self.spread(view.shape()) };
        on.chunks(state, samples.width() * KEPT, &|i, state| {
            let tile = samples.tile(i);
            let [class, own, top, sum, above] = cut_mut(state, [tile.len(); KEPT]);
            targets.fill(tile.clone(), class);
            above.fill(0.0);
            let rest = Softmaxes { class, own, top, sum };
            rest.take(scale, &samples, (view, &tile), |c, x, own| {
                sweep(maps.isa, [x, class, own], [&mut *above], Above { c });
            });
            sweep(maps.isa, [&*class, top], [own, sum, above], position);
        });
        let tiles = state.chunks((samples.width() * KEPT).max(1)).enumerate();
        let value = tiles.map(|(i, state)| sum(row(state, 1, samples.tile(i).len()), |value| value)).sum();
        Ok(Measured { sum: value, divisor: real(targets.count()) })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let (shape, spread) = (maps.student.shape(), self.spread(maps.student.shape()));
        let samples = Samples::new(shape);
        let pull = Pull {
            c: real(at.c),
            scale: per_quarter(self.tau),
            own: self.smoothing.get() - spread,
            spread,
            per_tau: 1.0 / self.tau.get(),
        };
        let mut buffer = [0.0; PIECE];
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(&mut buffer, &at.positions));
        for (i, of_tile, here) in samples.over(at.n, &at.positions) {
            let [class, _, top, weight, share] = samples.kept(state, i, &of_tile);
            let (out, s) = (out.get_mut(here.clone()).unwrap_or_default(), s.get(here).unwrap_or_default());
            sweep(maps.isa, [s, class, top, weight, share], [out], pull);
        }
    }
}

impl Explain for SmoothCeOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tau, a) = (self.tau.get(), self.smoothing.get());
        writeln!(
            f,
            "q = softmax over the C channels of s / {tau},  y = {} * onehot(label) + {a} / C",
            1.0 - a
        )?;
        write!(
            f,
            "loss = {} / n * sum over the n positions with a label other than {} of -sum_j y_j log q_j",
            self.weight.get(),
            self.ignore_index
        )
    }
}
