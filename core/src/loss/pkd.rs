//! PKD, distillation by Pearson correlation: the distance of channels of mean 0 and deviation 1.
//!
//! z = (x - mean) / (sd + eps) over the K = N H W values of a channel, sd over K - 1; then the squared distance of
//! the student's z and the teacher's over 2 N C H W, which is 1 less Pearson's r up to eps. Shapes are equal.
//! Source: arXiv 2207.02039. A channel without spread (below 1e-154 counts as none) is z = 0 and has
//! no gradient. Cost: two reads of both maps, one more of both for a gradient; 9 numbers of state a channel.

use super::About;
use crate::diverge::HalfMse;
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, Moments, PIECE, Shapes, View, head, real, row,
};
use crate::normalize::{NormalizeVector, Scaled, Standardise};
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

    /// How a side's channels are standardised, from channel `first` on.
    fn standardise(&self, view: View<'_>, first: usize, count: usize) -> [Scaled<Standardised>; GROUP] {
        let mut moments = [Moments::default(); GROUP];
        each_piece(view, first, count, |c, x| {
            if let Some(moments) = moments.get_mut(c) {
                *moments = moments.with(Moments::of(x));
            }
        });
        moments.map(|moments| Standardise::new(self.eps).scaled(&moments))
    }
}

/// Calls with every piece of the channels `first..first + count`, in the order of images and positions.
fn each_piece(view: View<'_>, first: usize, count: usize, mut f: impl FnMut(usize, &[f64])) {
    let mut buffer = [0.0; PIECE];
    for n in 0..view.shape().images() {
        for (c, piece) in view.walk(0..count).flat_map(|(c, turn)| crate::map::pieces(turn).map(move |piece| (c, piece))) {
            f(c, view.positions(n, first + c, piece.start, head(&mut buffer, &piece)));
        }
    }
}

/// The distances of the standardised channels, and what a gradient loses along z.
fn compare(maps: &Maps<'_>, first: usize, channels: &mut [Channel]) {
    for n in 0..maps.student.shape().images() {
        for (c, piece) in maps.student.walk(0..channels.len()) {
            let Some(channel) = channels.get_mut(c) else { continue };
            channel.compare(maps.pair(n, first + c, &piece));
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
            let t = self.standardise(maps.teacher, first, count);
            let s = self.standardise(maps.student, first, count);
            let mut channels = [Channel::new(Scaled::default(), Scaled::default(), HalfMse); GROUP];
            for (channel, (t, s)) in channels.iter_mut().zip(t.into_iter().zip(s)) {
                *channel = Channel::new(t, s, HalfMse);
            }
            let channels = channels.get_mut(..count).unwrap_or_default();
            compare(maps, first, channels);
            channels.iter().zip(state.chunks_mut(Channel::LEN)).for_each(|(channel, to)| channel.write(to));
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
