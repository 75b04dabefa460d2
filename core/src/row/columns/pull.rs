//! The gradient of rows too long to keep its parts, from their statistics.

use super::block::Entries;
use super::find::{batch, blocks, fill, live};
use super::{LARGEST, SMALLEST, Tile};
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::two_terms::{Scale, split};
use crate::row::vector::short::{LANES, Pull, References, WIDEST, bits, flag, measure, sweep};
use crate::simd::Simd;

impl Tile<'_, '_> {
    /// The gradient of a vector of rows; whether a finite number became infinite.
    #[inline(always)]
    pub(super) fn pull<L: Simd>(&mut self, l: L, scale: &Scale<L>, rows: (usize, usize)) -> bool {
        let Some((factor, _)) = &self.gradient else { return false };
        let (walk, nats) = (self.walk(rows), self.nats());
        let of = self.statistics.get(rows.0..rows.0 + rows.1).unwrap_or_default();
        let of = Rows::new(l, nats, of, *factor * nats);
        let (offset, live) = (l.load_f32(&of.offset), live(l, of.done));
        let d = (l.load_f32(&of.d_high), l.load_f32(&of.d_low));
        let mut at = References { m: l.load_f32(&of.m), d, deep: l.splat(0.0), exact: l.splat(1.0) };
        let factor = l.load_f32(&of.factor);
        let mut overflowed = false;
        for piece in blocks(self.axis, self.place.stride) {
            let n = fill(l, self, &walk, &piece);
            at.deep = self.head(l, 0..n).depth(l, scale, at.m);
            let (block, _) = &mut batch(&mut self.lines, 0..n, 0);
            let moments = measure(l, scale, &at, block);
            sweep(l, scale, &at, offset, (moments.is_near(l, scale, offset), at.is_deep(l)), block);
            let Some((_, sink)) = &mut self.gradient else { break };
            let entries = Entries::new((block.w, block.excess), Pull::by(l, factor), live);
            overflowed |= walk.emit(l, piece.entries, entries, *sink);
        }
        overflowed
    }
}

/// What each row's gradient is measured from.
struct Rows {
    m: [f32; LANES],
    d_high: [f32; LANES],
    d_low: [f32; LANES],
    /// The rest of the log-ratio, in units of the inputs.
    offset: [f32; LANES],
    /// What w (e^r - 1) is multiplied by.
    factor: [f32; LANES],
    done: u32,
}

impl Rows {
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "a lane of many arrays")]
    fn new<L: Simd>(l: L, nats: f64, statistics: &[RowStatistics], scale: f64) -> Self {
        let [mut m, mut z, mut d, mut rests, mut kl] = [[0.0; LANES]; 5];
        let mut done = 0;
        for (i, of) in statistics.iter().enumerate().take(LANES) {
            (m[i], z[i], d[i], rests[i], kl[i]) = (4.0 * of.m, of.z, 4.0 * of.d, of.l, of.kl);
            done |= u32::from(of.kind == Kind::Deep || of.is_regular()) << i;
        }
        let [mut m_single, mut d_high, mut d_low, mut offset] = [[0.0; LANES]; 4];
        let [mut factor, mut ranged] = [[0.0; LANES]; 2];
        for i in 0..LANES {
            m_single[i] = split(m[i]).0;
            // What the exponents lose with the reference's last digits.
            let moved = nats * (f64::from(m_single[i]) - m[i]);
            let fix = 1.0 + moved * (1.0 + 0.5 * moved);
            // Equal rows have no gradient, whatever the last digits of their difference.
            let product = if kl[i] == 0.0 { 0.0 } else { -scale * fix / z[i] };
            ranged[i] = flag(product == 0.0 || (SMALLEST / WIDEST..=LARGEST).contains(&product.abs()));
            factor[i] = split(product).0;
            (d_high[i], d_low[i]) = split(d[i]);
            let rest = rests[i] + nats * (d[i] - (f64::from(d_high[i]) + f64::from(d_low[i])));
            offset[i] = split(rest / nats).0;
        }
        done &= bits(l, &ranged);
        Self { m: m_single, d_high, d_low, offset, factor, done }
    }
}
