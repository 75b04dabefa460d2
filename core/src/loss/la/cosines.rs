//! What cosines take beyond distances: norms, and the part of a gradient along the own vector.

use super::grid::{EDGES, Grid, Planes, SUMS, plane};
use super::{LaOptions, STUDENT, TEACHER};
use crate::normalize::{Scaled, UnitLength};
use crate::space::Unit;

impl LaOptions {
    /// How a vector of this square becomes a direction.
    fn direction(&self, square: f64) -> Scaled<Unit> {
        UnitLength::at_least(self.eps).of(libm::sqrt(square))
    }

    /// 1 / max(|x|, eps), and 0 for the zero vector, which has no direction.
    pub(super) fn inverses(&self, grid: Grid, edges: Planes<'_>, row: usize, out: &mut [f64]) {
        for (side, out) in out.chunks_mut(grid.width.max(1)).enumerate() {
            let squares = edges.get(row, side * SUMS + EDGES, &(0..grid.width));
            for (out, &square) in out.iter_mut().zip(squares) {
                *out = self.direction(square).step();
            }
        }
    }

    /// Products at edges become cosines.
    pub(super) fn cosines(grid: Grid, inverses: Planes<'_>, row: usize, edges: &mut [f64]) {
        for to in grid.forward(row, 0..grid.width) {
            for side in [TEACHER, STUDENT] {
                let from =
                    inverses.get(row, side, &to.columns).iter().zip(inverses.get(to.row, side, &to.others));
                let cosines = plane(edges, grid.width, side * SUMS + to.edge, &to.columns).iter_mut();
                cosines.zip(from).for_each(|(cosine, (a, b))| *cosine *= a * b);
            }
        }
    }

    /// D + the sum of K over the neighbours, since they multiply x(j) - x(i): for both sides of cosines.
    pub(super) fn centres(
        &self,
        grid: Grid,
        edges: Planes<'_>,
        inverses: Planes<'_>,
        row: usize,
        out: &mut [f64],
    ) {
        out.fill(0.0);
        for to in grid.all(row, 0..grid.width) {
            let (kept, columns) = &to.kept;
            for (own, other) in [(TEACHER, STUDENT), (STUDENT, TEACHER)] {
                let cosines = |side| edges.get(*kept, side * SUMS + to.edge, columns).iter();
                let squares = edges.get(row, own * SUMS + EDGES, &to.columns);
                let from =
                    inverses.get(row, own, &to.columns).iter().zip(inverses.get(to.row, own, &to.others));
                let places = to.columns.clone().zip(to.others.clone());
                let pairs = cosines(own).zip(cosines(other)).zip(from).zip(squares).zip(places);
                let out = plane(out, grid.width, own, &to.columns).iter_mut();
                for (out, ((((a, b), (own, other)), square), (x, x_to))) in out.zip(pairs) {
                    // A clamped norm does not change with x.
                    let turned = if self.direction(*square).lost() == 0.0 { 0.0 } else { a / square };
                    let count = self.count(grid, (row, x), (to.row, x_to));
                    *out += 2.0 * count * (a - b) * (own * other - turned);
                }
            }
        }
    }
}
