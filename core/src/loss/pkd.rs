//! PKD, distillation by Pearson correlation: the distance of channels of mean 0 and deviation 1.
//!
//! z = (x - mean) / (sd + eps) over the K = N H W values of a channel, sd over K - 1; then the squared distance of
//! the student's z and the teacher's over 2 N C H W, which is 1 less Pearson's r up to eps. Shapes are equal.
//! Source: arXiv 2207.02039. A channel without spread (below 1e-154 counts as none) is z = 0 and has
//! no gradient. Cost: two reads of both maps, one more of both for a gradient; 9 numbers of state a channel.

use super::About;
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, Moments, PIECE, Shapes, Side, Standard, View, head, real,
    sums as lane_sums, update,
};
use crate::options::options;
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
#[derive(Clone, Copy, Default)]
struct Channel {
    /// What it adds to the sum.
    value: f64,
    teacher: Scaled,
    student: Scaled,
}

/// How a channel of one side is standardised.
#[derive(Clone, Copy, Default)]
struct Scaled {
    standard: Standard,
    /// <g, z>, g the gradient to z.
    dot: f64,
}

impl Channel {
    const LEN: usize = 9;

    fn read(from: &[f64]) -> Self {
        let scaled = |[a, b, c, dot]: [f64; 4]| Scaled { standard: Standard::from_numbers([a, b, c]), dot };
        match *from {
            [value, a, b, c, d, e, f, g, h, ..] => {
                Self { value, teacher: scaled([a, b, c, d]), student: scaled([e, f, g, h]) }
            }
            _ => Self::default(),
        }
    }

    fn write(&self, to: &mut [f64]) {
        let numbers = |side: &Scaled| side.standard.numbers().into_iter().chain([side.dot]);
        let all = [self.value].into_iter().chain(numbers(&self.teacher)).chain(numbers(&self.student));
        to.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    }

    fn side(&mut self, side: Side) -> &mut Scaled {
        match side {
            Side::Teacher => &mut self.teacher,
            Side::Student => &mut self.student,
        }
    }
}
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

    /// The statistics of a side's channels, from channel `first` on.
    fn standardise(&self, side: Side, view: View<'_>, first: usize, channels: &mut [Channel]) {
        let mut moments = [Moments::default(); GROUP];
        each_piece(view, first, channels.len(), |c, x| {
            if let Some(moments) = moments.get_mut(c) {
                *moments = moments.with(Moments::of(x));
            }
        });
        for (channel, moments) in channels.iter_mut().zip(moments) {
            channel.side(side).standard = moments.standard(self.eps);
        }
    }
}

/// Calls with every piece of the channels `first..first + count`, in the order of images and positions.
fn each_piece(view: View<'_>, first: usize, count: usize, mut f: impl FnMut(usize, &[f64])) {
    let mut buffer = [0.0; PIECE];
    for n in 0..view.shape().images() {
        for (c, piece) in view.walk(0..count) {
            f(c, view.positions(n, first + c, piece.start, head(&mut buffer, &piece)));
        }
    }
}

/// The distances of the standardised channels, and what a gradient loses along z.
fn compare(maps: &Maps<'_>, first: usize, channels: &mut [Channel]) {
    let shape = maps.student.shape();
    let mut sums = [[0.0; 3]; GROUP];
    let (mut t_buffer, mut s_buffer) = ([0.0; PIECE], [0.0; PIECE]);
    for n in 0..shape.images() {
        for (c, piece) in maps.student.walk(0..channels.len()) {
            let (Some(channel), Some(sums)) = (channels.get(c), sums.get_mut(c)) else { continue };
            let t = maps.teacher.positions(n, first + c, piece.start, head(&mut t_buffer, &piece));
            let s = maps.student.positions(n, first + c, piece.start, head(&mut s_buffer, &piece));
            let (of_t, of_s) = (channel.teacher.standard, channel.student.standard);
            let of_piece = lane_sums(t, s, |t, s| {
                let (t, s) = (of_t.z(t), of_s.z(s));
                let e = s - t;
                [e * e, -e * t, e * s]
            });
            sums.iter_mut().zip(of_piece).for_each(|(sum, x)| *sum += x);
        }
    }
    for (channel, [value, to_t, to_s]) in channels.iter_mut().zip(sums) {
        channel.value = value;
        channel.teacher.dot = 2.0 * to_t;
        channel.student.dot = 2.0 * to_s;
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
            let (first, mut channels) = (group * GROUP, [Channel::default(); GROUP]);
            let channels = channels.get_mut(..state.len() / Channel::LEN).unwrap_or_default();
            self.standardise(Side::Teacher, maps.teacher, first, channels);
            self.standardise(Side::Student, maps.student, first, channels);
            compare(maps, first, channels);
            channels.iter().zip(state.chunks_mut(Channel::LEN)).for_each(|(channel, to)| channel.write(to));
        });
        let sum = state.chunks(Channel::LEN).map(|channel| Channel::read(channel).value).sum();
        Ok(Measured { sum, divisor: 2.0 * real(maps.student.shape().len()) })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let channel = Channel::read(state.get(at.c * Channel::LEN..).unwrap_or_default());
        let ((x, own), (y, other)) = match at.side {
            Side::Teacher => ((maps.teacher, channel.teacher), (maps.student, channel.student)),
            Side::Student => ((maps.student, channel.student), (maps.teacher, channel.teacher)),
        };
        let (mut x_buffer, mut y_buffer) = ([0.0; PIECE], [0.0; PIECE]);
        let x = x.positions(at.n, at.c, at.positions.start, head(&mut x_buffer, &at.positions));
        let y = y.positions(at.n, at.c, at.positions.start, head(&mut y_buffer, &at.positions));
        update(out, x, y, |_, x, y| {
            let z = own.standard.z(x);
            own.standard.pull(2.0 * (z - other.standard.z(y)), z, own.dot)
        });
        if channel.value.is_nan() {
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
