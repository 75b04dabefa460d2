//! A side of an image: prototypes, the cosines of pixels to them, and what gradients need of both.

use super::table::Table;
use crate::Epsilon;
use crate::map::{PIECE, SOON, Sweep, View, head, sweep};
use crate::normalize::UnitLength;
use crate::simd::Doubles;
use core::ops::Range;

/// How pixels and prototypes become directions.
const LENGTH: UnitLength = UnitLength::at_least(Epsilon::literal(1e-8));

/// Added to the number of pixels that a prototype is the mean of.
const COUNT_EPS: f64 = 1e-6;

/// What is kept of a side of an image.
pub(super) struct Part<T> {
    /// A position's <x, c>, then what its gradient has of c: g / (max(|x|, eps) max(|c|, eps)).
    pub(super) alpha: T,
    /// A position's |x|^2, then what its gradient has of x: -g f / |x|^2.
    pub(super) beta: T,
    /// The [`Table`] of prototypes.
    pub(super) prototypes: T,
    /// The [`Table`] of what every pixel of a class has of the gradient to its prototype.
    pub(super) shared: T,
    /// A class's |c|.
    pub(super) norms: T,
    /// A class's sum of g f.
    pub(super) pulls: T,
}

impl<T> Part<T> {
    pub(super) fn from([alpha, beta, prototypes, shared, norms, pulls]: [T; 6]) -> Self {
        Self { alpha, beta, prototypes, shared, norms, pulls }
    }
}

/// A pixel with a class.
pub(super) struct Pixel<'a> {
    /// As those of [`Part`].
    pub(super) alpha: &'a mut f64,
    pub(super) beta: &'a mut f64,
    pull: &'a mut f64,
    /// What x and c are divided by.
    divisor: f64,
    /// The share of the gradient along x that is lost.
    lost: f64,
}

impl Pixel<'_> {
    pub(super) fn cosine(&self) -> f64 {
        *self.alpha / self.divisor
    }

    /// Puts what the gradient needs in the place of <x, c> and |x|^2; `g` is the gradient to the cosine f.
    pub(super) fn turn(&mut self, f: f64, g: f64) {
        let square = *self.beta;
        *self.pull += g * f;
        *self.alpha = g / self.divisor;
        *self.beta = if self.lost == 0.0 { 0.0 } else { -g * f * self.lost / square };
    }
}

impl Part<&mut [f64]> {
    /// The sums of the pixels of classes become prototypes.
    pub(super) fn start(&mut self, table: Table, counts: &[f64]) {
        self.norms.fill(0.0);
        self.pulls.fill(0.0);
        self.shared.fill(0.0);
        for rows in table.rows(self.prototypes) {
            for (row, (count, norm)) in rows.zip(counts.iter().zip(self.norms.iter_mut())) {
                for c in row {
                    *c /= count + COUNT_EPS;
                    *norm += *c * *c;
                }
            }
        }
        for norm in self.norms.iter_mut() {
            *norm = libm::sqrt(*norm);
        }
    }

    /// A tile's <x, c> and |x|^2.
    pub(super) fn measure(
        &mut self,
        table: Table,
        (view, n, tile): (View<'_>, usize, &Range<usize>),
        marks: &[f64],
    ) {
        let dots = self.alpha.get_mut(tile.clone()).unwrap_or_default();
        let squares = self.beta.get_mut(tile.clone()).unwrap_or_default();
        dots.fill(0.0);
        squares.fill(0.0);
        let mut buffers = [[0.0; PIECE]; 2];
        let [x, prototypes] = &mut buffers;
        let (x, prototypes) = (head(x, tile), head(prototypes, tile));
        for c in 0..view.shape().channels() {
            table.spread(self.prototypes, c, marks, prototypes);
            view.expect(n, c + SOON, tile);
            let x = view.positions(n, c, tile.start, x);
            sweep(view.isa(), [x, &*prototypes], [&mut *dots, &mut *squares], Products);
        }
    }

    /// A pixel of the image; of no class, nothing is left of it.
    pub(super) fn pixel(&mut self, i: usize, class: Option<usize>) -> Option<Pixel<'_>> {
        let (alpha, beta) = (self.alpha.get_mut(i)?, self.beta.get_mut(i)?);
        let Some(k) = class else {
            (*alpha, *beta) = (0.0, 0.0);
            return None;
        };
        let (of_x, lost) = LENGTH.divisor(libm::sqrt(*beta));
        let (of_c, _) = LENGTH.divisor(*self.norms.get(k)?);
        Some(Pixel { alpha, beta, pull: self.pulls.get_mut(k)?, divisor: of_x * of_c, lost })
    }

    /// What the pixels of a class have in common of their gradients.
    pub(super) fn finish(&mut self, table: Table, counts: &[f64]) {
        for (rows, prototypes) in table.rows(self.shared).zip(table.rows(self.prototypes)) {
            let of_classes = counts.iter().zip(self.norms.iter().zip(self.pulls.iter())).map(Some);
            for ((row, prototype), of_class) in rows.zip(prototypes).zip(of_classes.chain([None])) {
                let Some((count, (norm, pull))) = of_class else {
                    // A pixel without a class has a gradient of 0, whatever stands there.
                    row.fill(0.0);
                    prototype.fill(0.0);
                    continue;
                };
                let (divisor, lost) = LENGTH.divisor(*norm);
                for (shared, c) in row.iter_mut().zip(prototype) {
                    let along = if lost == 0.0 { 0.0 } else { *c * pull * lost / (norm * norm) };
                    let nowhere = divisor == f64::INFINITY;
                    *shared = if nowhere { 0.0 } else { (*shared - along) / (count + COUNT_EPS) };
                }
            }
        }
    }
}

/// <x, c> and |x|^2 of one channel more.
#[derive(Clone, Copy)]
struct Products;

impl Sweep<2, 2> for Products {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, [x, c]: [L::D; 2], [dot, square]: &mut [L::D; 2], _: &mut [L::D; 0]) {
        (*dot, *square) = (l.fma(x, c, *dot), l.fma(x, x, *square));
    }
}
