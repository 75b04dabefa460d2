//! The KL divergence of one row pair in `f32` arithmetic alone: for a core with 32 KB of memory.
//!
//! [`crate::run`] takes sums in `f64` and rows in blocks of 256, which a microcontroller has neither the unit nor the
//! memory for. Here a row is swept in single precision, in about 260 bytes of stack, by the same careful form (see
//! [`crate::row`]): with `w = e^((s - m)/tau)`, a guess D of the log-ratio of the normalisers and `r = (t - s - D)/tau`,
//!
//! ```text
//! Z = sum w,   E = sum w (e^r - 1),   G = sum w (r e^r - e^r + 1),
//! KL = G/(Z + E) - c(E/Z),            c(e) = log(1 + e) - e/(1 + e).
//! ```
//!
//! | sweep | takes | leaves |
//! | --- | --- | --- |
//! | 1 | some 32 entries of both | m, the largest of the student's, and D, of the mean and variance of t - s |
//! | 2 | both | Z, E and G; `w (e^r - 1)`, where there is a gradient's room for it |
//! | 3 | student, `w (e^r - 1)` | the gradient, `scale (q - p)/tau` |
//!
//! One exponential an entry where |r| <= 1, for the larger ones another, of the teacher's own exponent. What the sums say of the
//! references is held to in each row: where c is above what it is taken from, or most of the log-ratios have one sign, the second
//! sweep is done again about `D + tau log(1 + E/Z)`; where they are out of reach, about the largest entries of both. Where D is
//! above two deviations of t - s, the rounding of a difference matters: all of them are then taken in two terms.
//!
//! | the row | take |
//! | --- | --- |
//! | of numbers, or of int8 that is as exact as them ([`Quantized`], [`QuantizedChannels`]) | [`RowKl`] |
//! | of int8 of one scale, at a fraction of the cost | [`Int8Kl`], with an [`ExpTable`] a side |
//! | of numbers, on a core without a floating-point unit | [`IntegerKl`], and [`RowKl`] where it has no answer |
//! | of a fixed teacher, in flash | [`TeacherTable`] |
//! | that does not fit into memory | [`RowPieces`] |
//!
//! Rows with entries that are not finite are as those of [`crate::run`]: NaN or +inf makes the row NaN; a teacher of -inf
//! alone is no row; what only the teacher lacks has no term; what only the student lacks makes the divergence infinite
//! and leaves the gradient finite.

mod exponential;
mod int8;
mod integer;
mod pieces;
mod quantized;
mod row;
mod shares;
mod sums;
mod sweep;
mod table;
mod wide;

pub use exponential::{Exponential, Libm, Polynomial};
pub use int8::{ExpTable, Int8Kl};
pub use integer::IntegerKl;
pub use pieces::RowPieces;
pub use quantized::{Quantized, QuantizedChannels};
pub use row::Row;
pub use table::{Stored, TableError, TableRow, TeacherTable};

use core::cell::Cell;

/// The KL divergence of a teacher's and a student's row under the softmax of a temperature.
///
/// Rows are of any kind of [`Row`]: slices of `f32`, `f16` or `bf16`, int8 as networks store it; each is one channel of a
/// map, or one position's classes. Value and gradient are of the row alone: tau^2, weight and divisor are in `scale`.
/// Where rows differ in length the shortest counts.
///
/// *Accuracy* of value and gradient with [`Polynomial`], the gradient's in shares of its largest entry: 1e-6 for ordinary
/// rows, 1e-5 for any finite row; the value is never negative and has these digits down to 1e-26. Where all of the gradient is
/// below 1e-25, its digits have been seen 2e-5 off.
///
/// *Cost* of value and gradient, of an entry: 91 instructions of a Cortex-M4F where the rows are near, 109 where a quarter of
/// the entries takes two exponentials; no memory but 260 bytes of stack. The value alone: 62 and 78. A row that
/// its sample does not stand for takes a sweep more: of 512 logits of spread 2, with a teacher's up to 1 beside them, one row in
/// fifty at temperature 4, one in seven at 1.
///
/// ```
/// use densekd_core::single::{Polynomial, RowKl};
/// let Some(loss) = RowKl::<Polynomial>::new(4.0) else { return };
/// let (teacher, student) = ([0.5_f32, -1.0, 2.0, 0.0], [0.25_f32, -1.0, 1.0, 0.5]);
/// let mut gradient = [0.0; 4];
/// // tau^2 makes gradients of all temperatures alike.
/// let kl = loss.gradient(&teacher, &student, 16.0, &mut gradient);
/// assert!((kl - 0.010_407).abs() < 1e-6 && (kl - loss.value(&teacher, &student)).abs() < 1e-8);
/// assert!(gradient.iter().sum::<f32>().abs() < 1e-6 && gradient[2] < 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowKl<X> {
    exponential: X,
    per_unit: f32,
}

impl<X: Exponential> RowKl<X> {
    /// At this temperature; none where it is not from 1e-30 to 1e30.
    pub fn new(tau: f32) -> Option<Self> {
        (1e-30..=1e30).contains(&tau).then(|| Self { exponential: X::new(tau), per_unit: 1.0 / tau })
    }

    /// The divergence.
    pub fn value<T: Row + ?Sized, S: Row + ?Sized>(&self, teacher: &T, student: &S) -> f32 {
        let len = teacher.entries().min(student.entries());
        RowPieces::whole(self, (teacher, student, len), ()).1.kl
    }

    /// The divergence; `scale (q - p)/tau` for each entry into `gradient`, which holds the student's exponentials until
    /// then.
    pub fn gradient<T: Row + ?Sized, S: Row + ?Sized>(
        &self,
        teacher: &T,
        student: &S,
        scale: f32,
        gradient: &mut [f32],
    ) -> f32 {
        let len = teacher.entries().min(student.entries()).min(gradient.len());
        let room = Cell::from_mut(&mut *gradient).as_slice_of_cells();
        let (at, verdict) = RowPieces::whole(self, (teacher, student, len), room);
        at.pull(self, (student, len), (verdict, scale), gradient);
        verdict.kl
    }
}
