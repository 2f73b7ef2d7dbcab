//! The settings in force and where each came from: `--print-config`.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// One line per setting: flag, value, and whether it is the default, was given as a flag, or by which
/// environment variable.
#[must_use]
pub fn table(command: &Command, matches: &ArgMatches) -> String {
    let mut lines = String::new();
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
        lines.push_str(&format!("--{flag:<24} {value:<42} {origin}\n"));
    }
    lines
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
