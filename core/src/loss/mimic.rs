//! Feature mimicking (MIMIC): the student's features, through a 1x1 convolution, are the teacher's.
//!
//! S is `[N, C_s, H, W]`, T `[N, C_t, H, W]`; y = W s + b with W `[C_t, C_s]` (the identity where absent) and b
//! `[C_t]` (0 where absent). Value: (y - t)^2, mean over all elements; with `standardise`, y and t first become
//! z = (x - mean) / (sd + eps) of their channel over N, H and W. Source: `FitNets`, arXiv 1412.6550, equation 3.
//!
//! Cost: one read of both maps (`standardise`: the teacher's twice), one product of matrices for the value and one
//! for each of the gradients to S and W. State, in `f64`: S and its gradient, y - t, with `standardise` the gradient
//! to y. Without a projection, and not standardised, two reads do, and nothing is kept but a number a channel.

mod job;

use self::job::{Channel, Job, Layout, SUMS, read, write};
use super::About;
use crate::diverge::{Diverge, Mse};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, CoMoments, Executor, Explain, Formula, Maps, Matrix, Measured, Moments, Needs, PIECE, Shapes, Side,
    Tile, cut, cut_mut, real, row, row_mut, update_along,
};
use crate::options::options;
use crate::space::{Difference, Real, Standardised, VectorSpace};
use crate::{Epsilon, Error, Preset, Weight};
use core::fmt;

options! {
    /// Options of feature mimicking. Channels may differ where there is a projection; images, height and width may
    /// not.
    ///
    /// ```
    /// use densekd_core::MimicOptions;
    /// assert!(!MimicOptions::DEFAULT.standardise);
    /// ```
    MimicOptions {
        /// Both sides to mean 0 and deviation 1 a channel first.
        standardise: bool = false,
        /// Added to the deviation that a channel is divided by.
        eps: Epsilon = Epsilon::literal(1e-6),
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

const fn preset(
    name: &'static str,
    (repository, source): (&'static str, &'static str),
    options: MimicOptions,
) -> Preset {
    Preset { name, options: Options::Map(MapOptions::Mimic(options)), repository, source }
}

/// Rows of the projection's gradient that are worked on together: enough to be worth packing for a product.
const ROWS: usize = 32;

/// Channels that are read together, since they share cache lines where channels are last.
const GROUP: usize = 8;

impl MimicOptions {
    pub(crate) const ABOUT: About = About {
        name: "mimic",
        summary: "feature mimicking: mean squared difference of features, the student's through a 1x1 convolution",
        source: "arXiv 1412.6550",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        preset(
            "cirkd-mimic",
            ("winycg/CIRKD", "losses/fitnet.py, scripts (projection without bias)"),
            Self { weight: Weight::literal(10.0), ..Self::DEFAULT },
        ),
        preset(
            "paddle-mimic",
            ("PaddlePaddle/PaddleDetection", "ppdet/slim/distill_loss.py, MimicFeatureLoss"),
            Self { standardise: true, ..Self::DEFAULT },
        ),
    ];
}

impl MimicOptions {
    /// Whether maps are compared as they are.
    fn is_plain(&self, maps: &Maps<'_>) -> bool {
        !self.standardise && maps.projection.weight.is_none() && maps.projection.bias.is_none()
    }
}

/// What is summed of maps that are compared as they are, channel by channel: differences, or their squares.
fn channel_sums(maps: &Maps<'_>, to: &mut [f64], on: &dyn Executor, of: fn(&CoMoments) -> f64) {
    on.chunks(to, GROUP, &|group, to| {
        let first = group * GROUP;
        let mut sums = [CoMoments::about([0.0; 2]); GROUP];
        for n in 0..maps.student.shape().images() {
            for (c, run) in maps.student.walk(0..to.len()) {
                if let Some(sums) = sums.get_mut(c) {
                    sums.add(maps.pair(n, first + c, &run));
                }
            }
        }
        to.iter_mut().zip(&sums).for_each(|(to, sums)| *to = of(sums));
    });
}

impl Formula for MimicOptions {
    fn needs(&self) -> Needs {
        Needs { projection: true, ..Needs::TEACHER }
    }

    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same_positions()
    }

    fn state(&self, shapes: &Shapes) -> usize {
        let layout = Layout::new(self, shapes);
        layout.all_tiles() + layout.channels
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let job = Job::new(self, maps);
        let layout = job.layout;
        let divisor = real(maps.teacher.shape().len());
        if self.is_plain(maps) {
            let [sums] = cut_mut(state, [maps.student.shape().channels()]);
            channel_sums(maps, sums, on, CoMoments::squared_differences);
            return Ok(Measured { sum: sums.iter().sum(), divisor });
        }
        let [tiles, channels] = cut_mut(state, [layout.all_tiles(), layout.channels]);
        on.chunks(tiles, layout.tile(), &|i, state| {
            let tile = layout.tiles.tile(i);
            let [students, outputs, _, _, sums] = cut_mut(state, layout.parts);
            job.project(&tile, students, outputs, on);
            let mut buffer = [0.0; PIECE];
            for (o, sums) in sums.chunks_mut(if self.standardise { SUMS } else { 1 }).enumerate() {
                let y = row_mut(outputs, o, tile.positions.len());
                let t = read(maps.teacher, &tile, o, &mut buffer);
                if self.standardise {
                    let [[_, mean_y, squares_y], [_, mean_t, squares_t]] =
                        [Moments::of(y).numbers(), Moments::of(t).numbers()];
                    write(sums, [mean_y, squares_y, mean_t, squares_t]);
                } else {
                    y.iter_mut().zip(t).for_each(|(y, t)| *y = Real::point(*t, *y).difference);
                    let term = |&difference| Diverge::<Real>::term(&Mse, Difference { difference });
                    write(sums, [y.iter().map(term).sum()]);
                }
            }
        });
        let sum = if self.standardise {
            job.join_moments(tiles, channels);
            on.chunks(tiles, layout.tile(), &|i, state| {
                let tile = layout.tiles.tile(i);
                let [_, outputs, _, _, sums] = cut_mut(state, layout.parts);
                let mut buffer = [0.0; PIECE];
                for (o, to) in sums.chunks_mut(SUMS).enumerate() {
                    let Channel { y: (ys, _), t: (ts, _) } = job.channel(channels, o);
                    let t = read(maps.teacher, &tile, o, &mut buffer);
                    let mut sums = [0.0; 3];
                    for (y, &t) in row_mut(outputs, o, tile.positions.len()).iter_mut().zip(t) {
                        let (zy, zt) = (ys.z(*y), ts.z(t));
                        let x = Standardised::point(zt, zy);
                        let (e, [sum, dot_y, dot_t]) = (x.difference(), sums);
                        (sums, *y) = (
                            [sum + Diverge::<Standardised>::term(&Mse, x), dot_y + e * zy, dot_t + e * zt],
                            e,
                        );
                    }
                    write(to, sums);
                }
            });
            job.join_sums(tiles, channels)
        } else {
            job.tile_states(tiles).map(|(_, state)| cut(state, layout.parts)[4].iter().sum::<f64>()).sum()
        };
        Ok(Measured { sum, divisor })
    }

    fn prepare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) {
        let job = Job::new(self, maps);
        let layout = job.layout;
        let [inputs, outputs] = job.sizes();
        if self.is_plain(maps) {
            return;
        }
        let [tiles, channels] = cut_mut(state, [layout.all_tiles(), layout.channels]);
        on.chunks(tiles, layout.tile(), &|i, state| {
            let tile = layout.tiles.tile(i);
            let length = tile.positions.len();
            let [_, e, pulled, gradient, _] = cut_mut(state, layout.parts);
            let mut buffer = [0.0; PIECE];
            if self.standardise {
                for o in 0..outputs {
                    let Channel { y: (ys, dot), t: (ts, _) } = job.channel(channels, o);
                    let t = read(maps.teacher, &tile, o, &mut buffer);
                    let e = row(e, o, length).iter().zip(t);
                    for (to, (e, &t)) in row_mut(pulled, o, length).iter_mut().zip(e) {
                        *to = ys.pull(*e, e + ts.z(t), dot);
                    }
                }
            }
            if let Some(weight) = maps.projection.weight {
                let pulled = if self.standardise { &*pulled } else { &*e };
                let [gradient] = cut_mut(gradient, [inputs * length]);
                let weight = Matrix::new(weight, outputs, inputs).transposed();
                on.multiply(weight, Matrix::new(pulled, outputs, length), gradient);
            }
        });
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        if self.is_plain(maps) {
            let sign = if at.side == Side::Student { 2.0 } else { -2.0 };
            let pair = maps.pair(at.n, at.c, &at.positions);
            return update_along(out, pair, move |_: f64, t: f64, s: f64| sign * (s - t));
        }
        let job = Job::new(self, maps);
        let layout = job.layout;
        let mut rest = out;
        for (i, positions) in layout.tiles.over(at.n, at.positions.clone()) {
            let [out, tail] = cut_mut(rest, [positions.len(), usize::MAX]);
            rest = tail;
            let whole = layout.tiles.tile(i).positions;
            let state_of = row(state, i, layout.tile());
            let [_, e, _, gradient, _] = cut(state_of, layout.parts);
            let rows = match (at.side, maps.projection.weight) {
                (Side::Teacher, _) => e,
                (Side::Student, None) => job.cotangents(state_of),
                (Side::Student, Some(_)) => gradient,
            };
            let from = row(rows, at.c, whole.len()).get(positions.start - whole.start..).unwrap_or_default();
            match (at.side, self.standardise) {
                (Side::Student, _) => out.iter_mut().zip(from).for_each(|(out, half)| *out = 2.0 * half),
                (Side::Teacher, false) => out.iter_mut().zip(from).for_each(|(out, e)| *out = -2.0 * e),
                (Side::Teacher, true) => {
                    let channels = state.get(layout.all_tiles()..).unwrap_or_default();
                    let (ts, dot) = job.channel(channels, at.c).t;
                    let mut buffer = [0.0; PIECE];
                    let t = read(maps.teacher, &Tile { n: at.n, positions }, at.c, &mut buffer);
                    for ((out, e), &t) in out.iter_mut().zip(from).zip(t) {
                        *out = -2.0 * ts.pull(*e, ts.z(t), dot);
                    }
                }
            }
        }
    }

    fn pull_projection(
        &self,
        maps: &Maps<'_>,
        state: &[f64],
        weight: &mut [f64],
        bias: &mut [f64],
        on: &dyn Executor,
    ) {
        if self.is_plain(maps) {
            weight.fill(0.0);
            channel_sums(maps, bias, on, CoMoments::differences);
            return bias.iter_mut().for_each(|x| *x *= 2.0);
        }
        let job = Job::new(self, maps);
        let [inputs, outputs] = job.sizes();
        on.chunks(bias, 1, &|o, bias| {
            let sum = |(tile, state): (Tile, &[f64])| -> f64 {
                row(job.cotangents(state), o, tile.positions.len()).iter().sum()
            };
            bias.fill(2.0 * job.tile_states(state).map(sum).sum::<f64>());
        });
        weight.fill(0.0);
        if maps.projection.weight.is_none() {
            return;
        }
        on.chunks(weight, ROWS * inputs, &|i, rows| {
            let (from, count) = (i * ROWS, ROWS.min(outputs - i * ROWS));
            for (tile, state) in job.tile_states(state) {
                let length = tile.positions.len();
                let [students, ..] = cut(state, job.layout.parts);
                let pulled = job.cotangents(state).get(from * length..).unwrap_or_default();
                let students = Matrix::new(students, inputs, length).transposed();
                on.multiply_add(Matrix::new(pulled, count, length), students, rows);
            }
            for x in rows {
                *x *= 2.0;
            }
        });
    }
}

impl Explain for MimicOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { standardise, eps, weight } = self;
        writeln!(f, "y = W s + b  at each position (no projection: y = s)")?;
        if *standardise {
            writeln!(f, "y and t := (x - mean) / (sd + {:e})  of each channel over N H W", eps.get())?;
        }
        write!(f, "loss = {} / (N C_t H W) * sum (y - t)^2", weight.get())
    }
}
