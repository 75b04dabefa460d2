//! What a sweep in vectors measures from.

use crate::simd::Simd;

/// Where a sweep measures from, as the vectors hold it: in `f32`, with what each rounding moved made good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    /// Nats a unit of the inputs.
    pub(super) c: f64,
    pub(super) nats: f32,
    pub(super) nats_low: f32,
    /// Bits a unit.
    pub(super) bits: f32,
    /// The student's reference in units of the inputs, and in bits.
    pub(super) m: f32,
    pub(super) m_bits: f32,
    /// The teacher's, about m + D.
    pub(super) m_teacher: f32,
    pub(super) m_teacher_bits: f32,
    /// D, and the rest of it, which is 0 where differences are taken in one rounding.
    pub(super) d: f32,
    pub(super) d_low: f32,
    pub(super) exact: bool,
}

/// The nearest `f32`.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
pub(super) const fn single(x: f64) -> f32 {
    x as f32
}

impl Reference {
    /// `m` and `d` in units of the inputs, `c` nats a unit.
    #[inline(always)]
    pub(super) fn new(c: f64, m: f32, d: f64, exact: bool) -> Self {
        let bits = single(c * core::f64::consts::LOG2_E);
        let per_unit = f64::from(bits);
        let high = single(d);
        let low = if exact { single(d - f64::from(high)) } else { 0.0 };
        let m_teacher = single(f64::from(m) + (f64::from(high) + f64::from(low)));
        Self {
            c,
            nats: single(c),
            nats_low: single(c - f64::from(single(c))),
            bits,
            m,
            m_bits: single(per_unit * f64::from(m)),
            m_teacher,
            m_teacher_bits: single(per_unit * f64::from(m_teacher)),
            d: high,
            d_low: low,
            exact,
        }
    }

    /// Where exponents are 0 in truth, in units of the inputs.
    fn origin<L: Simd>(&self, m: f32, in_bits: f32) -> f64 {
        if L::FUSED { f64::from(in_bits) / f64::from(self.bits) } else { f64::from(m) }
    }

    /// What the teacher's exponentials are off for the rounding of its reference.
    #[inline(always)]
    pub(super) fn fix<L: Simd>(&self) -> f64 {
        let student = self.origin::<L>(self.m, self.m_bits);
        let teacher = self.origin::<L>(self.m_teacher, self.m_teacher_bits);
        exp((teacher - student - self.d()) * self.c)
    }

    /// What all exponentials are off, about m.
    #[inline(always)]
    pub(super) fn shift<L: Simd>(&self) -> f64 {
        exp((self.origin::<L>(self.m, self.m_bits) - f64::from(self.m)) * self.c)
    }

    /// A student's reference so many bits higher.
    pub(super) fn raised(&self, bits: f64) -> f32 {
        single(f64::from(self.m) + bits / f64::from(self.bits))
    }

    /// D in units of the inputs.
    #[inline(always)]
    pub(super) fn d(&self) -> f64 {
        f64::from(self.d) + f64::from(self.d_low)
    }
}

/// e^x of what is mostly a rounding.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    if x.abs() <= 1e-3 { 1.0 + x * (1.0 + x * (0.5 + x / 6.0)) } else { libm::exp(x) }
}
