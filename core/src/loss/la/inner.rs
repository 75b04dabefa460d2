//! The gradient at pixels of a row that has one above and one below, in one sweep of the three.

use super::grid::{EDGES, Grid, Planes, SUMS};
use super::sums::{COLUMNS, load, some, some_mut, store};
use crate::map::{View, Work, along};
use crate::simd::{Simd, Widened};
use core::ops::Range;

/// What the gradient of a side reads.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub(super) grid: Grid,
    pub(super) view: View<'a>,
    pub(super) side: usize,
    /// K, and D.
    pub(super) edges: Planes<'a>,
    pub(super) centres: Planes<'a>,
}

/// The gradient at some columns of such a row, of channel `c`.
pub(super) fn pull(of: &Factors<'_>, (row, c): (usize, usize), columns: Range<usize>, mut out: &mut [f64]) {
    let Factors { grid, view, side, edges, centres } = *of;
    let ((n, y), width) = (grid.place(row), grid.width);
    for from in columns.clone().step_by(COLUMNS) {
        let to = (from + COLUMNS).min(columns.end);
        let (before, after) = (from.saturating_sub(1), (to + 1).min(width));
        let line = |y: usize| view.stretch(n, c, &(y * width + before..y * width + after));
        let plane = |row: usize, edge: usize, columns| edges.get(row, side * SUMS + edge, &columns);
        let mut gather = Gather {
            out: out.split_off_mut(..to - from).unwrap_or_default(),
            forward: [0, 1, 2, 3].map(|edge| plane(row, edge, from..to)),
            left: plane(row, 0, before..to),
            up: [
                plane(row - 1, 3, before..to),
                plane(row - 1, 2, from..to),
                plane(row - 1, 1, from + 1..after),
            ],
            centres: centres.get(row, side, &(from..to)),
            before: from - before,
        };
        along([line(y - 1), line(y), line(y + 1)], &mut gather);
    }
}

/// Factors at some pixels: of the edges that they keep, of those that the pixel to the left and the row above keep, and
/// of their own.
struct Gather<'a> {
    out: &'a mut [f64],
    forward: [&'a [f64]; EDGES],
    /// From the pixel on that the lines begin with.
    left: &'a [f64],
    /// To the left from there on, straight, and to the right from one further on than the pixels.
    up: [&'a [f64]; 3],
    centres: &'a [f64],
    /// How many pixels the lines begin before these: one, or none at a map's edge.
    before: usize,
}

impl Work<3> for Gather<'_> {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, lines: [&[E]; 3]) {
        let (start, count) = (1 - self.before.min(1), self.out.len());
        // One past those that have a neighbour to the right.
        let end = count.min((lines[1].len() - self.before.min(lines[1].len())).saturating_sub(1));
        let whole = start + end.saturating_sub(start) / L::WIDTH * L::WIDTH;
        for i in (start..whole).step_by(L::WIDTH) {
            self.step(l, lines, i, L::WIDTH);
        }
        if whole < end {
            self.step(l, lines, whole, end - whole);
        }
        for i in (0..start).chain(end.max(start)..count) {
            let sum = self.at_edge(lines, i);
            self.out.iter_mut().skip(i).take(1).for_each(|out| *out = sum);
        }
    }
}

impl Gather<'_> {
    /// So many pixels from `i` on that have all neighbours.
    #[inline(always)]
    fn step<L: Simd, E: Widened>(&mut self, l: L, [above, line, below]: [&[E]; 3], i: usize, count: usize) {
        // Of the pixels to the left.
        let first = (i + self.before).saturating_sub(1);
        let own = load(l, some(line, first + 1, count));
        let mut sum = [l.splat_f64(0.0); 2];
        let [right, down_left, down, down_right] = self.forward;
        let [up_left, up, up_right] = self.up;
        add(l, &mut sum, own, some(right, i, count), some(line, first + 2, count));
        add(l, &mut sum, own, some(down_left, i, count), some(below, first, count));
        add(l, &mut sum, own, some(down, i, count), some(below, first + 1, count));
        add(l, &mut sum, own, some(down_right, i, count), some(below, first + 2, count));
        add(l, &mut sum, own, some(self.left, first, count), some(line, first, count));
        add(l, &mut sum, own, some(up_left, first, count), some(above, first, count));
        add(l, &mut sum, own, some(up, i, count), some(above, first + 1, count));
        add(l, &mut sum, own, some(up_right, i, count), some(above, first + 2, count));
        if !self.centres.is_empty() {
            let factors = load(l, some(self.centres, i, count));
            for half in 0..2 {
                sum[half] = l.fma_f64(factors[half], own[half], sum[half]);
            }
        }
        store(l, sum, some_mut(self.out, i, count));
    }

    /// One pixel, with the neighbours that there are.
    #[inline(always)]
    fn at_edge<E: Widened>(&self, [above, line, below]: [&[E]; 3], i: usize) -> f64 {
        let here = i + self.before;
        let at = |line: &[E], x: Option<usize>| x.and_then(|x| line.get(x)).map(|x| x.widen::<f64>());
        let of = |plane: &[f64], x: Option<usize>| x.and_then(|x| plane.get(x)).copied();
        let (own, left, right) =
            (at(line, Some(here)).unwrap_or_default(), here.checked_sub(1), Some(here + 1));
        let [of_right, down_left, down, down_right] = self.forward;
        let [up_left, up, up_right] = self.up;
        let (i, here) = (Some(i), Some(here));
        let pairs = [
            (of(of_right, i), at(line, right)),
            (of(down_left, i), at(below, left)),
            (of(down, i), at(below, here)),
            (of(down_right, i), at(below, right)),
            (of(self.left, left), at(line, left)),
            (of(up_left, left), at(above, left)),
            (of(up, i), at(above, here)),
            (of(up_right, i), at(above, right)),
        ];
        let mut sum = of(self.centres, i).map_or(0.0, |factor| factor * own);
        for (factor, other) in pairs {
            if let (Some(factor), Some(other)) = (factor, other) {
                sum += factor * (other - own);
            }
        }
        sum
    }
}

/// What neighbours pull with.
#[inline(always)]
fn add<L: Simd, E: Widened>(l: L, sum: &mut [L::W; 2], own: [L::W; 2], factors: &[f64], others: &[E]) {
    let (factors, others) = (load(l, factors), load(l, others));
    for half in 0..2 {
        sum[half] = l.fma_f64(factors[half], others[half] - own[half], sum[half]);
    }
}
