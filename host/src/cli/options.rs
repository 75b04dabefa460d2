//! The flags of a loss, and the loss that they choose.

use super::failure::Failure;
use super::flags::{HEADING, flags, settings};
use super::parse::preset;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgGroup, ArgMatches, Args, Command, FromArgMatches};
use densekd::core::{Loss, OptionValue, Options, Preset, Recipe};

/// Which loss, and every option of every loss as a flag: made from the registry, as it is known only there which
/// losses there are.
#[derive(Debug)]
pub(crate) struct LossArgs {
    loss: Option<Loss>,
    preset: Option<&'static Preset>,
    settings: Vec<(&'static str, OptionValue<'static>)>,
}

/// A loss that was chosen, and its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// The preset, where one was named.
    pub(crate) preset: Option<&'static Preset>,
    /// The loss and its options.
    pub(crate) options: Options,
}

impl Choice {
    /// The named loss.
    pub(crate) const fn loss(&self) -> Loss {
        self.options.loss()
    }
}

impl LossArgs {
    /// What the flags make of the defaults.
    pub(crate) fn choose(&self) -> Result<Choice, Failure> {
        let defaults = || self.loss.unwrap_or(Loss::Cwd).defaults();
        let mut options = self.preset.map_or_else(defaults, |preset| preset.options);
        let loss = options.loss();
        for &(option, value) in &self.settings {
            options.set(option, value).map_err(|source| Failure::Option { loss, option, source })?;
        }
        if let Some(options) = options.row() {
            Recipe::new(*options)?;
        }
        Ok(Choice { preset: self.preset, options })
    }
}

impl Args for LossArgs {
    fn augment_args(command: Command) -> Command {
        let names = Loss::ALL.iter().map(|loss| PossibleValue::new(loss.name()).help(loss.about().summary));
        let loss = Arg::new("loss")
            .value_parser(PossibleValuesParser::new(names).try_map(|name| name.parse::<Loss>()))
            .conflicts_with("preset")
            .help("Named loss whose defaults apply: see `densekd list losses` [default: cwd]");
        let preset = Arg::new("preset").value_parser(preset).help(
            "Settings of a published code, with its weight: see `densekd list presets`. Flags beside it override \
             single settings",
        );
        let named = |arg: Arg| {
            let long = arg.get_id().as_str().to_owned();
            arg.long(long).value_name("NAME").help_heading(HEADING)
        };
        let args: Vec<Arg> = [named(loss), named(preset)].into_iter().chain(flags()).collect();
        let ids: Vec<_> = args.iter().map(|arg| arg.get_id().clone()).collect();
        // The group under which other flags know all of these.
        command.args(args).group(ArgGroup::new("LossArgs").args(ids).multiple(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LossArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            loss: matches.get_one("loss").copied(),
            preset: matches.get_one("preset").copied(),
            settings: settings(matches),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
