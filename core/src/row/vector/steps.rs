//! The loop that all kinds of blocks are swept by.

use super::kept::Planes;
use super::sums::{Accumulator, GROUP};
use crate::simd::{Simd, Stored, Twice};

/// Two vectors that are swept at a time, and truths of theirs.
pub(super) type Tile<L> = <Twice<L> as Simd>::V;
pub(super) type Mask<L> = <Twice<L> as Simd>::M;

/// w and w (e^r - 1) of a tile, the latter in units of the inputs where it was made of differences.
pub(super) type Made<L> = (Tile<L>, Tile<L>);

/// What a kind does with a tile of vectors, in three steps.
pub(super) trait Steps<L: Simd, const N: usize, const M: usize>: Copy {
    /// What is kept of a tile that was read, and of one whose exponentials were taken.
    type Read: Copy;
    type Raised: Copy;

    fn read(self, t: Tile<L>, s: Tile<L>) -> Self::Read;

    fn raise(self, of: Self::Read) -> Self::Raised;

    /// The same with nothing to add in the other lanes.
    fn only(self, some: Mask<L>, of: Self::Raised) -> Self::Raised;

    /// Adds it up; what a gradient is made of.
    fn add(self, of: Self::Raised, sums: &mut Accumulator<L, N, M>) -> Made<L>;
}

/// The loop of every kind.
///
/// While the terms of a tile are added up, the exponentials of the next are taken and the one after it is read. The
/// chains of operations within an iteration are then short: the machine's queues hold but what waits, and would be full
/// long before they saw another tile. What they make is kept where there are planes for it.
#[inline(always)]
pub(super) fn sweep_block<L: Simd, E: Stored, K: Steps<L, N, M>, const N: usize, const M: usize>(
    l: L,
    (t, s): (&[E], &[E]),
    mut planes: Planes<'_>,
    steps: K,
) -> Accumulator<L, N, M> {
    let mut sums = Accumulator::new(l);
    let tile = Twice(l);
    let width = Twice::<L>::WIDTH;
    // Not zipped: a zip divides by the length of a piece, and may be a call that could panic.
    let mut whole = (t.chunks_exact(width), s.chunks_exact(width));
    let rest = (whole.0.remainder(), whole.1.remainder());
    if let (Some(t), Some(s)) = (whole.0.next(), whole.1.next()) {
        let mut read = steps.read(E::load(tile, t), E::load(tile, s));
        let mut raised = steps.only(tile.first(0), steps.raise(read));
        // What is added first is a tile of nothing, whose place is none.
        let mut at = 0_usize.wrapping_sub(width);
        let mut is_last = false;
        while !is_last {
            for _ in 0..GROUP {
                let (Some(t), Some(s)) = (whole.0.next(), whole.1.next()) else {
                    is_last = true;
                    break;
                };
                tile.prefetch(t, AHEAD);
                tile.prefetch(s, AHEAD);
                keep(tile, steps.add(raised, &mut sums), (at, width), &mut planes);
                at = at.wrapping_add(width);
                raised = steps.raise(read);
                read = steps.read(E::load(tile, t), E::load(tile, s));
            }
            sums.end_group();
        }
        keep(tile, steps.add(raised, &mut sums), (at, width), &mut planes);
        at = at.wrapping_add(width);
        keep(tile, steps.add(steps.raise(read), &mut sums), (at, width), &mut planes);
    }
    if !rest.0.is_empty() {
        let raised = steps.raise(steps.read(E::load(tile, rest.0), E::load(tile, rest.1)));
        let made = steps.add(steps.only(tile.first(rest.0.len()), raised), &mut sums);
        keep(tile, made, (t.len() - rest.0.len(), rest.0.len()), &mut planes);
    }
    sums.end_group();
    sums
}

/// Keeps so many entries of a tile at their place, if the planes have it.
#[inline(always)]
fn keep<L: Simd>(tile: Twice<L>, made: Made<L>, (at, n): (usize, usize), (w, excess): &mut Planes<'_>) {
    if w.is_empty() {
        return;
    }
    let place = at..at.wrapping_add(n);
    if let (Some(w), Some(excess)) = (w.get_mut(place.clone()), excess.get_mut(place)) {
        tile.store_f32(made.0, w);
        tile.store_f32(made.1, excess);
    }
}

/// Entries from a load to the prefetch beside it: what is swept while memory answers, and while the next page is looked up.
const AHEAD: usize = 2048;
