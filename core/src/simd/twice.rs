//! Two vectors side by side as one: a kernel over it has twice as many chains of operations in flight, and the machine
//! need not look far ahead for work.

use super::{Part, Simd};
use core::ops::{Add, Mul, Sub};
use half::{bf16, f16};

/// An instruction set, two registers at a time.
#[derive(Clone, Copy)]
pub(crate) struct Twice<L>(pub(crate) L);

/// Four registers at a time: for loops that have few numbers to keep.
pub(crate) type Four<L> = Twice<Twice<L>>;

/// Two of a kind: the lower lanes, and the upper.
#[derive(Clone, Copy)]
pub(crate) struct Pair<V>(pub(crate) V, pub(crate) V);

macro_rules! operators {
    ($($trait:ident $method:ident $op:tt;)+) => {$(
        impl<V: $trait<Output = V>> $trait for Pair<V> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0 $op other.0, self.1 $op other.1)
            }
        }
    )+};
}

operators! {
    Add add +;
    Sub sub -;
    Mul mul *;
}

/// What the lower lanes are loaded from, and the upper.
#[inline(always)]
fn halves<L: Simd, T>(from: &[T]) -> (&[T], &[T]) {
    from.split_at_checked(L::WIDTH).unwrap_or((from, &[]))
}

/// Where the lower lanes are stored, and the upper.
#[inline(always)]
fn halves_mut<L: Simd, T>(to: &mut [T]) -> (&mut [T], &mut [T]) {
    let at = to.len().min(L::WIDTH);
    to.split_at_mut_checked(at).unwrap_or_default()
}

impl<L: Simd> Twice<L> {
    /// The sum of the two.
    #[inline(always)]
    #[allow(clippy::unused_self, reason = "an operation of a token, as all are")]
    pub(crate) fn sum_of_two(self, v: Pair<L::V>) -> L::V {
        v.0 + v.1
    }

    /// The sum of two products.
    #[inline(always)]
    pub(crate) fn sum_of_products(self, a: Pair<L::V>, b: Pair<L::V>) -> L::V {
        self.0.fma(a.1, b.1, a.0 * b.0)
    }

    /// The largest of the two and one more.
    #[inline(always)]
    pub(crate) fn largest_of_two(self, so_far: L::V, v: Pair<L::V>) -> L::V {
        self.0.max(so_far, self.0.max(v.0, v.1))
    }

    /// The same of magnitudes.
    #[inline(always)]
    pub(crate) fn largest_magnitude(self, so_far: L::V, v: Pair<L::V>) -> L::V {
        self.0.max(so_far, self.0.max_abs(v.0, v.1))
    }
}

impl<L: Simd> Four<L> {
    /// An instruction set's.
    pub(crate) const fn of(l: L) -> Self {
        Twice(Twice(l))
    }

    /// The sum of the four.
    #[inline(always)]
    pub(crate) fn sum_of_four(self, v: Pair<Pair<L::V>>) -> L::V {
        self.0.sum_of_two(self.sum_of_two(v))
    }

    /// The largest of the four and one more.
    #[inline(always)]
    pub(crate) fn largest_of_four(self, so_far: L::V, v: Pair<Pair<L::V>>) -> L::V {
        self.0.largest_of_two(so_far, self.0.max(v.0, v.1))
    }

    /// The same of magnitudes.
    #[inline(always)]
    pub(crate) fn largest_magnitude_of_four(self, so_far: L::V, v: Pair<Pair<L::V>>) -> L::V {
        self.0.largest_of_two(so_far, self.0.max_abs(v.0, v.1))
    }
}

impl<L: Simd> Simd for Twice<L> {
    const WIDTH: usize = 2 * L::WIDTH;
    const FUSED: bool = L::FUSED;
    const WIDENS: bool = L::WIDENS;
    type V = Pair<L::V>;
    type W = Pair<L::W>;
    type M = Pair<L::M>;
    type Doubles = L::Doubles;

    #[inline(always)]
    fn call<P: Part<Self>>(self, part: P) -> P::Output {
        part.run(self)
    }

    #[inline(always)]
    fn doubles(self) -> L::Doubles {
        self.0.doubles()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        Pair(self.0.splat(x), self.0.splat(x))
    }

    #[inline(always)]
    fn load_f32(self, from: &[f32]) -> Self::V {
        let (low, high) = halves::<L, _>(from);
        Pair(self.0.load_f32(low), self.0.load_f32(high))
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::V {
        let (low, high) = halves::<L, _>(from);
        Pair(self.0.load_f16(low), self.0.load_f16(high))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Self::V {
        let (low, high) = halves::<L, _>(from);
        Pair(self.0.load_bf16(low), self.0.load_bf16(high))
    }

    #[inline(always)]
    fn store_f32(self, v: Self::V, to: &mut [f32]) {
        let (low, high) = halves_mut::<L, _>(to);
        self.0.store_f32(v.0, low);
        self.0.store_f32(v.1, high);
    }

    #[inline(always)]
    fn store_f16(self, v: Self::V, to: &mut [f16]) {
        let (low, high) = halves_mut::<L, _>(to);
        self.0.store_f16(v.0, low);
        self.0.store_f16(v.1, high);
    }

    #[inline(always)]
    fn store_bf16(self, v: Self::V, to: &mut [bf16]) {
        let (low, high) = halves_mut::<L, _>(to);
        self.0.store_bf16(v.0, low);
        self.0.store_bf16(v.1, high);
    }

    #[inline(always)]
    fn stream_f32(self, v: Self::V, to: &mut [f32]) {
        let (low, high) = halves_mut::<L, _>(to);
        self.0.stream_f32(v.0, low);
        self.0.stream_f32(v.1, high);
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> Self::W {
        Pair(self.0.splat_f64(x), self.0.splat_f64(x))
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64]) -> Self::W {
        let (low, high) = from.split_at_checked(L::WIDTH / 2).unwrap_or((from, &[]));
        Pair(self.0.load_f64(low), self.0.load_f64(high))
    }

    #[inline(always)]
    fn store_f64(self, w: Self::W, to: &mut [f64]) {
        let at = to.len().min(L::WIDTH / 2);
        let (low, high) = to.split_at_mut_checked(at).unwrap_or_default();
        self.0.store_f64(w.0, low);
        self.0.store_f64(w.1, high);
    }

    #[inline(always)]
    fn widen(self, v: Self::V) -> [Self::W; 2] {
        [v.0, v.1].map(|v| {
            let [low, high] = self.0.widen(v);
            Pair(low, high)
        })
    }

    #[inline(always)]
    fn narrow(self, [low, high]: [Self::W; 2]) -> Self::V {
        Pair(self.0.narrow([low.0, low.1]), self.0.narrow([high.0, high.1]))
    }

    #[inline(always)]
    fn fma_f64(self, a: Self::W, b: Self::W, c: Self::W) -> Self::W {
        Pair(self.0.fma_f64(a.0, b.0, c.0), self.0.fma_f64(a.1, b.1, c.1))
    }

    #[inline(always)]
    fn sum_f64(self, w: Self::W) -> f64 {
        self.0.sum_f64(w.0) + self.0.sum_f64(w.1)
    }

    #[inline(always)]
    fn fence(self) {
        self.0.fence();
    }

    /// Every line of as many elements as there are lanes.
    #[inline(always)]
    fn prefetch<T>(self, from: &[T], ahead: usize) {
        self.0.prefetch(from, ahead);
        if L::WIDTH * size_of::<T>() >= 64 {
            self.0.prefetch(from, ahead + L::WIDTH);
        }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        Pair(self.0.fma(a.0, b.0, c.0), self.0.fma(a.1, b.1, c.1))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        Pair(self.0.max(a.0, b.0), self.0.max(a.1, b.1))
    }

    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        Pair(self.0.abs(v.0), self.0.abs(v.1))
    }

    #[inline(always)]
    fn max_abs(self, a: Self::V, b: Self::V) -> Self::V {
        Pair(self.0.max_abs(a.0, b.0), self.0.max_abs(a.1, b.1))
    }

    #[inline(always)]
    fn fraction(self, x: Self::V) -> Self::V {
        Pair(self.0.fraction(x.0), self.0.fraction(x.1))
    }

    #[inline(always)]
    fn scale(self, p: Self::V, x: Self::V) -> Self::V {
        Pair(self.0.scale(p.0, x.0), self.0.scale(p.1, x.1))
    }

    #[inline(always)]
    fn less(self, a: Self::V, b: Self::V) -> Self::M {
        Pair(self.0.less(a.0, b.0), self.0.less(a.1, b.1))
    }

    #[inline(always)]
    fn first(self, n: usize) -> Self::M {
        Pair(self.0.first(n), self.0.first(n.saturating_sub(L::WIDTH)))
    }

    #[inline(always)]
    fn and(self, a: Self::M, b: Self::M) -> Self::M {
        Pair(self.0.and(a.0, b.0), self.0.and(a.1, b.1))
    }

    #[inline(always)]
    fn not(self, m: Self::M) -> Self::M {
        Pair(self.0.not(m.0), self.0.not(m.1))
    }

    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        self.0.any(m.0) | self.0.any(m.1)
    }

    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        Pair(self.0.select(m.0, a.0, b.0), self.0.select(m.1, a.1, b.1))
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f64 {
        self.0.sum(v.0) + self.0.sum(v.1)
    }

    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        self.0.largest(self.0.max(v.0, v.1))
    }
}
