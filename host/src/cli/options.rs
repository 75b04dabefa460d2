//! The flags of a loss, and the recipe that they make.

use super::failure::Failure;
use super::parse::{count, named, number, preset};
use clap::Args;
use densekd::core::{
    Divergence, Divisor, Epsilon, Ignore, Loss, Norm, Options, Preset, Recipe, RowOptions, Samples,
    Temperature, Weight,
};
use std::num::NonZeroUsize;

/// The flags: `weight * tau^2 / D * sum over rows of divergence(norm(teacher), norm(student))`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Loss: weight * tau^2 / D * sum over rows of divergence(norm(T), norm(S))")]
pub(crate) struct LossArgs {
    /// Named loss whose defaults apply: cwd compares where each channel looks (softmax over positions, tau 4),
    /// pi what each pixel is (softmax over channels, tau 1) [default: cwd]
    #[arg(long, value_name = "NAME", value_parser = named(&[Loss::Cwd, Loss::Pi], Loss::name), conflicts_with = "preset")]
    loss: Option<Loss>,
    /// Settings of a published code, with its weight: see `densekd list presets`. Flags beside it override
    /// single settings
    #[arg(long, value_name = "NAME", value_parser = preset)]
    preset: Option<&'static Preset>,
    /// Temperature: p = softmax(t / tau), q = softmax(s / tau). Above 1 it flattens both, so that more than the
    /// largest entries is compared
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        value_parser = |word: &str| number(word, Temperature::new)
    )]
    tau: Option<Temperature>,
    /// What a row is and how it is made comparable: softmax over the H W positions of a channel, softmax over the
    /// C channels of a position, a channel's mean over positions, or the numbers as they are
    #[arg(long, value_name = "NAME", value_parser = named(Norm::ALL, Norm::name))]
    norm: Option<Norm>,
    /// How two rows differ: kl = sum p log(p/q); ce = -sum p log q; mse = sum (q-p)^2; js, with m = (p+q)/2, half
    /// of KL(p,m) + KL(q,m); `reverse_kl` = sum q log(q/p)
    #[arg(long, value_name = "NAME", value_parser = named(Divergence::ALL, Divergence::name))]
    divergence: Option<Divergence>,
    /// D, by what it counts: 1, N, H W, N C, N H W or N C H W
    #[arg(long, value_name = "NAME", value_parser = named(Divisor::ALL, Divisor::name))]
    divisor: Option<Divisor>,
    /// Stands for C in D, where a published code counts the channels of another tensor
    #[arg(long, value_name = "N", value_parser = count)]
    divisor_channels: Option<NonZeroUsize>,
    /// Multiply by tau^2, which keeps the gradient's size the same for every tau [default for cwd and pi]
    #[arg(long, overrides_with = "no_tau_square")]
    tau_square: bool,
    /// Do not multiply by tau^2
    #[arg(long)]
    no_tau_square: bool,
    /// Multiplies value and gradient [default: 1, or the preset's]
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        value_parser = |word: &str| number(word, Weight::new)
    )]
    weight: Option<Weight>,
    /// Inside the logarithms of kl and ce: log(p + eps), log(q + eps)
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        value_parser = |word: &str| number(word, Epsilon::new)
    )]
    eps: Option<Epsilon>,
    /// Which images are summed; D counts all of them either way
    #[arg(long, value_name = "NAME", value_parser = named(Samples::ALL, Samples::name))]
    samples: Option<Samples>,
    /// Resize both maps by this factor in H and W first (bilinear, corners aligned); with norm spatial
    #[arg(long, value_name = "N", value_parser = count)]
    upsample: Option<NonZeroUsize>,
    /// Leave ignored positions out before the softmax, as if they were not there, or drop only their terms after it
    #[arg(long, value_name = "WHEN", value_parser = named(Ignore::ALL, Ignore::name), help_heading = "Positions")]
    ignore: Option<Ignore>,
    /// The label of positions to leave out [default: 255]
    #[arg(long, value_name = "I", allow_hyphen_values = true, help_heading = "Positions")]
    ignore_index: Option<i64>,
}

/// A loss that was chosen, and its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// The named loss.
    pub(crate) loss: Loss,
    /// The preset, where one was named.
    pub(crate) preset: Option<&'static Preset>,
    /// The checked options.
    pub(crate) recipe: Recipe,
}

impl Choice {
    /// The loss with its options.
    pub(crate) const fn options(&self) -> Options {
        match self.loss {
            Loss::Pi => Options::Pi(*self.recipe.options()),
            _ => Options::Cwd(*self.recipe.options()),
        }
    }
}

impl LossArgs {
    /// What the flags make of the defaults.
    pub(crate) fn choose(&self) -> Result<Choice, Failure> {
        let loss = self.preset.map_or_else(|| self.loss.unwrap_or(Loss::Cwd), |preset| preset.options.loss());
        let base = self.preset.map_or_else(|| loss.defaults(), |preset| preset.options);
        let base = base.row().copied().unwrap_or_default();
        let tau_square = match (self.tau_square, self.no_tau_square) {
            (true, _) => true,
            (_, true) => false,
            _ => base.tau_square,
        };
        let options = RowOptions {
            tau: self.tau.unwrap_or(base.tau),
            norm: self.norm.unwrap_or(base.norm),
            divergence: self.divergence.unwrap_or(base.divergence),
            divisor: self.divisor.unwrap_or(base.divisor),
            divisor_channels: self.divisor_channels.or(base.divisor_channels),
            tau_square,
            weight: self.weight.unwrap_or(base.weight),
            eps: self.eps.unwrap_or(base.eps),
            ignore: self.ignore.unwrap_or(base.ignore),
            ignore_index: self.ignore_index.unwrap_or(base.ignore_index),
            samples: self.samples.unwrap_or(base.samples),
            upsample: self.upsample.unwrap_or(base.upsample),
        };
        Ok(Choice { loss, preset: self.preset, recipe: Recipe::new(options)? })
    }
}
