//! A fixed teacher's rows as the file that a microcontroller reads where it lies.

use crate::core::single::{Stored, TeacherTable};
use crate::core::{Error, Mask, Plan, PreparedTeacher, Tensor};

/// How a number of the file is stored.
///
/// ```
/// assert_eq!(densekd::rows::Precision::ALL.map(|precision| precision.name()), ["f16", "u8"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// In two bytes, to 2^-11 of itself.
    F16,
    /// In one, to half a 254th of the range of all rows, or of 20 nats where that is less.
    U8,
}

impl Precision {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::F16, Self::U8];

    /// Its name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::U8 => "u8",
        }
    }
}

/// Nats below a row's largest probability from which a byte stands for no mass.
const DEEPEST: f64 = 20.0;

/// Steps of a byte that stand for a number.
const STEPS: f64 = 254.0;

/// The bytes of a [`TeacherTable`]: the plan's rows one after another, whatever the teacher's memory order, at its temperature
/// rounded to `f32`.
///
/// # Errors
/// As [`PreparedTeacher::prepare`]; [`Error::TooLarge`] where a size is beyond 32 bits.
///
/// ```
/// use densekd::core::single::TeacherTable;
/// use densekd::core::{Order, Plan, Recipe, RowOptions, Shape};
/// use densekd::rows::{Precision, encode};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 2, 1, 3])?, Order::Nchw)?;
/// let teacher = [0.5_f32, -1.0, 2.0, 0.0, 0.25, 1.0];
/// let bytes = encode(&plan, (&teacher[..]).into(), Precision::F16)?;
/// let table = TeacherTable::new(&bytes)?;
/// assert_eq!((table.rows(), table.entries(), table.tau()), (2, 3, 4.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode(plan: &Plan, teacher: Tensor<'_>, precision: Precision) -> Result<Vec<u8>, Error> {
    let mut logs = vec![0.0_f64; plan.shape().len()];
    PreparedTeacher::prepare(plan, teacher, Mask::ALL, &mut logs[..])?;
    let rows = rows_below_largest(plan, &logs);
    let tau = plan.recipe().options().tau.get();
    let stored = match precision {
        Precision::F16 => Stored::F16,
        Precision::U8 => {
            let deepest = rows.iter().copied().filter(|x| x.is_finite()).fold(0.0, f64::min);
            // Rows of one number each have no range, but a step.
            let range = if deepest < 0.0 { (-deepest).min(DEEPEST * tau) } else { tau };
            #[allow(clippy::cast_possible_truncation, reason = "the step's type")]
            Stored::U8 { step: (range / STEPS) as f32 }
        }
    };
    #[allow(clippy::cast_possible_truncation, reason = "the temperature's type")]
    let header = TeacherTable::header(plan.rows(), plan.row_len(), tau as f32, stored);
    let mut bytes = header.ok_or(Error::TooLarge { shape: plan.shape().dims() })?.to_vec();
    for &below in &rows {
        bytes.extend(stored.store(below).iter().take(stored.bytes()));
    }
    Ok(bytes)
}

/// Row after row, each less its largest; a row without a number as it is.
fn rows_below_largest(plan: &Plan, logs: &[f64]) -> Vec<f64> {
    let layout = plan.layout();
    let (axis, inner) = (layout.axis(), layout.inner());
    let mut rows = Vec::with_capacity(logs.len());
    for plane in logs.chunks_exact(axis * inner) {
        for first in 0..inner {
            let row = || plane.iter().skip(first).step_by(inner);
            let largest = row().copied().fold(f64::NEG_INFINITY, f64::max);
            let largest = if largest.is_finite() { largest } else { 0.0 };
            rows.extend(row().map(|x| x - largest));
        }
    }
    rows
}
