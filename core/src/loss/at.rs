//! Attention transfer (AT): where a map's energy lies, whatever its channels are.
//!
//! Q(j) = (1/C) sum over c of `|x_cj|^p`, v = Q / max(|Q|, eps) over the positions of an image; then the squared
//! (`code`) or plain (`paper`) distance of the student's v and the teacher's. Source: arXiv 1612.03928, equation 2;
//! that paper's beta/2 goes into the weight. Cost: one read of both maps, one more of a side for its gradient.

use super::{About, MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, PIECE, Shapes, Side, View, head, real, sum, sums, update,
};
use crate::names::choice;
use crate::options::options;
use crate::{Epsilon, Error, Preset, Weight};
use core::fmt;
use core::num::NonZeroU32;

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
#[derive(Clone, Copy, Default)]
struct Image {
    /// What it adds to the sum.
    value: f64,
    /// The largest magnitudes of teacher and student: Q is taken of x over it, since v does not depend on it.
    unit: [f64; 2],
    /// max(|Q|, eps) in these units.
    norm: [f64; 2],
    /// <v, g>, where the norm is above eps, else 0.
    dot: [f64; 2],
    /// What e is multiplied by for g: 2 in `code`, 1/|e| in `paper`.
    slope: f64,
}

impl Image {
    const LEN: usize = 8;

    fn read(from: &[f64]) -> Self {
        match *from {
            [value, ut, us, nt, ns, dt, ds, slope, ..] => {
                Self { value, unit: [ut, us], norm: [nt, ns], dot: [dt, ds], slope }
            }
            _ => Self::default(),
        }
    }

    fn write(self, to: &mut [f64]) {
        let Self { value, unit: [ut, us], norm: [nt, ns], dot: [dt, ds], slope } = self;
        to.iter_mut().zip([value, ut, us, nt, ns, dt, ds, slope]).for_each(|(to, from)| *to = from);
    }
}

/// The energy of a side of an image.
struct Energy {
    unit: f64,
    /// max(|Q|, eps) in units.
    norm: f64,
    /// Whether it is eps, or the map is zero: then v's length is no constraint.
    clamped: bool,
}

const fn index(side: Side) -> usize {
    match side {
        Side::Teacher => 0,
        Side::Student => 1,
    }
}

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

    /// Q into `q`, in units that keep its square in range.
    fn energy(&self, view: View<'_>, n: usize, q: &mut [f64]) -> Energy {
        // Squares of what f32 holds and any usual power makes of it are in range as they are; where a sum is not,
        // and only there, the map is read for its largest magnitude first.
        let mut unit = 1.0;
        let mut norm = self.fill(view, n, unit, q);
        if !(1e-120..1e150).contains(&norm) {
            unit = view.largest(n);
            if unit == 0.0 {
                return Energy { unit: 1.0, norm: 1.0, clamped: true };
            }
            // The reciprocal of a subnormal number is none.
            unit = if unit < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { unit };
            norm = self.fill(view, n, unit, q);
        }
        // eps is in the units of Q as defined, with 1/C.
        let eps = self.eps.get() * real(view.shape().channels()) / self.power(unit);
        Energy { unit, norm: if norm < eps { eps } else { norm }, clamped: norm <= eps }
    }

    /// The sum over channels of |x / unit|^p at every position; its norm over positions.
    fn fill(&self, view: View<'_>, n: usize, unit: f64, q: &mut [f64]) -> f64 {
        let (p, per_unit) = (self.p.get(), 1.0 / unit);
        let mut buffer = [0.0; PIECE];
        q.fill(0.0);
        for (c, piece) in view.walk(0..view.shape().channels()) {
            let q = q.get_mut(piece.clone()).unwrap_or_default();
            let x = view.positions(n, c, piece.start, head(&mut buffer, &piece));
            if p == 2 {
                update(q, x, x, |q, x, _| q + (x * per_unit) * (x * per_unit));
            } else {
                update(q, x, x, |q, x, _| q + power((x * per_unit).abs(), p));
            }
        }
        libm::sqrt(sum(q, |q| q * q))
    }
}

const fn preset(name: &'static str, repository: &'static str, source: &'static str, weight: f64) -> Preset {
    let options = AtOptions { weight: Weight::literal(weight), ..AtOptions::DEFAULT };
    Preset { name, options: Options::Map(MapOptions::At(options)), repository, source }
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
        shapes.student.images() * (2 * shapes.student.positions() + Image::LEN)
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let shape = maps.student.shape();
        let (images, m) = (shape.images(), shape.positions());
        let len = 2 * m + Image::LEN;
        on.chunks(state, len, &|n, state| {
            let (image, q) = state.split_at_mut(Image::LEN.min(state.len()));
            let (qt, qs) = q.split_at_mut(m.min(q.len()));
            let t = self.energy(maps.teacher, n, qt);
            let s = self.energy(maps.student, n, qs);
            let (per_t, per_s) = (1.0 / t.norm, 1.0 / s.norm);
            let [squares, dt, ds] = sums(qt, qs, |qt, qs| {
                let (t, s) = (qt * per_t, qs * per_s);
                let e = s - t;
                [e * e, -t * e, s * e]
            });
            let distance = libm::sqrt(squares);
            let (value, slope) = match self.mode {
                AtMode::Code => (squares, 2.0),
                AtMode::Paper => (distance, if distance == 0.0 { 0.0 } else { 1.0 / distance }),
            };
            let dot = [if t.clamped { 0.0 } else { slope * dt }, if s.clamped { 0.0 } else { slope * ds }];
            Image { value, unit: [t.unit, s.unit], norm: [t.norm, s.norm], dot, slope }.write(image);
        });
        let sum = state.chunks(len.max(1)).map(|image| Image::read(image).value).sum();
        let divisor = match self.mode {
            AtMode::Code => real(images) * real(m),
            AtMode::Paper => real(images),
        };
        Ok(Measured { sum, divisor })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let m = maps.student.shape().positions();
        let len = 2 * m + Image::LEN;
        let state = state.get(at.n * len..(at.n + 1) * len).unwrap_or_default();
        let image = Image::read(state);
        let q = |side| {
            let from = Image::LEN + index(side) * m;
            state.get(from..from + m).and_then(|q| q.get(at.positions.clone())).unwrap_or_default()
        };
        let (own, other) = match at.side {
            Side::Teacher => (Side::Teacher, Side::Student),
            Side::Student => (Side::Student, Side::Teacher),
        };
        let (unit, norm, dot) = (image.unit[index(own)], image.norm[index(own)], image.dot[index(own)]);
        let mut buffer = [0.0; PIECE];
        let x = maps.of(own).positions(at.n, at.c, at.positions.start, head(&mut buffer, &at.positions));
        let (per_own, per_other) = (1.0 / norm, 1.0 / image.norm[index(other)]);
        update(out, q(own), q(other), |_, v, w| {
            let (v, w) = (v * per_own, w * per_other);
            (image.slope * (v - w) - v * dot) * per_own
        });
        let (p, per_unit) = (self.p.get(), 1.0 / unit);
        if p == 2 {
            update(out, x, x, |dq, x, _| 2.0 * dq * (x * per_unit) * per_unit);
        } else {
            update(out, x, x, |dq, x, _| {
                let slope = f64::from(p) * power((x * per_unit).abs(), p - 1) * per_unit;
                if x == 0.0 { 0.0 } else { slope * dq * x.signum() }
            });
        }
        if image.value.is_nan() {
            out.fill(f64::NAN);
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
