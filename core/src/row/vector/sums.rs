//! The sums of a block: two vectors to a tile, sixteen tiles to a group, eight groups to a block, and the lanes in
//! `f64`.

use crate::simd::{Simd, Twice};

/// Tiles of a group. Sums run on levels, of tiles, groups and blocks: equal terms round one way, and few do not go far.
pub(super) const GROUP: usize = 16;

/// Entries of a block on this instruction set.
pub(super) const fn block<L: Simd>() -> usize {
    8 * GROUP * Twice::<L>::WIDTH
}

/// The most entries of a block.
pub(super) const BLOCK: usize = 4096;

/// A block's sums in units of 2^m, and what says whether they hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) z: f64,
    pub(super) e: f64,
    pub(super) g: f64,
    /// The error of exponents in g, in units of epsilon, and its largest entry.
    pub(super) far: f64,
    pub(super) farthest: f64,
    /// Whether these two are bounds that may be far above.
    pub(super) is_bound: bool,
    /// No |r| is above.
    pub(super) spread: f64,
    /// Some |p - w| is at least as large.
    pub(super) largest: f64,
    /// The largest w.
    pub(super) top: f64,
    /// The sum of |p - w|, or less.
    pub(super) size: f64,
}

impl Sums {
    pub(super) fn add(&mut self, block: &Self) {
        self.z += block.z;
        self.e += block.e;
        self.g += block.g;
        self.size += block.size;
        self.far += block.far;
        self.farthest = self.farthest.max(block.farthest);
        self.is_bound |= block.is_bound;
        self.spread = self.spread.max(block.spread);
        self.largest = self.largest.max(block.largest);
        self.top = self.top.max(block.top);
    }

    /// The same in units of a reference `bits` higher, but for a factor near 1.
    pub(super) fn lower(&mut self, bits: f64, factor: f64) {
        let down = libm::exp2(-bits) * factor;
        let further = bits * core::f64::consts::LN_2;
        self.far = down * (self.far + further * self.g);
        self.farthest = down * (self.farthest + further * self.g);
        (self.z, self.e, self.g) = (down * self.z, down * self.e, down * self.g);
        self.largest *= down;
        self.top *= down;
        self.size *= down;
    }
}

/// `N` sums and the peaks of `M` magnitudes, in lanes.
pub(super) struct Accumulator<L: Simd, const N: usize, const M: usize> {
    l: L,
    pub(super) group: [L::V; N],
    block: [L::V; N],
    pub(super) peaks: [L::V; M],
}

impl<L: Simd, const N: usize, const M: usize> Accumulator<L, N, M> {
    #[inline(always)]
    pub(super) fn new(l: L) -> Self {
        let zero = l.splat(0.0);
        Self { l, group: [zero; N], block: [zero; N], peaks: [zero; M] }
    }

    #[inline(always)]
    pub(super) fn end_group(&mut self) {
        for (block, group) in self.block.iter_mut().zip(&mut self.group) {
            *block = *block + *group;
            *group = self.l.splat(0.0);
        }
    }

    #[inline(always)]
    pub(super) fn finish(self) -> ([f64; N], [f64; M]) {
        let mut sums = [0.0; N];
        for (sum, v) in sums.iter_mut().zip(self.block) {
            *sum = self.l.sum(v);
        }
        let mut peaks = [0.0; M];
        for (peak, v) in peaks.iter_mut().zip(self.peaks) {
            *peak = f64::from(self.l.largest(v));
        }
        (sums, peaks)
    }
}
