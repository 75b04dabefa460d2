//! The sums over channels at the edges that a row of pixels keeps, in one sweep of the row and the one below.

use super::LaMode;
use super::grid::{EDGES, Grid, SUMS};
use crate::map::{PIECE, Stretch, View, Work, along, cut_mut};
use crate::simd::{Simd, Widened};
use core::ops::Range;

/// Columns that are read at once, with one more, at most.
pub(super) const COLUMNS: usize = PIECE - 16;

/// Which of a pixel's edges goes down to the left.
const DOWN_LEFT: usize = 1;

/// Channels that are read at once, so that sums are loaded and stored once for all of them; as pairs of lines.
const CHANNELS: usize = 4;

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
        let lines = |c: usize| [read(y, c), read(if has_below { y + 1 } else { y }, c)];
        let channels = view.shape().channels();
        let whole = channels - channels % CHANNELS;
        let mut columns = Columns { out: &mut *out, width, own: own.clone(), has_below };
        for c in (0..whole).step_by(CHANNELS) {
            let [[a, b], [c, d], [e, f], [g, h]] = [lines(c), lines(c + 1), lines(c + 2), lines(c + 3)];
            columns.add(mode, [a, b, c, d, e, f, g, h]);
        }
        for c in whole..channels {
            columns.add(mode, lines(c));
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

impl Columns<'_> {
    /// What some channels add there, of each its line and the one below.
    fn add<const I: usize>(&mut self, mode: LaMode, lines: [Stretch<'_>; I]) {
        match mode {
            LaMode::L2 => along(lines, &mut Terms::<false>(self)),
            LaMode::Cos => along(lines, &mut Terms::<true>(self)),
        }
    }
}

/// What channels add: squared differences, or products.
struct Terms<'a, 'b, const PRODUCTS: bool>(&'a mut Columns<'b>);

impl<const PRODUCTS: bool, const I: usize> Work<I> for Terms<'_, '_, PRODUCTS> {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, lines: [&[E]; I]) {
        let Columns { out, width, own, has_below } = &mut *self.0;
        let planes: [&mut [f64]; SUMS] = cut_mut(out, [*width; SUMS]);
        let mut step = Step { planes, width: *width, has_below: *has_below };
        let (from, count) = (own.start, own.len());
        // Pixels that have a neighbour to the right.
        let paired = count.min((*width - from).saturating_sub(1));
        let whole = paired / L::WIDTH * L::WIDTH;
        let taken = step.take_whole::<L, E, PRODUCTS, I>(l, &lines, (from, whole)).map_or(0, |()| whole);
        for x in (taken..count).step_by(L::WIDTH) {
            let lengths = ((count - x).min(L::WIDTH), paired.saturating_sub(x).min(L::WIDTH));
            step.take::<L, E, PRODUCTS, I>(l, &lines, (from, x), lengths);
        }
    }
}

struct Step<'a> {
    planes: [&'a mut [f64]; SUMS],
    width: usize,
    has_below: bool,
}

impl Step<'_> {
    /// So many pixels from the first of some columns on, whole vectors that have all neighbours; none where there is no
    /// row below.
    #[inline(always)]
    fn take_whole<L: Simd, E: Widened, const PRODUCTS: bool, const I: usize>(
        &mut self,
        l: L,
        lines: &[&[E]; I],
        (from, whole): (usize, usize),
    ) -> Option<()> {
        if !self.has_below || whole == 0 {
            return None;
        }
        // Of one length that the compiler sees, so that one check does for all.
        let mut planes: [&mut [f64]; SUMS] = [(); SUMS].map(|()| &mut [][..]);
        for (i, (cut, plane)) in planes.iter_mut().zip(&mut self.planes).enumerate() {
            // The edge down to the left is kept by the pixel that is one to the right.
            let start = if i == DOWN_LEFT { from + 1 } else { from };
            *cut = plane.get_mut(start..)?.get_mut(..whole)?;
        }
        let mut near: [[&[E]; 2]; I] = [[&[]; 2]; I];
        for (near, line) in near.iter_mut().zip(lines) {
            *near = [line.get(..whole)?, line.get(1..)?.get(..whole)?];
        }
        for x in (0..whole).step_by(L::WIDTH) {
            let at = x..x + L::WIDTH;
            let mut sums = [[l.splat_f64(0.0); 2]; SUMS];
            // Squares at pixels are of products alone.
            let of_mode = if PRODUCTS { SUMS } else { EDGES };
            for (sum, plane) in sums.iter_mut().zip(&planes).take(of_mode) {
                *sum = f64::load_wide(l, plane.get(at.clone())?);
            }
            for pair in near.as_chunks().0 {
                let [[line, right], [below, below_right]]: [[&[E]; 2]; 2] = *pair;
                // Of the next row, two below, since rows of a channel are far from those of the next.
                l.prefetch(below.get(at.clone())?, self.width);
                let (a, b) = (whole_vector(l, line, &at)?, whole_vector(l, right, &at)?);
                let (under, after) = (whole_vector(l, below, &at)?, whole_vector(l, below_right, &at)?);
                add_line::<L, PRODUCTS>(l, &mut sums, a, b);
                add_below::<L, PRODUCTS>(l, &mut sums, [a, b], [under, after]);
            }
            for (sum, plane) in sums.iter().zip(&mut planes).take(of_mode) {
                store(l, *sum, plane.get_mut(at.clone())?);
            }
        }
        Some(())
    }

    /// Pixels from the `x`-th of some columns on: so many, and so many of them that have a neighbour to the right.
    #[inline(always)]
    fn take<L: Simd, E: Widened, const PRODUCTS: bool, const I: usize>(
        &mut self,
        l: L,
        lines: &[&[E]; I],
        (from, x): (usize, usize),
        (count, paired): (usize, usize),
    ) {
        let [right, down_left, down, down_right, pixels] = &mut self.planes;
        let here = from + x;
        // The edge down to the left is kept by the pixel that is one to the right.
        let (right, down_left) = (some_mut(right, here, paired), some_mut(down_left, here + 1, paired));
        let (down, down_right) = (some_mut(down, here, count), some_mut(down_right, here, paired));
        let pixels = some_mut(pixels, here, count);
        let mut sums = [&*right, down_left, down, down_right, pixels].map(|plane| load(l, plane));
        for pair in lines.as_chunks().0 {
            let [line, below]: [&[E]; 2] = *pair;
            let (a, b) = (load(l, some(line, x, count)), load(l, some(line, x + 1, paired)));
            add_line::<L, PRODUCTS>(l, &mut sums, a, b);
            if self.has_below {
                // Of the next row, two below, since rows of a channel are far from those of the next.
                l.prefetch(some(below, x, count), self.width);
                let (under, after) = (load(l, some(below, x, count)), load(l, some(below, x + 1, paired)));
                add_below::<L, PRODUCTS>(l, &mut sums, [a, b], [under, after]);
            }
        }
        let [to_right, to_down_left, to_down, to_down_right, to_pixels] = sums;
        store(l, to_right, right);
        if self.has_below {
            store(l, to_down_left, down_left);
            store(l, to_down, down);
            store(l, to_down_right, down_right);
        }
        if PRODUCTS {
            store(l, to_pixels, pixels);
        }
    }
}

/// These numbers as a vector; none where they are not all there. No closure: it might not be inlined, and would then be
/// compiled without the instruction set.
#[inline(always)]
fn whole_vector<L: Simd, E: Widened>(l: L, line: &[E], at: &Range<usize>) -> Option<[L::W; 2]> {
    Some(E::load_wide(l, line.get(at.clone())?))
}

/// So many numbers from one on; none where there are fewer.
#[inline(always)]
pub(super) fn some<E>(from: &[E], at: usize, count: usize) -> &[E] {
    from.get(at..at + count).unwrap_or_default()
}

/// The same, to be written.
#[inline(always)]
pub(super) fn some_mut(from: &mut [f64], at: usize, count: usize) -> &mut [f64] {
    from.get_mut(at..at + count).unwrap_or_default()
}

/// Numbers of which there may be none.
#[inline(always)]
pub(super) fn load<L: Simd, E: Widened>(l: L, from: &[E]) -> [L::W; 2] {
    if from.is_empty() { [l.splat_f64(0.0); 2] } else { E::load_wide(l, from) }
}

#[inline(always)]
pub(super) fn store<L: Simd>(l: L, [low, high]: [L::W; 2], to: &mut [f64]) {
    let (to_low, to_high) = to.split_at_mut_checked(to.len().min(L::WIDTH / 2)).unwrap_or_default();
    for (w, to) in [(low, to_low), (high, to_high)] {
        if !to.is_empty() {
            l.store_f64(w, to);
        }
    }
}

/// What pixels and those to the right of them add, without the row below.
#[inline(always)]
fn add_line<L: Simd, const PRODUCTS: bool>(
    l: L,
    [right, .., pixels]: &mut [[L::W; 2]; SUMS],
    a: [L::W; 2],
    b: [L::W; 2],
) {
    add_terms::<L, PRODUCTS>(l, right, a, b);
    if PRODUCTS {
        add_terms::<L, true>(l, pixels, a, a);
    }
}

/// What they add with those below them.
#[inline(always)]
fn add_below<L: Simd, const PRODUCTS: bool>(
    l: L,
    [_, down_left, down, down_right, _]: &mut [[L::W; 2]; SUMS],
    [a, b]: [[L::W; 2]; 2],
    [under, after]: [[L::W; 2]; 2],
) {
    add_terms::<L, PRODUCTS>(l, down_left, b, under);
    add_terms::<L, PRODUCTS>(l, down, a, under);
    add_terms::<L, PRODUCTS>(l, down_right, a, after);
}

#[inline(always)]
fn add_terms<L: Simd, const PRODUCTS: bool>(l: L, sums: &mut [L::W; 2], a: [L::W; 2], b: [L::W; 2]) {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        let difference = b - a;
        *sum = if PRODUCTS { l.fma_f64(a, b, *sum) } else { l.fma_f64(difference, difference, *sum) };
    }
}
