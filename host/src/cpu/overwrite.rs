//! The gradient in the student's place: each job, and each segment of a long row, has its own part of the student.

use super::Crew;
use super::of_rows::OfRows;
use super::rounds::{Rounds, one_at_a_time};
use densekd_core::{
    Element, Error, Found, InPlace, Isa, Lent, Mask, Outcome, Overwritten, Partial, Plan, Segmented,
    Segments, Tensor, TensorMut, Upstream,
};
use rayon::prelude::*;
use std::ops::Range;

/// A submission whose student is overwritten.
pub(super) struct Overwrite<'a> {
    pub(super) plan: &'a Plan,
    pub(super) teacher: Tensor<'a>,
    pub(super) mask: Mask<'a>,
    pub(super) upstream: Upstream,
    pub(super) isa: Isa,
    pub(super) of_rows: OfRows<'a>,
    pub(super) crew: Crew,
}

impl Overwrite<'_> {
    /// Runs it on the caller's thread, or on those of the pool that it is called in.
    pub(super) fn run(self, student: TensorMut<'_>) -> Result<Outcome, Error> {
        match student {
            TensorMut::F32(x) => self.run_on(x),
            TensorMut::F64(x) => self.run_on(x),
            TensorMut::F16(x) => self.run_on(x),
            TensorMut::Bf16(x) => self.run_on(x),
        }
    }

    fn run_on<E: Element>(self, student: &mut [E]) -> Result<Outcome, Error> {
        let Self { plan, teacher, mask, upstream, isa, mut of_rows, crew } = self;
        let loss = InPlace::<E>::new(plan, teacher, mask, upstream)?.with_isa(isa);
        let room = plan.in_place()?;
        // A job that finds its statistics wrong must not come after one that has overwritten.
        of_rows.lend().outputs().fit(plan)?;
        let mut rest = student;
        let mut tasks = Vec::new();
        for job in plan.jobs() {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(job.len() * plan.row_len());
            tasks.push((of_rows.take(job.len()), job, part));
            rest = tail;
        }
        let run = |copy: &mut Vec<E>, (of_rows, job, part): (OfRows<'_>, Range<usize>, &mut [E])| {
            if plan.is_cut() {
                let pieces = plan.segments().map(|segment| segment.len());
                return loss.run_segments(job, of_rows.outputs(), &mut SideBySide::new(part, pieces, room));
            }
            copy.resize(room, E::default());
            loss.run(job, part, copy, of_rows.outputs())
        };
        let in_turn = crew == Crew::Caller || one_at_a_time(&plan.segments(), rayon::current_num_threads());
        let partials: Result<Vec<Partial>, Error> = if in_turn {
            let mut copy = Vec::new();
            tasks.into_iter().map(|task| run(&mut copy, task)).collect()
        } else {
            tasks.into_par_iter().map_init(Vec::new, run).collect()
        };
        let mut total = Partial::default();
        for partial in partials? {
            total.add(partial);
        }
        Ok(loss.outcome(total))
    }
}

/// A row's segments, each with its part of the student.
struct SideBySide<'a, E> {
    rounds: Rounds<Vec<Piece<'a, E>>>,
    room: usize,
}

/// A segment's part of the student.
struct Piece<'a, E>(&'a mut [E]);

impl<'a, E: Element> SideBySide<'a, E> {
    fn new(mut rest: &'a mut [E], pieces: impl Iterator<Item = usize>, room: usize) -> Self {
        let piece = |len| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len);
            rest = tail;
            Piece(head)
        };
        Self { rounds: Rounds::new(pieces.map(piece).collect()), room }
    }
}

impl<E: Element> Segmented for SideBySide<'_, E> {
    fn gradients(&self) -> (bool, bool) {
        (true, false)
    }

    fn each(
        &mut self,
        segments: Segments,
        work: &(dyn Fn(Range<usize>, Lent<'_>) -> Found + Sync),
        take: &mut dyn FnMut(Found),
    ) {
        let room = self.room;
        let lend = |copy: &mut Vec<E>, segment, Piece(piece): &mut Piece<'_, E>| {
            work(segment, Lent::Student(Overwritten::new(piece, copy)))
        };
        self.rounds.run(segments, || vec![E::default(); room], lend, take);
    }
}
