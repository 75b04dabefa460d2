//! Relations between classes and between positions (DIST): how student and teacher correlate, row by row.
//!
//! The softmax over the C classes at tau is a matrix of R = N H W rows and C columns, p of the teacher and q of the
//! student; a' is a - mean.
//!
//! ```text
//! r(a, b) = <a', b'> / (|a'| |b'| + eps)
//! loss = weight * tau^2 * (inter / R * sum over rows of (1 - r(p, q)) + intra / C * sum over columns of (1 - r(p, q)))
//! ```
//!
//! Both maps `[N, C, H, W]`. Source: arXiv 2205.10536. Cost: three reads of both maps (the softmaxes; rows and
//! columns; what the softmaxes pull back, which takes every column), one more of both for the gradient of each side.
//! State: 10 numbers a position, and 8 a class for each of at most 32 stripes of positions.

use super::About;
use super::pearson::{Comoments, Pearson};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, LogSumExp, Maps, Measured, PIECE, Shapes, Side, head, real, spans,
};
use crate::options::options;
use crate::row::per_quarter;
use crate::{Epsilon, Error, Preset, Shape, Temperature, Weight};
use core::fmt;
use core::ops::Range;

options! {
    /// Options of the correlations between classes and between positions.
    ///
    /// ```
    /// use densekd_core::DistOptions;
    /// assert_eq!(DistOptions::DEFAULT.intra_weight.get(), 1.0);
    /// ```
    DistOptions {
        /// Temperature of the softmax over channels.
        tau: Temperature = Temperature::ONE,
        /// Multiply by tau^2, which keeps the gradient's size the same for every tau.
        tau_square: bool = true,
        /// Weight of the correlations between the classes of a position.
        inter_weight: Weight = Weight::ONE,
        /// Weight of the correlations between the positions of a class.
        intra_weight: Weight = Weight::ONE,
        /// Added to the product of norms that correlations are divided by.
        eps: Epsilon = Epsilon::literal(1e-8),
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// A position's classes.
#[derive(Clone, Copy)]
struct Row {
    /// Teacher, student.
    softmax: [LogSumExp; 2],
    pearson: Pearson,
    /// <y, g> of teacher and student, g the gradient to y.
    dot: [f64; 2],
}

impl Row {
    const LEN: usize = 6 + Pearson::LEN;
    const EMPTY: Self = Self {
        softmax: [LogSumExp::EMPTY; 2],
        pearson: Pearson { norm: [0.0; 2], divisor: 1.0, miss: 0.0 },
        dot: [0.0; 2],
    };

    fn read(from: &[f64]) -> Self {
        match *from {
            [top_t, sum_t, top_s, sum_s, dot_t, dot_s, ref pearson @ ..] => Self {
                softmax: [LogSumExp { top: top_t, sum: sum_t }, LogSumExp { top: top_s, sum: sum_s }],
                dot: [dot_t, dot_s],
                pearson: Pearson::read(pearson),
            },
            _ => Self::EMPTY,
        }
    }

    fn write(self, to: &mut [f64]) {
        let Self { softmax: [t, s], pearson, dot: [dot_t, dot_s] } = self;
        if let Some((head, rest)) = to.split_at_mut_checked(6) {
            let from = [t.top, t.sum, s.top, s.sum, dot_t, dot_s];
            head.iter_mut().zip(from).for_each(|(to, from)| *to = from);
            pearson.write(rest);
        }
    }

    /// The two softmaxes at one class.
    #[inline(always)]
    fn shares(&self, scale: f64, (t, s): (f64, f64)) -> [f64; 2] {
        let [of_t, of_s] = self.softmax;
        [of_t.share(scale, t), of_s.share(scale, s)]
    }
}

/// A class's positions.
#[derive(Clone, Copy)]
struct Column {
    mean: [f64; 2],
    pearson: Pearson,
}

impl Column {
    const LEN: usize = 2 + Pearson::LEN;

    fn read(from: &[f64]) -> Self {
        match *from {
            [t, s, ref pearson @ ..] => Self { mean: [t, s], pearson: Pearson::read(pearson) },
            _ => Self { mean: [0.0; 2], pearson: Pearson::read(&[]) },
        }
    }

    fn write(self, to: &mut [f64]) {
        if let [t, s, pearson @ ..] = to {
            [*t, *s] = self.mean;
            self.pearson.write(pearson);
        }
    }
}

/// How the state is laid out: the value, the columns, then stripes of rows with what they add to each column.
#[derive(Clone, Copy)]
struct Plan {
    shape: Shape,
    /// Rows of all.
    rows: usize,
    /// Rows of a stripe.
    stripe: usize,
}

impl Plan {
    /// Stripes that are worked on side by side.
    const STRIPES: usize = 32;

    fn new(shape: Shape) -> Self {
        let rows = shape.images() * shape.positions();
        Self { shape, rows, stripe: rows.div_ceil(Self::STRIPES).max(64) }
    }

    const fn head(&self) -> usize {
        1 + self.shape.channels() * Column::LEN
    }

    fn stripe_len(&self) -> usize {
        (self.stripe * Row::LEN + self.shape.channels() * Comoments::LEN).max(1)
    }

    fn len(&self) -> usize {
        self.head() + self.rows.div_ceil(self.stripe.max(1)) * self.stripe_len()
    }

    /// The rows of a stripe, in pieces of one image: image, positions, and where their rows stand in the stripe.
    fn spans(self, stripe: usize) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
        let from = stripe * self.stripe;
        let mut done = 0;
        spans(self.shape, from..(from + self.stripe).min(self.rows), PIECE).map(move |(n, piece)| {
            let start = done;
            done += piece.len();
            (n, piece, start * Row::LEN)
        })
    }

    /// One of all rows.
    fn row<'a>(&self, state: &'a [f64], row: usize) -> &'a [f64] {
        let (stripe, within) = (row / self.stripe.max(1), row % self.stripe.max(1));
        state.get(self.head() + stripe * self.stripe_len() + within * Row::LEN..).unwrap_or_default()
    }

    fn column(state: &[f64], c: usize) -> &[f64] {
        state.get(1 + c * Column::LEN..1 + (c + 1) * Column::LEN).unwrap_or_default()
    }
}

/// What is no number has no softmax, -inf included: it would hide in a share of 0.
fn finite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::NAN }
}

impl DistOptions {
    pub(crate) const ABOUT: About = About {
        name: "dist",
        summary: "correlations of student and teacher between classes and between positions",
        source: "arXiv 2205.10536",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        Preset {
            name: "mmrazor-dist",
            options: Options::Map(MapOptions::Dist(DistOptions {
                weight: Weight::literal(2.0),
                ..DistOptions::DEFAULT
            })),
            repository: "open-mmlab/mmrazor",
            source: "mmrazor/models/losses/dist_loss.py, config",
        },
        Preset {
            name: "dist_kd-dist",
            options: Options::Map(MapOptions::Dist(DistOptions {
                tau_square: false,
                ..DistOptions::DEFAULT
            })),
            repository: "hunto/DIST_KD",
            source: "segmentation/losses/dist_kd.py",
        },
    ];

    /// d(sum)/dy of a side at a row and a column.
    #[inline(always)]
    fn pull_share(&self, plan: Plan, side: Side, row: &Pearson, column: &Column, shares: [f64; 2]) -> f64 {
        let classes = real(plan.shape.channels());
        let sides = |[t, s]: [f64; 2]| match side {
            Side::Teacher => (t, s),
            Side::Student => (s, t),
        };
        let (own, other) = sides(shares);
        let (own_mean, other_mean) = sides(column.mean);
        let of_row = row.pull(side, own - 1.0 / classes, other - 1.0 / classes);
        let of_column = column.pearson.pull(side, own - own_mean, other - other_mean);
        self.inter_weight.get() / real(plan.rows) * of_row + self.intra_weight.get() / classes * of_column
    }
}

impl Formula for DistOptions {
    fn scale(&self) -> f64 {
        let tau = self.tau.get();
        self.weight.get() * if self.tau_square { tau * tau } else { 1.0 }
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same()
    }

    fn state(&self, shapes: &Shapes) -> usize {
        Plan::new(shapes.student).len()
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let plan = Plan::new(maps.student.shape());
        let (scale, classes) = (per_quarter(self.tau), plan.shape.channels());
        let (own, stripes) = state.split_at_mut(plan.head().min(state.len()));
        on.chunks(stripes, plan.stripe_len(), &|stripe, state| {
            let (rows, columns) = state.split_at_mut((plan.stripe * Row::LEN).min(state.len()));
            columns.fill(0.0);
            let mut buffers = [[0.0; PIECE]; 4];
            let [of_t, of_s, shares_t, shares_s] = &mut buffers;
            let mut moments = [Comoments::default(); PIECE];
            for (n, piece, at) in plan.spans(stripe) {
                let rows = rows.get_mut(at..at + piece.len() * Row::LEN).unwrap_or_default();
                rows.chunks_mut(Row::LEN).for_each(|row| Row::EMPTY.write(row));
                for c in 0..classes {
                    let t = maps.teacher.positions(n, c, piece.start, head(of_t, &piece));
                    let s = maps.student.positions(n, c, piece.start, head(of_s, &piece));
                    for (to, (&t, &s)) in rows.chunks_mut(Row::LEN).zip(t.iter().zip(s)) {
                        let mut row = Row::read(to);
                        let [of_t, of_s] = &mut row.softmax;
                        of_t.add(scale, finite(t));
                        of_s.add(scale, finite(s));
                        row.write(to);
                    }
                }
                let moments = moments.get_mut(..piece.len()).unwrap_or_default();
                moments.fill(Comoments::default());
                for (c, column) in columns.chunks_mut(Comoments::LEN).enumerate() {
                    let t = maps.teacher.positions(n, c, piece.start, head(of_t, &piece));
                    let s = maps.student.positions(n, c, piece.start, head(of_s, &piece));
                    let (shares_t, shares_s) = (head(shares_t, &piece), head(shares_s, &piece));
                    let to = shares_t.iter_mut().zip(shares_s.iter_mut()).zip(&mut *moments);
                    for (((to_t, to_s), moments), (row, pair)) in
                        to.zip(rows.chunks(Row::LEN).zip(t.iter().copied().zip(s.iter().copied())))
                    {
                        let [t, s] = Row::read(row).shares(scale, pair);
                        moments.add(t - 1.0 / real(classes), s - 1.0 / real(classes), 1.0);
                        (*to_t, *to_s) = (t, s);
                    }
                    let mut whole = Comoments::read(column);
                    whole.merge(&Comoments::of(shares_t.iter().copied().zip(shares_s.iter().copied())));
                    whole.write(column);
                }
                for (to, moments) in rows.chunks_mut(Row::LEN).zip(&*moments) {
                    Row { pearson: Pearson::of(moments, self.eps.get()), ..Row::read(to) }.write(to);
                }
            }
        });
        let (value, columns) = own.split_at_mut(1.min(own.len()));
        let mut of_columns = 0.0;
        for (c, to) in columns.chunks_mut(Column::LEN).enumerate() {
            let mut whole = Comoments::default();
            for stripe in stripes.chunks(plan.stripe_len()) {
                let at = plan.stripe * Row::LEN + c * Comoments::LEN;
                whole.merge(&Comoments::read(stripe.get(at..).unwrap_or_default()));
            }
            let pearson = Pearson::of(&whole, self.eps.get());
            of_columns += pearson.miss;
            Column { mean: whole.mean, pearson }.write(to);
        }
        let rows = stripes.chunks(plan.stripe_len()).enumerate().flat_map(|(stripe, state)| {
            let rows = plan.stripe.min(plan.rows - (stripe * plan.stripe).min(plan.rows));
            state.chunks(Row::LEN).take(rows)
        });
        let of_rows: f64 = rows.map(|row| Row::read(row).pearson.miss).sum();
        let sum = self.inter_weight.get() * of_rows / real(plan.rows)
            + self.intra_weight.get() * of_columns / real(classes);
        value.fill(sum);
        let columns = &*columns;
        on.chunks(stripes, plan.stripe_len(), &|stripe, rows| {
            let mut buffers = [[0.0; PIECE]; 2];
            let [of_t, of_s] = &mut buffers;
            for (n, piece, at) in plan.spans(stripe) {
                let rows = rows.get_mut(at..at + piece.len() * Row::LEN).unwrap_or_default();
                for (c, column) in columns.chunks(Column::LEN).map(Column::read).enumerate() {
                    let t = maps.teacher.positions(n, c, piece.start, head(of_t, &piece));
                    let s = maps.student.positions(n, c, piece.start, head(of_s, &piece));
                    for (to, (&t, &s)) in rows.chunks_mut(Row::LEN).zip(t.iter().zip(s)) {
                        let mut row = Row::read(to);
                        let shares = row.shares(scale, (t, s));
                        let sides = [Side::Teacher, Side::Student].into_iter().zip(shares);
                        for ((side, share), dot) in sides.zip(&mut row.dot) {
                            *dot += share * self.pull_share(plan, side, &row.pearson, &column, shares);
                        }
                        row.write(to);
                    }
                }
            }
        });
        Ok(Measured { sum, divisor: 1.0 })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        if state.first().is_none_or(|value| value.is_nan()) {
            out.fill(f64::NAN);
            return;
        }
        let plan = Plan::new(maps.student.shape());
        let scale = per_quarter(self.tau);
        let column = Column::read(Plan::column(state, at.c));
        let mut buffers = [[0.0; PIECE]; 2];
        let [of_t, of_s] = &mut buffers;
        let t = maps.teacher.positions(at.n, at.c, at.positions.start, head(of_t, &at.positions));
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(of_s, &at.positions));
        let first = at.n * plan.shape.positions() + at.positions.start;
        for ((out, (&t, &s)), row) in out.iter_mut().zip(t.iter().zip(s)).zip(first..) {
            let row = Row::read(plan.row(state, row));
            let shares = row.shares(scale, (t, s));
            let ([share_t, share_s], [dot_t, dot_s]) = (shares, row.dot);
            let (share, dot) = match at.side {
                Side::Teacher => (share_t, dot_t),
                Side::Student => (share_s, dot_s),
            };
            *out = share * (self.pull_share(plan, at.side, &row.pearson, &column, shares) - dot)
                / self.tau.get();
        }
    }
}

impl Explain for DistOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tau = self.tau.get();
        writeln!(f, "p, q = softmax over the C channels of t / {tau}, s / {tau}")?;
        writeln!(
            f,
            "r(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b| + {:e})",
            self.eps.get()
        )?;
        write!(f, "loss = {}", self.weight.get())?;
        if self.tau_square {
            write!(f, " * {tau}^2")?;
        }
        let (inter, intra) = (self.inter_weight.get(), self.intra_weight.get());
        write!(
            f,
            " * ({inter} / (N H W) * sum over positions of (1 - r(p, q)) + {intra} / C * sum over channels of "
        )?;
        f.write_str("(1 - r(p, q)))")
    }
}
