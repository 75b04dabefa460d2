//! Holistic distillation (HO): the scores that a discriminator, which the caller owns, gives to whole maps.
//!
//! Three roles, means over all elements of score tensors of any shape: the student's network as generator,
//! -mean(s); the discriminator, mean(s) - mean(t) (`wgan-gp`) or mean(max(0, 1 + s)) + mean(max(0, 1 - t))
//! (`hinge`); and the penalty that keeps the discriminator smooth, mean over images of (|g| - 1)^2, where the
//! student's place is taken by g, the gradient of the discriminator's score at a point between the maps of
//! teacher and student. Source: arXiv 1903.04197, section 3.2; penalty arXiv 1704.00028, hinge arXiv 1805.08318.
//! Cost: one read of each tensor (penalty: two), one more of a side for its gradient where it depends on it.

use super::About;
use crate::diverge::{Diverge, Hinge, Wasserstein};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, Needs, Shapes, Side, View, real, sum, update_along,
};
use crate::names::choice;
use crate::options::options;
use crate::space::{Score, Verdict};
use crate::{Error, Preset, Weight};
use core::fmt;

choice! {
    /// What holistic distillation trains by its value (`role`).
    ///
    /// ```
    /// assert_eq!("discriminator".parse(), Ok(densekd_core::HoRole::Discriminator));
    /// ```
    HoRole, "role" {
        /// The student's network, by the discriminator's scores of its maps.
        Generator = "generator",
        /// The discriminator, by its scores of the teacher's and the student's maps.
        Discriminator = "discriminator",
        /// The discriminator, by the gradient of its score, which is given as the student.
        GradientPenalty = "gradient_penalty",
    }
}

choice! {
    /// Which game generator and discriminator play (`adversary`); their gradient penalty is the same in both.
    ///
    /// ```
    /// assert_eq!("hinge".parse(), Ok(densekd_core::HoAdversary::Hinge));
    /// ```
    HoAdversary, "adversary" {
        /// Differences of mean scores.
        WganGp = "wgan-gp",
        /// Scores beyond -1 and 1 do not count.
        Hinge = "hinge",
    }
}

options! {
    /// Options of holistic distillation. Teacher and student may have any shapes.
    ///
    /// ```
    /// use densekd_core::{HoOptions, HoRole};
    /// assert_eq!(HoOptions::DEFAULT.role, HoRole::Generator);
    /// ```
    HoOptions {
        /// What the value trains: the student's network, the discriminator, or the penalty of its gradient.
        role: HoRole = HoRole::Generator,
        /// wgan-gp or hinge.
        adversary: HoAdversary = HoAdversary::WganGp,
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

const fn preset(
    name: &'static str,
    (repository, source): (&'static str, &'static str),
    role: HoRole,
    weight: f64,
) -> Preset {
    let options = HoOptions { role, weight: Weight::literal(weight), ..HoOptions::DEFAULT };
    Preset { name, options: Options::Map(MapOptions::Ho(options)), repository, source }
}

const TORCH_DISTILLER: (&str, &str) = ("irfanICMLL/TorchDistiller", "SemSeg-distill/options.py");
const SKD: (&str, &str) = ("irfanICMLL/structure_knowledge_distillation", "networks/kd_model.py");

impl HoOptions {
    pub(crate) const ABOUT: About = About {
        name: "ho",
        summary: "holistic distillation: scores of a discriminator of whole maps",
        source: "arXiv 1903.04197",
    };

    /// The discriminator's step weighs its loss by 0.1 and the penalty in it by 10.
    pub(crate) const PRESETS: &[Preset] = &[
        preset("torchdistiller-ho-generator", TORCH_DISTILLER, HoRole::Generator, 0.001),
        preset("torchdistiller-ho-discriminator", TORCH_DISTILLER, HoRole::Discriminator, 0.1),
        preset("torchdistiller-ho-penalty", TORCH_DISTILLER, HoRole::GradientPenalty, 1.0),
        preset("skd-ho-generator", SKD, HoRole::Generator, 0.1),
        preset("skd-ho-discriminator", SKD, HoRole::Discriminator, 0.1),
        preset("skd-ho-penalty", SKD, HoRole::GradientPenalty, 1.0),
    ];

    /// What a score adds to the sum of its side, and the slope of that.
    fn score(&self, side: Side, score: f64) -> (f64, f64) {
        match (self.role, self.adversary) {
            (HoRole::Discriminator, HoAdversary::Hinge) => judge(Hinge, side, score),
            (HoRole::Discriminator, HoAdversary::WganGp) => judge(Wasserstein, side, score),
            // In either game the generator wants the student's maps to be taken for the teacher's.
            _ => judge(Wasserstein, Side::Teacher, score),
        }
    }

    fn scores(&self, side: Side, view: View<'_>, n: usize) -> f64 {
        let (this, mut total) = (*self, 0.0);
        view.each(n, |x| total += sum(x, |x| this.score(side, x).0));
        total
    }
}

fn judge<D: Diverge<Score>>(game: D, side: Side, score: f64) -> (f64, f64) {
    let x = Verdict { score, side };
    let slope = match side {
        Side::Teacher => game.teacher_cotangent(x),
        Side::Student => game.student_cotangent(x),
    };
    (game.term(x), slope)
}

/// |g| of an image is `unit * root`: g^2 itself could over- or underflow.
struct Length {
    unit: f64,
    root: f64,
}

impl Length {
    const ZERO: Self = Self { unit: 0.0, root: 0.0 };

    fn of(view: View<'_>, n: usize) -> Self {
        let unit = view.largest(n);
        if unit == 0.0 {
            return Self::ZERO;
        }
        let mut squares = 0.0;
        view.each(n, |x| squares += sum(x, |x| (x / unit) * (x / unit)));
        Self { unit, root: libm::sqrt(squares) }
    }

    fn read(state: &[f64], n: usize) -> Self {
        match state.get(2 * n..2 * n + 2) {
            Some(&[unit, root]) => Self { unit, root },
            _ => Self { unit: f64::NAN, root: f64::NAN },
        }
    }

    /// |g| - 1.
    fn excess(&self) -> f64 {
        self.unit * self.root - 1.0
    }
}

impl Formula for HoOptions {
    fn needs(&self) -> Needs {
        match self.role {
            HoRole::Discriminator => Needs::TEACHER,
            HoRole::Generator | HoRole::GradientPenalty => {
                Needs { teacher: false, teacher_gradient: false, ..Needs::TEACHER }
            }
        }
    }

    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, _shapes: &Shapes) -> Result<(), Error> {
        Ok(())
    }

    fn state(&self, shapes: &Shapes) -> usize {
        match self.role {
            HoRole::Generator => shapes.student.images(),
            HoRole::Discriminator => shapes.student.images() + shapes.teacher.images(),
            HoRole::GradientPenalty => 2 * shapes.student.images(),
        }
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let images = maps.student.shape().images();
        if self.role == HoRole::GradientPenalty {
            on.chunks(state, 2, &|n, state| {
                let Length { unit, root } = Length::of(maps.student, n);
                state.iter_mut().zip([unit, root]).for_each(|(to, from)| *to = from);
            });
            let excess = |n| Length::read(state, n).excess();
            let sum = (0..images).map(excess).map(|excess| excess * excess).sum();
            return Ok(Measured { sum, divisor: real(images) });
        }
        let (students, teachers) = state.split_at_mut(images.min(state.len()));
        let sides = [(Side::Student, students), (Side::Teacher, teachers)];
        let [student, teacher] = sides.map(|(side, sums)| {
            on.chunks(sums, 1, &|n, sum| sum.fill(self.scores(side, maps.of(side), n)));
            sums.iter().sum::<f64>()
        });
        let sum = match self.role {
            HoRole::Discriminator => student + teacher * share(maps),
            _ => student,
        };
        Ok(Measured { sum, divisor: real(maps.student.shape().len()) })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let share = if at.side == Side::Teacher { share(maps) } else { 1.0 };
        let penalty = self.role == HoRole::GradientPenalty;
        if !penalty && (self.role, self.adversary) != (HoRole::Discriminator, HoAdversary::Hinge) {
            return out.fill(self.score(at.side, 0.0).1 * share);
        }
        let (side, x) = (at.side, [maps.of(at.side).stretch(at.n, at.c, &at.positions)]);
        if !penalty {
            return update_along(out, x, move |_: f64, x: f64| judge(Hinge, side, x).1 * share);
        }
        let length = Length::read(state, at.n);
        if length.unit == 0.0 {
            return out.fill(0.0);
        }
        let slope = 2.0 * length.excess() / length.root;
        update_along(out, x, move |_: f64, x: f64| slope * (x / length.unit));
    }
}

impl Explain for HoOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = self.weight.get();
        match (self.role, self.adversary) {
            (HoRole::Generator, _) => write!(f, "loss = -{weight} * mean(s)"),
            (HoRole::Discriminator, HoAdversary::WganGp) => {
                write!(f, "loss = {weight} * (mean(s) - mean(t))")
            }
            (HoRole::Discriminator, HoAdversary::Hinge) => {
                write!(f, "loss = {weight} * (mean(max(0, 1 + s)) + mean(max(0, 1 - t)))")
            }
            (HoRole::GradientPenalty, _) => write!(
                f,
                "loss = {weight} / N * sum_n (|g_n|_2 - 1)^2,  g the gradient of the discriminator's score, given as \
                 the student"
            ),
        }
    }
}

/// What one of the teacher's scores counts in a mean over the student's.
fn share(maps: &Maps<'_>) -> f64 {
    real(maps.student.shape().len()) / real(maps.teacher.shape().len())
}
