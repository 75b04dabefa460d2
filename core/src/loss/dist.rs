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
//! Both maps `[N, C, H, W]`. Source: arXiv 2205.10536. Cost: one read of both maps (a tile's exponentials stay in a cache
//! until they are correlated), one more of both for gradients (what the softmaxes pull back, which takes every column),
//! one more of both for the gradient of each side: two exponentials an entry each time. State: 9 numbers a position, of
//! which a value alone touches a tile's, 7 a class, and of each stripe of positions, at most 32, 8 a class and a tile of
//! both maps.

mod layout;

use self::layout::{Column, Plan, ROW};
use super::About;
use super::pearson::{Comoments, Misses, Pearson, SUMS, Slopes, add_terms};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Exponentials, Formula, Keep, Maps, Measured, PIECE, Shapes, Share, Side, Sweep,
    cut_mut, head, real, sweep,
};
use crate::options::options;
use crate::row::per_quarter;
use crate::simd::{Doubles, EIGHT};
use crate::{Epsilon, Error, Preset, Temperature, Weight};
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

/// The shares of a class, what they add to the sums of their rows, and the sums of the column about a shift: of
/// deviations and of their terms.
#[derive(Clone, Copy)]
struct Joint {
    /// 1 / C.
    mean: f64,
    shift: [f64; 2],
}

impl Sweep<4, SUMS, { 2 + SUMS }> for Joint {
    #[inline(always)]
    fn at<L: Doubles>(
        &self,
        l: L,
        [term_t, term_s, per_sum_t, per_sum_s]: [L::D; 4],
        rows: &mut [L::D; SUMS],
        column: &mut [L::D; 2 + SUMS],
    ) {
        let (p, q, mean) = (term_t * per_sum_t, term_s * per_sum_s, l.splat(self.mean));
        add_terms(l, (p - mean, q - mean), rows);
        let (a, b) = (p - l.splat(self.shift[0]), q - l.splat(self.shift[1]));
        let [sum_a, sum_b, terms @ ..] = column;
        (*sum_a, *sum_b) = (*sum_a + a, *sum_b + b);
        add_terms(l, (a, b), terms);
    }
}

/// One over a sum, in its place.
#[derive(Clone, Copy)]
struct Inverse;

impl Sweep<0, 1> for Inverse {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, _: [L::D; 0], [sum]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        *sum = l.splat(1.0) / *sum;
    }
}

/// What a side's gradient to a class's shares is made of.
#[derive(Clone, Copy)]
struct Seen {
    /// 1 / C, the mean of a row.
    row_mean: f64,
    /// Of the column, the side's own and the other's.
    mean: [f64; 2],
    /// One over the column's spread; of the other's, less than 0.
    unit: [f64; 2],
    correlation: f64,
    weight: f64,
}

impl Seen {
    fn new(options: &DistOptions, plan: &Plan, column: &Column, side: Side) -> Self {
        let classes = real(plan.shape.channels());
        let Column {
            mean: [t, s],
            pearson: Pearson { unit: [unit_t, unit_s], slope: [slope_t, slope_s], miss },
        } = *column;
        let (mean, unit, slope) = match side {
            Side::Teacher => ([t, s], [unit_t, -unit_s], slope_t),
            Side::Student => ([s, t], [unit_s, -unit_t], slope_s),
        };
        let weight = options.intra_weight.get() / classes * slope;
        Self { row_mean: 1.0 / classes, mean, unit, correlation: 1.0 - miss, weight }
    }

    /// d(sum)/dy of the side in a row, from its share and the other's, and the row's numbers.
    #[inline(always)]
    fn pull<L: Doubles>(&self, l: L, [own, other]: [L::D; 2], [along, across]: [L::D; 2]) -> L::D {
        let Self { row_mean, mean, unit, correlation, weight } = *self;
        let of_row = l.fma(own - l.splat(row_mean), along, (other - own) * across);
        let own = (own - l.splat(mean[0])) * l.splat(unit[0]);
        let other = (other - l.splat(mean[1])) * l.splat(unit[1]);
        // 0 of equal columns, whose r is 1.
        let of_column = l.fma(own, l.splat(correlation), other);
        l.fma(of_column, l.splat(weight), of_row)
    }
}

/// What a class adds to <y, g> of teacher and student.
#[derive(Clone, Copy)]
struct Dots {
    share: Share,
    /// As teacher and student see it.
    seen: [Seen; 2],
}

impl Sweep<9, 2> for Dots {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 9], [dot_t, dot_s]: &mut [L::D; 2], _: &mut [L::D; 0]) {
        let [t, s, top_t, per_sum_t, top_s, per_sum_s, along_t, along_s, across] = x;
        let p = self.share.of(l, t, [top_t, per_sum_t]);
        let q = self.share.of(l, s, [top_s, per_sum_s]);
        let [of_t, of_s] = &self.seen;
        *dot_t = l.fma(p, of_t.pull(l, [p, q], [along_t, across]), *dot_t);
        *dot_s = l.fma(q, of_s.pull(l, [q, p], [along_s, across]), *dot_s);
    }
}

/// The gradient to the logits of a class, of the side that sees it so.
#[derive(Clone, Copy)]
struct Pull {
    share: Share,
    seen: Seen,
    per_tau: f64,
}

impl Sweep<9, 1> for Pull {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 9], [out]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let [own, other, top, per_sum, other_top, other_per_sum, along, across, dot] = x;
        let y = self.share.of(l, own, [top, per_sum]);
        let other = self.share.of(l, other, [other_top, other_per_sum]);
        let pull = self.seen.pull(l, [y, other], [along, across]);
        *out = y * (pull - dot) * l.splat(self.per_tau);
    }
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
}

impl DistOptions {
    fn share(&self) -> Share {
        Share { scale: per_quarter(self.tau) }
    }

    /// The rows of a tile: what they add to the columns, and the sum of theirs.
    fn rows(
        &self,
        maps: &Maps<'_>,
        plan: &Plan,
        (tile, keep): (&Range<usize>, Keep),
        rows: &mut [f64],
        (columns, terms): (&mut [f64], [&mut [f64]; 2]),
    ) -> f64 {
        let (scale, classes, length) = (per_quarter(self.tau), real(plan.shape.channels()), tile.len());
        let [top_t, sum_t, top_s, sum_s, rows @ ..] = cut_mut::<ROW>(rows, [length; ROW]);
        let mut rows: [&mut [f64]; SUMS] = rows;
        let [terms_t, terms_s] =
            terms.map(|terms| terms.get_mut(..plan.shape.channels() * length).unwrap_or_default());
        let sides = [
            (maps.teacher, top_t, &mut *sum_t, &mut *terms_t),
            (maps.student, top_s, &mut *sum_s, &mut *terms_s),
        ];
        for (view, top, sum, terms) in sides {
            Exponentials { top, sum: &mut *sum, terms }.take(scale, plan.samples(), (view, tile));
            sweep(maps.isa, [], [sum], Inverse);
        }
        for sums in &mut rows {
            sums.fill(0.0);
        }
        let terms = terms_t.chunks(length.max(1)).zip(terms_s.chunks(length.max(1)));
        for (column, (t, s)) in columns.chunks_mut(Comoments::LEN).zip(terms) {
            let shift = [(t, &*sum_t), (s, &*sum_s)].map(|(terms, per_sum)| first_mean(terms, per_sum));
            let joint = Joint { mean: 1.0 / classes, shift };
            let rows = rows.each_mut().map(|sums| &mut **sums);
            let [a, b, sums @ ..] = sweep(maps.isa, [t, s, sum_t, sum_s], rows, joint);
            let mut whole = Comoments::read(column);
            whole.merge(&Comoments::about(real(length), shift, [a, b], sums));
            whole.write(column);
        }
        let eps = self.eps.get();
        let [sum] = match keep {
            Keep::Nothing => sweep(maps.isa, rows.each_ref().map(|sums| &**sums), [], Misses { eps }),
            Keep::Rows => {
                let weight = self.inter_weight.get() / real(plan.samples().count());
                sweep(maps.isa, [], rows, Slopes { eps, weight })
            }
        };
        sum
    }

    fn compare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor, keep: Keep) -> Measured {
        let plan = Plan::new(maps.student.shape());
        let classes = real(plan.shape.channels());
        let (head, stripes) = state.split_at_mut(plan.head().min(state.len()));
        plan.stripes.each(stripes, on, |own, tiles| {
            let [sum, columns, terms_t, terms_s] = cut_mut(own, plan.own());
            columns.fill(0.0);
            sum.fill(0.0);
            tiles.each(keep, |tile, rows| {
                let terms = [&mut *terms_t, &mut *terms_s];
                let more = self.rows(maps, &plan, (&tile, keep), rows, (columns, terms));
                sum.iter_mut().for_each(|sum| *sum += more);
            });
        });
        let (value, columns) = head.split_at_mut(1.min(head.len()));
        let mut of_columns = 0.0;
        for (c, to) in columns.chunks_mut(Column::LEN).enumerate() {
            let mut whole = Comoments::default();
            for own in plan.stripes.own(stripes) {
                whole.merge(&Comoments::read(own.get(1 + c * Comoments::LEN..).unwrap_or_default()));
            }
            let pearson = Pearson::of(maps.isa, whole.sums, self.eps.get());
            of_columns += pearson.miss;
            Column { mean: whole.mean, pearson }.write(to);
        }
        let of_rows: f64 = plan.stripes.own(stripes).filter_map(<[f64]>::first).sum();
        let sum = self.inter_weight.get() * of_rows / real(plan.samples().count())
            + self.intra_weight.get() * of_columns / classes;
        value.fill(sum);
        Measured { sum, divisor: 1.0 }
    }
}

/// The mean of the first shares: exactly theirs where they are equal.
fn first_mean(terms: &[f64], per_sum: &[f64]) -> f64 {
    let shares = || terms.iter().zip(per_sum).take(EIGHT).map(|(term, per_sum)| term * per_sum);
    let first = shares().next().unwrap_or(0.0);
    let (sum, count) = shares().fold((0.0, 0.0), |(sum, count), x| (sum + (x - first), count + 1.0));
    if count == 0.0 { 0.0 } else { first + sum / count }
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
        Ok(self.compare(maps, state, on, Keep::Nothing))
    }

    fn measure_and_prepare(
        &self,
        maps: &Maps<'_>,
        state: &mut [f64],
        on: &dyn Executor,
    ) -> Result<Measured, Error> {
        let measured = self.compare(maps, state, on, Keep::Rows);
        let plan = Plan::new(maps.student.shape());
        let (head, stripes) = state.split_at_mut(plan.head().min(state.len()));
        let (share, columns) = (self.share(), head.get(1..).unwrap_or_default());
        plan.stripes.each(stripes, on, |_, tiles| {
            let mut buffers = [[0.0; PIECE]; 2];
            let [of_t, of_s] = &mut buffers;
            tiles.each(Keep::Rows, |tile, rows| {
                let [top_t, per_sum_t, top_s, per_sum_s, along_t, along_s, across, dot_t, dot_s] =
                    cut_mut(rows, [tile.len(); ROW]);
                for (c, column) in columns.chunks(Column::LEN).map(Column::read).enumerate() {
                    let seen =
                        [Side::Teacher, Side::Student].map(|side| Seen::new(self, &plan, &column, side));
                    let t = plan.samples().read(maps.teacher, c, &tile, of_t);
                    let s = plan.samples().read(maps.student, c, &tile, of_s);
                    let x = [t, s, top_t, per_sum_t, top_s, per_sum_s, along_t, along_s, across];
                    sweep(maps.isa, x, [&mut *dot_t, &mut *dot_s], Dots { share, seen });
                }
            });
        });
        Ok(measured)
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        if state.first().is_none_or(|value| value.is_nan()) {
            out.fill(f64::NAN);
            return;
        }
        let plan = Plan::new(maps.student.shape());
        let column = Column::read(state.get(1 + at.c * Column::LEN..).unwrap_or_default());
        let seen = Seen::new(self, &plan, &column, at.side);
        let pull = Pull { share: self.share(), seen, per_tau: 1.0 / self.tau.get() };
        let stripes = state.get(plan.head()..).unwrap_or_default();
        let mut buffers = [[0.0; PIECE]; 2];
        let [of_t, of_s] = &mut buffers;
        let t = maps.teacher.positions(at.n, at.c, at.positions.start, head(of_t, &at.positions));
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(of_s, &at.positions));
        for (i, of_tile, here) in plan.samples().over(at.n, &at.positions) {
            let [top_t, per_sum_t, top_s, per_sum_s, along_t, along_s, across, dot_t, dot_s] =
                plan.stripes.kept(stripes, i, &of_tile);
            let [t, s] = [t, s].map(|x| x.get(here.clone()).unwrap_or_default());
            let x = match at.side {
                Side::Teacher => [t, s, top_t, per_sum_t, top_s, per_sum_s, along_t, across, dot_t],
                Side::Student => [s, t, top_s, per_sum_s, top_t, per_sum_t, along_s, across, dot_s],
            };
            sweep(maps.isa, x, [out.get_mut(here).unwrap_or_default()], pull);
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
