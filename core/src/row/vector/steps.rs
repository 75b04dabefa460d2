//! The loop that all kinds of blocks are swept by.

use super::sums::{Accumulator, GROUP};
use crate::simd::{Simd, Stored, Twice};

/// Two vectors that are swept at a time, and truths of theirs.
pub(super) type Tile<L> = <Twice<L> as Simd>::V;
pub(super) type Mask<L> = <Twice<L> as Simd>::M;

/// What a kind does with a tile of vectors, in three steps.
pub(super) trait Steps<L: Simd, const N: usize, const M: usize>: Copy {
    /// What is kept of a tile that was read, and of one whose exponentials were taken.
    type Read: Copy;
    type Raised: Copy;

    fn read(self, t: Tile<L>, s: Tile<L>) -> Self::Read;

    fn raise(self, of: Self::Read) -> Self::Raised;

    /// The same with nothing to add in the other lanes.
    fn only(self, some: Mask<L>, of: Self::Raised) -> Self::Raised;

    fn add(self, of: Self::Raised, sums: &mut Accumulator<L, N, M>);
}

/// The loop of every kind.
///
/// While the terms of a tile are added up, the exponentials of the next are taken and the one after it is read. The
/// chains of operations within an iteration are then short: the machine's queues hold but what waits, and would be full
/// long before they saw another tile.
#[inline(always)]
pub(super) fn sweep_block<L: Simd, E: Stored, K: Steps<L, N, M>, const N: usize, const M: usize>(
    l: L,
    (t, s): (&[E], &[E]),
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
        let mut is_last = false;
        while !is_last {
            for _ in 0..GROUP {
                let (Some(t), Some(s)) = (whole.0.next(), whole.1.next()) else {
                    is_last = true;
                    break;
                };
                tile.prefetch(t, AHEAD);
                tile.prefetch(s, AHEAD);
                steps.add(raised, &mut sums);
                raised = steps.raise(read);
                read = steps.read(E::load(tile, t), E::load(tile, s));
            }
            sums.end_group();
        }
        steps.add(raised, &mut sums);
        steps.add(steps.raise(read), &mut sums);
    }
    if !rest.0.is_empty() {
        let raised = steps.raise(steps.read(E::load(tile, rest.0), E::load(tile, rest.1)));
        steps.add(steps.only(tile.first(rest.0.len()), raised), &mut sums);
    }
    sums.end_group();
    sums
}

/// Entries from a load to the prefetch beside it: what is swept while memory answers, and while the next page is looked up.
const AHEAD: usize = 2048;
