//! The options of all losses as flags, whatever losses there are.

use super::settings::Setting;
use clap::builder::{PossibleValuesParser, TypedValueParser as _, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};
use densekd::core::{Loss, OptionValue};
use densekd::options::{from_text, losses_with};

/// Where the flags stand in the help.
pub(crate) const HEADING: &str = "Loss (an option goes with the losses named beside its default)";

/// The flag of an option.
pub(crate) fn flag(option: &str) -> String {
    format!("--{}", option.replace('_', "-"))
}

/// A flag for every option of any loss, and one more to switch it off where it is switched on by its name alone.
pub(crate) fn flags() -> Vec<Arg> {
    names().into_iter().flat_map(args).collect()
}

/// What the flags set, by the options' names.
pub(crate) fn settings(matches: &ArgMatches) -> Vec<(&'static str, OptionValue<'static>)> {
    let value = |name| match Kind::of(name) {
        Kind::Flag if matches.get_flag(name) => Some(OptionValue::Flag(true)),
        Kind::Flag if matches.get_flag(&negated(name)) => Some(OptionValue::Flag(false)),
        Kind::Flag => None,
        _ => matches.get_one(name).copied(),
    };
    names().into_iter().filter_map(|name| Some((name, value(name)?))).collect()
}

/// The options of all losses, each name once.
fn names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for field in Loss::ALL.iter().flat_map(|loss| loss.defaults().fields()) {
        if !names.contains(&field.name) {
            names.push(field.name);
        }
    }
    names
}

fn negated(name: &str) -> String {
    format!("no_{name}")
}

/// What an option may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flag,
    Choice,
    Pair,
    Number,
    Integer,
}

impl Kind {
    /// By what the first loss that has the option takes for a value of it.
    fn of(name: &str) -> Self {
        let takes = |value| {
            losses_with(name).next().is_some_and(|(loss, _)| loss.defaults().set(name, value).is_ok())
        };
        if takes(OptionValue::Flag(true)) {
            Self::Flag
        } else if losses_with(name).any(|(_, field)| !field.names.is_empty()) {
            Self::Choice
        } else if takes(OptionValue::Pair([1, 1])) {
            Self::Pair
        } else if takes(OptionValue::Number(0.5)) {
            Self::Number
        } else {
            Self::Integer
        }
    }

    const fn value_name(self) -> &'static str {
        match self {
            Self::Pair => "H,W",
            Self::Number => "X",
            Self::Integer => "N",
            Self::Flag | Self::Choice => "NAME",
        }
    }
}

fn args(name: &'static str) -> Vec<Arg> {
    let kind = Kind::of(name);
    let arg = Arg::new(name).long(name.replace('_', "-")).help(help(name)).help_heading(HEADING);
    if kind == Kind::Flag {
        let off = Arg::new(negated(name))
            .long(format!("no-{}", name.replace('_', "-")))
            .help(format!("Switch {} off", flag(name)))
            .help_heading(HEADING)
            .action(ArgAction::SetTrue);
        return vec![arg.action(ArgAction::SetTrue).overrides_with(negated(name)), off];
    }
    let arg = arg.value_name(kind.value_name()).value_parser(parser(name, kind));
    vec![arg.allow_hyphen_values(kind != Kind::Choice)]
}

/// Takes what any loss takes: which loss it is, and whether that one does, is known only when all flags are read.
fn parser(name: &'static str, kind: Kind) -> ValueParser {
    if kind != Kind::Choice {
        return ValueParser::new(move |word: &str| value(name, word));
    }
    let mut choices: Vec<&'static str> = Vec::new();
    for choice in losses_with(name).flat_map(|(_, field)| field.names) {
        if !choices.contains(choice) {
            choices.push(choice);
        }
    }
    ValueParser::new(PossibleValuesParser::new(choices).try_map(move |word| value(name, &word)))
}

fn value(name: &str, word: &str) -> Result<OptionValue<'static>, String> {
    let mut refusal = None;
    for (loss, field) in losses_with(name) {
        let value = from_text(word, field);
        match loss.defaults().set(name, value) {
            Ok(()) => return lasting(value, field.names).ok_or_else(|| "it is none of the names".to_owned()),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.map_or_else(|| "no loss has this option".to_owned(), |error| error.to_string()))
}

/// The value with a name from the registry, which outlives the word.
fn lasting(value: OptionValue<'_>, names: &[&'static str]) -> Option<OptionValue<'static>> {
    Some(match value {
        OptionValue::Null => OptionValue::Null,
        OptionValue::Flag(flag) => OptionValue::Flag(flag),
        OptionValue::Integer(number) => OptionValue::Integer(number),
        OptionValue::Number(number) => OptionValue::Number(number),
        OptionValue::Pair(pair) => OptionValue::Pair(pair),
        OptionValue::Name(word) => OptionValue::Name(names.iter().copied().find(|&name| name == word)?),
    })
}

/// What the option means, and for each default the losses that have it.
fn help(name: &str) -> String {
    let mut meanings: Groups<&str, Groups<String, Vec<&str>>> = Vec::new();
    for (loss, field) in losses_with(name) {
        let default = Setting::of(&loss.defaults(), name).map(|setting| setting.to_string());
        let at = group(&mut meanings, field.help.trim().trim_end_matches('.'));
        group(at, default.unwrap_or_default()).push(loss.name());
    }
    let text = meanings.iter().map(|(meaning, defaults)| {
        let default = |(default, losses): &(String, Vec<&str>)| match losses.len() {
            all if all == Loss::ALL.len() => default.clone(),
            _ => format!("{default} ({})", losses.join(", ")),
        };
        let defaults: Vec<String> = defaults.iter().map(default).collect();
        format!("{meaning} [default: {}]", defaults.join(", "))
    });
    text.collect::<Vec<_>>().join("\n")
}

/// What is kept under keys.
type Groups<K, V> = Vec<(K, V)>;

/// What is kept under a key, at first nothing; keys stay in the order in which they came.
fn group<K: PartialEq, V: Default>(groups: &mut Groups<K, V>, key: K) -> &mut V {
    let at = groups.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        groups.push((key, V::default()));
        groups.len() - 1
    });
    &mut groups[at].1
}
