//! Cross-entropy with smoothed labels: the task's own loss beside a teacher's.
//!
//! ```text
//! q = softmax over the C classes of s / tau      y = (1 - a) onehot(label) + a / C
//! loss = weight / n * sum over the n counted positions of  -sum_j y_j log q_j
//! ```
//!
//! The gradient is (q - y) / (n tau). Student `[N, C, H, W]`, labels `[N, H, W]`. Source: arXiv 1512.00567, section 7.
//! Cost: one read of the map, one more for the gradient; 4 numbers a position.
//!
//! Everything is taken from the log-sum-exp of the classes other than the label's: with l the log-odds of the label,
//! its logit over tau less that, the label's term is log(1 + e^-l) and the others' share 1 / (1 + e^l). A confident
//! student, whose probability of the label rounds to 1, loses no digit of either.

use super::About;
use crate::map::{
    At, Executor, Explain, Formula, LogSumExp, Maps, Measured, Needs, PIECE, Shapes, Targets, head, real,
    spans,
};
use crate::options::options;
use crate::row::{per_quarter, softplus};
use crate::{Error, Preset, Share, Temperature, Weight};
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

/// What is kept of a position.
#[derive(Clone, Copy)]
struct Kept {
    value: f64,
    /// Over the classes other than the label's.
    rest: LogSumExp,
    /// Their share.
    share: f64,
}

impl Kept {
    const LEN: usize = 4;

    fn read(from: &[f64]) -> Self {
        match *from {
            [value, top, sum, share, ..] => Self { value, rest: LogSumExp { top, sum }, share },
            _ => Self { value: f64::NAN, rest: LogSumExp::EMPTY, share: f64::NAN },
        }
    }

    fn write(self, to: &mut [f64]) {
        let Self { value, rest: LogSumExp { top, sum }, share } = self;
        to.iter_mut().zip([value, top, sum, share]).for_each(|(to, from)| *to = from);
    }
}

/// What is gathered of a position on the way through its classes.
#[derive(Clone, Copy)]
struct Gathered {
    target: Option<usize>,
    own: f64,
    rest: LogSumExp,
    /// The sum of their logits over the label's, in quarters.
    above: f64,
}

impl SmoothCeOptions {
    pub(crate) const ABOUT: About = About {
        name: "smooth_ce",
        summary: "cross-entropy of the student with smoothed labels; no teacher",
        source: "arXiv 1512.00567, section 7",
    };

    pub(crate) const PRESETS: &[Preset] = &[];

    fn position(&self, at: &Gathered, classes: usize) -> Kept {
        let Gathered { target, own, rest, above } = *at;
        if target.is_none() {
            return Kept { value: 0.0, rest, share: 0.0 };
        }
        let scale = per_quarter(self.tau);
        let odds = if own < f64::INFINITY { rest.log_odds(scale, own) } else { f64::NAN };
        let own_term = softplus(-odds);
        let spread = self.smoothing.get() / real(classes);
        let value = if spread == 0.0 || own_term == f64::INFINITY {
            own_term
        } else {
            own_term - spread * (above * scale)
        };
        // With log-odds of -inf the rest has it all.
        Kept {
            value: if rest.sum.is_nan() { rest.sum } else { value },
            rest,
            share: libm::exp(-softplus(odds)),
        }
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
        shapes.student.images() * shapes.student.positions() * Kept::LEN
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let targets = Targets::checked(maps, self.ignore_index)?;
        let (view, scale) = (maps.student, per_quarter(self.tau));
        let shape = view.shape();
        let (m, classes) = (shape.positions(), shape.channels());
        on.chunks(state, PIECE * Kept::LEN, &|chunk, state| {
            let from = chunk * PIECE;
            let mut buffer = [0.0; PIECE];
            let empty = Gathered { target: None, own: 0.0, rest: LogSumExp::EMPTY, above: 0.0 };
            let mut gathered = [empty; PIECE];
            let mut kept = state.chunks_mut(Kept::LEN);
            for (n, piece) in spans(shape, from..from + kept.len(), PIECE) {
                let gathered = gathered.get_mut(..piece.len()).unwrap_or_default();
                for (at, position) in gathered.iter_mut().zip(piece.clone()) {
                    let target = targets.at(n * m + position);
                    let own = target.map_or(0.0, |class| view.at(n, class, position));
                    *at = Gathered { target, own, ..empty };
                }
                for c in 0..classes {
                    let s = view.positions(n, c, piece.start, head(&mut buffer, &piece));
                    for (at, &s) in gathered.iter_mut().zip(s) {
                        if at.target.is_some_and(|target| target != c) {
                            at.rest.add(scale, s);
                            at.above += s * 0.25 - at.own * 0.25;
                        }
                    }
                }
                for (at, kept) in gathered.iter().zip(&mut kept) {
                    self.position(at, classes).write(kept);
                }
            }
        });
        let sum = state.chunks(Kept::LEN).map(|kept| Kept::read(kept).value).sum();
        Ok(Measured { sum, divisor: real(targets.count()) })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let (shape, scale) = (maps.student.shape(), per_quarter(self.tau));
        let from = at.n * shape.positions() + at.positions.start;
        let targets = Targets::of(maps, self.ignore_index);
        let (a, spread) = (self.smoothing.get(), self.smoothing.get() / real(shape.channels()));
        let mut buffer = [0.0; PIECE];
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(&mut buffer, &at.positions));
        let kept = state.get(from * Kept::LEN..).unwrap_or_default().chunks(Kept::LEN).map(Kept::read);
        for ((out, &s), (position, kept)) in out.iter_mut().zip(s).zip((from..).zip(kept)) {
            *out = match targets.at(position) {
                None => 0.0,
                Some(_) if kept.value.is_nan() => f64::NAN,
                Some(class) if class == at.c => (a - spread - kept.share) / self.tau.get(),
                Some(_) => (kept.share * kept.rest.share(scale, s) - spread) / self.tau.get(),
            };
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
