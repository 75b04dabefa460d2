//! Intra-class feature variation (IFVD): how far the pixels of a class are from what the class is like on average.
//!
//! Of each image and class k with m pixels, prototype c = sum x / (m + 1e-6); of a pixel of the class,
//! f = <x, c> / (max(|x|, 1e-8) max(|c|, 1e-8)). Value: squared difference of the student's f and the teacher's,
//! mean over positions; a position without class has no term. T and S are `[N, C, H, W]`, their C may differ; labels
//! `[N, HL, WL]`, read at the nearest (floor(y HL / H), floor(x WL / W)). Source: IFVD, ECCV 2020 (Wang, Zhou, Jiang, Bai, Xu).
//!
//! Cost: two reads of both maps, one more of each for gradients, and one more of a side for its own.

use super::About;
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, Needs, PIECE, Shapes, Side, View, cut, cut_mut, head,
    pieces, real, row, row_mut,
};
use crate::options::options;
use crate::{Error, Preset, Weight};
use core::fmt;
use core::num::NonZeroUsize;
use core::ops::Range;

options! {
    /// Options of intra-class feature variation. Channels may differ; images, height and width may not.
    ///
    /// ```
    /// use densekd_core::IfvdOptions;
    /// assert_eq!(IfvdOptions::DEFAULT.num_classes.get(), 19);
    /// ```
    IfvdOptions {
        /// How many classes there are; a label that is negative or not below this number is no class.
        num_classes: NonZeroUsize = NonZeroUsize::new(19).unwrap(),
        /// The label that is no class.
        ignore_index: i64 = 255,
        /// The mean is over all positions, those without class too.
        count_ignored: bool = true,
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// The smallest norm that a vector is divided by.
const EPS: f64 = 1e-8;

/// Added to the number of pixels that a prototype is the mean of.
const COUNT_EPS: f64 = 1e-6;

const fn preset(
    name: &'static str,
    (repository, source): (&'static str, &'static str),
    weight: f64,
) -> Preset {
    let options = IfvdOptions { weight: Weight::literal(weight), ..IfvdOptions::DEFAULT };
    Preset { name, options: Options::Map(MapOptions::Ifvd(options)), repository, source }
}

/// What is kept of a side of an image.
struct Part<T> {
    /// A position's <x, c>, then what its gradient has of c: g / (max(|x|, eps) max(|c|, eps)).
    alpha: T,
    /// A position's |x|^2, then what its gradient has of x: -g f / |x|^2.
    beta: T,
    /// A class's prototype, by channels: `[C, classes]`.
    prototypes: T,
    /// What every pixel of a class has of the gradient to its prototype, by channels.
    shared: T,
    /// A class's |c|.
    norms: T,
    /// A class's sum of g f.
    pulls: T,
}

impl<T> Part<T> {
    fn from([alpha, beta, prototypes, shared, norms, pulls]: [T; 6]) -> Self {
        Self { alpha, beta, prototypes, shared, norms, pulls }
    }
}

/// Where things are in the state of an image.
#[derive(Clone, Copy)]
struct Layout {
    classes: usize,
    /// Of teacher and student.
    parts: [[usize; 6]; 2],
    /// Sum and number of counted positions, positions' classes, classes' numbers of pixels, teacher, student.
    image: [usize; 5],
    total: usize,
}

impl Layout {
    /// None where it does not fit in memory.
    fn new(options: &IfvdOptions, shapes: &Shapes) -> Option<Self> {
        let (positions, classes) = (shapes.student.positions(), options.num_classes.get());
        let part = |channels: usize| {
            let vectors = channels.checked_mul(classes)?;
            Some([positions, positions, vectors, vectors, classes, classes])
        };
        let parts = [part(shapes.teacher.channels())?, part(shapes.student.channels())?];
        let sum =
            |lengths: &[usize]| lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        let [teacher, student] = [sum(&parts[0])?, sum(&parts[1])?];
        let image = [2, positions, classes, teacher, student];
        let total = sum(&image)?;
        total.checked_mul(shapes.student.images())?.checked_mul(size_of::<f64>())?;
        Some(Self { classes, parts, image, total })
    }

    fn of(options: &IfvdOptions, maps: &Maps<'_>) -> Self {
        let shapes = Shapes { teacher: maps.teacher.shape(), student: maps.student.shape() };
        let empty = Self { classes: 0, parts: [[0; 6]; 2], image: [0; 5], total: 0 };
        Self::new(options, &shapes).unwrap_or(empty)
    }
}

/// The index that a number of the state is; none where it is negative.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it was made of an index below the number of classes"
)]
fn class_of(number: f64) -> Option<usize> {
    (number >= 0.0).then_some(number as usize)
}

impl IfvdOptions {
    pub(crate) const ABOUT: About = About {
        name: "ifvd",
        summary: "intra-class feature variation: cosines of pixels to the mean of their class",
        source: "ECCV 2020, Intra-class Feature Variation Distillation for Semantic Segmentation",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        preset(
            "torchdistiller-ifvd",
            ("irfanICMLL/TorchDistiller", "SemSeg-distill/utils/criterion.py, CriterionIFV"),
            200.0,
        ),
        preset("cirkd-ifvd", ("winycg/CIRKD", "losses/ifvd.py, scripts"), 20.0),
    ];

    /// The class of each position of an image, -1 where there is none, and each class's number of pixels.
    fn classify(&self, maps: &Maps<'_>, n: usize, classes: &mut [f64], counts: &mut [f64]) {
        let [_, _, h, w] = maps.student.shape().dims();
        let m = h * w;
        counts.fill(0.0);
        classes.fill(-1.0);
        let Some(labels) = maps.labels else { return };
        let [height, width] = labels.size();
        for (y, row) in classes.chunks_mut(w.max(1)).enumerate() {
            for (x, class) in row.iter_mut().enumerate() {
                let label = labels.at(n, y * height / h.max(1), x * width / w.max(1));
                let counted = label != self.ignore_index && maps.mask.counts(n * m + y * w + x);
                let k = usize::try_from(label).ok().filter(|_| counted);
                if let Some((k, count)) = k.and_then(|k| Some((k, counts.get_mut(k)?))) {
                    *count += 1.0;
                    *class = real(k);
                }
            }
        }
    }
}

/// Prototypes and their norms; each position's <x, c> and |x|^2.
fn compare(view: View<'_>, n: usize, classes: &[f64], counts: &[f64], part: Part<&mut [f64]>) {
    let Part { alpha: dots, beta: squares, prototypes, norms, pulls, .. } = part;
    let length = counts.len();
    prototypes.fill(0.0);
    visit(view, n, classes, |c, _, classes, x| {
        let sums = row_mut(prototypes, c, length);
        for (class, x) in classes.iter().zip(x) {
            if let Some(sum) = class_of(*class).and_then(|k| sums.get_mut(k)) {
                *sum += x;
            }
        }
    });
    norms.fill(0.0);
    for prototypes in prototypes.chunks_mut(length.max(1)) {
        for ((c, count), norm) in prototypes.iter_mut().zip(counts).zip(norms.iter_mut()) {
            *c /= count + COUNT_EPS;
            *norm += *c * *c;
        }
    }
    for norm in norms.iter_mut() {
        *norm = libm::sqrt(*norm);
    }
    pulls.fill(0.0);
    dots.fill(0.0);
    squares.fill(0.0);
    visit(view, n, classes, |c, positions, classes, x| {
        let prototypes = row(prototypes, c, length);
        let dots = dots.get_mut(positions.clone()).unwrap_or_default();
        let squares = squares.get_mut(positions.clone()).unwrap_or_default();
        for ((class, x), (dot, square)) in classes.iter().zip(x).zip(dots.iter_mut().zip(squares)) {
            if let Some(prototype) = class_of(*class).and_then(|k| prototypes.get(k)) {
                *dot += x * prototype;
                *square += x * x;
            }
        }
    });
}

/// An image in pieces: channel, positions, their classes, numbers.
fn visit(view: View<'_>, n: usize, classes: &[f64], mut f: impl FnMut(usize, &Range<usize>, &[f64], &[f64])) {
    let mut buffer = [0.0; PIECE];
    for piece in pieces(0..view.shape().positions()) {
        let here = classes.get(piece.clone()).unwrap_or_default();
        for c in 0..view.shape().channels() {
            f(c, &piece, here, view.positions(n, c, piece.start, head(&mut buffer, &piece)));
        }
    }
}

/// A position's cosine, from <x, c>, |x|^2 and |c|.
fn cosine(dot: f64, square: f64, norm: f64) -> f64 {
    dot / (at_least(libm::sqrt(square)) * at_least(norm))
}

/// A norm to be divided by; NaN stays.
fn at_least(norm: f64) -> f64 {
    if norm < EPS { EPS } else { norm }
}

/// Puts what the gradient needs of a position in the place of <x, c> and |x|^2; `g` is the gradient to its cosine.
fn slopes((alpha, beta): (&mut f64, &mut f64), (f, g): (f64, f64), norm: f64) {
    let (square, length) = (*beta, libm::sqrt(*beta));
    *alpha = if square == 0.0 { 0.0 } else { g / (at_least(length) * at_least(norm)) };
    *beta = if length > EPS { -g * f / square } else { 0.0 };
}

impl Formula for IfvdOptions {
    fn needs(&self) -> Needs {
        Needs { labels: true, ..Needs::TEACHER }
    }

    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same_positions()?;
        match Layout::new(self, shapes) {
            Some(_) => Ok(()),
            None => Err(Error::TooLarge { shape: shapes.student.dims() }),
        }
    }

    fn state(&self, shapes: &Shapes) -> usize {
        Layout::new(self, shapes).map_or(0, |layout| layout.total * shapes.student.images())
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let layout = Layout::of(self, maps);
        on.chunks(state, layout.total, &|n, state| {
            let [sums, classes, counts, teacher, student] = cut_mut(state, layout.image);
            self.classify(maps, n, classes, counts);
            compare(maps.teacher, n, classes, counts, Part::from(cut_mut(teacher, layout.parts[0])));
            compare(maps.student, n, classes, counts, Part::from(cut_mut(student, layout.parts[1])));
            let t = Part::from(cut_mut(teacher, layout.parts[0]));
            let s = Part::from(cut_mut(student, layout.parts[1]));
            let (mut value, mut counted) = (0.0, 0.0);
            let of_teacher = t.alpha.iter_mut().zip(t.beta);
            let of_student = s.alpha.iter_mut().zip(s.beta);
            for ((class, in_teacher), in_student) in classes.iter().zip(of_teacher).zip(of_student) {
                let Some(k) = class_of(*class) else { continue };
                let (Some(nt), Some(ns)) = (t.norms.get(k), s.norms.get(k)) else { continue };
                let (Some(pt), Some(ps)) = (t.pulls.get_mut(k), s.pulls.get_mut(k)) else { continue };
                let ft = cosine(*in_teacher.0, *in_teacher.1, *nt);
                let fs = cosine(*in_student.0, *in_student.1, *ns);
                let g = 2.0 * (fs - ft);
                value += (fs - ft) * (fs - ft);
                counted += 1.0;
                *ps += g * fs;
                *pt -= g * ft;
                slopes(in_student, (fs, g), *ns);
                slopes(in_teacher, (ft, -g), *nt);
            }
            sums.iter_mut().zip([value, counted]).for_each(|(to, from)| *to = from);
        });
        let (sum, counted) = state.chunks(layout.total.max(1)).fold((0.0, 0.0), |(sum, counted), image| {
            let [sums, ..] = cut(image, layout.image);
            (sum + sums.first().unwrap_or(&0.0), counted + sums.last().unwrap_or(&0.0))
        });
        let shape = maps.student.shape();
        let all = real(shape.images()) * real(shape.positions());
        Ok(Measured { sum, divisor: if self.count_ignored { all } else { counted } })
    }

    fn prepare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) {
        let layout = Layout::of(self, maps);
        on.chunks(state, layout.total, &|n, state| {
            let [_, classes, counts, teacher, student] = cut_mut(state, layout.image);
            let sides = [(maps.teacher, teacher, layout.parts[0]), (maps.student, student, layout.parts[1])];
            for (view, state, lengths) in sides {
                let Part { alpha, prototypes, shared, norms, pulls, .. } =
                    Part::from(cut_mut(state, lengths));
                shared.fill(0.0);
                visit(view, n, classes, |c, positions, classes, x| {
                    let sums = row_mut(shared, c, layout.classes);
                    let alpha = alpha.get(positions.clone()).unwrap_or_default();
                    for ((class, x), alpha) in classes.iter().zip(x).zip(alpha) {
                        if let Some(sum) = class_of(*class).and_then(|k| sums.get_mut(k)) {
                            *sum += alpha * x;
                        }
                    }
                });
                for c in 0..view.shape().channels() {
                    let of_classes = row_mut(shared, c, layout.classes).iter_mut().zip(&*counts);
                    let of_prototypes = row(prototypes, c, layout.classes).iter().zip(&*norms).zip(&*pulls);
                    for ((shared, count), ((c, norm), pull)) in of_classes.zip(of_prototypes) {
                        let along = if *norm > EPS { c * pull / (norm * norm) } else { 0.0 };
                        *shared = if *norm == 0.0 { 0.0 } else { (*shared - along) / (count + COUNT_EPS) };
                    }
                }
            }
        });
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let layout = Layout::of(self, maps);
        let [sums, classes, _, teacher, student] = cut(row(state, at.n, layout.total), layout.image);
        let (side, lengths) = match at.side {
            Side::Teacher => (teacher, layout.parts[0]),
            Side::Student => (student, layout.parts[1]),
        };
        let Part { alpha, beta, prototypes, shared, .. } = Part::from(cut(side, lengths));
        let [classes, alpha, beta] =
            [classes, alpha, beta].map(|of| of.get(at.positions.clone()).unwrap_or_default());
        let (prototypes, shared) = (row(prototypes, at.c, layout.classes), row(shared, at.c, layout.classes));
        let undefined = sums.first().is_none_or(|sum| sum.is_nan());
        let mut buffer = [0.0; PIECE];
        let x = maps.of(at.side).positions(at.n, at.c, at.positions.start, head(&mut buffer, &at.positions));
        let here = x.iter().zip(classes).zip(alpha).zip(beta);
        for (out, (((x, class), alpha), beta)) in out.iter_mut().zip(here) {
            *out = match class_of(*class).and_then(|k| Some((prototypes.get(k)?, shared.get(k)?))) {
                None => 0.0,
                Some(_) if undefined => f64::NAN,
                Some((prototype, shared)) => alpha * prototype + beta * x + shared,
            };
        }
    }
}

impl Explain for IfvdOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { num_classes, ignore_index, count_ignored, weight } = self;
        writeln!(
            f,
            "c_k = sum_k x / (n_k + 1e-6)  of each image and class k of {num_classes} (label {ignore_index}: none)"
        )?;
        writeln!(f, "f = <x, c_k> / (max(|x|, 1e-8) max(|c_k|, 1e-8))  of the pixels with a class")?;
        let divisor = if *count_ignored { "N H W" } else { "pixels with a class" };
        write!(f, "loss = {} / ({divisor}) * sum (f_s - f_t)^2", weight.get())
    }
}
