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
//! Both maps `[N, C, H, W]`. Source: arXiv 2205.10536. Cost: one read of both maps (a tile's channels three times, twice
//! of them from a cache: largest logits, sums, correlations), one more of both for gradients (what the softmaxes pull
//! back, which takes every column), one more of both for the gradient of each side. State: 11 numbers a position, 7 a
//! class, and 8 a class for each of at most 32 stripes of positions.

mod layout;

use self::layout::{Column, Plan, ROW};
use super::About;
use super::pearson::{Comoments, Pearson, SUMS, Seen, terms};
use crate::loss::{MapOptions, Options};
use crate::map::{
    At, Executor, Explain, Formula, Lanewise, Maps, Measured, PIECE, Shapes, Side, Softmaxes, cut, cut_mut,
    head, lanewise, real, shares, sum,
};
use crate::options::options;
use crate::row::per_quarter;
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

/// What a class adds to the sums of its rows, from its logits and shares.
struct Rows {
    /// 1 / C.
    mean: f64,
}

impl Lanewise<SUMS, 4> for Rows {
    #[inline(always)]
    fn at(&self, sums: [f64; SUMS], [t, s, share_t, share_s]: [f64; 4]) -> [f64; SUMS] {
        // A logit of -inf is no number and has no softmax; it would hide in a share of 0.
        let (a, b) = (share_t + t * 0.0, share_s + s * 0.0);
        let [aa, bb, products, apart, skew] = sums;
        let [more_aa, more_bb, more_products, more_apart, more_skew] = terms(a - self.mean, b - self.mean);
        [aa + more_aa, bb + more_bb, products + more_products, apart + more_apart, skew + more_skew]
    }
}

/// A row's correlation in the place of its sums.
struct Correlation {
    eps: f64,
}

impl Lanewise<SUMS, 0> for Correlation {
    #[inline(always)]
    fn at(&self, sums: [f64; SUMS], _: [f64; 0]) -> [f64; Pearson::LEN] {
        Pearson::of(sums, self.eps).numbers()
    }
}

/// A class as one of the sides sees it, and what rows and columns weigh.
#[derive(Clone, Copy)]
struct Class {
    /// 1 / C, the mean of a row.
    mean: f64,
    own_mean: f64,
    other_mean: f64,
    column: Seen,
    row_weight: f64,
    column_weight: f64,
}

impl Class {
    fn new(options: &DistOptions, plan: &Plan, column: &Column, side: Side) -> Self {
        let classes = real(plan.shape.channels());
        let [t, s] = column.mean;
        let (own_mean, other_mean) = match side {
            Side::Teacher => (t, s),
            Side::Student => (s, t),
        };
        Self {
            mean: 1.0 / classes,
            own_mean,
            other_mean,
            column: column.pearson.seen_by(side),
            row_weight: options.inter_weight.get() / real(plan.samples.count()),
            column_weight: options.intra_weight.get() / classes,
        }
    }

    /// d(sum)/dy of the side in a row.
    #[inline(always)]
    fn pull(&self, row: &Seen, own: f64, other: f64) -> f64 {
        let of_row = row.pull(own - self.mean, other - self.mean);
        let of_column = self.column.pull(own - self.own_mean, other - self.other_mean);
        self.row_weight * of_row + self.column_weight * of_column
    }
}

/// What a class adds to <y, g> of teacher and student.
struct Dots {
    /// As teacher and student see it.
    class: [Class; 2],
}

impl Lanewise<2, 7> for Dots {
    #[inline(always)]
    fn at(&self, [dot_t, dot_s]: [f64; 2], x: [f64; 7]) -> [f64; 2] {
        let [t, s, unit_t, unit_s, slope_t, slope_s, miss] = x;
        let row = Pearson::from_numbers([unit_t, unit_s, slope_t, slope_s, miss]);
        let [of_t, of_s] = &self.class;
        let pull_t = of_t.pull(&row.seen_by(Side::Teacher), t, s);
        let pull_s = of_s.pull(&row.seen_by(Side::Student), s, t);
        [dot_t + t * pull_t, dot_s + s * pull_s]
    }
}

/// The gradient to the logits of a class, of the side that sees it so.
struct Pull {
    tau: f64,
    class: Class,
}

impl Lanewise<1, 7> for Pull {
    #[inline(always)]
    fn at(&self, _: [f64; 1], [share, other, unit, other_unit, slope, miss, dot]: [f64; 7]) -> [f64; 1] {
        let row = Seen { own: unit, other: other_unit, slope, miss };
        [share * (self.class.pull(&row, share, other) - dot) / self.tau]
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
    /// The rows of a tile, and what they add to the columns.
    fn rows(
        &self,
        maps: &Maps<'_>,
        plan: &Plan,
        tile: &Range<usize>,
        state: &mut [f64],
        columns: &mut [f64],
    ) {
        let (scale, classes) = (per_quarter(self.tau), real(plan.shape.channels()));
        let [top_t, sum_t, top_s, sum_s, aa, bb, products, apart, skew, class, own] =
            cut_mut(state, [tile.len(); ROW]);
        // No class is left out of these softmaxes.
        class.fill(-1.0);
        let sides = [(maps.teacher, &mut *top_t, &mut *sum_t), (maps.student, &mut *top_s, &mut *sum_s)];
        for (view, top, sum) in sides {
            Softmaxes { class, own, top, sum }.take(scale, &plan.samples, (view, tile), |_, _, _| {});
        }
        let mut rows = [aa, bb, products, apart, skew];
        for sums in &mut rows {
            sums.fill(0.0);
        }
        let mut buffers = [[0.0; PIECE]; 4];
        let [of_t, of_s, shares_t, shares_s] = &mut buffers;
        for (c, column) in columns.chunks_mut(Comoments::LEN).enumerate() {
            let t = plan.samples.read(maps.teacher, c, tile, of_t);
            let s = plan.samples.read(maps.student, c, tile, of_s);
            let p = shares(scale, t, (top_t, sum_t), shares_t);
            let q = shares(scale, s, (top_s, sum_s), shares_s);
            let rows = rows.each_mut().map(|sums| &mut **sums);
            lanewise(rows, [t, s, p, q], &Rows { mean: 1.0 / classes });
            let mut whole = Comoments::read(column);
            whole.merge(&Comoments::of(p, q));
            whole.write(column);
        }
        lanewise(rows, [], &Correlation { eps: self.eps.get() });
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
        let classes = real(plan.shape.channels());
        let (own, stripes) = state.split_at_mut(plan.head().min(state.len()));
        on.chunks(stripes, plan.stripe_len(), &|stripe, state| {
            let (state, columns) = state.split_at_mut((plan.stripe * plan.tile_len()).min(state.len()));
            columns.fill(0.0);
            for (tile, state) in plan.tiles(stripe, state) {
                self.rows(maps, &plan, &tile, state, columns);
            }
        });
        let (value, columns) = own.split_at_mut(1.min(own.len()));
        let mut of_columns = 0.0;
        for (c, to) in columns.chunks_mut(Column::LEN).enumerate() {
            let mut whole = Comoments::default();
            for stripe in stripes.chunks(plan.stripe_len()) {
                let at = plan.stripe * plan.tile_len() + c * Comoments::LEN;
                whole.merge(&Comoments::read(stripe.get(at..).unwrap_or_default()));
            }
            let pearson = Pearson::of(whole.sums, self.eps.get());
            of_columns += pearson.miss;
            Column { mean: whole.mean, pearson }.write(to);
        }
        let mut of_rows = 0.0;
        for (stripe, state) in stripes.chunks_mut(plan.stripe_len()).enumerate() {
            for (tile, state) in plan.tiles(stripe, state) {
                let [.., miss, _, _] = cut::<ROW>(state, [tile.len(); ROW]);
                of_rows += sum(miss, |miss| miss);
            }
        }
        let sum = self.inter_weight.get() * of_rows / real(plan.samples.count())
            + self.intra_weight.get() * of_columns / classes;
        value.fill(sum);
        Ok(Measured { sum, divisor: 1.0 })
    }

    fn prepare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) {
        let plan = Plan::new(maps.student.shape());
        let scale = per_quarter(self.tau);
        let (own, stripes) = state.split_at_mut(plan.head().min(state.len()));
        let columns = own.get(1..).unwrap_or_default();
        on.chunks(stripes, plan.stripe_len(), &|stripe, state| {
            let mut buffers = [[0.0; PIECE]; 4];
            let [of_t, of_s, shares_t, shares_s] = &mut buffers;
            for (tile, state) in plan.tiles(stripe, state) {
                let [top_t, sum_t, top_s, sum_s, unit_t, unit_s, slope_t, slope_s, miss, dot_t, dot_s] =
                    cut_mut(state, [tile.len(); ROW]);
                dot_t.fill(0.0);
                dot_s.fill(0.0);
                for (c, column) in columns.chunks(Column::LEN).map(Column::read).enumerate() {
                    let t = plan.samples.read(maps.teacher, c, &tile, of_t);
                    let s = plan.samples.read(maps.student, c, &tile, of_s);
                    let p = shares(scale, t, (top_t, sum_t), shares_t);
                    let q = shares(scale, s, (top_s, sum_s), shares_s);
                    let class =
                        [Side::Teacher, Side::Student].map(|side| Class::new(self, &plan, &column, side));
                    lanewise(
                        [&mut *dot_t, &mut *dot_s],
                        [p, q, unit_t, unit_s, slope_t, slope_s, miss],
                        &Dots { class },
                    );
                }
            }
        });
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        if state.first().is_none_or(|value| value.is_nan()) {
            out.fill(f64::NAN);
            return;
        }
        let plan = Plan::new(maps.student.shape());
        let column = Column::read(state.get(1 + at.c * Column::LEN..).unwrap_or_default());
        let class = Class::new(self, &plan, &column, at.side);
        let (scale, pull) = (per_quarter(self.tau), Pull { tau: self.tau.get(), class });
        let mut buffers = [[0.0; PIECE]; 4];
        let [of_t, of_s, shares_t, shares_s] = &mut buffers;
        let t = maps.teacher.positions(at.n, at.c, at.positions.start, head(of_t, &at.positions));
        let s = maps.student.positions(at.n, at.c, at.positions.start, head(of_s, &at.positions));
        for (i, of_tile, here) in plan.samples.over(at.n, &at.positions) {
            let [top_t, sum_t, top_s, sum_s, unit_t, unit_s, slope_t, slope_s, miss, dot_t, dot_s] =
                plan.samples.fields(plan.tile(state, i), i, &of_tile);
            let [t, s] = [t, s].map(|x| x.get(here.clone()).unwrap_or_default());
            let p = shares(scale, t, (top_t, sum_t), shares_t);
            let q = shares(scale, s, (top_s, sum_s), shares_s);
            let x = match at.side {
                Side::Teacher => [p, q, unit_t, unit_s, slope_t, miss, dot_t],
                Side::Student => [q, p, unit_s, unit_t, slope_s, miss, dot_s],
            };
            lanewise([out.get_mut(here).unwrap_or_default()], x, &pull);
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
