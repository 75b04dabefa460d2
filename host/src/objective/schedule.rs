//! How a term's weight changes over training.

use densekd_core::Weight;
use std::num::NonZeroU64;

/// What a term's weight is multiplied by at a step: steps of whatever the caller counts, iterations or epochs.
///
/// ```
/// use densekd::objective::{Ramp, Schedule};
/// use densekd::core::Weight;
/// use std::num::NonZeroU64;
/// let steps = NonZeroU64::new(100).unwrap();
/// let ramp = Ramp { from: Weight::new(0.0)?, to: Weight::new(1.0)?, steps };
/// assert_eq!(Schedule::Linear(ramp).at(25), 0.25);
/// assert!((Schedule::Cosine(ramp).at(50) - 0.5).abs() < 1e-15);
/// assert_eq!(Schedule::Cosine(ramp).at(1000), 1.0);
/// // YOLOv6: 1 - 0.99 (1 - cos(pi e / E)) / 2.
/// let yolov6 = Schedule::yolov6(steps);
/// assert_eq!((yolov6.at(0), yolov6.at(100)), (1.0, 0.01));
/// # Ok::<(), densekd::core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Schedule {
    /// Always 1.
    #[default]
    Constant,
    /// In a straight line.
    Linear(Ramp),
    /// Along half a cosine, level at both ends: a warm-up or a decay.
    Cosine(Ramp),
}

/// A change from one factor to another, which then stays.
///
/// ```
/// use densekd::objective::{Ramp, Schedule};
/// use densekd::core::Weight;
/// let ramp = Ramp { from: Weight::new(1.0)?, to: Weight::new(0.5)?, steps: std::num::NonZeroU64::MIN };
/// assert_eq!(Schedule::Linear(ramp).at(7), 0.5);
/// # Ok::<(), densekd::core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// The factor at step 0.
    pub from: Weight,
    /// The factor from step `steps` on.
    pub to: Weight,
    /// How many steps it takes.
    pub steps: NonZeroU64,
}

impl Schedule {
    /// The kinds, as files name them; `yolov6` is a cosine from 1 to 0.01.
    pub const NAMES: [&'static str; 4] = ["constant", "linear", "cosine", "yolov6"];

    /// The decay of `YOLOv6` over so many epochs.
    pub fn yolov6(epochs: NonZeroU64) -> Self {
        let to = Weight::new(0.01).unwrap_or(Weight::ONE);
        Self::Cosine(Ramp { from: Weight::ONE, to, steps: epochs })
    }

    /// The factor at a step.
    pub fn at(self, step: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Linear(ramp) => ramp.at(step, |share| share),
            Self::Cosine(ramp) => ramp.at(step, |share| (1.0 - (std::f64::consts::PI * share).cos()) / 2.0),
        }
    }
}

impl Ramp {
    #[allow(clippy::cast_precision_loss, reason = "no training has 2^53 steps")]
    fn at(self, step: u64, curve: fn(f64) -> f64) -> f64 {
        let (from, to) = (self.from.get(), self.to.get());
        if step >= self.steps.get() {
            return to;
        }
        let share = curve(step as f64 / self.steps.get() as f64);
        from * (1.0 - share) + to * share
    }
}
