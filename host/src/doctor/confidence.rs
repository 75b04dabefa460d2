//! How sure the teacher is.

use super::case::Case;
use super::text::number;
use crate::backend::BackendError;
use densekd_core::{Divergence, RowOptions, Temperature};
use serde::Serialize;

/// The teacher's entropy relative to that of a uniform distribution, averaged over rows: 1 says nothing,
/// 0 names one entry. NaN where no row has two entries.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// let [one, four] = [report.confidence[0], report.confidence[1]];
/// assert!(one.channels < four.channels && four.channels < 1.0);
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Confidence {
    /// The temperature.
    pub tau: f64,
    /// Of channel maps, relative to the logarithm of the counted positions (H W without a mask).
    #[serde(serialize_with = "number")]
    pub channels: f64,
    /// Of counted pixels, relative to log C.
    #[serde(serialize_with = "number")]
    pub pixels: f64,
}

impl Confidence {
    /// Of the case's teacher. The cross-entropy of a distribution with itself is its entropy.
    pub(super) fn of(case: Case<'_>, counted: &[usize], tau: Temperature) -> Result<Self, BackendError> {
        let own = Case { student: case.teacher, ..case };
        let with = |options| RowOptions { tau, divergence: Divergence::Ce, ..options };
        let (c, m) = (case.shape.channels(), case.shape.positions());
        let (_, channels) = own.rows(with(RowOptions::CWD))?;
        let entries = |map: usize| counted.get(map / c).copied().unwrap_or_default();
        let channels = relative(channels.iter().enumerate().map(|(map, &h)| (h, entries(map))));
        let (_, pixels) = own.rows(with(RowOptions::PI))?;
        let all = counted.iter().sum::<usize>() == case.shape.images() * m;
        let pixels = pixels.iter().enumerate().filter(|&(pixel, _)| all || case.mask.counts(pixel));
        Ok(Self { tau: tau.get(), channels, pixels: relative(pixels.map(|(_, &h)| (h, c))) })
    }
}

/// The mean of entropy over log(entries), of rows whose entropy is a number.
#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
fn relative(rows: impl Iterator<Item = (f64, usize)>) -> f64 {
    let (sum, count) = rows
        .filter(|&(entropy, entries)| entries > 1 && entropy.is_finite())
        .fold((0.0, 0.0), |(sum, count), (h, entries)| (sum + h / (entries as f64).ln(), count + 1.0));
    sum / count
}
