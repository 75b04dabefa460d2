//! Sixteen numbers side by side: all that the yardstick asks of an instruction set.

/// Lanes of a vector.
pub(super) const COUNT: usize = 16;

/// 2^x on [0, 1] by a polynomial, within 7.5e-8 (minimax, Remez's algorithm).
const EXP2: [f32; 6] = [0.999_999_9, 0.693_153_1, 0.240_153_62, 0.055_826_318, 0.008_989_34, 0.001_877_576_7];

/// What a kernel asks of an instruction set.
pub(super) trait Lanes: Copy {
    fn splat(x: f32) -> Self;
    fn load(from: &[f32; COUNT]) -> Self;
    fn store(self, to: &mut [f32; COUNT]);
    /// `self * b + c`
    fn mul_add(self, b: Self, c: Self) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn exp2(self) -> Self;
    fn sum(self) -> f32;
}

/// How numbers of a type come into lanes and out of them.
pub(super) trait Stored<V>: Copy + Send + Sync {
    /// Far below any logit, so that its exponential is 0.
    const BOTTOM: Self;
    fn load(from: &[Self; COUNT]) -> V;
    fn store(lanes: V, to: &mut [Self; COUNT]);
    /// The same past the caches. `to` is aligned to its own size.
    fn stream(lanes: V, to: &mut [Self; COUNT]) {
        Self::store(lanes, to);
    }
}

/// Loops that the compiler turns into vectors, with fused multiply-adds where the loop is compiled for them.
#[derive(Clone, Copy)]
pub(super) struct Portable<const FUSED: bool>([f32; COUNT]);

impl<const FUSED: bool> Portable<FUSED> {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        out.iter_mut().zip(b.0).for_each(|(x, y)| *x = f(*x, y));
        Self(out)
    }
}

impl<const FUSED: bool> Lanes for Portable<FUSED> {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; COUNT])
    }

    #[inline(always)]
    fn load(from: &[f32; COUNT]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; COUNT]) {
        *to = self.0;
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        let mut out = self.0;
        out.iter_mut()
            .zip(b.0)
            .zip(c.0)
            .for_each(|((x, b), c)| *x = if FUSED { x.mul_add(b, c) } else { *x * b + c });
        Self(out)
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }

    /// The floor by a number so large that its last place is 1, then the exponent by an addition of bits.
    #[inline(always)]
    fn exp2(self) -> Self {
        const ROUND: f32 = 12_582_912.0;
        let x = self.zip(Self::splat(-126.0), f32::max);
        let shifted = x.zip(Self::splat(0.0), |x, _| x - 0.5 + ROUND);
        let whole = shifted.sub(Self::splat(ROUND));
        let p = polynomial(x.sub(whole));
        p.zip(shifted, |p, n| f32::from_bits(p.to_bits().wrapping_add(n.to_bits() << 23)))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

impl<const FUSED: bool> Stored<Portable<FUSED>> for f32 {
    const BOTTOM: Self = -3e4;

    #[inline(always)]
    fn load(from: &[Self; COUNT]) -> Portable<FUSED> {
        Portable(*from)
    }

    #[inline(always)]
    fn store(lanes: Portable<FUSED>, to: &mut [Self; COUNT]) {
        *to = lanes.0;
    }
}

/// [`EXP2`] at f.
#[inline(always)]
pub(super) fn polynomial<V: Lanes>(f: V) -> V {
    let [c0, c1, c2, c3, c4, c5] = EXP2.map(V::splat);
    c5.mul_add(f, c4).mul_add(f, c3).mul_add(f, c2).mul_add(f, c1).mul_add(f, c0)
}
