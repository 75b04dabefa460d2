//! The options of a loss by name, in one order for people, JSON and tables.

use super::output::Number;
use densekd::core::{OptionValue, Options};
use serde::{Serialize, Serializer};
use std::fmt;

/// The value of one option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting(OptionValue<'static>);

impl Setting {
    /// Of an option by name.
    pub(crate) fn of(options: &Options, name: &str) -> Option<Self> {
        options.get(name).map(Self)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            OptionValue::Null => f.write_str("none"),
            OptionValue::Flag(on) => f.write_str(if on { "yes" } else { "no" }),
            OptionValue::Number(number) => Number(number).fmt(f),
            OptionValue::Pair([height, width]) => write!(f, "{height},{width}"),
            value => value.fmt(f),
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            OptionValue::Null => to.serialize_none(),
            OptionValue::Flag(on) => to.serialize_bool(on),
            OptionValue::Integer(number) => to.serialize_i64(number),
            OptionValue::Number(number) => Number(number).serialize(to),
            OptionValue::Name(name) => to.serialize_str(name),
            OptionValue::Pair(pair) => pair.serialize(to),
        }
    }
}

/// Every option with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings(Vec<(&'static str, Setting)>);

impl Settings {
    /// All options.
    pub(crate) fn new(options: &Options) -> Self {
        let settings =
            options.fields().iter().filter_map(|field| Some((field.name, Setting::of(options, field.name)?)));
        Self(settings.collect())
    }

    /// Those that differ from others.
    pub(crate) fn different_from(&self, others: &Self) -> Self {
        Self(self.0.iter().filter(|setting| !others.0.contains(setting)).copied().collect())
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
