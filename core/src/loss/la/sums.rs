//! The sums over channels at the edges that a row of pixels keeps, in one sweep of the row and the one below.

use super::LaMode;
use super::grid::{Grid, SUMS};
use crate::map::{PIECE, View, Work, along, cut_mut};
use crate::simd::{Simd, Widened};
use core::ops::Range;

/// Columns that are read at once, with one more, at most.
const COLUMNS: usize = PIECE - 16;

/// Adds to the planes of a row: squared differences at edges, or products there and squares at pixels.
pub(super) fn add(mode: LaMode, grid: Grid, view: View<'_>, row: usize, out: &mut [f64]) {
    let ((n, y), width) = (grid.place(row), grid.width);
    let has_below = grid.below(row) != row;
    // Of equal length, so that the last one is not short.
    let length = width.div_ceil(width.div_ceil(COLUMNS).max(1)).next_multiple_of(16);
    for from in (0..width).step_by(length.max(1)) {
        let own = from..(from + length).min(width);
        let read = |y: usize, c: usize| {
            let line = y * width;
            view.stretch(n, c, &(line + own.start..line + (own.end + 1).min(width)))
        };
        for c in 0..view.shape().channels() {
            let lines = [read(y, c), read(if has_below { y + 1 } else { y }, c)];
            let columns = Columns { out: &mut *out, width, own: own.clone(), has_below };
            match mode {
                LaMode::L2 => along(lines, &mut Terms::<false>(columns)),
                LaMode::Cos => along(lines, &mut Terms::<true>(columns)),
            }
        }
    }
}

/// Some columns of a row's planes.
struct Columns<'a> {
    out: &'a mut [f64],
    width: usize,
    own: Range<usize>,
    has_below: bool,
}

/// What a channel adds there.
struct Terms<'a, const PRODUCTS: bool>(Columns<'a>);

impl<const PRODUCTS: bool> Work<2> for Terms<'_, PRODUCTS> {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, [line, below]: [&[E]; 2]) {
        let Columns { out, width, own, has_below } = &mut self.0;
        let planes: [&mut [f64]; SUMS] = cut_mut(out, [*width; SUMS]);
        let [right, down_left, down, down_right, pixels] = planes;
        let (from, count) = (own.start, own.len());
        // The edge down to the left is kept by the pixel that is one to the right of the step's.
        let step = |x: usize| (x, x + 1, (x + L::WIDTH).min(count));
        for x in (0..count).step_by(L::WIDTH) {
            let (x, next, end) = step(x);
            let (here, beside) = (from + x..from + end, from + next..(from + end + 1).min(*width));
            let paired = here.start..beside.end - 1;
            let a = E::load_wide(l, line.get(x..end).unwrap_or_default());
            if PRODUCTS {
                add_terms::<L, true>(l, pixels.get_mut(here.clone()), a, a);
            }
            let b = load::<L, E>(l, line, next);
            add_terms::<L, PRODUCTS>(l, right.get_mut(paired.clone()), a, b);
            if *has_below {
                let under = E::load_wide(l, below.get(x..end).unwrap_or_default());
                let after = load::<L, E>(l, below, next);
                add_terms::<L, PRODUCTS>(l, down_left.get_mut(beside), b, under);
                add_terms::<L, PRODUCTS>(l, down.get_mut(here), a, under);
                add_terms::<L, PRODUCTS>(l, down_right.get_mut(paired), a, after);
            }
        }
    }
}

/// The numbers from `from` on; zeros where there are none.
#[inline(always)]
fn load<L: Simd, E: Widened>(l: L, line: &[E], from: usize) -> [L::W; 2] {
    match line.get(from..) {
        Some(line) if !line.is_empty() => E::load_wide(l, line),
        _ => [l.splat_f64(0.0); 2],
    }
}

#[inline(always)]
fn add_terms<L: Simd, const PRODUCTS: bool>(l: L, out: Option<&mut [f64]>, a: [L::W; 2], b: [L::W; 2]) {
    let out = out.unwrap_or_default();
    let (low, high) = out.split_at_mut_checked(out.len().min(L::WIDTH / 2)).unwrap_or_default();
    for ((out, a), b) in [low, high].into_iter().zip(a).zip(b) {
        if !out.is_empty() {
            let sum = l.load_f64(out);
            let difference = b - a;
            let sum = if PRODUCTS { l.fma_f64(a, b, sum) } else { l.fma_f64(difference, difference, sum) };
            l.store_f64(sum, out);
        }
    }
}
