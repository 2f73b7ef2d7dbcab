//! The settings in effect and the origin of each, for `--print-config` and `/stats`.

use super::ServeArgs;
use crate::config::Config;
use crate::config::models::ModelsFile;
use crate::config::models::fields::{FIELDS, Field, Unless};
use crate::inference::routes::Route;
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
        // The models file has the paths.
        if flag == "model-path" && origins.contains_key("models") {
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

/// The settings and the models, for `--print-config`.
///
/// # Errors
/// The mistake in one line.
pub(crate) fn checked(args: ServeArgs, settings: &[Setting]) -> Result<String, String> {
    let config =
        Config::try_from(args).map_err(|mistake| by_origin(&mistake.to_string(), settings))?;
    let models = config.models_file.as_ref();
    let models = models.map(|file| models_table(file, settings));
    Ok(table(settings) + &models.unwrap_or_default())
}

/// One line per setting.
#[must_use]
fn table(settings: &[Setting]) -> String {
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

/// The models of a file: for each a line per field, with its value and origin; and the routes.
#[must_use]
fn models_table(file: &ModelsFile, settings: &[Setting]) -> String {
    let mut table = String::new();
    let names = |index: usize| file.models.get(index).map_or("", |model| &model.name);
    for (index, given) in file.given.iter().enumerate() {
        let default = if index == file.default {
            " (default)"
        } else {
            ""
        };
        table += &format!("\nmodel {}{default}\n", names(index));
        for Field { name, unless, .. } in FIELDS {
            let of_flag = |flag| settings.iter().find(|setting| setting.flag == flag);
            let (value, origin) = match (given.get(name), unless) {
                (Some((place, value)), _) => (value.as_str(), format!("line {}", place.line)),
                (None, Unless::Value(value)) => (*value, "default".to_owned()),
                (None, Unless::Required) => ("", String::new()),
                (None, Unless::Flag(flag)) => of_flag(*flag)
                    .map_or(("", String::new()), |setting| {
                        (setting.value.as_str(), setting.origin.clone())
                    }),
            };
            table += &format!("  {name:<24} {value:<42} {origin}\n");
        }
    }
    for Route { header, values } in &file.routes {
        table += &format!("\nroute {header}\n");
        for (value, model) in values {
            table += &format!("  {value:<24} {}\n", names(*model));
        }
    }
    table
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
