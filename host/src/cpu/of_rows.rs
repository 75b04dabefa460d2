//! What a submission reads and writes one entry a row, cut along its jobs.

use crate::backend::Statistics;
use densekd_core::{KeptStatistics, Outputs};

/// The statistics and values of some rows.
pub(super) struct OfRows<'a> {
    pub(super) statistics: Statistics<'a>,
    pub(super) values: Option<&'a mut [f64]>,
}

impl<'a> OfRows<'a> {
    /// Those of so many rows, which come off the front.
    pub(super) fn take(&mut self, rows: usize) -> Self {
        Self {
            statistics: match &mut self.statistics {
                Statistics::Drop => Statistics::Drop,
                Statistics::Write(rest) => Statistics::Write(take_mut(rest, rows)),
                Statistics::Read(rest) => Statistics::Read(take(rest, rows)),
            },
            values: self.values.as_mut().map(|rest| take_mut(rest, rows)),
        }
    }

    /// All of them, for a while.
    pub(super) fn lend(&mut self) -> OfRows<'_> {
        OfRows {
            statistics: match &mut self.statistics {
                Statistics::Drop => Statistics::Drop,
                Statistics::Write(kept) => Statistics::Write(kept),
                Statistics::Read(kept) => Statistics::Read(kept),
            },
            values: self.values.as_deref_mut(),
        }
    }

    /// As the outputs of a job that has no gradients.
    pub(super) fn outputs(self) -> Outputs<'a> {
        Outputs {
            row_values: self.values,
            statistics: match self.statistics {
                Statistics::Drop => KeptStatistics::Drop,
                Statistics::Write(kept) => KeptStatistics::Write(kept),
                Statistics::Read(kept) => KeptStatistics::Read(kept),
            },
            ..Outputs::default()
        }
    }
}

#[allow(clippy::mut_mut, reason = "the rest of a borrowed slice is what moves")]
fn take_mut<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let whole = std::mem::take(rest);
    let n = n.min(whole.len());
    let (head, tail) = whole.split_at_mut(n);
    *rest = tail;
    head
}

fn take<'a, T>(rest: &mut &'a [T], n: usize) -> &'a [T] {
    let (head, tail) = rest.split_at(n.min(rest.len()));
    *rest = tail;
    head
}
