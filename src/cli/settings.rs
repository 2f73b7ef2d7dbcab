//! The settings in effect and the origin of each, for `--print-config` and `/stats`.

use crate::telemetry::setting::Setting;
use clap::{ArgMatches, Command};
use std::collections::BTreeMap;

/// Where a given setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Variable(String),
}

/// All settings, in the order of `--help`. `origins` has those that were given, by the ids of their arguments.
#[must_use]
pub(super) fn in_force(
    command: &Command,
    matches: &ArgMatches,
    origins: &BTreeMap<String, Origin>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let (Some(flag), Ok(true)) = (arg.get_long(), matches.try_contains_id(id)) else {
            continue;
        };
        if matches!(flag, "help" | "version" | "print-config") {
            continue;
        }
        let value = match matches.try_get_raw(id) {
            Ok(Some(values)) => values
                .map(|value| value.to_string_lossy())
                .collect::<Vec<_>>()
                .join(","),
            _ => String::new(),
        };
        let origin = match origins.get(id) {
            Some(Origin::Flag) => "flag",
            Some(Origin::Variable(name)) => name,
            None => "default",
        };
        settings.push(Setting {
            flag: flag.to_owned(),
            value,
            origin: origin.to_owned(),
        });
    }
    settings
}

/// One line per setting.
#[must_use]
pub(crate) fn table(settings: &[Setting]) -> String {
    let line = |setting: &Setting| {
        let Setting {
            flag,
            value,
            origin,
        } = setting;
        format!("--{flag:<24} {value:<42} {origin}\n")
    };
    settings.iter().map(line).collect()
}

/// A mistake that begins with a flag, with the variable instead if the setting came from there.
#[must_use]
pub(crate) fn by_origin(mistake: &str, settings: &[Setting]) -> String {
    let named = mistake.strip_prefix("--").and_then(|text| {
        let (flag, rest) = text.split_once(':')?;
        let setting = settings.iter().find(|setting| setting.flag == flag)?;
        let is_variable = !["flag", "default"].contains(&setting.origin.as_str());
        is_variable.then(|| format!("{}:{rest}", setting.origin))
    });
    named.unwrap_or_else(|| mistake.to_owned())
}
