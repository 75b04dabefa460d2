//! The divergence of int8 rows by tables of exponentials: no float but at a row's end and in the gradient.

use super::row::first;
use super::shares::{ONE, Shares, real};
use super::wide;

/// Entries up to which sums of products stay below 2^64.
const LONGEST: usize = 1 << 24;

/// `e^(-k scale / tau)` for each k that two int8 can be apart: 1 KB that rows of one scale take instead of exponentials.
///
/// Made once for a tensor (or channel) and temperature, by 256 exponentials of `f64`; kept where the program keeps what is
/// constant. Teacher and student of the same scale share one.
///
/// ```
/// use densekd_core::single::ExpTable;
/// assert!(ExpTable::new(0.05, 4.0).is_some());
/// assert!(ExpTable::new(0.0, 4.0).is_none() && ExpTable::new(0.05, f32::NAN).is_none());
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ExpTable {
    /// `scale / tau`.
    step: f64,
    tau: f32,
    entries: [u32; 256],
}

impl ExpTable {
    /// Of a scale and a temperature; none where either is not from 1e-30 to 1e30.
    pub fn new(scale: f32, tau: f32) -> Option<Self> {
        if ![scale, tau].iter().all(|x| (1e-30..=1e30).contains(x)) {
            return None;
        }
        let step = f64::from(scale) / f64::from(tau);
        let mut entries = [0; 256];
        for (entry, k) in entries.iter_mut().zip(0..=u8::MAX) {
            let rounded = libm::exp(-step * f64::from(k)) * f64::from(ONE) + 0.5;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^32 - 1")]
            (*entry = rounded as u32);
        }
        Some(Self { step, tau, entries })
    }

    #[inline(always)]
    fn at(&self, k: u8) -> u32 {
        self.entries[usize::from(k)]
    }
}

/// The KL divergence of int8 rows of known scales, as [`super::RowKl`] of [`super::Quantized`] rows has it, at three
/// fifths of the cost and at a twentieth without a floating-point unit.
///
/// A softmax does not see a constant added to its row: zero points are not asked for. Sums are exact, in integers, so that
/// nothing is off but the tables' entries, by 2^-33. *Error* of the value: at most `n 2^-32 (1 + R)`, absolute, of n entries
/// with a log-ratio |log p - log q| up to R, beside the rounding to `f32`; of the gradient: 2^-28 of the row's largest
/// probability over tau, beside the rounding to `f32`. Equal and shifted rows of one scale are exactly 0. Rows so near that
/// this is too much of their divergence are [`super::RowKl`]'s.
///
/// ```
/// use densekd_core::single::{ExpTable, Int8Kl, Polynomial, Quantized, RowKl};
/// let (tau, teacher, student) = (4.0, [10, -20, 40], [4, 0, 25]);
/// let tables = [0.05, 0.08].map(|scale| ExpTable::new(scale, tau));
/// let [Some(of_teacher), Some(of_student)] = &tables else { return };
/// let Some(loss) = Int8Kl::new(of_teacher, of_student) else { return };
/// let mut gradient = [0.0; 3];
/// let kl = loss.gradient(&teacher, &student, 16.0, &mut gradient);
///
/// let careful = RowKl::<Polynomial>::new(tau).map_or(0.0, |loss| {
///     loss.value(&Quantized::new(&teacher, 0.05, 0), &Quantized::new(&student, 0.08, 0))
/// });
/// assert!((kl / careful - 1.0).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Int8Kl<'t> {
    teacher: &'t ExpTable,
    student: &'t ExpTable,
}

/// The rows' largest entries, and sums of exponentials, alone and times steps below the largest.
struct Sums {
    tops: (i8, i8),
    p: u64,
    w: u64,
    p_teacher: u64,
    p_student: u64,
}

/// Steps below the largest entry.
#[inline(always)]
fn below(top: i8, x: i8) -> u8 {
    top.wrapping_sub(x).cast_unsigned()
}

#[inline(never)]
fn largest(row: &[i8]) -> i8 {
    // In words, which cores compare; four at a time, for less of a loop.
    let larger = |top: i32, x: i8| if i32::from(x) > top { i32::from(x) } else { top };
    let (fours, rest) = row.as_chunks::<4>();
    let top = rest.iter().fold(i32::from(i8::MIN), |top, &x| larger(top, x));
    let top = fours.iter().fold(top, |top, &[a, b, c, d]| larger(larger(larger(larger(top, a), b), c), d));
    #[allow(clippy::cast_possible_truncation, reason = "one of the row's")]
    (top as i8)
}

impl<'t> Int8Kl<'t> {
    /// Of a teacher's and a student's scale; none where the tables are of two temperatures.
    pub fn new(teacher: &'t ExpTable, student: &'t ExpTable) -> Option<Self> {
        (teacher.tau == student.tau).then_some(Self { teacher, student })
    }

    /// The divergence. NaN for a row of more than 2^24 entries.
    pub fn value(&self, teacher: &[i8], student: &[i8]) -> f32 {
        let len = teacher.len().min(student.len());
        if len > LONGEST {
            return f32::NAN;
        }
        self.kl(&self.sums(first(teacher, len), first(student, len)))
    }

    /// The divergence; `scale (q - p)/tau` for each entry into `gradient`, the gradient to the numbers that are stored (to the
    /// steps themselves it is the student's scale times that). NaN for a row of more than 2^24 entries.
    pub fn gradient(&self, teacher: &[i8], student: &[i8], scale: f32, gradient: &mut [f32]) -> f32 {
        let len = teacher.len().min(student.len()).min(gradient.len());
        if len > LONGEST {
            gradient.fill(f32::NAN);
            return f32::NAN;
        }
        let (teacher, student) = (first(teacher, len), first(student, len));
        let sums = self.sums(teacher, student);
        self.pull(&sums, (teacher, student), scale, gradient);
        self.kl(&sums)
    }

    fn sums(&self, teacher: &[i8], student: &[i8]) -> Sums {
        let tops = (largest(teacher), largest(student));
        let mut sums = Sums { tops, p: 0, w: 0, p_teacher: 0, p_student: 0 };
        // Apart from the others, all of which a core's registers then hold.
        let term = |s| u64::from(self.student.at(below(tops.1, s)));
        let (fours, rest) = student.as_chunks::<4>();
        for &[a, b, c, d] in fours {
            sums.w += term(a) + term(b) + term(c) + term(d);
        }
        for &s in rest {
            sums.w += term(s);
        }
        let mut above = 0;
        for (&t, &s) in teacher.iter().zip(student) {
            let t = below(tops.0, t);
            let p = self.teacher.at(t);
            sums.p += u64::from(p);
            sums.p_teacher += wide::by_byte(p, t);
            // Above the least int8: what does not ask for the largest entry.
            above += wide::by_byte(p, s.cast_unsigned() ^ 0x80);
        }
        sums.p_student = sums.p * u64::from(tops.1.cast_unsigned() ^ 0x80) - above;
        sums
    }

    /// `sum p (log p - log q)`, each logarithm being steps below the largest entry and its row's normaliser.
    fn kl(&self, sums: &Sums) -> f32 {
        if sums.p == 0 {
            return 0.0;
        }
        let [p, w, p_teacher, p_student] = [sums.p, sums.w, sums.p_teacher, sums.p_student].map(real);
        let apart = (self.student.step * p_student - self.teacher.step * p_teacher) / p;
        let kl = apart + libm::log(w / p);
        #[allow(clippy::cast_possible_truncation, reason = "the result's type")]
        if kl > 0.0 { kl as f32 } else { 0.0 }
    }

    fn pull(&self, sums: &Sums, (teacher, student): (&[i8], &[i8]), scale: f32, gradient: &mut [f32]) {
        let Some(shares) = Shares::new(sums.p, sums.w, scale / self.teacher.tau) else { return };
        for ((&t, &s), g) in teacher.iter().zip(student).zip(&mut *gradient) {
            *g = shares
                .difference(self.teacher.at(below(sums.tops.0, t)), self.student.at(below(sums.tops.1, s)));
        }
        shares.finish(gradient);
    }
}
