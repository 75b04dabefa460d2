//! A row that comes in pieces.

use super::sums::{Sums, Verdict};
use super::sweep::{References, Room};
use super::{Exponential, Row, RowKl};

/// A row pair of which pieces are seen, one after another: 64 bytes instead of the row.
///
/// For a row that does not fit into memory. Its pieces are pushed once for the divergence, and once more each for its part of
/// the gradient; wherever the row is cut, both have the same bits. A row that its sample does not stand for is asked for again
/// before that, see [`RowKl`]. With the whole row as its sample the numbers are those of [`RowKl`].
///
/// *Cost* of an entry: that of [`RowKl::value`], and of the gradient the same once more but for the sums.
///
/// ```
/// use densekd_core::single::{Polynomial, RowKl, RowPieces};
/// let Some(loss) = RowKl::<Polynomial>::new(4.0) else { return };
/// let (teacher, student) = ([0.5_f32, -1.0, 2.0, 0.0, 0.25], [0.25_f32, -1.0, 1.0, 0.5, 0.0]);
/// let pieces = || teacher.chunks(2).zip(student.chunks(2));
///
/// let mut row = RowPieces::new(&loss, &teacher[..2], &student[..2]);
/// let kl = loop {
///     pieces().for_each(|(t, s)| row.push(&loss, t, s));
///     if let Some(kl) = row.end(&loss) {
///         break kl;
///     }
/// };
/// let mut gradient = [0.0; 5];
/// for ((t, s), g) in pieces().zip(gradient.chunks_mut(2)) {
///     row.gradient(&loss, t, s, 16.0, g);
/// }
/// assert!((kl / loss.value(&teacher, &student) - 1.0).abs() < 1e-6);
/// assert!(gradient.iter().sum::<f32>().abs() < 1e-6 && gradient[2] < 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowPieces {
    at: References,
    sums: Sums,
}

const _: () = assert!(size_of::<RowPieces>() <= 64);

/// As many entries as both have.
fn both<'r, T: Row + ?Sized, S: Row + ?Sized>(teacher: &'r T, student: &'r S) -> (&'r T, &'r S, usize) {
    (teacher, student, teacher.entries().min(student.entries()))
}

impl RowPieces {
    /// A row of which these are some entries, those at the same places of both: its first piece, or what stands for it better.
    /// What follows depends on which they are, and a row whose sample stands for it is pushed once.
    pub fn new<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        loss: &RowKl<X>,
        teacher: &T,
        student: &S,
    ) -> Self {
        Self { at: References::of(both(teacher, student), loss.per_unit), sums: Sums::new() }
    }

    /// Adds a piece: all of a row's, in order, until [`Self::end`].
    pub fn push<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        &mut self,
        loss: &RowKl<X>,
        teacher: &T,
        student: &S,
    ) {
        self.at.sweep(loss, both(teacher, student), &mut self.sums, ());
    }

    /// After the last piece: the divergence, or none where all pieces are to be pushed again, which is asked for up to nine times.
    /// Once there is a divergence no piece is pushed any more.
    pub fn end<X: Exponential>(&mut self, loss: &RowKl<X>) -> Option<f32> {
        let verdict = self.at.settle(&mut self.sums, loss.per_unit);
        if verdict.is_none() {
            self.sums = Sums::new();
        }
        verdict.map(|verdict| verdict.kl)
    }

    /// `scale (q - p)/tau` for each entry of a piece, in any order of pieces. NaN where the divergence is not known yet.
    pub fn gradient<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        &self,
        loss: &RowKl<X>,
        teacher: &T,
        student: &S,
        scale: f32,
        gradient: &mut [f32],
    ) {
        let (teacher, student, len) = both(teacher, student);
        // Of a row that has ended this says the same again.
        let Self { mut at, mut sums } = *self;
        match at.settle(&mut sums, loss.per_unit) {
            Some(verdict) => self.at.pull_piece(loss, (teacher, student, len), (verdict, scale), gradient),
            None => gradient.fill(f32::NAN),
        }
    }

    /// A row that is one piece and its own sample.
    #[inline(always)]
    pub(super) fn whole<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        loss: &RowKl<X>,
        row: (&T, &S, usize),
        room: impl Room,
    ) -> (References, Verdict) {
        let mut at = References::of(row, loss.per_unit);
        loop {
            let mut sums = Sums::new();
            at.sweep(loss, row, &mut sums, room);
            if let Some(verdict) = at.settle(&mut sums, loss.per_unit) {
                return (at, verdict);
            }
        }
    }
}
