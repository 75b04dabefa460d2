//! Which channels the loss comes from.

use super::text::number;
use densekd_core::Outcome;
use serde::Serialize;

/// What a channel adds to channel-wise distillation at tau = 4.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// assert_eq!(report.channels[0].channel, 0);
/// assert!(report.channels[0].share > 0.9);
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ChannelShare {
    /// The channel.
    pub channel: usize,
    /// What it adds to the loss, over all images.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// That as a share of the loss; NaN where the loss is 0 or not finite.
    #[serde(serialize_with = "number")]
    pub share: f64,
}

/// All channels, the largest first and NaN before them, of the divergences of channel maps.
pub(super) fn shares(outcome: Outcome, rows: &[f64], channels: usize) -> Vec<ChannelShare> {
    let mut sums = vec![0.0; channels];
    for images in rows.chunks(channels) {
        sums.iter_mut().zip(images).for_each(|(sum, row)| *sum += row);
    }
    let total: f64 = sums.iter().sum();
    let share = |(channel, sum): (usize, f64)| ChannelShare {
        channel,
        value: Outcome { sum, ..outcome }.value(),
        share: if total.is_finite() { sum / total } else { f64::NAN },
    };
    let mut shares: Vec<ChannelShare> = sums.into_iter().enumerate().map(share).collect();
    shares.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    shares
}
