//! Rows of neighbours, by the kernels over vectors; which of a tile they have not done.

use super::{Memory, Rows};
use crate::Temperature;
use crate::access::{LentCells, Place, Sink};
use crate::arithmetic::Arithmetic;
use crate::normalize::Normalize;
use crate::plan::TILE;
use crate::row::{Kept, Lanes, RowStatistics, ShortRows, VectorGradient, VectorStatistics};
use core::ops::Range;

/// The part of a slice that begins at a lane.
pub(super) fn from<T>(lanes: &[T], at: usize) -> &[T] {
    lanes.get(at..).unwrap_or_default()
}

/// Which lanes of a tile the kernels over vectors have done.
#[derive(Clone, Copy)]
pub(super) struct Done {
    lanes: Lanes,
    pub(super) overflowed: bool,
}

impl Done {
    pub(super) fn new(lanes: Lanes, overflowed: bool) -> Self {
        Self { lanes, overflowed }
    }

    pub(super) const NONE: Self = Self { lanes: 0, overflowed: false };

    /// The runs of those that they have not.
    pub(super) fn rest(self, lanes: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = lanes;
        let is_done = move |row: usize| self.lanes >> (row - start) & 1 == 1;
        let mut at = start;
        core::iter::from_fn(move || {
            let first = (at..end).find(|&row| !is_done(row))?;
            at = (first..end).find(|&row| is_done(row)).unwrap_or(end);
            Some(first..at)
        })
    }
}

impl<R: Arithmetic> Rows<'_, R> {
    /// What lies in memory as the kernels over vectors take it: rows of neighbours under a softmax, all of their entries.
    fn in_vectors<N: Normalize>(&self, normalize: &N) -> Option<(Temperature, Memory<'_>)> {
        let whole = self.plan.layout().inner() == 1 && self.mask.is_all();
        normalize.temperature().zip(self.memory.filter(|memory| whole && memory.isa.has_vectors()))
    }

    pub(super) fn vector_statistics<N: Normalize>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        to: &mut [RowStatistics; TILE],
        (short, kept): (&mut ShortRows, &mut Kept<'_>),
    ) -> Done {
        let Some((tau, Memory { teacher, student, isa })) = self.in_vectors(normalize) else {
            return Done::NONE;
        };
        // Those of the first image come first.
        let summed = lanes.clone().take_while(|&row| self.plan.is_summed(row)).count();
        let (from, len) = (self.place(lanes.start, self.entries.start).index, self.entries.len());
        let to = to.get_mut(..summed).unwrap_or_default();
        let lanes = VectorStatistics { tau, teacher, student, from, len, to, short, kept }.run_on(isa);
        Done { lanes, overflowed: false }
    }

    pub(super) fn vector_gradient<N: Normalize>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        statistics: &[RowStatistics; TILE],
        scale: f64,
        (sink, short, kept): (&mut dyn Sink, &mut ShortRows, &mut Kept<'_>),
    ) -> Done {
        let Some((tau, Memory { teacher, student, isa })) = self.in_vectors(normalize) else {
            return Done::NONE;
        };
        // The kernel counts from there.
        let (place, len) = (self.place(lanes.start, self.entries.start), self.entries.len());
        let statistics = statistics.get(..lanes.len()).unwrap_or_default();
        let scale = scale / tau.get();
        let (lanes, overflowed) = self.at_first_entry(sink, |sink| {
            VectorGradient { tau, teacher, student, place, len, statistics, scale, sink, short, kept }
                .run_on(isa)
        });
        Done { lanes, overflowed }
    }

    /// Runs `f` on a sink of what is walked, for kernels that count entries from the first that they walk.
    pub(super) fn at_first_entry<T>(&self, sink: &mut dyn Sink, f: impl FnOnce(&mut dyn Sink) -> T) -> T {
        match self.entries.start {
            0 => f(sink),
            first => f(&mut FromEntry { sink, first }),
        }
    }
}

/// A sink whose places begin at an entry.
struct FromEntry<'a> {
    sink: &'a mut dyn Sink,
    first: usize,
}

impl FromEntry<'_> {
    fn place(&self, place: Place) -> Place {
        Place { from: self.first + place.from, ..place }
    }
}

impl Sink for FromEntry<'_> {
    fn store_f32(&mut self, place: Place, values: &[f32]) -> bool {
        self.sink.store_f32(self.place(place), values)
    }

    fn store_f64(&mut self, place: Place, values: &[f64]) -> bool {
        self.sink.store_f64(self.place(place), values)
    }

    fn lend(&mut self, place: Place, len: usize) -> Option<LentCells<'_>> {
        self.sink.lend(self.place(place), len)
    }

    fn store_neighbours(&mut self, place: Place, values: &[f32]) -> bool {
        self.sink.store_neighbours(self.place(place), values)
    }
}
