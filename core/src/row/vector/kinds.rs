//! One block of a row pair in vectors of `f32`: four kinds of sweep that leave the same sums.
//!
//! With c nats (b = c log2 e bits) a unit of the inputs, a sweep about references m and D takes x = b (s - m),
//! w = 2^x, d = (t - s) - D and r = c d, and adds up
//!
//! ```text
//! Z = sum w,    E = sum w (e^r - 1),    G = sum w k(r),    k(r) = r e^r - e^r + 1.
//! ```
//!
//! | kind | holds where | form |
//! | --- | --- | --- |
//! | tiny, near | every abs(r) <= 0.0866, 1.04 | one exponential, five moments of d, Q of degree 3 or 6 |
//! | coarse | G >= (Z + sum p) / 4 | two exponentials, E and G as differences of sums |
//! | full | always | two exponentials, each term by itself as the exact arithmetic would |
//!
//! Terms are added in lanes, eight to a group and eight groups to a block, and lanes in `f64`.

use super::Reference;
use crate::simd::Simd;

/// The most entries of a block.
pub(super) const BLOCK: usize = 1024;

/// Vectors of a group, the first level of every sum, and of a block, the second: equal terms round one way, and few
/// do not go far.
const GROUP: usize = 8;
pub(super) const VECTORS: usize = GROUP * GROUP;

/// |r| up to which a block is tiny, and near: 1/8 and 3/2 of a bit.
pub(super) const TINY: f64 = 0.086_64;
pub(super) const NEAR: f64 = 1.039_7;

/// Q(r) = (e^r - 1 - r) / r^2, minimax on |r| <= 1/8 bit: relative error 2.0e-8.
const Q_TINY: [f64; 4] = [0.499_999_990, 0.166_666_671, 4.167_709_36e-2, 8.333_830_0e-3];

/// The same on |r| <= 3/2 bits: relative error 1.1e-7.
pub(super) const Q_NEAR: [f64; 7] = [
    0.500_000_013_5,
    0.166_667_039_0,
    4.166_647_585e-2,
    8.330_526_274e-3,
    1.389_174_955e-3,
    2.036_487_854e-4,
    2.497_366_543e-5,
];

/// How a block is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tiny,
    Near,
    Full,
    Coarse,
}

/// A block's sums in units of 2^m, and what says whether they hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) z: f64,
    pub(super) e: f64,
    pub(super) g: f64,
    /// The error of exponents in g, in units of epsilon, and its largest entry.
    pub(super) far: f64,
    pub(super) farthest: f64,
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

/// Sweeps a block as this kind; the kind under which it holds if that is another.
#[inline(always)]
pub(super) fn sweep<L: Simd>(
    l: L,
    kind: Kind,
    (t, s): (&[f32], &[f32]),
    at: &Reference,
) -> Result<Sums, Kind> {
    match (kind, at.exact) {
        (Kind::Tiny, false) => near::<L, true, false>(l, t, s, at),
        (Kind::Tiny, true) => near::<L, true, true>(l, t, s, at),
        (Kind::Near, false) => near::<L, false, false>(l, t, s, at),
        (Kind::Near, true) => near::<L, false, true>(l, t, s, at),
        (Kind::Coarse, false) => coarse::<L, false>(l, t, s, at),
        (Kind::Coarse, true) => coarse::<L, true>(l, t, s, at),
        (Kind::Full, false) => Ok(full::<L, false>(l, t, s, at)),
        (Kind::Full, true) => Ok(full::<L, true>(l, t, s, at)),
    }
}

/// A row's constants in every lane.
pub(super) struct Constants<L: Simd> {
    l: L,
    b: L::V,
    c: L::V,
    c_low: L::V,
    m: L::V,
    m_teacher: L::V,
    d: L::V,
    d_low: L::V,
}

impl<L: Simd> Constants<L> {
    #[inline(always)]
    pub(super) fn new(l: L, at: &Reference) -> Self {
        // Fused, the subtraction of bits rounds once; not fused, that of inputs is the one that loses least.
        let offset = |x: f32, bits: f32| l.splat(if L::FUSED { -bits } else { x });
        Self {
            l,
            b: l.splat(at.bits),
            c: l.splat(at.nats),
            c_low: l.splat(at.nats_low),
            m: offset(at.m, at.m_bits),
            m_teacher: offset(at.m_teacher, at.m_teacher_bits),
            d: l.splat(at.d),
            d_low: l.splat(at.d_low),
        }
    }

    #[inline(always)]
    fn exponent(&self, x: L::V, offset: L::V) -> L::V {
        if L::FUSED { self.l.fma(self.b, x, offset) } else { self.b * (x - offset) }
    }

    /// x of a student's entry.
    #[inline(always)]
    pub(super) fn student(&self, s: L::V) -> L::V {
        self.exponent(s, self.m)
    }

    /// The same of a teacher's, about m + D.
    #[inline(always)]
    pub(super) fn teacher(&self, t: L::V) -> L::V {
        self.exponent(t, self.m_teacher)
    }

    /// (t - s) - D; exactly but for one rounding where asked for (Knuth's two-sum).
    #[inline(always)]
    pub(super) fn difference<const EXACT: bool>(&self, t: L::V, s: L::V) -> L::V {
        let high = t - s;
        if !EXACT {
            return high - self.d;
        }
        let v = high - t;
        let low = (t - (high - v)) - (s + v);
        (high - self.d) + (low - self.d_low)
    }

    /// r of an entry, less a log-ratio in two terms. c in one would be off the same way everywhere.
    #[inline(always)]
    pub(super) fn ratio<const EXACT: bool>(&self, t: L::V, s: L::V, less: (L::V, L::V)) -> L::V {
        let d = self.difference::<EXACT>(t, s);
        self.l.fma(self.c, d, less.0) + self.l.fma(self.c_low, d, less.1)
    }
}

/// Two levels of `N` sums and the peaks of `M` magnitudes.
struct Accumulator<L: Simd, const N: usize, const M: usize> {
    l: L,
    group: [L::V; N],
    block: [L::V; N],
    peaks: [L::V; M],
}

impl<L: Simd, const N: usize, const M: usize> Accumulator<L, N, M> {
    #[inline(always)]
    fn new(l: L) -> Self {
        let zero = l.splat(0.0);
        Self { l, group: [zero; N], block: [zero; N], peaks: [zero; M] }
    }

    #[inline(always)]
    fn end_group(&mut self) {
        for (block, group) in self.block.iter_mut().zip(&mut self.group) {
            *block = *block + *group;
            *group = self.l.splat(0.0);
        }
    }

    #[inline(always)]
    fn finish(self) -> ([f64; N], [f64; M]) {
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

/// The loop of every kind: a step for each vector, and for what is left over.
macro_rules! sweep_block {
    ($l:ident, $t:ident, $s:ident, $sums:ident, $step:ident::<$($generic:tt),+>($($constant:expr),*)) => {
        // Not zipped: a zip divides by the length of a piece, and may be a call that could panic.
        let mut groups = ($t.chunks(GROUP * L::WIDTH), $s.chunks(GROUP * L::WIDTH));
        while let (Some(t), Some(s)) = (groups.0.next(), groups.1.next()) {
            let (whole_t, whole_s) = (t.chunks_exact(L::WIDTH), s.chunks_exact(L::WIDTH));
            let (rest_t, rest_s) = (whole_t.remainder(), whole_s.remainder());
            let all = $l.first(L::WIDTH);
            let mut whole = (whole_t, whole_s);
            while let (Some(t), Some(s)) = (whole.0.next(), whole.1.next()) {
                $l.prefetch(t, AHEAD);
                $l.prefetch(s, AHEAD);
                let (t, s) = ($l.load_f32(t), $l.load_f32(s));
                $step::<L, $($generic),+, false>($l, t, s, all, $($constant,)* &mut $sums);
            }
            if !rest_t.is_empty() {
                let (t, s) = ($l.load_f32(rest_t), $l.load_f32(rest_s));
                let some = $l.first(rest_t.len());
                $step::<L, $($generic),+, true>($l, t, s, some, $($constant,)* &mut $sums);
            }
            $sums.end_group();
        }
    };
}

/// Entries from a load to the prefetch beside it.
const AHEAD: usize = 256;

/// `v`, and 0 in the lanes of no entry.
#[inline(always)]
fn present<L: Simd, const TAIL: bool>(l: L, some: L::M, v: L::V) -> L::V {
    if TAIL { l.select(some, v, l.splat(0.0)) } else { v }
}

/// The coefficients of Q in units of the inputs: the powers of c are theirs.
struct Folded<L: Simd> {
    tiny: [L::V; 4],
    near: [L::V; 7],
}

impl<L: Simd> Folded<L> {
    #[inline(always)]
    fn new(l: L, c: f64) -> Self {
        let mut out = Self { tiny: [l.splat(0.0); 4], near: [l.splat(0.0); 7] };
        fill(l, c, &mut out.tiny, &Q_TINY);
        fill(l, c, &mut out.near, &Q_NEAR);
        out
    }

    #[inline(always)]
    fn at<const TIGHT: bool>(&self, l: L, d: L::V) -> L::V {
        if TIGHT { horner(l, d, &self.tiny) } else { horner(l, d, &self.near) }
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
fn fill<L: Simd, const N: usize>(l: L, c: f64, to: &mut [L::V; N], from: &[f64; N]) {
    let mut power = 1.0;
    for (to, q) in to.iter_mut().zip(from) {
        *to = l.splat((q * power) as f32);
        power *= c;
    }
}

#[inline(always)]
fn horner<L: Simd, const N: usize>(l: L, x: L::V, coefficients: &[L::V; N]) -> L::V {
    let mut terms = coefficients.iter().rev().copied();
    let mut p = terms.next().unwrap_or_else(|| l.splat(0.0));
    for c in terms {
        p = l.fma(p, x, c);
    }
    p
}

/// Q(r) on |r| <= 3/2 bits.
#[inline(always)]
pub(super) fn q_near<L: Simd>(l: L, r: L::V) -> L::V {
    let mut coefficients = [l.splat(0.0); 7];
    fill(l, 1.0, &mut coefficients, &Q_NEAR);
    horner(l, r, &coefficients)
}

#[inline(always)]
fn near<L: Simd, const TIGHT: bool, const EXACT: bool>(
    l: L,
    t: &[f32],
    s: &[f32],
    at: &Reference,
) -> Result<Sums, Kind> {
    let constants = Constants::new(l, at);
    let folded = Folded::new(l, at.c);
    let mut sums = Accumulator::<L, 6, 4>::new(l);
    sweep_block!(l, t, s, sums, near_step::<TIGHT, EXACT>(&constants, &folded));
    let ([z, m, s2, a, b, far], [farthest, top_d, top_u, top]) = sums.finish();
    let c = at.c;
    let spread = c * top_d;
    let limit = if TIGHT { TINY } else { NEAR };
    if !(spread <= limit) {
        // The squares are right whatever the size, and say how large the block's G is.
        return Err(if TIGHT && spread <= NEAR {
            Kind::Near
        } else if c * c * s2 >= 0.5 * z && t.len() >= COARSE {
            Kind::Coarse
        } else {
            Kind::Full
        });
    }
    // k(r) is 0.46 to 0.54 of r^2 in a tiny block, 0.25 to 1.03 in a near one, and |e^r - 1| at least 0.62 |r|.
    let (most, least) = if TIGHT { (0.54, 0.95) } else { (0.75, 0.62) };
    let e = c * (m + c * a);
    let size = if spread > 0.0 { e.abs().max(least * c * c * s2 / spread) } else { 0.0 };
    Ok(Sums {
        z,
        e,
        g: c * c * (s2 - a + c * b),
        far: most * c * c * far * core::f64::consts::LN_2,
        farthest: most * c * c * farthest * core::f64::consts::LN_2,
        spread,
        largest: least * c * top_u,
        top,
        size,
    })
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "what a step needs, in registers")]
fn near_step<L: Simd, const TIGHT: bool, const EXACT: bool, const TAIL: bool>(
    l: L,
    t: L::V,
    s: L::V,
    some: L::M,
    constants: &Constants<L>,
    folded: &Folded<L>,
    sums: &mut Accumulator<L, 6, 4>,
) {
    let x = constants.student(s);
    let w = present::<L, TAIL>(l, some, l.exp2(x));
    let d = present::<L, TAIL>(l, some, constants.difference::<EXACT>(t, s));
    let u = w * d;
    let u2 = u * d;
    let y = u2 * folded.at::<TIGHT>(l, d);
    let error = u2 * l.abs(x);
    let [z, m, s2, a, b, far] = &mut sums.group;
    *z = *z + w;
    *m = *m + u;
    *s2 = *s2 + u2;
    *a = *a + y;
    *b = l.fma(y, d, *b);
    *far = *far + error;
    let [farthest, top_d, top_u, top] = &mut sums.peaks;
    *farthest = l.max(*farthest, error);
    *top_d = l.max_abs(*top_d, d);
    *top_u = l.max_abs(*top_u, u);
    *top = l.max(*top, w);
}

/// Entries from which a block may be coarse: enough that roundings do not come together.
pub(super) const COARSE: usize = 256;

/// G beside Z + sum p from which it may be taken as a difference of sums.
pub(super) const SHARE: f64 = 0.25;

#[inline(always)]
fn coarse<L: Simd, const EXACT: bool>(l: L, t: &[f32], s: &[f32], at: &Reference) -> Result<Sums, Kind> {
    let constants = Constants::new(l, at);
    let mut sums = Accumulator::<L, 5, 3>::new(l);
    sweep_block!(l, t, s, sums, coarse_step::<EXACT>(&constants));
    let ([z, u, n, far, size], [farthest, largest, top]) = sums.finish();
    let (u, n) = (at.fix * u, at.fix * n);
    let e = u - z;
    let g = at.c * n - e;
    // The gradient asks the same of E, whose terms may be small where one far entry makes up G.
    if !(g >= SHARE * (z + u) && size >= 0.8 * SHARE * (z + u)) {
        return Err(Kind::Full);
    }
    let ln2 = core::f64::consts::LN_2;
    Ok(Sums { z, e, g, far: far * ln2, farthest: farthest * ln2, spread: f64::INFINITY, largest, top, size })
}

#[inline(always)]
fn coarse_step<L: Simd, const EXACT: bool, const TAIL: bool>(
    l: L,
    t: L::V,
    s: L::V,
    some: L::M,
    constants: &Constants<L>,
    sums: &mut Accumulator<L, 5, 3>,
) {
    let x = constants.student(s);
    let w = present::<L, TAIL>(l, some, l.exp2(x));
    let y = constants.teacher(t);
    let p = present::<L, TAIL>(l, some, l.exp2(y));
    let v = p * constants.difference::<EXACT>(t, s);
    let error = l.fma(l.abs(y), l.fma(constants.c, l.abs(v), p), w * l.abs(x));
    let excess = l.abs(p - w);
    let [z, u, n, far, size] = &mut sums.group;
    *size = *size + excess;
    *z = *z + w;
    *u = *u + p;
    *n = *n + v;
    *far = *far + error;
    let [farthest, largest, top] = &mut sums.peaks;
    *farthest = l.max(*farthest, error);
    *largest = l.max(*largest, excess);
    *top = l.max(*top, w);
}

#[inline(always)]
fn full<L: Simd, const EXACT: bool>(l: L, t: &[f32], s: &[f32], at: &Reference) -> Sums {
    let constants = Constants::new(l, at);
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    let fix = l.splat(at.fix as f32);
    let mut sums = Accumulator::<L, 5, 4>::new(l);
    sweep_block!(l, t, s, sums, full_step::<EXACT>(&constants, fix));
    let ([z, e, g, far, size], [farthest, spread, largest, top]) = sums.finish();
    let ln2 = core::f64::consts::LN_2;
    Sums { z, e, g, far: far * ln2, farthest: farthest * ln2, spread, largest, top, size }
}

/// One position's w, e^r - 1 times w, and what else its terms are made of.
pub(super) struct Position<V> {
    pub(super) w: V,
    pub(super) p: V,
    pub(super) excess: V,
    /// x of the student, and of the teacher where its own exponent was taken.
    x: V,
    y: V,
    square: V,
    rest: V,
}

/// The position in full: near terms by Q, middle ones by w e^r, and the far ones, which would be lost with w or
/// have the errors of two exponents, from the teacher's own.
#[inline(always)]
pub(super) fn position<L: Simd>(
    l: L,
    (t, s, r): (L::V, L::V, L::V),
    constants: &Constants<L>,
    fix: L::V,
) -> (Position<L::V>, L::M, L::M) {
    let x = constants.student(s);
    let w = l.exp2(x);
    let y = constants.teacher(t);
    let size = l.abs(r);
    let own = l.less(l.splat(4.0), size);
    let small = l.less(size, l.splat(1.0));
    let power = l.exp2(l.select(own, y, r * l.splat(core::f32::consts::LOG2_E)));
    let p = power * l.select(own, fix, w);
    let u = w * r;
    let square = u * r;
    let rest = square * q_near(l, r);
    let excess = l.select(small, u + rest, p - w);
    (Position { w, p, excess, x, y, square, rest }, small, own)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "what a step needs, in registers")]
fn full_step<L: Simd, const EXACT: bool, const TAIL: bool>(
    l: L,
    t: L::V,
    s: L::V,
    some: L::M,
    constants: &Constants<L>,
    fix: L::V,
    sums: &mut Accumulator<L, 5, 4>,
) {
    let one = l.splat(1.0);
    let zero = l.splat(0.0);
    let r = constants.ratio::<EXACT>(t, s, (zero, zero));
    let (at, small, own) = position(l, (t, s, r), constants, fix);
    let g = l.select(small, l.fma(at.rest, r - one, at.square), r * at.p - at.excess);
    let size = l.abs(r);
    let depth = l.abs(at.x);
    let own_error = l.fma(l.abs(at.y), l.fma(size, at.p, at.p), depth * at.w);
    let error = l.select(own, own_error, depth * g);
    let excess = present::<L, TAIL>(l, some, at.excess);
    let [z, e, sum, far, all] = &mut sums.group;
    let w = present::<L, TAIL>(l, some, at.w);
    *z = *z + w;
    *e = *e + excess;
    *all = *all + l.abs(excess);
    *sum = *sum + present::<L, TAIL>(l, some, g);
    let error = present::<L, TAIL>(l, some, error);
    *far = *far + error;
    let [farthest, spread, largest, top] = &mut sums.peaks;
    *top = l.max(*top, w);
    *farthest = l.max(*farthest, error);
    *spread = l.max(*spread, present::<L, TAIL>(l, some, size));
    *largest = l.max_abs(*largest, excess);
}
