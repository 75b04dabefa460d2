//! One position of a row pair in vectors: exponents, differences and log-ratios about a [`Reference`], and Q.

use super::reference::Reference;
use crate::simd::{Simd, horner};

/// Q(r) = (e^r - 1 - r) / r^2, minimax on |r| <= 1/8 bit: relative error 2.0e-8.
pub(super) const Q_TINY: [f64; 4] = [0.499_999_990, 0.166_666_671, 4.167_709_36e-2, 8.333_830_0e-3];

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

/// A row's constants in every lane.
#[derive(Clone, Copy)]
pub(super) struct Constants<L: Simd> {
    l: L,
    b: L::V,
    pub(super) c: L::V,
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
    pub(super) fn exponent(&self, x: L::V, offset: L::V) -> L::V {
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

/// The coefficients of Q in units of the inputs: the powers of c are theirs.
#[derive(Clone, Copy)]
pub(super) struct Folded {
    tiny: [f32; 4],
    near: [f32; 7],
}

impl Folded {
    pub(super) fn new(c: f64) -> Self {
        Self { tiny: folded(c, Q_TINY), near: folded(c, Q_NEAR) }
    }

    #[inline(always)]
    pub(super) fn at<L: Simd, const TIGHT: bool>(&self, l: L, d: L::V) -> L::V {
        if TIGHT { horner(l, d, self.tiny) } else { horner(l, d, self.near) }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
fn folded<const N: usize>(c: f64, coefficients: [f64; N]) -> [f32; N] {
    let mut power = 1.0;
    coefficients.map(|q| {
        let folded = (q * power) as f32;
        power *= c;
        folded
    })
}

/// w (e^r - 1) in units of the inputs, c nats each, from w d and w d^2 Q: what a sweep makes and what makes it again must
/// be the same bits.
#[inline(always)]
pub(super) fn excess<L: Simd>(l: L, c: L::V, u: L::V, y: L::V) -> L::V {
    l.fma(c, y, u)
}

/// Q(r) on |r| <= 3/2 bits.
#[inline(always)]
pub(super) fn q_near<L: Simd>(l: L, r: L::V) -> L::V {
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    let coefficients = Q_NEAR.map(|q| q as f32);
    horner(l, r, coefficients)
}

/// One position's w, e^r - 1 times w, and what else its terms are made of.
pub(super) struct Position<V> {
    pub(super) w: V,
    pub(super) p: V,
    pub(super) excess: V,
    /// x of the student, and of the teacher where its own exponent was taken.
    pub(super) x: V,
    pub(super) y: V,
    pub(super) square: V,
    pub(super) rest: V,
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
