//! What a row's terms add up to, where the statistics do not tell.

use super::positions::{StudentCotangent, TeacherCotangent, Term};
use super::{Buffers, Rows, Wanted, evaluate};
use crate::arithmetic::Arithmetic;
use crate::diverge::Diverge;
use crate::normalize::Normalize;
use crate::plan::TILE;
use crate::row::{Kind, RowStatistics};
use core::ops::Range;

/// One row's sums over its terms.
#[derive(Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) value: f64,
    pub(super) student: f64,
    pub(super) teacher: f64,
}

/// Which of its sums a row still has to add up: value, student's total, teacher's total.
pub(super) type Open = [bool; 3];

/// What the statistics tell of the rows' sums, and what they do not.
pub(super) fn known_totals<N: Normalize, D: Diverge<N::Space>>(
    diverge: &D,
    statistics: &[RowStatistics; TILE],
    wanted: Wanted,
) -> ([Totals; TILE], [Open; TILE]) {
    let (mut totals, mut open) = ([Totals::default(); TILE], [Open::default(); TILE]);
    for (open, (of, to)) in open.iter_mut().zip(statistics.iter().zip(totals.iter_mut())) {
        match of.kind {
            Kind::NotANumber => *to = Totals { value: f64::NAN, student: f64::NAN, teacher: f64::NAN },
            Kind::Zero | Kind::Unset => {}
            _ => {
                let settle = |known: Option<f64>, to: &mut f64, wanted: bool| {
                    *to = known.unwrap_or(0.0);
                    wanted && known.is_none()
                };
                *open = [
                    settle(diverge.value_from(of), &mut to.value, true),
                    settle(diverge.student_total_from(of), &mut to.student, wanted.student),
                    settle(diverge.teacher_total_from(of), &mut to.teacher, wanted.teacher),
                ];
            }
        }
    }
    (totals, open)
}

impl<R: Arithmetic> Rows<'_, R> {
    /// All sums of some rows.
    pub(super) fn totals<N: Normalize, D: Diverge<N::Space>>(
        &self,
        lanes: Range<usize>,
        (normalize, diverge): (&N, &D),
        statistics: &[RowStatistics; TILE],
        wanted: Wanted,
        buffers: &mut Buffers<R>,
    ) -> [Totals; TILE] {
        let (mut totals, open) = known_totals::<N, D>(diverge, statistics, wanted);
        if open.iter().flatten().any(|open| *open) {
            self.add_totals(lanes, (normalize, diverge), (statistics, &open), &mut totals, buffers);
        }
        totals
    }

    /// Adds the terms of the entries that are walked to the sums that are still open.
    pub(super) fn add_totals<N: Normalize, D: Diverge<N::Space>>(
        &self,
        lanes: Range<usize>,
        (normalize, diverge): (&N, &D),
        (statistics, open): (&[RowStatistics; TILE], &[Open; TILE]),
        totals: &mut [Totals; TILE],
        buffers: &mut Buffers<R>,
    ) {
        for block in self.blocks() {
            for ((row, of), (to, open)) in lanes.clone().zip(statistics).zip(totals.iter_mut().zip(open)) {
                self.with_block(row, block, buffers, |block, _, sum| {
                    let n = block.teacher.len();
                    let [value, student, teacher] = *open;
                    if value {
                        let share = normalize.share(of);
                        evaluate(normalize, of, block, share, &Term::new(diverge), sum.cells(n));
                        to.value += sum.sum(n);
                    }
                    if student {
                        evaluate(normalize, of, block, 1.0, &StudentCotangent::new(diverge), sum.cells(n));
                        to.student += sum.sum(n);
                    }
                    if teacher {
                        evaluate(normalize, of, block, 1.0, &TeacherCotangent::new(diverge), sum.cells(n));
                        to.teacher += sum.sum(n);
                    }
                });
            }
        }
    }
}
