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
    /// What the teacher's exponentials are off for the rounding of its reference.
    pub(super) fix: f64,
    /// What all exponentials are off, about m.
    pub(super) shift: f64,
    pub(super) exact: bool,
}

/// The nearest `f32`.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
pub(super) const fn single(x: f64) -> f32 {
    x as f32
}

impl Reference {
    /// `m` and `d` in units of the inputs, `c` nats a unit.
    pub(super) fn new<L: Simd>(c: f64, m: f32, d: f64, exact: bool) -> Self {
        let bits = single(c * core::f64::consts::LOG2_E);
        let per_unit = f64::from(bits);
        let high = single(d);
        let low = if exact { single(d - f64::from(high)) } else { 0.0 };
        let whole = f64::from(high) + f64::from(low);
        let m_teacher = single(f64::from(m) + whole);
        let (m_bits, m_teacher_bits) =
            (single(per_unit * f64::from(m)), single(per_unit * f64::from(m_teacher)));
        // Where exponents are 0 in truth, in units of the inputs.
        let origin = |x: f32, in_bits: f32| {
            if L::FUSED { f64::from(in_bits) / per_unit } else { f64::from(x) }
        };
        let (student, teacher) = (origin(m, m_bits), origin(m_teacher, m_teacher_bits));
        Self {
            c,
            nats: single(c),
            nats_low: single(c - f64::from(single(c))),
            bits,
            m,
            m_bits,
            m_teacher,
            m_teacher_bits,
            d: high,
            d_low: low,
            fix: exp((teacher - student - whole) * c),
            shift: exp((student - f64::from(m)) * c),
            exact,
        }
    }

    /// A student's reference so many bits higher.
    pub(super) fn raised(&self, bits: f64) -> f32 {
        single(f64::from(self.m) + bits / f64::from(self.bits))
    }

    /// D in units of the inputs.
    pub(super) fn d(&self) -> f64 {
        f64::from(self.d) + f64::from(self.d_low)
    }
}

/// e^x of what is mostly a rounding.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    if x.abs() <= 1e-3 { 1.0 + x * (1.0 + x * (0.5 + x / 6.0)) } else { libm::exp(x) }
}
