//! PKD, distillation by Pearson correlation: the distance of channels of mean 0 and deviation 1.
//!
//! z = (x - mean) / (sd + eps) over the K = N H W values of a channel, sd over K - 1; then the squared distance of
//! the student's z and the teacher's over 2 N C H W, which is 1 less Pearson's r up to eps. Shapes are equal.
//! Source: arXiv 2207.02039. A channel without spread (below 1e-154 counts as none) is z = 0 and has
//! no gradient. Cost: two reads of both maps, one more of both for a gradient; 9 numbers of state a channel.

use super::About;
use crate::loss::{MapOptions, Options};
use crate::map::{At, Executor, Explain, Formula, Maps, Measured, PIECE, Shapes, Side, View, head, pieces};
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

/// How a channel of one side is standardised.
#[derive(Clone, Copy, Default)]
struct Standard {
    /// The first value. The others count from it: an offset then costs no digits, and equal values have spread 0.
    first: f64,
    /// The mean from there.
    mean: f64,
    /// 1 / (sd + eps), or 0 where there is no spread.
    inverse: f64,
    /// <g, z> / (sd (K - 1)), or 0 where there is no spread: how much of z the gradient loses.
    lost: f64,
}

impl Standard {
    fn z(&self, x: f64) -> f64 {
        (x - self.first - self.mean) * self.inverse
    }
}

/// What is kept of a channel.
#[derive(Clone, Copy, Default)]
struct Channel {
    /// What it adds to the sum.
    value: f64,
    teacher: Standard,
    student: Standard,
}

impl Channel {
    const LEN: usize = 9;

    fn read(from: &[f64]) -> Self {
        let standard = |[first, mean, inverse, lost]: [f64; 4]| Standard { first, mean, inverse, lost };
        match *from {
            [value, a, b, c, d, e, f, g, h, ..] => {
                Self { value, teacher: standard([a, b, c, d]), student: standard([e, f, g, h]) }
            }
            _ => Self::default(),
        }
    }

    fn write(&self, to: &mut [f64]) {
        let Self { value, teacher: t, student: s } = self;
        let numbers = [*value, t.first, t.mean, t.inverse, t.lost, s.first, s.mean, s.inverse, s.lost];
        to.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
    }

    fn side(&mut self, side: Side) -> &mut Standard {
        match side {
            Side::Teacher => &mut self.teacher,
            Side::Student => &mut self.student,
        }
    }
}

/// Mean and squared distances to it of some numbers.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of the numbers less `first`, in two passes.
    #[allow(clippy::cast_precision_loss, reason = "a piece is short")]
    fn of(x: &[f64], first: f64) -> Self {
        let count = x.len() as f64;
        let mean = x.iter().map(|x| x - first).sum::<f64>() / count;
        let squares = x.iter().map(|x| x - first - mean).map(|d| d * d).sum();
        Self { count, mean, squares }
    }

    /// Of both together (Chan's formula).
    fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        let (apart, share) = (other.mean - self.mean, other.count / count);
        Self {
            count,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * self.count * share,
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
        for (c, channel) in channels.iter_mut().enumerate() {
            channel.side(side).first = view.at(0, first + c, 0);
        }
        each_piece(view, first, channels.len(), |c, x| {
            if let (Some(moments), Some(channel)) = (moments.get_mut(c), channels.get_mut(c)) {
                *moments = moments.merge(Moments::of(x, channel.side(side).first));
            }
        });
        for (channel, Moments { count, mean, squares }) in channels.iter_mut().zip(moments) {
            let standard = channel.side(side);
            standard.mean = mean;
            if squares != 0.0 {
                let sd = libm::sqrt(squares / (count - 1.0));
                // An overflow is no reason for a finite answer.
                let sd = if sd.is_finite() { sd } else { f64::NAN };
                standard.inverse = 1.0 / (sd + self.eps.get());
                standard.lost = 1.0 / (sd * (count - 1.0));
            }
        }
    }
}

/// Calls with every piece of the channels `first..first + count`, in the order of images and positions.
fn each_piece(view: View<'_>, first: usize, count: usize, mut f: impl FnMut(usize, &[f64])) {
    let mut buffer = [0.0; PIECE];
    for n in 0..view.shape().images() {
        for piece in pieces(0..view.shape().positions()) {
            for c in 0..count {
                f(c, view.positions(n, first + c, piece.start, head(&mut buffer, &piece)));
            }
        }
    }
}

/// The distances of the standardised channels, and what a gradient loses along z.
fn compare(maps: &Maps<'_>, first: usize, channels: &mut [Channel]) {
    let shape = maps.student.shape();
    let mut sums = [[0.0; 3]; GROUP];
    let (mut t_buffer, mut s_buffer) = ([0.0; PIECE], [0.0; PIECE]);
    for n in 0..shape.images() {
        for piece in pieces(0..shape.positions()) {
            for ((c, channel), sums) in (first..).zip(&*channels).zip(&mut sums) {
                let t = maps.teacher.positions(n, c, piece.start, head(&mut t_buffer, &piece));
                let s = maps.student.positions(n, c, piece.start, head(&mut s_buffer, &piece));
                let pairs = t.iter().zip(s).map(|(&t, &s)| (channel.teacher.z(t), channel.student.z(s)));
                let of_piece = pairs.fold([0.0; 3], |[value, to_t, to_s], (t, s)| {
                    let e = s - t;
                    [value + e * e, to_t - e * t, to_s + e * s]
                });
                sums.iter_mut().zip(of_piece).for_each(|(sum, x)| *sum += x);
            }
        }
    }
    for (channel, [value, to_t, to_s]) in channels.iter_mut().zip(sums) {
        channel.value = value;
        channel.teacher.lost *= 2.0 * to_t;
        channel.student.lost *= 2.0 * to_s;
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

    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
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
        Ok(Measured { sum, divisor: 2.0 * maps.student.shape().len() as f64 })
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
        for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
            let z = own.z(x);
            // The mean of z_s - z_t need not be taken off: it is 0.
            *out = 2.0 * (z - other.z(y)) * own.inverse - z * own.lost;
        }
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
