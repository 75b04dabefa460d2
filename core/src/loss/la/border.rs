//! The gradient at the pixels of a first or a last row, whose neighbours are not all there.

use super::grid::{Buffer, Near, SUMS};
use super::inner::Factors;
use crate::map::{PIECE, update, update_with};
use core::cmp::Ordering;
use core::ops::Range;

/// The gradient at some columns of such a row.
pub(super) fn pull(of: &Factors<'_>, (row, c): (usize, usize), columns: Range<usize>, out: &mut [f64]) {
    let Factors { grid, view, side, edges, centres } = *of;
    out.fill(0.0);
    let mut buffers: [Buffer; 3] = [[0.0; PIECE + 2]; 3];
    let [above, below, own] = &mut buffers;
    let above = Near::load(grid, view, (grid.above(row), c), &columns, above);
    let below = Near::load(grid, view, (grid.below(row), c), &columns, below);
    let own = Near::load(grid, view, (row, c), &columns, own);
    for to in grid.all(row, columns.clone()) {
        let (kept, kept_columns) = &to.kept;
        let factors = edges.get(*kept, side * SUMS + to.edge, kept_columns);
        let other = match to.row.cmp(&row) {
            Ordering::Less => above,
            Ordering::Equal => own,
            Ordering::Greater => below,
        };
        let pairs = own.get(&to.columns).iter().zip(other.get(&to.others)).zip(factors);
        let out = out.get_mut(to.columns.start - columns.start..).unwrap_or_default();
        update_with(out, pairs, |out, ((x, other), factor)| out + factor * (other - x));
    }
    let centres = centres.get(row, side, &columns);
    update(out, own.get(&columns), centres, |out, x, factor| out + factor * x);
}
