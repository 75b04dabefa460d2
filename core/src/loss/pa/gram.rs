//! The matrices of all pairs of an image's nodes, by blocks of rows that need not be kept.

use super::windows::Windows;
use crate::map::{Executor, Matrix, runs};
use core::ops::Range;

/// Rows of G that are made together.
pub(super) const BLOCK: usize = 32;

/// Blocks that are made side by side.
pub(super) const SLOTS: usize = 16;

/// The nodes of a call.
#[derive(Clone, Copy)]
pub(super) struct Nodes {
    pub(super) windows: Windows,
    pub(super) images: usize,
    /// K, the nodes of an image.
    pub(super) count: usize,
}

impl Nodes {
    pub(super) fn total(&self) -> usize {
        self.images * self.count
    }

    /// Rows of two G, and a sum for each row.
    pub(super) const fn slot(&self) -> usize {
        BLOCK * (2 * self.count + 1)
    }

    pub(super) fn slots(&self) -> usize {
        self.total().div_ceil(BLOCK).min(SLOTS)
    }
}

/// The directions of a side's nodes.
#[derive(Clone, Copy)]
pub(super) struct Units<'a> {
    pub(super) data: &'a [f64],
    pub(super) channels: usize,
    /// Nodes of an image.
    pub(super) count: usize,
}

impl<'a> Units<'a> {
    /// Some nodes of an image, a row each.
    fn rows(&self, n: usize, nodes: Range<usize>) -> Matrix<'a> {
        let (first, len) = ((n * self.count + nodes.start) * self.channels, nodes.len());
        let data = self.data.get(first..first + len * self.channels).unwrap_or_default();
        Matrix::new(data, len, self.channels)
    }

    fn image(&self, n: usize) -> Matrix<'a> {
        self.rows(n, 0..self.count)
    }
}

/// A block of rows of the student's G less the teacher's, and each row's sum of squares: into a slot.
pub(super) fn differences(
    nodes: Nodes,
    sides: [Units<'_>; 2],
    block: usize,
    slot: &mut [f64],
    on: &dyn Executor,
) {
    let len = BLOCK * nodes.count;
    let mut rest = slot;
    let mut difference = rest.split_off_mut(..len).unwrap_or_default();
    let mut of_teacher = rest.split_off_mut(..len).unwrap_or_default();
    for (n, rows) in runs(block_of(nodes, block), nodes.count) {
        let len = rows.len() * nodes.count;
        let difference = difference.split_off_mut(..len).unwrap_or_default();
        let of_teacher = of_teacher.split_off_mut(..len).unwrap_or_default();
        for (side, out) in sides.iter().zip([&mut *of_teacher, &mut *difference]) {
            on.multiply(side.rows(n, rows.clone()), side.image(n).transposed(), out);
        }
        difference.iter_mut().zip(of_teacher).for_each(|(s, t)| *s -= *t);
        let sums = rest.split_off_mut(..rows.len()).unwrap_or_default();
        for (sum, row) in sums.iter_mut().zip(difference.chunks(nodes.count.max(1))) {
            *sum = row.iter().map(|d| d * d).sum();
        }
    }
}

/// The nodes of a block, counted over all images.
pub(super) fn block_of(nodes: Nodes, block: usize) -> Range<usize> {
    block * BLOCK..((block + 1) * BLOCK).min(nodes.total())
}

/// The gradient of the sum to y at the nodes of a block, of which `out` holds those of a side.
pub(super) fn pulls(
    nodes: Nodes,
    (units, scales, sign): (Units<'_>, &[f64], f64),
    (block, slot): (usize, &[f64]),
    out: &mut [f64],
    on: &dyn Executor,
) {
    let (mut out, mut slot) = (out, slot);
    let channels = units.channels.max(1);
    for (n, rows) in runs(block_of(nodes, block), nodes.count) {
        let out = out.split_off_mut(..rows.len() * channels).unwrap_or_default();
        let differences = slot.split_off(..rows.len() * nodes.count).unwrap_or_default();
        on.multiply(Matrix::new(differences, rows.len(), nodes.count), units.image(n), out);
        let scales = scales.get((n * nodes.count + rows.start) * 2..).unwrap_or_default().chunks(2);
        let units = units.rows(n, rows.clone()).data().chunks(channels);
        for ((pull, u), scale) in out.chunks_mut(channels).zip(units).zip(scales) {
            let [divisor, lost] = *scale else { continue };
            let along: f64 = pull.iter().zip(u).map(|(g, u)| g * u).sum();
            pull.iter_mut().zip(u).for_each(|(g, u)| *g = 4.0 * sign * (*g - u * along * lost) / divisor);
        }
    }
}
