//! The options of a loss by name, in one order for people, JSON and tables.

use super::output::Number;
use densekd::core::RowOptions;
use serde::{Serialize, Serializer};
use std::fmt;

/// The value of one option.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Setting {
    /// A choice.
    Name(&'static str),
    /// A real number.
    Real(Number),
    /// A whole number.
    Whole(i64),
    /// A count, or none.
    Count(Option<usize>),
    /// A switch.
    Switch(bool),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Real(number) => number.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Count(Some(count)) => count.fmt(f),
            Self::Count(None) => f.write_str("none"),
            Self::Switch(on) => f.write_str(if *on { "yes" } else { "no" }),
        }
    }
}

/// Every option with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings(Vec<(&'static str, Setting)>);

impl Settings {
    /// All options.
    pub(crate) fn new(options: &RowOptions) -> Self {
        // Taken apart in full, so that an option that is added cannot be left out here.
        let RowOptions {
            tau,
            norm,
            divergence,
            divisor,
            divisor_channels,
            tau_square,
            weight,
            eps,
            ignore,
            ignore_index,
            samples,
            upsample,
        } = *options;
        Self(vec![
            ("tau", Setting::Real(Number(tau.get()))),
            ("norm", Setting::Name(norm.name())),
            ("divergence", Setting::Name(divergence.name())),
            ("divisor", Setting::Name(divisor.name())),
            ("divisor_channels", Setting::Count(divisor_channels.map(std::num::NonZeroUsize::get))),
            ("tau_square", Setting::Switch(tau_square)),
            ("weight", Setting::Real(Number(weight.get()))),
            ("eps", Setting::Real(Number(eps.get()))),
            ("ignore", Setting::Name(ignore.name())),
            ("ignore_index", Setting::Whole(ignore_index)),
            ("samples", Setting::Name(samples.name())),
            ("upsample", Setting::Count(Some(upsample.get()))),
        ])
    }

    /// Those that differ from others.
    pub(crate) fn different_from(&self, others: &Self) -> Self {
        Self(self.0.iter().filter(|setting| !others.0.contains(setting)).cloned().collect())
    }

    /// Each option and its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(&'static str, Setting)> {
        self.0.iter()
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the defaults");
        }
        for (i, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {value}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
