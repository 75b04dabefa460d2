//! Sums of products of a pair of vectors, in one sweep.

use super::stretch::{AHEAD, Stretch, Work, along};
use crate::simd::{Simd, Widened};

/// Partial sums that are taken side by side, at most.
const LANES: usize = 16;

/// Sums of a pair of vectors, of a teacher's numbers and of what the student's differ by, each less that of a pair that
/// the caller chose: near their means, so that little is lost when these are taken off.
#[derive(Clone, Copy)]
pub(crate) struct CoMoments {
    /// The chosen pair: the teacher's number, and what the student's differs by.
    about: [f64; 2],
    count: usize,
    lanes: [[f64; LANES]; SUMS],
}

/// t, d, t t, t d, d d.
const SUMS: usize = 5;

/// What the sums come to about the means.
#[derive(Clone, Copy)]
pub(crate) struct Centred {
    pub(crate) count: f64,
    /// The means of teacher and student.
    pub(crate) means: [f64; 2],
    /// The sums of t t, t d and d d about the means.
    pub(crate) products: [f64; 3],
    /// Those of t t and d d about the chosen pair: what rounding errors are in proportion to.
    pub(crate) taken: [f64; 2],
}

impl CoMoments {
    pub(crate) const fn about([teacher, student]: [f64; 2]) -> Self {
        Self { about: [teacher, student - teacher], count: 0, lanes: [[0.0; LANES]; SUMS] }
    }

    /// Adds a stretch of teacher and student.
    pub(crate) fn add(&mut self, pair: [Stretch<'_>; 2]) {
        self.count += pair[0].len();
        along(pair, self);
    }

    fn sums(&self) -> [f64; SUMS] {
        self.lanes.map(|lanes| lanes.iter().sum::<f64>())
    }

    /// The sum of what the student's numbers differ by, beyond the chosen pair.
    pub(crate) fn differences(&self) -> f64 {
        let [_, d, ..] = self.sums();
        d
    }

    /// The sum of the squares of that.
    pub(crate) fn squared_differences(&self) -> f64 {
        let [.., dd] = self.sums();
        dd
    }

    pub(crate) fn centred(&self) -> Centred {
        let [t, d, tt, td, dd] = self.sums();
        let count = super::real(self.count);
        let ([about_t, about_d], [mean_t, mean_d]) = (self.about, [t / count, d / count]);
        let means = [about_t + mean_t, (about_t + about_d) + (mean_t + mean_d)];
        Centred {
            count,
            means,
            products: [tt - t * mean_t, td - t * mean_d, dd - d * mean_d],
            taken: [tt, dd],
        }
    }
}

impl Work<2> for CoMoments {
    #[inline(always)]
    fn take<L: Simd, E: Widened>(&mut self, l: L, [t, s]: [&[E]; 2]) {
        let about = [l.splat_f64(self.about[0]), l.splat_f64(self.about[1])];
        let half = L::WIDTH / 2;
        let mut sums = [[l.splat_f64(0.0); 2]; SUMS];
        for (sums, lanes) in sums.iter_mut().zip(&self.lanes) {
            let (low, high) = lanes.split_at_checked(half).unwrap_or_default();
            *sums = [l.load_f64(low), l.load_f64(high)];
        }
        let (mut ts, mut ss) = (t.chunks_exact(L::WIDTH), s.chunks_exact(L::WIDTH));
        for (t, s) in (&mut ts).zip(&mut ss) {
            l.prefetch(t, AHEAD);
            l.prefetch(s, AHEAD);
            sums = more(l, about, sums, [E::load_wide(l, t), E::load_wide(l, s)]);
        }
        if !ts.remainder().is_empty() {
            // The chosen pair adds nothing.
            let (mut t, mut s) = ([self.about[0]; LANES], [self.about[0] + self.about[1]; LANES]);
            t.iter_mut().zip(ts.remainder()).for_each(|(to, from)| *to = from.widen());
            s.iter_mut().zip(ss.remainder()).for_each(|(to, from)| *to = from.widen());
            sums = more(l, about, sums, [f64::load_wide(l, &t), f64::load_wide(l, &s)]);
        }
        for (lanes, [low, high]) in self.lanes.iter_mut().zip(sums) {
            let (to_low, to_high) = lanes.split_at_mut_checked(half).unwrap_or_default();
            l.store_f64(low, to_low);
            l.store_f64(high, to_high);
        }
    }
}

#[inline(always)]
fn more<L: Simd>(
    l: L,
    [about_t, about_d]: [L::W; 2],
    mut sums: [[L::W; 2]; SUMS],
    [ts, ss]: [[L::W; 2]; 2],
) -> [[L::W; 2]; SUMS] {
    let [t_sum, d_sum, tt, td, dd] = &mut sums;
    for half in 0..2 {
        let t = ts[half] - about_t;
        let d = (ss[half] - ts[half]) - about_d;
        t_sum[half] = t_sum[half] + t;
        d_sum[half] = d_sum[half] + d;
        tt[half] = l.fma_f64(t, t, tt[half]);
        td[half] = l.fma_f64(t, d, td[half]);
        dd[half] = l.fma_f64(d, d, dd[half]);
    }
    sums
}
