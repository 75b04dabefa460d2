//! Intra-class feature variation (IFVD): how far the pixels of a class are from what the class is like on average.
//!
//! Of each image and class k with m pixels, prototype c = sum x / (m + 1e-6); of a pixel of the class,
//! f = <x, c> / (max(|x|, 1e-8) max(|c|, 1e-8)). Value: squared difference of the student's f and the teacher's,
//! mean over positions; a position without class has no term. T and S are `[N, C, H, W]`, their C may differ; labels
//! `[N, HL, WL]`, read at the nearest (floor(y HL / H), floor(x WL / W)). Source: IFVD, ECCV 2020 (Wang, Zhou, Jiang, Bai, Xu).
//!
//! Cost: two reads of both maps, for a value alone and for gradients too: prototypes; then, tile by tile, cosines and,
//! where there will be a gradient, what a class's pixels have of the gradient to its prototype, from a cache. One more
//! of a side for its gradient. State of an image: 5 numbers a position, and of each side 2 a channel and class (channels
//! in eights) and 2 a class.

mod table;

use self::table::{PIXELS, Table};
use super::About;
use crate::diverge::{Diverge, Mse};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Lanewise, Maps, Measured, Needs, PIECE, Samples, Shapes, Side, View, cut,
    cut_mut, head, lanewise, real, row,
};
use crate::normalize::UnitLength;
use crate::options::options;
use crate::space::{Real, VectorSpace};
use crate::{Epsilon, Error, Preset, Weight};
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

/// How pixels and prototypes become directions.
const LENGTH: UnitLength = UnitLength::at_least(Epsilon::literal(1e-8));

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
    /// The [`Table`] of prototypes.
    prototypes: T,
    /// The [`Table`] of what every pixel of a class has of the gradient to its prototype.
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
    table: Table,
    /// Of teacher and student.
    parts: [[usize; 6]; 2],
    /// Sum and number of counted positions, positions' marks, classes' numbers of pixels, teacher, student.
    image: [usize; 5],
    total: usize,
}

impl Layout {
    /// None where it does not fit in memory.
    fn new(options: &IfvdOptions, shapes: &Shapes) -> Option<Self> {
        let (positions, classes) = (shapes.student.positions(), options.num_classes.get());
        let table = Table { classes };
        let part = |channels: usize| {
            let vectors = table.len(channels)?;
            Some([positions, positions, vectors, vectors, classes, classes])
        };
        let parts = [part(shapes.teacher.channels())?, part(shapes.student.channels())?];
        let sum =
            |lengths: &[usize]| lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        let [teacher, student] = [sum(&parts[0])?, sum(&parts[1])?];
        let image = [2, positions, classes, teacher, student];
        let total = sum(&image)?;
        total.checked_mul(shapes.student.images())?.checked_mul(size_of::<f64>())?;
        Some(Self { table, parts, image, total })
    }

    fn of(options: &IfvdOptions, maps: &Maps<'_>) -> Self {
        let shapes = Shapes { teacher: maps.teacher.shape(), student: maps.student.shape() };
        let empty = Self { table: Table { classes: 0 }, parts: [[0; 6]; 2], image: [0; 5], total: 0 };
        Self::new(options, &shapes).unwrap_or(empty)
    }
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

    /// The mark of each position of an image, and each class's number of pixels.
    fn classify(&self, maps: &Maps<'_>, n: usize, marks: &mut [f64], counts: &mut [f64]) {
        let [_, _, h, w] = maps.student.shape().dims();
        let m = h * w;
        counts.fill(0.0);
        marks.fill(Table::mark(counts.len()));
        let Some(labels) = maps.labels else { return };
        let [height, width] = labels.size();
        for (y, row) in marks.chunks_mut(w.max(1)).enumerate() {
            for (x, mark) in row.iter_mut().enumerate() {
                let label = labels.at(n, y * height / h.max(1), x * width / w.max(1));
                let counted = label != self.ignore_index && maps.mask.counts(n * m + y * w + x);
                let k = usize::try_from(label).ok().filter(|_| counted);
                if let Some((k, count)) = k.and_then(|k| Some((k, counts.get_mut(k)?))) {
                    *count += 1.0;
                    *mark = Table::mark(k);
                }
            }
        }
    }

    /// Fills the state: what a value needs, or gradients too.
    fn compare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor, gradients: bool) -> Measured {
        let layout = Layout::of(self, maps);
        let (table, shape) = (layout.table, maps.student.shape());
        let m = shape.positions();
        let widths = [maps.teacher, maps.student].map(|view| Samples::new(view.shape()).width());
        let width = widths.into_iter().fold(PIXELS, usize::min);
        on.chunks(state, layout.total, &|n, state| {
            let [sums, marks, counts, teacher, student] = cut_mut(state, layout.image);
            self.classify(maps, n, marks, counts);
            let mut parts =
                [(teacher, layout.parts[0], maps.teacher), (student, layout.parts[1], maps.student)]
                    .map(|(state, lengths, view)| (Part::from(cut_mut(state, lengths)), view));
            let tiles = || (0..m).step_by(width.max(1)).map(|from| from..(from + width).min(m));
            for (part, view) in &mut parts {
                part.prototypes.fill(0.0);
                for tile in tiles() {
                    let marks = marks.get(tile.clone()).unwrap_or_default();
                    table.add(part.prototypes, (*view, n, &tile), (marks, &[1.0; PIXELS]));
                }
                part.start(table, counts);
            }
            let (mut value, mut counted) = (0.0, 0.0);
            for tile in tiles() {
                let marks = marks.get(tile.clone()).unwrap_or_default();
                for (part, view) in &mut parts {
                    part.measure(table, (*view, n, &tile), marks);
                }
                let [(t, _), (s, _)] = &mut parts;
                for (i, class) in tile.clone().zip(marks).map(|(i, mark)| (i, table.class(*mark))) {
                    let (Some(mut t), Some(mut s)) = (t.pixel(i, class), s.pixel(i, class)) else { continue };
                    let (ft, fs) = (t.cosine(), s.cosine());
                    let x = Real::point(ft, fs);
                    let g = Diverge::<Real>::student_cotangent(&Mse, x);
                    value += Diverge::<Real>::term(&Mse, x);
                    counted += 1.0;
                    t.turn(ft, -g);
                    s.turn(fs, g);
                }
                for (part, view) in parts.iter_mut().filter(|_| gradients) {
                    let alpha = part.alpha.get(tile.clone()).unwrap_or_default();
                    table.add(part.shared, (*view, n, &tile), (marks, alpha));
                }
            }
            for (part, _) in &mut parts {
                part.finish(table, counts);
            }
            sums.iter_mut().zip([value, counted]).for_each(|(to, from)| *to = from);
        });
        let (sum, counted) = state.chunks(layout.total.max(1)).fold((0.0, 0.0), |(sum, counted), image| {
            let [sums, ..] = cut(image, layout.image);
            (sum + sums.first().unwrap_or(&0.0), counted + sums.last().unwrap_or(&0.0))
        });
        let all = real(shape.images()) * real(m);
        Measured { sum, divisor: if self.count_ignored { all } else { counted } }
    }
}

/// A pixel with a class.
struct Pixel<'a> {
    /// As those of [`Part`].
    alpha: &'a mut f64,
    beta: &'a mut f64,
    pull: &'a mut f64,
    /// What x and c are divided by.
    divisor: f64,
    /// The share of the gradient along x that is lost.
    lost: f64,
}

impl Pixel<'_> {
    fn cosine(&self) -> f64 {
        *self.alpha / self.divisor
    }

    /// Puts what the gradient needs in the place of <x, c> and |x|^2; `g` is the gradient to the cosine f.
    fn turn(&mut self, f: f64, g: f64) {
        let square = *self.beta;
        *self.pull += g * f;
        *self.alpha = g / self.divisor;
        *self.beta = if self.lost == 0.0 { 0.0 } else { -g * f * self.lost / square };
    }
}

impl Part<&mut [f64]> {
    /// The sums of the pixels of classes become prototypes.
    fn start(&mut self, table: Table, counts: &[f64]) {
        self.norms.fill(0.0);
        self.pulls.fill(0.0);
        self.shared.fill(0.0);
        for rows in table.rows(self.prototypes) {
            for (row, (count, norm)) in rows.zip(counts.iter().zip(self.norms.iter_mut())) {
                for c in row {
                    *c /= count + COUNT_EPS;
                    *norm += *c * *c;
                }
            }
        }
        for norm in self.norms.iter_mut() {
            *norm = libm::sqrt(*norm);
        }
    }

    /// A tile's <x, c> and |x|^2.
    fn measure(&mut self, table: Table, (view, n, tile): (View<'_>, usize, &Range<usize>), marks: &[f64]) {
        let dots = self.alpha.get_mut(tile.clone()).unwrap_or_default();
        let squares = self.beta.get_mut(tile.clone()).unwrap_or_default();
        dots.fill(0.0);
        squares.fill(0.0);
        let mut buffers = [[0.0; PIECE]; 2];
        let [x, prototypes] = &mut buffers;
        let (x, prototypes) = (head(x, tile), head(prototypes, tile));
        for c in 0..view.shape().channels() {
            table.spread(self.prototypes, c, marks, prototypes);
            let x = view.positions(n, c, tile.start, x);
            lanewise([&mut *dots, &mut *squares], [x, &*prototypes], &Products);
        }
    }

    /// A pixel of the image; of no class, nothing is left of it.
    fn pixel(&mut self, i: usize, class: Option<usize>) -> Option<Pixel<'_>> {
        let (alpha, beta) = (self.alpha.get_mut(i)?, self.beta.get_mut(i)?);
        let Some(k) = class else {
            (*alpha, *beta) = (0.0, 0.0);
            return None;
        };
        let (of_x, lost) = LENGTH.divisor(libm::sqrt(*beta));
        let (of_c, _) = LENGTH.divisor(*self.norms.get(k)?);
        Some(Pixel { alpha, beta, pull: self.pulls.get_mut(k)?, divisor: of_x * of_c, lost })
    }

    /// What the pixels of a class have in common of their gradients.
    fn finish(&mut self, table: Table, counts: &[f64]) {
        for (rows, prototypes) in table.rows(self.shared).zip(table.rows(self.prototypes)) {
            let of_classes = counts.iter().zip(self.norms.iter().zip(self.pulls.iter())).map(Some);
            for ((row, prototype), of_class) in rows.zip(prototypes).zip(of_classes.chain([None])) {
                let Some((count, (norm, pull))) = of_class else {
                    // A pixel without a class has a gradient of 0, whatever stands there.
                    row.fill(0.0);
                    prototype.fill(0.0);
                    continue;
                };
                let (divisor, lost) = LENGTH.divisor(*norm);
                for (shared, c) in row.iter_mut().zip(prototype) {
                    let along = if lost == 0.0 { 0.0 } else { *c * pull * lost / (norm * norm) };
                    let nowhere = divisor == f64::INFINITY;
                    *shared = if nowhere { 0.0 } else { (*shared - along) / (count + COUNT_EPS) };
                }
            }
        }
    }
}

/// <x, c> and |x|^2 of one channel more.
struct Products;

impl Lanewise<2, 2> for Products {
    #[inline(always)]
    fn at(&self, [dot, square]: [f64; 2], [x, c]: [f64; 2]) -> [f64; 2] {
        [dot + x * c, square + x * x]
    }
}

/// The gradient, from a number, what is kept of its position, and what is shared.
struct Pull;

impl Lanewise<1, 5> for Pull {
    #[inline(always)]
    fn at(&self, _: [f64; 1], [x, alpha, beta, prototype, shared]: [f64; 5]) -> [f64; 1] {
        // Without a class, x may be anything.
        let along = if beta == 0.0 { 0.0 } else { beta * x };
        [alpha * prototype + along + shared]
    }
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
        Ok(self.compare(maps, state, on, false))
    }

    fn measure_and_prepare(
        &self,
        maps: &Maps<'_>,
        state: &mut [f64],
        on: &dyn Executor,
    ) -> Result<Measured, Error> {
        Ok(self.compare(maps, state, on, true))
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let layout = Layout::of(self, maps);
        let table = layout.table;
        let [sums, marks, _, teacher, student] = cut(row(state, at.n, layout.total), layout.image);
        let (side, lengths) = match at.side {
            Side::Teacher => (teacher, layout.parts[0]),
            Side::Student => (student, layout.parts[1]),
        };
        let Part { alpha, beta, prototypes, shared, .. } = Part::from(cut(side, lengths));
        let [marks, alpha, beta] =
            [marks, alpha, beta].map(|of| of.get(at.positions.clone()).unwrap_or_default());
        if sums.first().is_none_or(|sum| sum.is_nan()) {
            let undefined = |mark: &f64| table.class(*mark).map_or(0.0, |_| f64::NAN);
            out.iter_mut().zip(marks.iter().map(undefined)).for_each(|(out, x)| *out = x);
            return;
        }
        let mut buffers = [[0.0; PIECE]; 3];
        let [x, of_prototypes, of_shared] = buffers.each_mut().map(|buffer| head(buffer, &at.positions));
        table.spread(prototypes, at.c, marks, of_prototypes);
        table.spread(shared, at.c, marks, of_shared);
        let x = maps.of(at.side).positions(at.n, at.c, at.positions.start, x);
        lanewise([out], [x, alpha, beta, of_prototypes, of_shared], &Pull);
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
