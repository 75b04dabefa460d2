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

mod part;
mod table;

use self::part::Part;
use self::table::{PIXELS, Table};
use super::About;
use crate::diverge::{Diverge, Mse};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Labels, Maps, Measured, Needs, PIECE, Samples, Shapes, Side, Sweep, cut,
    cut_mut, head, real, row, sweep,
};
use crate::options::options;
use crate::simd::Doubles;
use crate::space::{Real, VectorSpace};
use crate::{Error, Mask, Preset, Shape, Weight};
use core::fmt;
use core::num::NonZeroUsize;

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

const fn preset(
    name: &'static str,
    (repository, source): (&'static str, &'static str),
    weight: f64,
) -> Preset {
    let options = IfvdOptions { weight: Weight::literal(weight), ..IfvdOptions::DEFAULT };
    Preset { name, options: Options::Map(MapOptions::Ifvd(options)), repository, source }
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

    /// The class of every position `[N, H, W]` of maps of this shape, that of the nearest label; none where the position
    /// is left out or the label is no class.
    ///
    /// ```
    /// use densekd_core::{IfvdOptions, Labels, Mask, Shape};
    /// let labels = Labels::new(&[3, 255], 1, 1, 2)?;
    /// let classes = IfvdOptions::DEFAULT.classes(labels, Mask::ALL, Shape::new([1, 8, 1, 4])?);
    /// assert_eq!(classes.collect::<Vec<_>>(), [Some(3), Some(3), None, None]);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn classes<'a>(
        self,
        labels: Labels<'a>,
        mask: Mask<'a>,
        shape: Shape,
    ) -> impl Iterator<Item = Option<usize>> + use<'a> {
        let [images, _, h, w] = shape.dims();
        let rows = (0..images).flat_map(move |n| (0..h).map(move |y| (n, y)));
        let positions = rows.flat_map(move |(n, y)| (0..w).map(move |x| [n, y, x]));
        positions.map(move |position| self.class(labels, mask, shape, position))
    }

    fn class(
        &self,
        labels: Labels<'_>,
        mask: Mask<'_>,
        shape: Shape,
        [n, y, x]: [usize; 3],
    ) -> Option<usize> {
        let ([_, _, h, w], [height, width]) = (shape.dims(), labels.size());
        let label = labels.at(n, y * height / h.max(1), x * width / w.max(1));
        let counted = label != self.ignore_index && mask.counts((n * h + y) * w + x);
        usize::try_from(label).ok().filter(|&k| counted && k < self.num_classes.get())
    }

    /// The mark of each position of an image, and each class's number of pixels.
    fn classify(&self, maps: &Maps<'_>, n: usize, marks: &mut [f64], counts: &mut [f64]) {
        let shape = maps.student.shape();
        let [_, _, _, w] = shape.dims();
        counts.fill(0.0);
        marks.fill(Table::mark(counts.len()));
        let Some(labels) = maps.labels else { return };
        for (y, row) in marks.chunks_mut(w.max(1)).enumerate() {
            for (x, mark) in row.iter_mut().enumerate() {
                let k = self.class(labels, maps.mask, shape, [n, y, x]);
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

/// The gradient, from a number, what is kept of its position, and what is shared.
#[derive(Clone, Copy)]
struct Pull;

impl Sweep<5, 1> for Pull {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 5], [out]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let ([x, alpha, beta, prototype, shared], zero) = (x, l.splat(0.0));
        // Without a class, x may be anything.
        let along = l.select(l.equal(beta, zero), zero, beta * x);
        *out = l.fma(alpha, prototype, along) + shared;
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
        sweep(maps.isa, [x, alpha, beta, of_prototypes, of_shared], [out], Pull);
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
