//! The row losses that differ in their arithmetic: what the table of tolerances has a line for.

use crate::oracle::{Divergence, Divisor, Ignore, Norm, Options};
use std::fmt;

/// A row loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// KL divergence.
    Kl,
    /// KL divergence with the sides exchanged.
    ReverseKl,
    /// Jensen-Shannon divergence.
    Js,
    /// Cross-entropy.
    Ce,
    /// Squared difference of probabilities.
    Mse,
    /// KL divergence with an epsilon inside the logarithms.
    KlEps,
    /// Cross-entropy with an epsilon inside the logarithm.
    CeEps,
    /// KL divergence whose ignored terms are dropped after the softmax.
    KlAfter,
    /// Cross-entropy whose ignored terms are dropped after the softmax.
    CeAfter,
    /// Squared difference of means.
    ChannelMean,
    /// Squared difference of the numbers as they are.
    None,
}

impl Kind {
    /// Those that leave ignored positions out before anything is computed: all but the forms of `after`.
    pub const BEFORE: [Self; 9] = [
        Self::Kl,
        Self::ReverseKl,
        Self::Js,
        Self::Ce,
        Self::Mse,
        Self::KlEps,
        Self::CeEps,
        Self::ChannelMean,
        Self::None,
    ];

    /// Every row loss.
    pub const ALL: [Self; 11] = [
        Self::Kl,
        Self::ReverseKl,
        Self::Js,
        Self::Ce,
        Self::Mse,
        Self::KlEps,
        Self::CeEps,
        Self::KlAfter,
        Self::CeAfter,
        Self::ChannelMean,
        Self::None,
    ];

    /// The divergences of two distributions without an option of their own.
    pub const PLAIN: [Self; 5] = [Self::Kl, Self::ReverseKl, Self::Js, Self::Ce, Self::Mse];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kl => "kl",
            Self::ReverseKl => "reverse_kl",
            Self::Js => "js",
            Self::Ce => "ce",
            Self::Mse => "mse",
            Self::KlEps => "kl eps",
            Self::CeEps => "ce eps",
            Self::KlAfter => "kl after",
            Self::CeAfter => "ce after",
            Self::ChannelMean => "channel_mean",
            Self::None => "none",
        }
    }

    /// Whether it is a loss of two distributions.
    pub const fn is_of_distributions(self) -> bool {
        !matches!(self, Self::ChannelMean | Self::None)
    }

    /// Whether `f32` and narrower types are evaluated in `f32`: the loss without sums to subtract.
    pub const fn is_in_f32(self) -> bool {
        matches!(self, Self::Kl)
    }

    /// Whether positions are ignored after the softmax, so that it needs a mask to be itself.
    pub const fn is_after(self) -> bool {
        matches!(self, Self::KlAfter | Self::CeAfter)
    }

    /// Its options on rows that are channels, summed as they are, at temperature 1.
    pub const fn options(self) -> Options {
        let (norm, divergence) = match self {
            Self::Kl | Self::KlEps | Self::KlAfter => (Norm::Channel, Divergence::Kl),
            Self::Ce | Self::CeEps | Self::CeAfter => (Norm::Channel, Divergence::Ce),
            Self::ReverseKl => (Norm::Channel, Divergence::ReverseKl),
            Self::Js => (Norm::Channel, Divergence::Js),
            Self::Mse => (Norm::Channel, Divergence::Mse),
            Self::ChannelMean => (Norm::ChannelMean, Divergence::Mse),
            Self::None => (Norm::None, Divergence::Mse),
        };
        Options {
            norm,
            divergence,
            divisor: Divisor::Sum,
            tau: 1.0,
            tau_square: false,
            weight: 1.0,
            eps: if matches!(self, Self::KlEps | Self::CeEps) { 1e-5 } else { 0.0 },
            ignore: if self.is_after() { Ignore::After } else { Ignore::Before },
            ..Options::cwd()
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
