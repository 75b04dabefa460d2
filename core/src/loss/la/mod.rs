//! LA, local affinity: how far from its neighbours a pixel's vector is, or how alike in direction.
//!
//! `l2`: A(i) = the sum of |x(i) - x(j)|^2, or of |x(i) - x(j)|, over the 8 neighbours j; then the squared distance
//! of the student's A and the teacher's, over the centres. `cos`: the squared distance of the cosines of x(i) and
//! x(j), over centres and neighbours. Channels may differ, H and W may not. Source: arXiv 1810.08476.
//!
//! A pair pulls both ways by one factor K, kept at the edge between the two pixels: the gradient is the sum over j of
//! K(i,j) (x(j) - x(i)), for a cosine and D(i) x(i), gathered from 9 pixels of the own map. Cost: two reads of both
//! maps (of one row and the one below), three of a side for its gradient; 12 numbers of state a pixel, 14 for cosines,
//! of which the value of distances alone touches a few rows.

mod border;
mod cosines;
mod grid;
mod inner;
mod sums;

use self::grid::{EDGES, Grid, Planes, SUMS, plane};
use self::inner::Factors;
use super::About;
use crate::diverge::{Diverge, Mse};
use crate::map::{
    At, Executor, Explain, Formula, Maps, Measured, Shapes, Side, View, cut_mut, row_mut, runs, sum, update,
    update_along, update_with,
};
use crate::names::choice;
use crate::options::options;
use crate::space::{Difference, Real};
use crate::{Epsilon, Error, Preset, Weight};
use core::fmt;
use core::ops::Range;

choice! {
    /// What local affinity compares (`mode`).
    ///
    /// ```
    /// assert_eq!("cos".parse(), Ok(densekd_core::LaMode::Cos));
    /// ```
    LaMode, "mode" {
        /// The sum of the distances to the neighbours.
        L2 = "l2",
        /// The cosine with each neighbour.
        Cos = "cos",
    }
}

choice! {
    /// Which pixels are centres of a neighbourhood (`border`).
    ///
    /// ```
    /// assert_eq!("clip".parse(), Ok(densekd_core::LaBorder::Clip));
    /// ```
    LaBorder, "border" {
        /// Those with 8 neighbours.
        Interior = "interior",
        /// All, with the neighbours that exist.
        Clip = "clip",
    }
}

options! {
    /// Options of local affinity. Channels may differ; images, height and width may not.
    ///
    /// ```
    /// use densekd_core::{LaMode, LaOptions};
    /// assert_eq!(LaOptions::DEFAULT.mode, LaMode::L2);
    /// ```
    LaOptions {
        /// Distances, or cosines.
        mode: LaMode = LaMode::L2,
        /// Whether distances are squared before they are added up.
        squared: bool = true,
        /// Centres with 8 neighbours only, or all.
        border: LaBorder = LaBorder::Interior,
        /// The smallest norm that a vector is divided by for its cosine.
        eps: Epsilon = Epsilon::literal(1e-8),
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// The planes of a side at pixels where each has one.
const TEACHER: usize = 0;
const STUDENT: usize = 1;

/// What is kept of every row, one part after the other.
struct Parts {
    /// [`SUMS`] a pixel and side: at first sums over channels, at last the factors K.
    edges: usize,
    /// One a pixel and side: A less the other side's A, or 1 / max(|x|, eps).
    pixels: usize,
    /// What the row adds to the sum.
    value: usize,
    /// One a pixel and side: the factors D of cosines.
    centres: usize,
}

impl Parts {
    const fn of_row(&self) -> usize {
        self.edges + self.pixels + self.value + self.centres
    }
}

/// Rows that are worked on by one thread where nothing is kept of them.
const STRIPE: usize = 16;

/// Rows whose sums are kept there: a row, the one above and the one below.
const KEPT: usize = 3;

impl LaOptions {
    pub(crate) const ABOUT: About = About {
        name: "la",
        summary: "local affinity: distances of a pixel to its 8 neighbours, or cosines with them",
        source: "arXiv 1810.08476",
    };

    pub(crate) const PRESETS: &[Preset] = &[];

    const fn parts(&self, grid: Grid) -> Parts {
        let side = match self.mode {
            LaMode::L2 => 0,
            LaMode::Cos => grid.width,
        };
        Parts { edges: 2 * SUMS * grid.width, pixels: 2 * grid.width, value: 1, centres: 2 * side }
    }

    /// The columns of a row that are centres.
    fn centres_of(&self, grid: Grid, row: usize) -> Range<usize> {
        let y = grid.place(row).1;
        match self.border {
            LaBorder::Clip => 0..grid.width,
            LaBorder::Interior if y > 0 && y + 1 < grid.height => 1..grid.width.saturating_sub(1),
            LaBorder::Interior => 0..0,
        }
    }

    fn is_centre(&self, grid: Grid, row: usize, x: usize) -> bool {
        self.centres_of(grid, row).contains(&x)
    }

    /// How often a pair counts: once for each of the two that is a centre.
    fn count(&self, grid: Grid, (row, x): (usize, usize), (row_to, x_to): (usize, usize)) -> f64 {
        f64::from(u8::from(self.is_centre(grid, row, x)) + u8::from(self.is_centre(grid, row_to, x_to)))
    }

    /// The sums over a side's channels: at edges of squared differences, or of products; at pixels of squares.
    fn sums(&self, grid: Grid, view: View<'_>, row: usize, out: &mut [f64]) {
        out.fill(0.0);
        sums::add(self.mode, grid, view, row, out);
        if self.mode == LaMode::L2 {
            Self::mark(grid, view, row, out);
        }
        if self.mode == LaMode::L2 && !self.squared {
            let edges = out.get_mut(..EDGES * grid.width).unwrap_or_default();
            for edge in edges {
                *edge = libm::sqrt(*edge);
            }
        }
    }

    /// The sums of both sides.
    fn both_sums(&self, grid: Grid, maps: &Maps<'_>, row: usize, out: &mut [f64]) {
        let (teacher, student) = out.split_at_mut(out.len() / 2);
        self.sums(grid, maps.teacher, row, teacher);
        self.sums(grid, maps.student, row, student);
    }

    /// An infinite input is NaN from here on; an infinite sum of finite ones is not.
    fn mark(grid: Grid, view: View<'_>, row: usize, out: &mut [f64]) {
        let (edges, marks) = out.split_at_mut((EDGES * grid.width).min(out.len()));
        // Of a column alone, the edge to a last pixel is the row's above.
        if grid.width > 1 && sum(edges, |edge| edge * 0.0) == 0.0 {
            return;
        }
        let (n, y) = grid.place(row);
        for c in 0..view.shape().channels() {
            let line = [view.stretch(n, c, &(y * grid.width..(y + 1) * grid.width))];
            update_along(marks, line, |mark: f64, x: f64| mark + x * 0.0);
        }
    }

    /// A less the other side's A at centres, else 0.
    fn differences(&self, grid: Grid, edges: Planes<'_>, row: usize, out: &mut [f64]) {
        let all = 0..grid.width;
        let (to_teacher, to_student) = out.split_at_mut(grid.width.min(out.len()));
        let own = |side| edges.get(row, side * SUMS + EDGES, &all);
        for ((difference, t), s) in to_student.iter_mut().zip(own(TEACHER)).zip(own(STUDENT)) {
            *difference = s - t;
        }
        for to in grid.all(row, all.clone()) {
            let (kept, columns) = &to.kept;
            let edge = |side| edges.get(*kept, side * SUMS + to.edge, columns);
            let other = |side| edges.get(to.row, side * SUMS + EDGES, &to.others);
            let t = edge(TEACHER).iter().zip(other(TEACHER)).map(|(edge, other)| edge + other);
            let s = edge(STUDENT).iter().zip(other(STUDENT)).map(|(edge, other)| edge + other);
            let differences = plane(to_student, grid.width, 0, &to.columns);
            update_with(differences, t.zip(s), |difference, (t, s)| difference + (s - t));
        }
        let centre = self.centres_of(grid, row);
        for (x, s) in to_student.iter_mut().enumerate() {
            *s = if centre.contains(&x) { *s } else { 0.0 };
        }
        to_teacher.iter_mut().zip(to_student).for_each(|(t, s)| *t = -*s);
    }

    /// What a row adds to the sum: of its centres, or of the edges that its pixels keep.
    fn value(&self, grid: Grid, edges: Planes<'_>, pixels: Planes<'_>, row: usize) -> f64 {
        if self.mode == LaMode::L2 {
            return pixels.get(row, STUDENT, &(0..grid.width)).iter().map(|x| square(*x)).sum();
        }
        let of_direction = grid.forward(row, 0..grid.width).map(|to| {
            let cosines = |side| edges.get(row, side * SUMS + to.edge, &to.columns);
            let pairs = cosines(TEACHER).iter().zip(cosines(STUDENT)).zip(to.columns.clone().zip(to.others));
            let terms =
                pairs.map(|((t, s), (x, x_to))| self.count(grid, (row, x), (to.row, x_to)) * square(s - t));
            terms.sum::<f64>()
        });
        of_direction.sum()
    }

    /// The factors K, in place of what stood at the edges.
    fn factors(&self, grid: Grid, pixels: Planes<'_>, row: usize, edges: &mut [f64]) {
        let (teacher, student) = edges.split_at_mut((SUMS * grid.width).min(edges.len()));
        for to in grid.forward(row, 0..grid.width) {
            let pairs = |side| (pixels.get(row, side, &to.columns), pixels.get(to.row, side, &to.others));
            let ((ta, tb), (sa, sb)) = (pairs(TEACHER), pairs(STUDENT));
            let t = plane(teacher, grid.width, to.edge, &to.columns);
            let s = plane(student, grid.width, to.edge, &to.columns);
            match self.mode {
                LaMode::L2 => {
                    let squared = self.squared;
                    let factor = move |edge: f64, a: f64, b: f64| match (squared, edge == 0.0) {
                        (true, _) => -4.0 * (a + b),
                        (false, true) => 0.0,
                        (false, false) => -2.0 * (a + b) / edge,
                    };
                    update(t, ta, tb, factor);
                    update(s, sa, sb, factor);
                }
                LaMode::Cos => {
                    let places = to.columns.clone().zip(to.others.clone());
                    let of_pixels = ta.iter().zip(tb).zip(sa.iter().zip(sb)).zip(places);
                    for ((t, s), (((ta, tb), (sa, sb)), (x, x_to))) in t.iter_mut().zip(s).zip(of_pixels) {
                        let slope = 2.0 * self.count(grid, (row, x), (to.row, x_to)) * (*s - *t);
                        (*t, *s) = (-slope * ta * tb, slope * sa * sb);
                    }
                }
            }
        }
    }

    /// What is kept of every row, and the sum.
    fn by_rows(&self, maps: &Maps<'_>, mut state: &mut [f64], on: &dyn Executor) -> Measured {
        let grid = Grid::new(maps.student.shape());
        let row = self.parts(grid);
        let mut part = |row: usize| state.split_off_mut(..grid.rows() * row).unwrap_or_default();
        let (edges, pixels, values) = (part(row.edges), part(row.pixels), part(row.value));
        on.chunks(edges, row.edges, &|row, out| {
            self.both_sums(grid, maps, row, out);
        });
        on.chunks(pixels, row.pixels, &|row, out| match self.mode {
            LaMode::L2 => self.differences(grid, grid.edges(edges), row, out),
            LaMode::Cos => self.inverses(grid, grid.edges(edges), row, out),
        });
        if self.mode == LaMode::Cos {
            on.chunks(edges, row.edges, &|row, out| Self::cosines(grid, grid.pixels(pixels), row, out));
        }
        on.chunks(values, row.value, &|row, out| {
            out.fill(self.value(grid, grid.edges(edges), grid.pixels(pixels), row));
        });
        Measured { sum: values.iter().sum(), divisor: self.divisor(grid) }
    }

    /// The sum of distances alone, where little memory is touched: of [`KEPT`] rows at a time.
    fn by_stripes(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Measured {
        let grid = Grid::new(maps.student.shape());
        let row = self.parts(grid);
        let length = STRIPE * row.of_row();
        on.chunks(state, length, &|stripe, state| {
            let rows = stripe * STRIPE..((stripe + 1) * STRIPE).min(grid.rows());
            let [values, differences, edges] = cut_mut(state, [STRIPE, row.pixels, KEPT * row.edges]);
            // A row's distances are kept by the one above, and its marks are seen from there, too.
            let mut next = rows.start.saturating_sub(1);
            for (i, value) in rows.zip(values) {
                while next < (i + 2).min(grid.rows()) {
                    self.both_sums(grid, maps, next, row_mut(edges, next % KEPT, row.edges));
                    next += 1;
                }
                self.differences(grid, grid.edges(edges), i, differences);
                *value = self.value(grid, grid.edges(edges), grid.pixels(differences), i);
            }
        });
        let values =
            state.chunks(length.max(1)).flat_map(|stripe| stripe.iter().take(STRIPE)).take(grid.rows());
        Measured { sum: values.sum(), divisor: self.divisor(grid) }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
    fn divisor(&self, grid: Grid) -> f64 {
        let count = match (self.mode, self.border) {
            (LaMode::L2, LaBorder::Interior) => grid.interior(),
            (LaMode::L2, LaBorder::Clip) => grid.rows() * grid.width,
            (LaMode::Cos, LaBorder::Interior) => 8 * grid.interior(),
            (LaMode::Cos, LaBorder::Clip) => grid.pairs(),
        };
        count as f64
    }
}

/// What student and teacher add where they differ by this much.
fn square(difference: f64) -> f64 {
    Diverge::<Real>::term(&Mse, Difference { difference })
}

impl Formula for LaOptions {
    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same_positions()?;
        let [_, _, height, width] = shapes.student.dims();
        let least = match self.border {
            LaBorder::Interior => height.min(width) >= 3,
            LaBorder::Clip => height * width >= 2,
        };
        if least { Ok(()) } else { Err(Error::Border { height, width }) }
    }

    fn state(&self, shapes: &Shapes) -> usize {
        let grid = Grid::new(shapes.student);
        let parts = self.parts(grid);
        // Room for the last stripe, whatever it has.
        grid.rows() * parts.of_row() + 2 * parts.edges + STRIPE
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        Ok(match self.mode {
            LaMode::L2 => self.by_stripes(maps, state, on),
            LaMode::Cos => self.by_rows(maps, state, on),
        })
    }

    fn measure_and_prepare(
        &self,
        maps: &Maps<'_>,
        state: &mut [f64],
        on: &dyn Executor,
    ) -> Result<Measured, Error> {
        let measured = self.by_rows(maps, state, on);
        self.prepare(maps, state, on);
        Ok(measured)
    }

    fn prepare(&self, maps: &Maps<'_>, mut state: &mut [f64], on: &dyn Executor) {
        let grid = Grid::new(maps.student.shape());
        let row = self.parts(grid);
        let mut part = |row: usize| state.split_off_mut(..grid.rows() * row).unwrap_or_default();
        let (edges, pixels, _) = (part(row.edges), part(row.pixels), part(row.value));
        let centres = part(row.centres);
        on.chunks(centres, row.centres, &|row, out| {
            self.centres(grid, grid.edges(edges), grid.pixels(pixels), row, out);
        });
        on.chunks(edges, row.edges, &|row, out| self.factors(grid, grid.pixels(pixels), row, out));
    }

    fn pull(&self, maps: &Maps<'_>, mut state: &[f64], at: &At, out: &mut [f64]) {
        let grid = Grid::new(maps.student.shape());
        let row = self.parts(grid);
        let mut part = |row: usize| state.split_off(..grid.rows() * row).unwrap_or_default();
        let (edges, _, centres) = (part(row.edges), part(row.pixels + row.value), part(row.centres));
        let (edges, centres) = (grid.edges(edges), grid.pixels(centres));
        let (view, side) = match at.side {
            Side::Teacher => (maps.teacher, TEACHER),
            Side::Student => (maps.student, STUDENT),
        };
        let factors = Factors { grid, view, side, edges, centres };
        let mut rest = out;
        for (y, columns) in runs(at.positions.clone(), grid.width) {
            let row = at.n * grid.height + y;
            let out = rest.split_off_mut(..columns.len()).unwrap_or_default();
            if y > 0 && y + 1 < grid.height {
                inner::pull(&factors, (row, at.c), columns, out);
            } else {
                border::pull(&factors, (row, at.c), columns, out);
            }
        }
    }
}

impl Explain for LaOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = self.weight.get();
        let (centres, pairs) = match self.border {
            LaBorder::Interior => ("(N (H-2) (W-2))", "(8 N (H-2) (W-2))"),
            LaBorder::Clip => ("(N H W)", "(N (2 H (W-1) + 2 W (H-1) + 4 (H-1) (W-1)))"),
        };
        match self.mode {
            LaMode::L2 => {
                let square = if self.squared { "^2" } else { "" };
                writeln!(
                    f,
                    "A(i) = sum_j |x_i - x_j|_2{square}  over the neighbours j (8, or those that exist)"
                )?;
                write!(f, "loss = {weight} / {centres} * sum_i (A_s - A_t)^2")
            }
            LaMode::Cos => {
                let eps = self.eps.get();
                writeln!(
                    f,
                    "a_ij = <x_i, x_j> / (max(|x_i|, {eps:e}) max(|x_j|, {eps:e}))  for each neighbour j"
                )?;
                write!(f, "loss = {weight} / {pairs} * sum_ij (a_s - a_t)^2")
            }
        }
    }
}
