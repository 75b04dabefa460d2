//! The gradient of rows too long to keep its parts, from their statistics.

use super::Tile;
use super::block::Parts;
use super::find::{batch, blocks, fill, kept_sweep, live, measured};
use crate::row::two_terms::Scale;
use crate::row::vector::short::{LANES, References, Rows};
use crate::simd::Simd;

impl Tile<'_, '_> {
    /// The gradient of a vector of rows; whether a finite number became infinite.
    #[inline(always)]
    pub(super) fn pull<L: Simd>(&mut self, l: L, scale: &Scale<L>, rows: (usize, usize)) -> bool {
        let Some((factor, _)) = &self.gradient else { return false };
        let (walk, nats) = (self.walk(rows), self.nats());
        let of = self.statistics.get(rows.0..rows.0 + rows.1).unwrap_or_default();
        let of = Rows::new(l, nats, of, *factor * nats);
        let offset = of.offsets(1.0 / nats);
        let (offset, live) = (l.load_f32(&offset), live(l, of.done));
        let d = (l.load_f32(&of.d_high), l.load_f32(&of.d_low));
        let mut at = References { m: l.load_f32(&of.m), d, deep: l.splat(0.0) };
        let factor = l.load_f32(&of.factor);
        let mut overflowed = false;
        for piece in blocks(self.axis, self.place.stride) {
            let n = fill(l, self, &walk, &piece);
            at.deep = self.head(l, 0..n).depth(l, scale, at.m);
            let block = &mut batch(&mut self.lines, 0..n, 0);
            let moments = measured(l, scale, &at, block);
            kept_sweep(l, scale, &at, offset, (moments.is_near(l, scale, offset), at.is_deep(l)), block);
            let Some((_, sink)) = &mut self.gradient else { break };
            let parts = Parts { w: block.w, excess: block.excess, mean: l.splat(0.0), factor, live };
            overflowed |= walk.emit(l, piece.entries, parts, *sink);
        }
        overflowed
    }
}

impl Rows {
    /// The rests of the log-ratios in units of the inputs.
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    fn offsets(&self, tau: f64) -> [f32; LANES] {
        self.rest.map(|rest| (f64::from(rest) * tau) as f32)
    }
}
