//! What a sweep has left of each entry of a row, from which its gradient is made.

use super::Lanes;

/// Room for w, and w (e^r - 1) in units of the inputs, of some neighbouring rows.
///
/// Rows of one sweep only ([`Kind::SweptNear`](crate::row::Kind), [`Kind::SweptTiny`](crate::row::Kind)): their gradient
/// is made of the same numbers where nothing was kept, which then takes their exponentials once more.
pub(crate) struct Kept<'s> {
    room: &'s mut [f32],
    len: usize,
    rows: Lanes,
}

/// w and w (e^r - 1), side by side.
pub(super) type Planes<'k> = (&'k mut [f32], &'k mut [f32]);

/// Numbers of a cache line, at which planes begin.
const LINE: usize = 16;

/// From one plane to the next.
const fn pitch(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// Numbers that so many rows of so many entries take.
pub(crate) const fn room(rows: usize, len: usize) -> usize {
    2 * rows * pitch(len) + LINE
}

impl<'s> Kept<'s> {
    /// Of rows of so many entries, as many as there is room for.
    pub(crate) fn new(room: &'s mut [f32], len: usize) -> Self {
        let head = room.as_ptr().align_offset(LINE * size_of::<f32>());
        Self { room: room.get_mut(head..).unwrap_or_default(), len, rows: 0 }
    }

    /// Of no row.
    pub(crate) fn nothing() -> Self {
        Self { room: &mut [], len: 0, rows: 0 }
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.rows = 0;
    }

    /// Remembers that the row's planes are those of its last sweep.
    pub(super) fn keep(&mut self, row: usize) {
        self.rows |= 1 << row;
    }

    /// The planes of a row, where there is room for them.
    #[inline(always)]
    pub(super) fn planes(&mut self, row: usize) -> Option<Planes<'_>> {
        let (len, pitch) = (self.len, pitch(self.len));
        let room =
            self.room.get_mut(2 * pitch * row..2 * pitch * (row + 1)).filter(|room| !room.is_empty())?;
        let (w, excess) = room.split_at_mut_checked(pitch)?;
        Some((w.get_mut(..len)?, excess.get_mut(..len)?))
    }

    /// The same of a row that was kept.
    #[inline(always)]
    pub(super) fn entries(&self, row: usize) -> Option<(&[f32], &[f32])> {
        if self.rows >> row & 1 == 0 {
            return None;
        }
        let (len, pitch) = (self.len, pitch(self.len));
        let room = self.room.get(2 * pitch * row..2 * pitch * (row + 1))?;
        let (w, excess) = room.split_at_checked(pitch)?;
        Some((w.get(..len)?, excess.get(..len)?))
    }
}
