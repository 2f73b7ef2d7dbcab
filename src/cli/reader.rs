//! The one reader of arguments and environment variables.
//!
//! clap knows the flags, their values and the help text. It gets clean arguments from here, and it reads no variable itself:
//!
//! - Each value is trimmed. A blank one counts as not given, because templates leave optional settings blank.
//! - Control characters, invisible characters and quotes around a value are refused. They come from files, editors and
//!   `--env-file`, and would make another name of it.
//! - A yes/no setting is yes, no, true, false, on, off, 1 or 0, as a variable and as `--flag=VALUE`.
//! - A variable counts where its flag is not given. Serving and [`SERVERS`] read their variables; the other commands read
//!   only the variables that name places on the machine ([`PLACES`]), because MODE or DEVICE may belong to another program.
//! - A message names the variable or the flag that the value came from.

use super::settings::{Origin, in_force};
use super::usage;
use super::{Cli, values};
use crate::telemetry::setting::Setting;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Variables that name places on the machine: every command with their flags reads them.
pub(crate) const PLACES: [&str; 2] = ["TENSORRT_PATH", "ENGINE_CACHE"];

/// The commands that serve beside the sidecar, with variables of their own.
const SERVERS: [&str; 5] = [
    "simulate-source",
    "simulate-ioc",
    "pva-source",
    "pva-sink",
    "file-sink",
];

/// What the arguments and the environment say.
#[derive(Debug)]
pub struct Reading {
    /// The command and its flags.
    pub cli: Cli,
    /// The settings for serving in effect, each with its origin.
    pub settings: Vec<Setting>,
    /// The same values as text.
    pub matches: ArgMatches,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The help text or the version, to be printed.
    #[error(transparent)]
    Help(clap::Error),
    /// A mistake, in one line.
    #[error("{0}")]
    Mistake(String),
}

/// The program's commands and flags, with the variables that each command reads.
#[must_use]
pub fn command() -> Command {
    Cli::command()
        .mut_args(any_case)
        .mut_subcommands(|command| {
            let serves = SERVERS.contains(&command.get_name());
            command.mut_args(|arg| {
                let keeps = serves || variable(&arg).is_some_and(|name| PLACES.contains(&name));
                let arg = any_case(arg);
                if keeps { arg } else { no_variable(arg) }
            })
        })
}

/// The variables of a sidecar that would change another sidecar started from this process.
pub(crate) fn serving_variables() -> Vec<String> {
    let names: Vec<_> = command()
        .get_arguments()
        .filter_map(variable)
        .filter(|name| !PLACES.contains(name))
        .map(str::to_owned)
        .collect();
    names
}

/// The variables that the command `name` reads.
#[cfg(all(feature = "pva", feature = "hdf5"))]
pub(crate) fn variables_of(name: &str) -> Vec<String> {
    let command = command();
    let arguments = command
        .find_subcommand(name)
        .map(Command::get_arguments)
        .into_iter();
    let names = arguments.flatten().filter_map(variable);
    names.map(str::to_owned).collect()
}

/// Reads `arguments`, without the program's name, and the variables of `environment`.
///
/// # Errors
/// [`Stop`]: a mistake, or a text to print instead.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Reading, Stop> {
    let program = command();
    let mut line = Line::new(&program);
    line.take_arguments(arguments).map_err(Stop::Mistake)?;
    line.take_variables(environment).map_err(Stop::Mistake)?;
    let Line {
        command: taken,
        words,
        origins,
        ..
    } = line;
    let mistake = |error: clap::Error| {
        if error.use_stderr() {
            Stop::Mistake(usage::one_line(&error, taken, &origins))
        } else {
            Stop::Help(error)
        }
    };
    // Without variables: clap must not read any.
    let bare = program
        .clone()
        .mut_args(no_variable)
        .mut_subcommands(|command| command.mut_args(no_variable));
    let matches = bare
        .try_get_matches_from(&words)
        .map_err(|error| match error.kind() {
            // The help text lists the variables.
            ErrorKind::DisplayHelp => match program.clone().try_get_matches_from(&words) {
                Err(help) => mistake(help),
                Ok(_) => mistake(error),
            },
            _ => mistake(error),
        })?;
    let cli = Cli::from_arg_matches(&matches).map_err(mistake)?;
    let settings = in_force(&program, &matches, &origins);
    Ok(Reading {
        cli,
        settings,
        matches,
    })
}

/// The variable of `arg`.
fn variable(arg: &Arg) -> Option<&str> {
    arg.get_env().and_then(OsStr::to_str)
}

/// Upper and lower case are equal in fixed words. The readers of other values see to it themselves.
fn any_case(arg: Arg) -> Arg {
    let has_value = arg.get_action().takes_values();
    arg.ignore_case(has_value)
}

fn no_variable(arg: Arg) -> Arg {
    arg.env(Resettable::Reset)
}

/// A clean command line in the making.
struct Line<'a> {
    program: &'a Command,
    /// The command of the line; the program itself if it serves.
    command: &'a Command,
    /// Whether the first argument is neither a flag nor a command: clap has the word.
    is_foreign: bool,
    words: Vec<OsString>,
    /// The position of `--`, behind which nothing is a flag.
    end: Option<usize>,
    /// Where the given settings come from, by the id of the argument.
    origins: BTreeMap<String, Origin>,
}

impl<'a> Line<'a> {
    fn new(program: &'a Command) -> Self {
        Self {
            program,
            command: program,
            is_foreign: false,
            words: vec!["beamflow".into()],
            end: None,
            origins: BTreeMap::new(),
        }
    }

    fn take_arguments(
        &mut self,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<(), String> {
        let mut rest = arguments
            .into_iter()
            .map(|argument| values::trimmed(&argument))
            .peekable();
        let mut is_first = true;
        while let Some(word) = rest.next() {
            if word.is_empty() {
                continue;
            }
            let Some(text) = word.to_str().filter(|_| self.end.is_none()) else {
                self.check_bytes(&word)?;
                self.words.push(word);
                continue;
            };
            if std::mem::take(&mut is_first) && !text.starts_with('-') {
                self.take_command(text)?;
                continue;
            }
            if text == "--" {
                self.end = Some(self.words.len());
                self.words.push(word);
                continue;
            }
            let Some((arg, value)) = self.flag(text)? else {
                if !text.starts_with('-') {
                    values::check("argument", text)?;
                }
                self.words.push(word);
                continue;
            };
            let is_value = |next: &OsString| {
                let bytes = next.as_encoded_bytes();
                !bytes.starts_with(b"-") || bytes == b"-"
            };
            let value = match value {
                Some(value) => Some(value.into()),
                None if arg.get_action().takes_values() => match rest.next_if(is_value) {
                    Some(next) => Some(next),
                    // clap says that the value is missing.
                    None => {
                        self.words.push(word);
                        continue;
                    }
                },
                None => None,
            };
            self.set(arg, value, Origin::Flag)?;
        }
        Ok(())
    }

    /// Refuses a flag whose value is in the same argument and no UTF-8 text, unless it is a path.
    fn check_bytes(&self, word: &OsStr) -> Result<(), String> {
        let text = word.to_string_lossy();
        let flag = text
            .strip_prefix("--")
            .and_then(|text| text.split_once('='));
        match flag.and_then(|(name, value)| Some((by_name(self.command, name)?, value))) {
            Some((arg, value)) if word.to_str().is_none() && !is_path(arg) => Err(
                values::not_text(&format!("--{}", arg.get_long().unwrap_or_default()), value),
            ),
            _ => Ok(()),
        }
    }

    /// The first argument, which is no flag.
    fn take_command(&mut self, text: &str) -> Result<(), String> {
        let first = text.split_whitespace().next().unwrap_or_default();
        match self.program.find_subcommand(first) {
            Some(command) if first == text => self.command = command,
            Some(_) => return Err(usage::one_argument(text, None)),
            None => {
                usage::refuse_absent(first)?;
                usage::refuse_dash(text, self.command)?;
                self.is_foreign = true;
            }
        }
        self.words.push(text.into());
        Ok(())
    }

    /// The flag that `text` begins with, and its value if that is in the same argument; nothing if clap must look at it.
    fn flag<'t>(&self, text: &'t str) -> Result<Option<(&'a Arg, Option<&'t str>)>, String> {
        usage::refuse_dash(text, self.command)?;
        if !text.starts_with('-') || text == "-" {
            return Ok(None);
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value)),
            None => (text, None),
        };
        if name.contains(char::is_whitespace) {
            return Err(usage::one_argument(text, Some(self.command)));
        }
        if let Some(long) = name.strip_prefix("--") {
            let Some(arg) = by_name(self.command, long) else {
                return Ok(None);
            };
            return Ok(Some((arg, value)));
        }
        let mut letters = text.chars();
        let letter = letters.nth(1);
        let mut known = self.command.get_arguments();
        if let Some(arg) = known.find(|arg| letter.is_some() && arg.get_short() == letter) {
            let attached = letters.as_str();
            if attached.starts_with(char::is_whitespace) {
                return Err(usage::one_argument(text, Some(self.command)));
            }
            let attached = attached.strip_prefix('=').unwrap_or(attached);
            return Ok(Some((arg, Some(attached).filter(|text| !text.is_empty()))));
        }
        Ok(None)
    }

    /// Whether the next flag is part of this value: the whole line was written as one argument.
    fn goes_on(&self, arg: &Arg, value: &str) -> bool {
        // The command line of another program may hold any flag.
        let mut words = value.split_whitespace().skip(1);
        arg.get_id() != "peers"
            && words.any(|word| {
                let name = word.strip_prefix("--").unwrap_or_default();
                let name = name.split('=').next().unwrap_or_default();
                by_name(self.command, name).is_some()
            })
    }

    fn take_variables(
        &mut self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), String> {
        if self.is_foreign {
            return Ok(());
        }
        for arg in self.command.get_arguments() {
            let Some(name) = variable(arg) else { continue };
            if self.origins.contains_key(arg.get_id().as_str()) {
                continue;
            }
            if let Some(value) = environment(name) {
                self.set(arg, Some(value), Origin::Variable(name.to_owned()))?;
            }
        }
        Ok(())
    }

    /// Gives `arg` its value, unless that is blank. `None`: a switch without a value.
    fn set(&mut self, arg: &Arg, value: Option<OsString>, origin: Origin) -> Result<(), String> {
        let long = arg.get_long().unwrap_or_default();
        let name = match &origin {
            Origin::Variable(name) => name.clone(),
            Origin::Flag => format!("--{long}"),
        };
        let mut word = OsString::from(format!("--{long}"));
        match value {
            None => {}
            Some(value) if value.to_str().is_none() && !is_path(arg) => {
                return Err(values::not_text(&name, &value.to_string_lossy()));
            }
            Some(value) if value.to_str().is_some_and(|text| self.goes_on(arg, text)) => {
                let text = value.to_string_lossy();
                return Err(match &origin {
                    Origin::Variable(name) => values::several(name, &text),
                    Origin::Flag => {
                        usage::one_argument(&format!("--{long}={text}"), Some(self.command))
                    }
                });
            }
            Some(value) => {
                let value = values::tidy(&name, &value, arg.get_value_delimiter())?;
                if value.is_empty() {
                    return Ok(());
                }
                if arg.get_action().takes_values() {
                    word.push("=");
                    word.push(value);
                } else if !values::yes_or_no(&name, &value)? {
                    self.origins.insert(arg.get_id().to_string(), origin);
                    return Ok(());
                }
            }
        }
        self.origins.insert(arg.get_id().to_string(), origin);
        match self.end {
            Some(end) => {
                self.words.insert(end, word);
                self.end = Some(end + 1);
            }
            None => self.words.push(word),
        }
        Ok(())
    }
}

/// Whether the value of `arg` is a path, which need not be UTF-8.
fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// The flag called `name`, or with that alias.
fn by_name<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    })
}

#[cfg(test)]
mod tests;
