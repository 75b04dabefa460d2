//! What becomes of a vector of rows, and rows of one block, which are a batch of short ones.

use super::block::{Ahead, Entries};
use super::find::{batch, live};
use super::{Done, Lines, Tile};
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::two_terms::Scale;
use crate::row::vector::short::{Meanwhile, certify};
use crate::simd::Simd;
use core::ops::Range;

impl Tile<'_, '_> {
    /// Values of a vector of rows that were copied to these lines, statistics where they are kept, and the gradient. Rows
    /// that will be copied next lie `together` rows further.
    #[inline(always)]
    pub(super) fn find_copied<L: Simd>(
        &mut self,
        l: L,
        scale: &Scale<L>,
        rows: (usize, usize),
        lines: Range<usize>,
        together: usize,
        done: &mut Done,
    ) {
        let any = !lines.is_empty();
        let (wanted, nats) = (if any { self.wanted(rows) } else { 0 }, self.nats());
        let mut ahead = Ahead::new(&self.walk(rows), [self.teacher, self.student], 0..self.axis, together);
        let (batch, parts) = &mut batch(&mut self.lines, lines, 0);
        certify(l, scale, nats, wanted, batch, parts, &mut ahead);
        ahead.rest(l);
        self.close(l, rows, any, done);
    }

    /// Hands over what was certified; rows that do not count, or have no entry that does, are 0.
    #[inline(always)]
    pub(super) fn close<L: Simd>(&mut self, l: L, rows: (usize, usize), any: bool, done: &mut Done) {
        let ((first, n), found) = (rows, &self.lines.parts.found);
        let cells = self.values.get_mut(first..first + n).unwrap_or_default();
        cells.iter_mut().zip(&found.kl).for_each(|(cell, value)| *cell = *value);
        if self.kept {
            found.keep(self.statistics.get_mut(first..first + n).unwrap_or_default());
        }
        #[cfg(test)]
        super::tests::note([found.certified.count_ones(), 0, 0]);
        let certified = found.certified;
        if certified != !(!0 << n) {
            self.leave(rows, certified, any, done);
        }
        let (keeps, nats, walk) = (self.keeps_parts(), self.nats(), self.walk(rows));
        if keeps && let Some((factor, sink)) = &mut self.gradient {
            let Lines { w, excess, parts, .. } = &self.lines;
            let (pull, live) = (parts.found.pull(l, *factor * nats), live(l, certified));
            let entries = Entries::new((w, excess), pull, live);
            done.overflowed |= walk.emit(l, 0..self.axis, entries, *sink);
        }
    }

    /// Leaves to the engine what was not certified.
    #[cold]
    fn leave(&mut self, (first, n): (usize, usize), certified: u32, any: bool, done: &mut Done) {
        for row in first..first + n {
            let live = any && self.is_live(row);
            let (Some(value), Some(of)) = (self.values.get_mut(row), self.statistics.get_mut(row)) else {
                continue;
            };
            if certified >> (row - first) & 1 == 1 {
                continue;
            }
            *value = 0.0;
            if live && of.kind != Kind::Zero {
                done.left |= 1 << row;
                #[cfg(test)]
                super::tests::note([0, 0, 1]);
            } else {
                *of = RowStatistics { kind: Kind::Zero, ..RowStatistics::default() };
            }
        }
    }
}
