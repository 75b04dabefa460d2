//! The segments of a long row on the caller's thread.

use crate::access::Sink;
use crate::call::reborrow;
use crate::segments::{Found, Lent, Overwritten, Segmented, Segments};
use core::ops::Range;

/// One segment after the other, all of which write to the same sinks.
pub(super) struct InTurn<'a> {
    pub(super) student: Option<&'a mut dyn Sink>,
    pub(super) teacher: Option<&'a mut dyn Sink>,
}

impl Segmented for InTurn<'_> {
    fn gradients(&self) -> (bool, bool) {
        (self.student.is_some(), self.teacher.is_some())
    }

    fn each(
        &mut self,
        segments: Segments,
        work: &(dyn Fn(Range<usize>, Lent<'_>) -> Found + Sync),
        take: &mut dyn FnMut(Found),
    ) {
        for segment in segments {
            let student = reborrow(&mut self.student);
            let teacher = reborrow(&mut self.teacher);
            take(work(segment, Lent::Sinks { student, teacher }));
        }
    }
}

/// One segment of a row after the other, each of which overwrites its own part.
impl Segmented for Overwritten<'_> {
    fn gradients(&self) -> (bool, bool) {
        (true, false)
    }

    fn each(
        &mut self,
        segments: Segments,
        work: &(dyn Fn(Range<usize>, Lent<'_>) -> Found + Sync),
        take: &mut dyn FnMut(Found),
    ) {
        for segment in segments {
            take(work(segment.clone(), Lent::Student(self.part(segment))));
        }
    }
}
