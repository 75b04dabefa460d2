//! The divergence of a row pair in integers: for cores without a floating-point unit.

use super::Row;
use super::shares::{ONE, Shares, real};
use super::wide;
use core::f64::consts::{LN_2, LOG2_E};

/// The KL divergence as [`super::RowKl`] has it, without a float in its loops: a sixth of the cost on a Cortex-M0.
///
/// Each row becomes fixed-point numbers of one exponent, an exponential three products of 32-bit integers beside a table of 64.
/// *Error* of the value: at most `4e-8 (1 + R) n/Z`, absolute, of n entries whose exponentials sum up to Z, the largest being
/// 1, with a log-ratio |log p - log q| up to R; of the gradient: 1e-7 of the row's largest probability over tau; beside the
/// rounding to `f32`. Rows so near that this is too much of their divergence are [`super::RowKl`]'s, and so are those that
/// this has no answer for.
///
/// ```
/// use densekd_core::single::{IntegerKl, Polynomial, RowKl};
/// let (Some(integer), Some(careful)) = (IntegerKl::new(4.0), RowKl::<Polynomial>::new(4.0)) else { return };
/// let (teacher, student) = ([0.5_f32, -1.0, 2.0, 0.0], [0.25_f32, -1.0, 1.0, 0.5]);
/// let mut gradient = [0.0; 4];
/// let kl = integer
///     .gradient(&teacher, &student, 16.0, &mut gradient)
///     .unwrap_or_else(|| careful.gradient(&teacher, &student, 16.0, &mut gradient));
/// assert!((kl - careful.value(&teacher, &student)).abs() < 1e-7);
/// assert!(integer.value(&[0.0_f32, f32::NAN], &[0.0_f32, 1.0]).is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IntegerKl {
    tau: f32,
}

/// 2^(-i/64).
const ROOTS: [u32; 64] = roots();

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 2^31 to 2^32 - 1")]
const fn roots() -> [u32; 64] {
    const STEP: f64 = 0.989_228_013_193_975_5;
    let (mut roots, mut root, mut i) = ([ONE; 64], ONE as f64, 0);
    while i < 64 {
        roots[i] = (root + 0.5) as u32;
        root *= STEP;
        i += 1;
    }
    roots
}

/// Bits of a logarithm after the point, and the largest logarithm.
const POINT: u32 = 26;
const FARTHEST: f64 = (1_u32 << 31) as f64 - 1.0;

/// 2^-y.
#[inline(always)]
fn exp2(y: u32) -> u32 {
    // 1 - g (A - g B) is 2^(-g/64) for g from 0 to 1, within 9e-9.
    const A: u32 = 46_515_921;
    const B: u32 = 250_620;
    let g = y << (32 - POINT + 6);
    let root = ROOTS[(y >> (POINT - 6) & 63) as usize];
    let down = wide::high(g, A - wide::high(g, B));
    (root - wide::high(root, down)) >> (y >> POINT)
}

/// A row as fixed-point numbers, and what their distances from the largest mean.
struct Block {
    /// The exponent, as it is stored, of the largest magnitude.
    exponent: u32,
    largest: i32,
    /// Distances fill 32 bits once they are shifted, and are logarithms once they are multiplied.
    shift: u32,
    multiplier: u32,
}

/// A number's bits, ordered as the numbers are.
#[inline(always)]
fn key(x: f32) -> i32 {
    let bits = x.to_bits().cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The stored exponent of what a key is of.
fn exponent(key: i32) -> u32 {
    (key ^ ((key >> 31) & i32::MAX)).cast_unsigned() >> 23 & 0xff
}

impl Block {
    /// None of a row that is empty, has an entry that is no number, is too wide for the logarithms or too small to be told
    /// from 0.
    fn new<R: Row + ?Sized>(row: &R, len: usize, tau: f32) -> Option<Self> {
        const SMALLEST: u32 = 64;
        let (mut low, mut high) = (i32::MAX, i32::MIN);
        for x in row.values(len) {
            let key = key(x);
            low = if key < low { key } else { low };
            high = if key > high { key } else { high };
        }
        let top = exponent(low).max(exponent(high));
        // Zeros of both signs are one number, and so are numbers that are next to none.
        let is_flat = low == high || top == 0;
        if low > high || top == 0xff || top < SMALLEST && !is_flat {
            return None;
        }
        let mut block = Self { exponent: top, largest: 0, shift: 0, multiplier: 0 };
        let [smallest, largest] = [low, high]
            .map(|key| block.fixed(f32::from_bits((key ^ ((key >> 31) & i32::MAX)).cast_unsigned())));
        block.largest = largest;
        let range = largest.wrapping_sub(smallest).cast_unsigned();
        if range > 0 && !is_flat {
            block.shift = range.leading_zeros();
            // A step is 2^(top - 156); products' upper halves are 2^-32 of them.
            let power =
                f64::from_bits(u64::from((1023 + POINT + 32 + top).wrapping_sub(156 + block.shift)) << 52);
            let multiplier = power * (LOG2_E / f64::from(tau));
            let farthest = multiplier * f64::from(range << block.shift) / 4_294_967_296.0;
            if !(farthest < FARTHEST) {
                return None;
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "below 2^32 by `farthest`"
            )]
            (block.multiplier = (multiplier + 0.5) as u32);
        }
        Some(block)
    }

    /// A number in steps of 2^-29 of the power of two above the largest magnitude.
    #[inline(always)]
    fn fixed(&self, x: f32) -> i32 {
        let bits = x.to_bits();
        let digits = (bits & 0x007f_ffff | 0x0080_0000) << 6;
        let down = self.exponent.wrapping_sub(bits >> 23 & 0xff);
        let steps = if down < 31 { (digits >> down).cast_signed() } else { 0 };
        if bits >> 31 == 0 { steps } else { -steps }
    }

    /// How far a number's exponential is below the largest, as a logarithm.
    #[inline(always)]
    fn below(&self, x: f32) -> u32 {
        let distance = self.largest.wrapping_sub(self.fixed(x)).cast_unsigned();
        wide::high(distance << self.shift, self.multiplier)
    }
}

/// Sums of exponentials, alone and times logarithms.
#[derive(Default)]
struct Sums {
    p: u64,
    w: u64,
    p_teacher: u64,
    p_student: u64,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, t: u32, s: u32) -> u32 {
        let (p, w) = (exp2(t), exp2(s));
        self.p += u64::from(p);
        self.w += u64::from(w);
        self.p_teacher += u64::from(wide::high(p, t));
        self.p_student += u64::from(wide::high(p, s));
        w
    }

    fn kl(&self) -> f32 {
        /// A product's upper half over an exponential, as a logarithm: 2^(32 - POINT) of its steps.
        const UNIT: f64 = 64.0 * LN_2;
        let apart = UNIT * (real(self.p_student) - real(self.p_teacher)) / real(self.p);
        let kl = apart + libm::log(real(self.w) / real(self.p));
        #[allow(clippy::cast_possible_truncation, reason = "the result's type")]
        if kl > 0.0 { kl as f32 } else { 0.0 }
    }
}

/// The largest number of entries, whose sums stay below 2^64.
const LONGEST: usize = u32::MAX as usize;

impl IntegerKl {
    /// At this temperature; none where it is not from 1e-30 to 1e30.
    pub fn new(tau: f32) -> Option<Self> {
        (1e-30..=1e30).contains(&tau).then_some(Self { tau })
    }

    /// The divergence. None where a row is empty or of 2^32 entries, has an entry that is not finite, or two that are 22 tau or more apart.
    pub fn value<T: Row + ?Sized, S: Row + ?Sized>(&self, teacher: &T, student: &S) -> Option<f32> {
        let len = teacher.entries().min(student.entries());
        let (of_teacher, of_student) = self.blocks(teacher, student, len)?;
        let mut sums = Sums::default();
        for (t, s) in teacher.values(len).zip(student.values(len)) {
            sums.add(of_teacher.below(t), of_student.below(s));
        }
        Some(sums.kl())
    }

    /// The divergence; `scale (q - p)/tau` for each entry into `gradient`. None as of [`Self::value`].
    pub fn gradient<T: Row + ?Sized, S: Row + ?Sized>(
        &self,
        teacher: &T,
        student: &S,
        scale: f32,
        gradient: &mut [f32],
    ) -> Option<f32> {
        let len = teacher.entries().min(student.entries()).min(gradient.len());
        let (of_teacher, of_student) = self.blocks(teacher, student, len)?;
        let mut sums = Sums::default();
        // The student's exponentials wait where the gradient will be.
        for ((t, s), g) in teacher.values(len).zip(student.values(len)).zip(&mut *gradient) {
            *g = f32::from_bits(sums.add(of_teacher.below(t), of_student.below(s)));
        }
        let shares = Shares::new(sums.p, sums.w, scale / self.tau)?;
        for (t, g) in teacher.values(len).zip(&mut *gradient) {
            *g = shares.difference(exp2(of_teacher.below(t)), g.to_bits());
        }
        shares.finish(gradient);
        Some(sums.kl())
    }

    fn blocks<T: Row + ?Sized, S: Row + ?Sized>(
        self,
        teacher: &T,
        student: &S,
        len: usize,
    ) -> Option<(Block, Block)> {
        if len > LONGEST {
            return None;
        }
        Some((Block::new(teacher, len, self.tau)?, Block::new(student, len, self.tau)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_1e_8() {
        for y in (0..1_u32 << 31).step_by(99_991) {
            let want = libm::exp2(-f64::from(y) / f64::from(1 << POINT)) * f64::from(ONE);
            assert!((f64::from(exp2(y)) - want).abs() <= 40.0, "{y}: {}, not {want}", exp2(y));
        }
    }
}
