//! PKD, distillation by Pearson correlation: the distance of channels of mean 0 and deviation 1.
//!
//! z = (x - mean) / (sd + eps) over the K = N H W values of a channel, sd over K - 1; then the squared distance of
//! the student's z and the teacher's over 2 N C H W, which is 1 less Pearson's r up to eps. Shapes are equal.
//! Source: arXiv 2207.02039. A channel without spread (below 1e-154 counts as none) is z = 0 and has
//! no gradient. Cost: one read of both maps, one more of both for a gradient; 9 numbers of state a channel. A channel
//! whose sums do not show that one sweep was enough (all but equal up to a factor, far from its first number, short) is
//! read twice more.

use super::About;
use crate::diverge::HalfMse;
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Centred, CoMoments, Executor, Explain, Formula, Maps, Measured, Moments, PIECE, Shapes, View, head,
    pieces, real, row,
};
use crate::normalize::{NormalizeVector, Standardise};
use crate::options::options;
use crate::space::Standardised;
use crate::vector_loss::Pair;
use crate::{Epsilon, Error, Preset, Weight};
use core::fmt;

/// Channels that are read together, since they share cache lines where channels are last.
const GROUP: usize = 8;

options! {
    /// Options of distillation by Pearson correlation.
    ///
    /// ```
    /// use densekd_core::PkdOptions;
    /// assert_eq!(PkdOptions::DEFAULT.eps.get(), 1e-6);
    /// ```
    PkdOptions {
        /// Added to the standard deviation.
        eps: Epsilon = Epsilon::literal(1e-6),
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// What is kept of a channel.
type Channel = Pair<Standardised, HalfMse>;

impl PkdOptions {
    pub(crate) const ABOUT: About = About {
        name: "pkd",
        summary: "Pearson correlation: squared distance of the channels, each standardised over batch and positions",
        source: "arXiv 2207.02039",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        Preset {
            name: "mmrazor-pkd",
            options: Options::Map(MapOptions::Pkd(Self { weight: Weight::literal(6.0), ..Self::DEFAULT })),
            repository: "open-mmlab/mmrazor",
            source: "mmrazor/models/losses/pkd_loss.py, FPN configs (resize maps of another size first)",
        },
        Preset {
            name: "paddle-pkd",
            options: Options::Map(MapOptions::Pkd(Self::DEFAULT)),
            repository: "PaddlePaddle/PaddleDetection",
            source: "ppdet/slim/distill_loss.py, PKDFeatureLoss",
        },
    ];

    /// A channel from one sweep's sums; none where these lost digits that it needs.
    ///
    /// With a' and b' the deviations of teacher and student, d' = b' - a', and e = `z_s` - `z_t`:
    /// `e = (step_s - step_t) a' + step_s d'`, and what differs in the steps is that of the deviations.
    fn at_once(&self, sums: &Centred) -> Option<Channel> {
        let Centred { count, means: [mean_t, mean_s], products: [tt, td, dd], taken: [taken_t, taken_d] } =
            *sums;
        let ss = tt + (td + td + dd);
        // Rounding errors are some 1e-16 of what was taken.
        let certain = |left: f64, taken: f64| left >= LEFT * taken;
        if !(count >= FEW && tt > 0.0 && ss > 0.0 && certain(tt, taken_t) && certain(ss, taken_t + taken_d)) {
            return None;
        }
        let moments = |mean, squares| Moments::from_numbers([count, mean, squares]);
        let (t, s) = (moments(mean_t, tt), moments(mean_s, ss));
        let longer = -(td + td + dd) / (count - 1.0) / (t.deviation() + s.deviation());
        let scaled = |moments| Standardise::new(self.eps).scaled(moments);
        let (t, s) = (scaled(&t), scaled(&s));
        let (step, apart) = (s.step(), s.step() * t.step() * longer);
        let along = t.step() * (apart * tt + step * td);
        let squares = apart * apart * tt + 2.0 * apart * step * td + step * step * dd;
        if !certain(squares, apart * apart * taken_t + step * step * taken_d) {
            return None;
        }
        let mut channel = Channel::new(t, s, HalfMse);
        channel.add(HalfMse::sums(along, squares));
        Some(channel)
    }

    /// A channel in three sweeps, whatever its numbers are.
    fn carefully(&self, maps: &Maps<'_>, c: usize) -> Channel {
        let standardise = |view| {
            let mut moments = Moments::default();
            each_piece(view, c, |x| moments = moments.with(Moments::of(x)));
            Standardise::new(self.eps).scaled(&moments)
        };
        let mut channel = Channel::new(standardise(maps.teacher), standardise(maps.student), HalfMse);
        let mut buffer = [0.0; PIECE];
        for n in 0..maps.student.shape().images() {
            for piece in pieces(0..maps.student.shape().positions()) {
                let t = maps.teacher.positions(n, c, piece.start, head(&mut buffer, &piece));
                let mut buffer = [0.0; PIECE];
                channel.compare(t, maps.student.positions(n, c, piece.start, head(&mut buffer, &piece)));
            }
        }
        channel
    }
}

/// Numbers from which on a channel is taken in one sweep: of few, rounding errors do not average out.
const FEW: f64 = 64.0;

/// The share that must be left of sums of squares when means or a common part are taken off.
const LEFT: f64 = 1e-3;

/// Calls with every piece of a channel, in the order of images and positions.
fn each_piece(view: View<'_>, c: usize, mut f: impl FnMut(&[f64])) {
    let mut buffer = [0.0; PIECE];
    for n in 0..view.shape().images() {
        for piece in pieces(0..view.shape().positions()) {
            f(view.positions(n, c, piece.start, head(&mut buffer, &piece)));
        }
    }
}

impl Formula for PkdOptions {
    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same()
    }

    fn state(&self, shapes: &Shapes) -> usize {
        shapes.student.channels() * Channel::LEN
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        on.chunks(state, GROUP * Channel::LEN, &|group, state| {
            let (first, count) = (group * GROUP, state.len() / Channel::LEN);
            let mut sums = [CoMoments::about([0.0; 2]); GROUP];
            for (c, sums) in (first..).zip(&mut sums).take(count) {
                *sums = CoMoments::about([maps.teacher.at(0, c, 0), maps.student.at(0, c, 0)]);
            }
            for n in 0..maps.student.shape().images() {
                for (c, run) in maps.student.walk(0..count) {
                    if let Some(sums) = sums.get_mut(c) {
                        sums.add(maps.pair(n, first + c, &run));
                    }
                }
            }
            for ((c, sums), to) in (first..).zip(&sums).zip(state.chunks_mut(Channel::LEN)) {
                self.at_once(&sums.centred()).unwrap_or_else(|| self.carefully(maps, c)).write(to);
            }
        });
        let sum = state.chunks(Channel::LEN).map(|channel| Channel::read(HalfMse, channel).sum).sum();
        Ok(Measured { sum, divisor: real(maps.student.shape().len()) })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let channel = Channel::read(HalfMse, row(state, at.c, Channel::LEN));
        channel.pull(at.side, maps.pair(at.n, at.c, &at.positions), out);
        if channel.sum.is_nan() {
            out.fill(f64::NAN);
        }
    }
}

impl Explain for PkdOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { eps, weight } = self;
        writeln!(
            f,
            "z = (x - mean) / (sd + {:e})  over the N H W values of a channel, sd by N H W - 1",
            eps.get()
        )?;
        write!(f, "loss = {} / (2 N C H W) * sum_ncj (z_s - z_t)^2", weight.get())
    }
}
