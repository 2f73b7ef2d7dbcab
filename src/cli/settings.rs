//! The settings in effect and the origin of each, for `--print-config` and `/stats`.

use crate::telemetry::setting::Setting;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// All settings, in the order of `--help`.
#[must_use]
pub fn in_force(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let mut settings = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let (Some(flag), Ok(Some(source))) = (arg.get_long(), source(matches, id)) else {
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
        let origin = match source {
            ValueSource::CommandLine => "flag".to_owned(),
            ValueSource::EnvVariable => arg
                .get_env()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            _ => "default".to_owned(),
        };
        settings.push(Setting {
            flag: flag.to_owned(),
            value,
            origin,
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

fn source(
    matches: &ArgMatches,
    id: &str,
) -> Result<Option<ValueSource>, clap::parser::MatchesError> {
    matches.try_contains_id(id).map(|present| {
        if present {
            matches.value_source(id)
        } else {
            None
        }
    })
}
