//! What relations read of images: squares, squared distances, and the ways from one image to others.

use crate::map::{At, PIECE, Sweep, View, pieces, sweep};
use crate::simd::Doubles;
use core::ops::Range;

/// `|x|^2` of an image.
pub(super) fn square(view: View<'_>, n: usize) -> f64 {
    let mut buffer = [0.0; PIECE];
    let mut square = 0.0;
    for piece in pieces(all(view)) {
        let [more] = sweep(view.isa(), [view.numbers(n, &piece, &mut buffer)], [], Square);
        square += more;
    }
    square
}

/// `|u_i - u_j|^2` of image i and each later one, from what brings each to length.
pub(super) fn squares(view: View<'_>, i: usize, inverse: impl Fn(usize) -> f64, to: &mut [f64]) {
    let mut buffers = [[0.0; PIECE]; 2];
    let [here, there] = &mut buffers;
    to.fill(0.0);
    for piece in pieces(all(view)) {
        let x = view.numbers(i, &piece, here);
        for (j, square) in to.iter_mut().enumerate().skip(i + 1) {
            let y = view.numbers(j, &piece, there);
            let [more] = sweep(view.isa(), [x, y], [], Apart { scales: [inverse(i), inverse(j)] });
            *square += more;
        }
    }
}

/// Positions that are worked on at once for a gradient, fewer than [`PIECE`]: of maps of few positions, clearing the buffers would
/// take as long as the work.
const PART: usize = 128;

/// `sum c_j (u_i - u_j) - along u_i` over all images j at a piece of image i, from what brings each to length and c.
pub(super) fn away(view: View<'_>, at: &At, along: f64, of: impl Fn(usize) -> [f64; 2], out: &mut [f64]) {
    let [here, _] = of(at.n);
    let mut buffers = [[0.0; PART]; 5];
    for (from, out) in at.positions.clone().step_by(PART).zip(out.chunks_mut(PART)) {
        let place = Part { view, c: at.c, from, length: out.len() };
        let [of_x, of_others @ ..] = &mut buffers;
        let x = place.read(at.n, of_x);
        out.iter_mut().zip(x).for_each(|(out, x)| *out = -(x * here * along));
        let mut others = (0..view.shape().images()).filter(|&j| j != at.n);
        loop {
            let [a, b, c, d] = &mut *of_others;
            let next = [(); 4].map(|()| others.next());
            let [Some(i), Some(j), Some(k), Some(m)] = next else {
                for j in next.into_iter().flatten() {
                    sweep(view.isa(), [x, place.read(j, a)], [&mut *out], Away { here, others: [of(j)] });
                }
                break;
            };
            let ways = Away { here, others: [i, j, k, m].map(&of) };
            let read = [x, place.read(i, a), place.read(j, b), place.read(k, c), place.read(m, d)];
            sweep(view.isa(), read, [&mut *out], ways);
        }
    }
}

/// Some positions of a channel, of any image.
#[derive(Clone, Copy)]
struct Part<'a> {
    view: View<'a>,
    c: usize,
    from: usize,
    length: usize,
}

impl<'a> Part<'a> {
    fn read<'b>(self, n: usize, buffer: &'b mut [f64; PART]) -> &'b [f64]
    where
        'a: 'b,
    {
        self.view.positions(n, self.c, self.from, buffer.get_mut(..self.length).unwrap_or_default())
    }
}

/// All numbers of an image.
fn all(view: View<'_>) -> Range<usize> {
    0..view.shape().channels() * view.shape().positions()
}

/// `|x|^2`.
#[derive(Clone, Copy)]
struct Square;

impl Sweep<1, 0, 1> for Square {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x]: [L::D; 1], _: &mut [L::D; 0], [sum]: &mut [L::D; 1]) {
        *sum = l.fma(x, x, *sum);
    }
}

/// `|u_x - u_y|^2`, from images and what brings them to length.
#[derive(Clone, Copy)]
struct Apart {
    scales: [f64; 2],
}

impl Sweep<2, 0, 1> for Apart {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x, y]: [L::D; 2], _: &mut [L::D; 0], [sum]: &mut [L::D; 1]) {
        let [a, b] = self.scales;
        // Both products rounded, so that images that coincide are not apart.
        let d = x * l.splat(a) - y * l.splat(b);
        *sum = l.fma(d, d, *sum);
    }
}

/// `c (u_x - u_y)` more, of some images y.
#[derive(Clone, Copy)]
struct Away<const OTHERS: usize> {
    here: f64,
    /// What brings y to length, and c.
    others: [[f64; 2]; OTHERS],
}

impl<const OTHERS: usize> Away<OTHERS> {
    #[inline(always)]
    fn more<L: Doubles>(&self, l: L, x: L::D, others: &[L::D; OTHERS], out: &mut L::D) {
        let x = x * l.splat(self.here);
        for (y, [there, c]) in others.iter().zip(&self.others) {
            *out = l.fma(l.splat(*c), x - *y * l.splat(*there), *out);
        }
    }
}

impl Sweep<2, 1> for Away<1> {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x, y]: [L::D; 2], [out]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        self.more(l, x, &[y], out);
    }
}

/// Of several in one sweep, which reads x and what has been added up once.
impl Sweep<5, 1> for Away<4> {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, x: [L::D; 5], [out]: &mut [L::D; 1], _: &mut [L::D; 0]) {
        let [x, others @ ..] = &x;
        self.more(l, *x, others, out);
    }
}
