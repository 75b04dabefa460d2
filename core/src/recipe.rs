//! The run-time choice of a row loss: every option of channel-wise and pixel-wise distillation, checked once.

use crate::diverge::{
    CrossEntropy, Diverge, JensenShannon, Kl, MaskedCrossEntropy, MaskedKl, Mse, ReverseKl,
    SmoothedCrossEntropy, SmoothedKl,
};
use crate::names::choice;
use crate::normalize::{MeanOverPositions, Normalize, Raw, Softmax};
use crate::options::options;
use crate::{Epsilon, Error, Temperature, Weight};
use core::fmt;
use core::num::NonZeroUsize;

choice! {
    /// How rows are taken of a map and made comparable (`norm`).
    ///
    /// ```
    /// assert_eq!("spatial".parse(), Ok(densekd_core::Norm::Spatial));
    /// ```
    Norm, "norm" {
        /// Softmax over the H W positions of each channel: channel-wise distillation.
        Channel = "channel",
        /// Softmax over the C channels of each position: pixel-wise distillation.
        Spatial = "spatial",
        /// Each channel's mean over positions, divided by tau.
        ChannelMean = "channel_mean",
        /// The numbers as they are.
        None = "none",
    }
}

choice! {
    /// How two rows differ (`divergence`).
    ///
    /// ```
    /// assert_eq!("reverse_kl".parse(), Ok(densekd_core::Divergence::ReverseKl));
    /// ```
    Divergence, "divergence" {
        /// KL divergence of the student from the teacher.
        Kl = "kl",
        /// Cross-entropy.
        Ce = "ce",
        /// Squared difference.
        Mse = "mse",
        /// Jensen-Shannon divergence.
        Js = "js",
        /// KL divergence of the teacher from the student.
        ReverseKl = "reverse_kl",
    }
}

choice! {
    /// What the sum over rows is divided by (`divisor`): named after what it counts.
    ///
    /// | name | without mask | with mask, `ignore before` |
    /// | --- | --- | --- |
    /// | `sum` | 1 | 1 |
    /// | `batch` | N | N |
    /// | `positions` | H W | H W |
    /// | `batch_channels` | N C | C times the images with a counted position |
    /// | `batch_positions` | N H W | counted positions |
    /// | `elements` | N C H W | C times the counted positions |
    ///
    /// ```
    /// assert_eq!(densekd_core::Divisor::BatchChannels.name(), "batch_channels");
    /// ```
    Divisor, "divisor" {
        /// 1.
        Sum = "sum",
        /// N.
        Batch = "batch",
        /// H W.
        Positions = "positions",
        /// N C.
        BatchChannels = "batch_channels",
        /// N H W.
        BatchPositions = "batch_positions",
        /// N C H W.
        Elements = "elements",
    }
}

choice! {
    /// When ignored positions are left out (`ignore`).
    ///
    /// ```
    /// assert_eq!("before".parse(), Ok(densekd_core::Ignore::Before));
    /// ```
    Ignore, "ignore" {
        /// Before both softmaxes, whatever stands there.
        Before = "before",
        /// After the softmax over all positions: only their terms are dropped.
        After = "after",
    }
}

choice! {
    /// Which images of a batch are summed (`samples`); the divisor counts all of them either way.
    ///
    /// ```
    /// assert_eq!("first".parse(), Ok(densekd_core::Samples::First));
    /// ```
    Samples, "samples" {
        /// All.
        All = "all",
        /// Image 0 only, as one published code does.
        First = "first",
    }
}

options! {
    /// Every option of a row loss. The fields are checked types; which of them go together is checked by
    /// [`Recipe::new`].
    ///
    /// ```
    /// use densekd_core::{Divergence, RowOptions};
    /// let options = RowOptions { divergence: Divergence::Js, ..RowOptions::CWD };
    /// assert_eq!(options.tau.get(), 4.0);
    /// ```
    RowOptions {
        /// Temperature: p = softmax(t / tau), q = softmax(s / tau). Above 1 it flattens both, so that more than the
        /// largest entries is compared.
        tau: Temperature = Temperature::FOUR,
        /// What a row is and how it is made comparable: softmax over the H W positions of a channel, softmax over
        /// the C channels of a position, a channel's mean over positions, or the numbers as they are.
        norm: Norm = Norm::Channel,
        /// How two rows differ: kl = sum p log(p/q); ce = -sum p log q; mse = sum (q-p)^2; js, with m = (p+q)/2,
        /// half of KL(p,m) + KL(q,m); `reverse_kl` = sum q log(q/p).
        divergence: Divergence = Divergence::Kl,
        /// What the sum is divided by, named after what it counts: 1, N, H W, N C, N H W or N C H W.
        divisor: Divisor = Divisor::BatchChannels,
        /// Stands for C in the divisor, where a published code counts the channels of another tensor.
        divisor_channels: Option<NonZeroUsize> = None,
        /// Multiply by tau^2, which keeps the gradient's size the same for every tau.
        tau_square: bool = true,
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
        /// Inside the logarithms of kl and ce: log(p + eps), log(q + eps).
        eps: Epsilon = Epsilon::ZERO,
        /// Leave ignored positions out before the softmax, as if they were not there, or drop only their terms
        /// after it.
        ignore: Ignore = Ignore::Before,
        /// The label of positions to leave out.
        ignore_index: i64 = 255,
        /// Which images are summed; the divisor counts all of them either way.
        samples: Samples = Samples::All,
        /// Resize both maps by this factor in H and W first (bilinear, corners aligned); with norm spatial.
        upsample: NonZeroUsize = NonZeroUsize::MIN,
    }
}

impl RowOptions {
    /// Channel-wise distillation: tau^2 / (N C) times the sum of the channels' KL divergences at tau = 4
    /// (arXiv 2011.13256), with weight 1.
    pub const CWD: Self = Self::DEFAULT;

    /// Pixel-wise distillation: the mean over positions of the KL divergence over channels, at tau = 1.
    pub const PI: Self =
        Self { tau: Temperature::ONE, norm: Norm::Spatial, divisor: Divisor::BatchPositions, ..Self::CWD };
}

impl RowOptions {
    /// The formula with its divisor and these settings.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tau = self.tau.get();
        let (rows, map) = match self.norm {
            Norm::Channel => ("channels (n, c)", "softmax over the H W positions of"),
            Norm::Spatial => ("positions (n, i)", "softmax over the C channels of"),
            Norm::ChannelMean => ("channels (n, c)", "mean over the H W positions of"),
            Norm::None => ("channels (n, c)", ""),
        };
        if self.upsample.get() > 1 {
            writeln!(f, "T, S enlarged {} times in H and W (bilinear, corners aligned)", self.upsample)?;
        }
        match self.norm {
            Norm::None => writeln!(f, "p = t,  q = s")?,
            _ => writeln!(f, "p = {map} t / {tau},  q = {map} s / {tau}")?,
        }
        let eps = self.eps.get();
        let log = |x: &'static str| Logarithm { of: x, eps };
        write!(f, "loss = {}", self.weight.get())?;
        if self.tau_square {
            write!(f, " * {tau}^2")?;
        }
        let channels = self.divisor_channels;
        match (self.divisor, channels) {
            (Divisor::Sum, _) => {}
            (Divisor::Batch, _) => f.write_str(" / N")?,
            (Divisor::Positions, _) => f.write_str(" / (H W)")?,
            (Divisor::BatchChannels, None) => f.write_str(" / (N C)")?,
            (Divisor::BatchChannels, Some(c)) => write!(f, " / (N {c})")?,
            (Divisor::BatchPositions, _) => f.write_str(" / (N H W)")?,
            (Divisor::Elements, None) => f.write_str(" / (N C H W)")?,
            (Divisor::Elements, Some(c)) => write!(f, " / (N {c} H W)")?,
        }
        if self.samples == Samples::First {
            f.write_str(" * sum over the rows of image 0: ")?;
        } else {
            write!(f, " * sum over {rows} of ")?;
        }
        match self.divergence {
            Divergence::Kl => write!(f, "sum p ({} - {})", log("p"), log("q"))?,
            Divergence::Ce => write!(f, "-sum p {}", log("q"))?,
            Divergence::Mse => f.write_str("sum (q - p)^2")?,
            Divergence::Js => f.write_str("sum p log(p/m) / 2 + sum q log(q/m) / 2, m = (p + q) / 2")?,
            Divergence::ReverseKl => f.write_str("sum q (log q - log p)")?,
        }
        match self.ignore {
            Ignore::Before => Ok(()),
            Ignore::After => f.write_str("\nignored positions stay in the softmax, their terms are dropped"),
        }
    }
}

/// log x, or log(x + eps).
struct Logarithm {
    of: &'static str,
    eps: f64,
}

impl fmt::Display for Logarithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.eps == 0.0 {
            write!(f, "log {}", self.of)
        } else {
            write!(f, "log({} + {:e})", self.of, self.eps)
        }
    }
}

/// A row loss whose options go together: `weight * tau^2 / D * sum over rows of diverge(normalize(T), normalize(S))`.
///
/// ```
/// use densekd_core::{Divergence, Error, Norm, Recipe, RowOptions};
/// assert!(Recipe::new(RowOptions::CWD).is_ok());
/// let wrong = RowOptions { norm: Norm::None, ..RowOptions::CWD };
/// let error = Error::NotADistribution { norm: Norm::None, divergence: Divergence::Kl };
/// assert_eq!(Recipe::new(wrong), Err(error));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    options: RowOptions,
}

impl Recipe {
    /// Checks that the options go together.
    ///
    /// # Errors
    /// [`Error::NotADistribution`] for a logarithmic divergence of means or of raw numbers;
    /// [`Error::EpsilonUnused`] for an `eps` without a logarithm to stand in; [`Error::IgnoreAfter`] for `after`
    /// with anything but `kl` and `ce` of a softmax; [`Error::Upsample`] for an enlarged map without a softmax
    /// over channels.
    pub fn new(options: RowOptions) -> Result<Self, Error> {
        let RowOptions { norm, divergence, eps, ignore, upsample, .. } = options;
        let distribution = matches!(norm, Norm::Channel | Norm::Spatial);
        let logarithm = matches!(divergence, Divergence::Kl | Divergence::Ce);
        if !distribution && divergence != Divergence::Mse {
            return Err(Error::NotADistribution { norm, divergence });
        }
        if eps.get() > 0.0 && !logarithm {
            return Err(Error::EpsilonUnused { divergence });
        }
        if ignore == Ignore::After && !(logarithm && distribution && eps.get() == 0.0) {
            return Err(Error::IgnoreAfter { divergence });
        }
        if upsample.get() > 1 && norm != Norm::Spatial {
            return Err(Error::Upsample { norm, factor: upsample.get() });
        }
        Ok(Self { options })
    }

    /// The options.
    pub const fn options(&self) -> &RowOptions {
        &self.options
    }

    /// Weight and tau^2: what the sum over rows is multiplied by before the divisor.
    pub fn scale(&self) -> f64 {
        let tau = self.options.tau.get();
        self.options.weight.get() * if self.options.tau_square { tau * tau } else { 1.0 }
    }

    /// Whether `f32` arithmetic is enough for `f32` and half tensors.
    pub(crate) fn is_in_f32(&self, masked: bool) -> bool {
        self.visit(masked, IsInF32)
    }

    /// Hands the pair of types that the options name to the visitor: the only place where a name becomes a
    /// normalisation and a divergence. `masked`: some position may be ignored.
    pub(crate) fn visit<V: Visit>(&self, masked: bool, visitor: V) -> V::Output {
        let RowOptions { tau, norm, divergence, eps, ignore, .. } = self.options;
        let after = masked && ignore == Ignore::After;
        let softmax = Softmax::new(tau);
        match (norm, divergence) {
            (Norm::ChannelMean, _) => visitor.pair(MeanOverPositions::new(tau), Mse),
            (Norm::None, _) => visitor.pair(Raw, Mse),
            (_, Divergence::Mse) => visitor.pair(softmax, Mse),
            (_, Divergence::Js) => visitor.pair(softmax, JensenShannon),
            (_, Divergence::ReverseKl) => visitor.pair(softmax, ReverseKl),
            (_, Divergence::Kl) if after => visitor.pair(softmax, MaskedKl),
            (_, Divergence::Ce) if after => visitor.pair(softmax, MaskedCrossEntropy),
            (_, Divergence::Kl) if eps.get() > 0.0 => visitor.pair(softmax, SmoothedKl::new(eps)),
            (_, Divergence::Ce) if eps.get() > 0.0 => visitor.pair(softmax, SmoothedCrossEntropy::new(eps)),
            (_, Divergence::Kl) => visitor.pair(softmax, Kl),
            (_, Divergence::Ce) => visitor.pair(softmax, CrossEntropy),
        }
    }
}

/// What is done with a recipe's pair of types.
pub(crate) trait Visit {
    /// The result.
    type Output;

    /// Runs on the pair.
    fn pair<N: Normalize, D: Diverge<N::Space>>(self, normalize: N, diverge: D) -> Self::Output;
}

/// The visitor that asks the divergence.
struct IsInF32;

impl Visit for IsInF32 {
    type Output = bool;

    fn pair<N: Normalize, D: Diverge<N::Space>>(self, _normalize: N, _diverge: D) -> bool {
        D::IN_F32
    }
}
