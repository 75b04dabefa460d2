//! Words of the command line to checked values, by the values' own types.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use densekd::core::{self, Preset};
use std::num::NonZeroUsize;

/// A choice of a type by the names that the type has.
pub(crate) fn named<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|&choice| name(choice))).try_map(move |word: String| {
        all.iter().copied().find(|&choice| name(choice) == word).ok_or("this is none of the names")
    })
}

/// A number that its type checks.
pub(crate) fn number<T>(word: &str, check: fn(f64) -> Result<T, core::Error>) -> Result<T, String> {
    let number = word.parse().map_err(|_| "this is no number: write it like 4, 0.5 or 1e-5".to_owned())?;
    check(number).map_err(|error| error.to_string())
}

/// A number that is neither infinite nor NaN.
pub(crate) fn finite(word: &str) -> Result<f64, String> {
    let number = word.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "this is no finite number: write it like 4, 0.5 or 1e-5".to_owned())
}

/// A count of at least 1.
pub(crate) fn count(word: &str) -> Result<NonZeroUsize, String> {
    word.parse().map_err(|_| "it must be a whole number of at least 1".to_owned())
}

/// A preset by its name, or by that of its code base.
pub(crate) fn preset(word: &str) -> Result<&'static Preset, String> {
    Preset::named(word).ok_or_else(|| {
        format!(
            "no preset has this name; the nearest are {}: see `densekd list presets`",
            nearest(word).join(", ")
        )
    })
}

/// The names that a mistyped one was most likely meant to be.
fn nearest(word: &str) -> Vec<&'static str> {
    let likeness = |name: &str| strsim::jaro_winkler(word, name);
    let mut names: Vec<_> = Preset::ALL.iter().map(|preset| preset.name).collect();
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    names.truncate(3);
    names
}
