//! The segments of a job on the threads that are free.

use densekd_core::{Found, Segments};
use rayon::prelude::*;
use std::ops::Range;

/// The parts that belong to the segments of one job, and the way in which they are next walked.
pub(super) struct Rounds<T> {
    pub(super) parts: T,
    backwards: bool,
}

impl<T> Rounds<T> {
    pub(super) fn new(parts: T) -> Self {
        Self { parts, backwards: false }
    }

    /// One round: `work` on each segment with its part and a buffer of a thread's, and what they found handed over in
    /// order. Every other round goes backwards, since what was read last is what a cache still holds.
    pub(super) fn run<P: Send, B>(
        &mut self,
        segments: Segments,
        buffer: impl Fn() -> B + Send + Sync,
        work: impl Fn(&mut B, Range<usize>, &mut P) -> Found + Send + Sync,
        take: &mut dyn FnMut(Found),
    ) where
        T: AsMut<[P]>,
    {
        let segments: Vec<Range<usize>> = segments.collect();
        let parts = segments.into_par_iter().zip(self.parts.as_mut().par_iter_mut());
        let work = |buffer: &mut B, (segment, part)| work(buffer, segment, part);
        let mut found: Vec<Found> = if self.backwards {
            parts.rev().map_init(buffer, work).collect()
        } else {
            parts.map_init(buffer, work).collect()
        };
        if self.backwards {
            found.reverse();
        }
        self.backwards = !self.backwards;
        found.into_iter().for_each(take);
    }
}

/// Whether jobs are to be run one after the other: where their segments fill all threads, one row at a time is in the
/// caches they share.
pub(super) fn one_at_a_time(segments: &Segments, threads: usize) -> bool {
    segments.len() >= 4 * threads && segments.len() > 1
}
