//! Attention transfer (AT): where a map's energy lies, whatever its channels are.
//!
//! Q(j) = (1/C) sum over c of `|x_cj|^p`, v = Q / max(|Q|, eps) over the positions of an image; then the squared
//! (`code`) or plain (`paper`) distance of the student's v and the teacher's. Source: arXiv 1612.03928, equation 2;
//! that paper's beta/2 goes into the weight. Cost: one read of both maps, one more of a side for its gradient.

use super::{About, MapOptions, Options};
use crate::diverge::{DivergeVector, Euclidean, Mse};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, PIECE, Shapes, Side, Stretch, View, Work, along, cut,
    cut_mut, head, real, row, sum, update_along,
};
use crate::names::choice;
use crate::normalize::{Scaled, UnitLength};
use crate::options::options;
use crate::simd::{Simd, Widened};
use crate::space::Unit;
use crate::vector_loss::Pair;
use crate::{Epsilon, Error, Preset, Weight};
use core::fmt;
use core::num::NonZeroU32;
use core::ops::Range;

choice! {
    /// Which distance attention transfer takes (`mode`).
    ///
    /// ```
    /// assert_eq!("paper".parse(), Ok(densekd_core::AtMode::Paper));
    /// ```
    AtMode, "mode" {
        /// Mean of the squared differences, as published codes have it.
        Code = "code",
        /// Mean over images of the distance, as the paper has it.
        Paper = "paper",
    }
}

options! {
    /// Options of attention transfer. Channels may differ; images, height and width may not.
    ///
    /// ```
    /// use densekd_core::{AtMode, AtOptions};
    /// assert_eq!(AtOptions::DEFAULT.mode, AtMode::Code);
    /// ```
    AtOptions {
        /// Squared distance over N H W (code), or distance over N (paper).
        mode: AtMode = AtMode::Code,
        /// Power of the activations' magnitudes.
        p: NonZeroU32 = NonZeroU32::new(2).unwrap(),
        /// The smallest norm that a map is divided by.
        eps: Epsilon = Epsilon::literal(1e-12),
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// What is kept of an image beside its two maps Q.
struct Image<D> {
    /// The largest magnitudes of teacher and student: Q is taken of x over it, since v does not depend on it.
    unit: [f64; 2],
    pair: Pair<Unit, D>,
}

impl<D: DivergeVector<Unit>> Image<D> {
    const LEN: usize = 2 + Pair::<Unit, D>::LEN;

    fn read(diverge: D, from: &[f64]) -> Self {
        match from {
            [t, s, pair @ ..] => Self { unit: [*t, *s], pair: Pair::read(diverge, pair) },
            _ => Self { unit: [1.0; 2], pair: Pair::read(diverge, &[]) },
        }
    }

    fn write(&self, to: &mut [f64]) {
        if let [t, s, pair @ ..] = to {
            [*t, *s] = self.unit;
            self.pair.write(pair);
        }
    }
}

/// Numbers of an [`Image`], whichever distance is taken.
const IMAGE: usize = Image::<Mse>::LEN;

impl AtOptions {
    pub(crate) const ABOUT: About = About {
        name: "at",
        summary: "attention transfer: distance of the maps of energy, each of unit length over positions",
        source: "arXiv 1612.03928",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        preset("cirkd-at", "winycg/CIRKD", "scripts", 10_000.0),
        preset("mmrazor-at", "open-mmlab/mmrazor", "mmrazor/models/losses/at_loss.py", 1.0),
        preset("mdistiller-at", "megvii-research/mdistiller", "mdistiller/engine/cfg.py", 1000.0),
    ];

    fn power(&self, x: f64) -> f64 {
        power(x, self.p.get())
    }

    /// Q into `q`, in units that keep its square in range; the unit of x, and how Q becomes v.
    fn energy(&self, view: View<'_>, n: usize, q: &mut [f64]) -> (f64, Scaled<Unit>) {
        // Squares of what f32 holds and any usual power makes of it are in range as they are; where a sum is not,
        // and only there, the map is read for its largest magnitude first.
        let mut unit = 1.0;
        let mut norm = self.fill(view, n, unit, q);
        if !(1e-120..1e150).contains(&norm) {
            unit = view.largest(n);
            if unit == 0.0 {
                return (1.0, Scaled::default());
            }
            // The reciprocal of a subnormal number is none.
            unit = if unit < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { unit };
            norm = self.fill(view, n, unit, q);
        }
        // Q as defined has 1/C.
        let of_q = self.power(unit) / real(view.shape().channels());
        (unit, UnitLength::at_least(self.eps).in_units(of_q).of(norm))
    }

    /// The sum over channels of |x / unit|^p at every position; its norm over positions.
    fn fill(&self, view: View<'_>, n: usize, unit: f64, q: &mut [f64]) -> f64 {
        let (p, per_unit) = (self.p.get(), 1.0 / unit);
        q.fill(0.0);
        let channels = view.shape().channels();
        let groups = if p == 2 { channels / GROUP } else { 0 };
        for (group, run) in view.walk(0..groups) {
            let q = q.get_mut(run.clone()).unwrap_or_default();
            let x: [_; GROUP] = core::array::from_fn(|i| view.stretch(n, group * GROUP + i, &run));
            along(x, &mut AddSquares { q, per_unit });
        }
        for (c, run) in view.walk(groups * GROUP..channels) {
            let q = q.get_mut(run.clone()).unwrap_or_default();
            let x = [view.stretch(n, c, &run)];
            if p == 2 {
                along(x, &mut AddSquares { q, per_unit });
            } else {
                update_along(q, x, move |q, x| q + power((x * per_unit).abs(), p));
            }
        }
        libm::sqrt(sum(q, |q| q * q))
    }
}

impl AtOptions {
    /// The images' distances.
    fn sum<D: DivergeVector<Unit>>(
        &self,
        distance: D,
        maps: &Maps<'_>,
        state: &mut [f64],
        on: &dyn Executor,
    ) -> f64 {
        let m = maps.student.shape().positions();
        let len = 2 * m + IMAGE;
        on.chunks(state, len, &|n, state| {
            let [image, qt, qs] = cut_mut(state, [IMAGE, m, m]);
            let (unit_t, t) = self.energy(maps.teacher, n, qt);
            let (unit_s, s) = self.energy(maps.student, n, qs);
            let mut pair = Pair::new(t, s, distance);
            pair.compare(qt, qs);
            Image { unit: [unit_t, unit_s], pair }.write(image);
        });
        let finish = |image| distance.finish(Image::read(distance, image).pair.sum, true);
        state.chunks(len.max(1)).map(finish).sum()
    }

    /// In place of both maps Q: what |x|^(p-1) is multiplied by to become the gradient.
    fn turn<D: DivergeVector<Unit>>(
        &self,
        distance: D,
        maps: &Maps<'_>,
        state: &mut [f64],
        on: &dyn Executor,
    ) {
        let m = maps.student.shape().positions();
        on.chunks(state, 2 * m + IMAGE, &|_, state| {
            let [image, qt, qs] = cut_mut(state, [IMAGE, m, m]);
            let Image { unit: [unit_t, unit_s], pair } = Image::read(distance, image);
            let slope = distance.slope(pair.sum) * f64::from(self.p.get());
            let mut buffers = [[0.0; PIECE]; 2];
            for (qt, qs) in qt.chunks_mut(PIECE).zip(qs.chunks_mut(PIECE)) {
                let sides = [(Side::Teacher, unit_t), (Side::Student, unit_s)];
                for ((side, unit), buffer) in sides.into_iter().zip(&mut buffers) {
                    let (out, scale) = (head(buffer, &(0..qt.len())), slope / unit);
                    pair.pull(side, [&*qt, &*qs].map(|q| Stretch::of(maps.isa, q)), out);
                    for out in out.iter_mut() {
                        *out *= scale;
                    }
                }
                for (q, buffer) in [qt, qs].into_iter().zip(&buffers) {
                    q.iter_mut().zip(buffer).for_each(|(q, of_q)| *q = *of_q);
                }
            }
            if pair.sum.is_nan() {
                qt.fill(f64::NAN);
                qs.fill(f64::NAN);
            }
        });
    }
}

const fn preset(name: &'static str, repository: &'static str, source: &'static str, weight: f64) -> Preset {
    let options = AtOptions { weight: Weight::literal(weight), ..AtOptions::DEFAULT };
    Preset { name, options: Options::Map(MapOptions::At(options)), repository, source }
}

/// Channels that are read at once, so that Q is loaded and stored once for all of them.
const GROUP: usize = 4;

/// Adds the squares of x / unit, of some channels.
struct AddSquares<'a> {
    q: &'a mut [f64],
    per_unit: f64,
}

impl<const I: usize> Work<I> for AddSquares<'_> {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, x: [&[E]; I]) {
        let per_unit = l.splat_f64(self.per_unit);
        let length = x.iter().map(|x| x.len()).min().unwrap_or(0).min(self.q.len());
        let q = self.q.split_off_mut(..length).unwrap_or_default();
        let whole = length - length % L::WIDTH;
        for from in (0..whole).step_by(L::WIDTH) {
            add_squares(l, per_unit, q, &x, from..from + L::WIDTH);
        }
        if whole < length {
            add_squares(l, per_unit, q, &x, whole..length);
        }
    }
}

/// How many numbers before they are read memory is asked for them: of a channel no more is read before the next's turn.
const AHEAD: usize = 512;

#[inline(always)]
fn add_squares<L: Simd, E: Widened, const I: usize>(
    l: L,
    per_unit: L::W,
    q: &mut [f64],
    x: &[&[E]; I],
    range: Range<usize>,
) {
    let q = q.get_mut(range.clone()).unwrap_or_default();
    let mut sums = f64::load_wide(l, q);
    for x in x {
        let x = x.get(range.clone()).unwrap_or_default();
        l.prefetch(x, AHEAD);
        for (sum, x) in sums.iter_mut().zip(E::load_wide(l, x)) {
            let x = x * per_unit;
            *sum = l.fma_f64(x, x, *sum);
        }
    }
    let (low, high) = q.split_at_mut_checked(q.len().min(L::WIDTH / 2)).unwrap_or_default();
    for (q, sum) in [low, high].into_iter().zip(sums) {
        if !q.is_empty() {
            l.store_f64(sum, q);
        }
    }
}

/// x^p by squaring.
fn power(x: f64, p: u32) -> f64 {
    let (mut result, mut square, mut rest) = (1.0, x, p);
    while rest > 0 {
        if rest % 2 == 1 {
            result *= square;
        }
        square *= square;
        rest /= 2;
    }
    result
}

impl Formula for AtOptions {
    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same_positions()
    }

    fn state(&self, shapes: &Shapes) -> usize {
        shapes.student.images() * (2 * shapes.student.positions() + IMAGE)
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let shape = maps.student.shape();
        let (images, m) = (real(shape.images()), real(shape.positions()));
        Ok(match self.mode {
            AtMode::Code => Measured { sum: self.sum(Mse, maps, state, on), divisor: images * m },
            AtMode::Paper => Measured { sum: self.sum(Euclidean, maps, state, on), divisor: images },
        })
    }

    fn prepare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) {
        match self.mode {
            AtMode::Code => self.turn(Mse, maps, state, on),
            AtMode::Paper => self.turn(Euclidean, maps, state, on),
        }
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let m = maps.student.shape().positions();
        let [image, of_t, of_s] = cut(row(state, at.n, 2 * m + IMAGE), [IMAGE, m, m]);
        let (of_q, unit) = match at.side {
            Side::Teacher => (of_t, image.first()),
            Side::Student => (of_s, image.get(1)),
        };
        let per_unit = 1.0 / unit.copied().unwrap_or(f64::NAN);
        out.iter_mut()
            .zip(of_q.get(at.positions.clone()).unwrap_or_default())
            .for_each(|(out, of_q)| *out = *of_q);
        let (x, p) = ([maps.of(at.side).stretch(at.n, at.c, &at.positions)], self.p.get());
        if p == 2 {
            update_along(out, x, move |of_q: f64, x: f64| of_q * (x * per_unit));
        } else {
            update_along(out, x, move |of_q: f64, x: f64| {
                let slope = power((x * per_unit).abs(), p - 1) * x.signum();
                if x == 0.0 && !of_q.is_nan() { 0.0 } else { of_q * slope }
            });
        }
    }
}

impl Explain for AtOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, p, eps, weight } = self;
        writeln!(
            f,
            "Q(j) = 1/C * sum_c |x_cj|^{p},  v = Q / max(|Q|_2, {:e})  over the H W positions",
            eps.get()
        )?;
        match mode {
            AtMode::Code => write!(f, "loss = {} / (N H W) * sum_nj (v_s - v_t)^2", weight.get()),
            AtMode::Paper => write!(f, "loss = {} / N * sum_n |v_s - v_t|_2", weight.get()),
        }
    }
}
