//! A mistake on the command line as one line of text.
//!
//! clap reports a mistake in several lines, which the log of a pod separates. This module makes one line: the flag or the
//! variable, the given value, and the values to use instead.

use super::settings::Origin;
use crate::config::parse::either;
use crate::frame::BadValue;
use crate::telemetry::text::escaped;
use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::collections::BTreeMap;

/// The exit code for a mistake in a flag (`EX_USAGE` of `sysexits.h`).
pub(crate) const EXIT_USAGE: u8 = 64;

/// What people call flags elsewhere, and the flags here. Of several the first that the command has is meant.
const OTHER_NAMES: [(&str, &[&str]); 39] = [
    ("address", &["http-address"]),
    ("batch", &["bsz-size"]),
    ("batches-in-flight", &["pipeline-depth"]),
    ("batchsize", &["bsz-size"]),
    ("bind", &["http-address"]),
    ("bs", &["bsz-size"]),
    ("bsz", &["bsz-size"]),
    ("cache", &["engine-cache"]),
    ("cache-dir", &["engine-cache"]),
    ("compute-precision", &["precision"]),
    ("crop", &["output-size"]),
    ("cuda", &["device"]),
    ("dead-letter", &["on-invalid"]),
    ("depth", &["pipeline-depth"]),
    ("dtype", &["frame-dtype", "output-dtype"]),
    ("engine", &["model-path"]),
    ("format", &["output-format"]),
    ("fp16", &["precision"]),
    ("gpu", &["devices"]),
    ("gpus", &["devices"]),
    ("host", &["http-address"]),
    ("input-dtype", &["frame-dtype"]),
    ("listen", &["http-address"]),
    ("log-level", &["debug"]),
    ("max-batch-size", &["bsz-size"]),
    ("metrics-address", &["http-address"]),
    ("metrics-port", &["http-address"]),
    ("model", &["model-path"]),
    ("model-file", &["model-path"]),
    ("output-name", &["output"]),
    ("outputs", &["output"]),
    ("port", &["http-address"]),
    ("rate", &["fps"]),
    ("server-info", &["server-info-path"]),
    ("server-info-file", &["server-info-path"]),
    ("socket", &["sock-path"]),
    ("socket-path", &["sock-path"]),
    (
        "timeout",
        &["inference-timeout", "ack-timeout", "read-timeout"],
    ),
    ("verbose", &["debug"]),
];

/// The mistake in one line, without a line break at its end. `origins` says which values come from variables.
#[must_use]
pub(super) fn one_line(
    error: &Error,
    command: &Command,
    origins: &BTreeMap<String, Origin>,
) -> String {
    escaped(&told(error, command, origins))
}

fn told(error: &Error, command: &Command, origins: &BTreeMap<String, Origin>) -> String {
    let flag = context(error, ContextKind::InvalidArg)
        .map(|flag| flag.split(' ').next().unwrap_or_default().to_owned());
    let origin = |flag: String| variable_of(&flag, command, origins).unwrap_or(flag);
    let given = context(error, ContextKind::InvalidValue);
    let instead = context(error, ContextKind::ValidValue).or_else(|| {
        let source = std::error::Error::source(error)?;
        Some(match source.downcast_ref::<BadValue>() {
            Some(bad) => bad.instead().to_owned(),
            None => source.to_string(),
        })
    });
    let place = help_of(command);
    match (error.kind(), flag, given, instead) {
        (
            ErrorKind::InvalidValue | ErrorKind::ValueValidation,
            Some(flag),
            Some(given),
            Some(instead),
        ) if !given.is_empty() => {
            format!("{}: '{given}' is not allowed: use {instead}", origin(flag))
        }
        (ErrorKind::InvalidValue, Some(flag), _, _) => {
            format!("{flag}: a value is missing; see {place}")
        }
        (ErrorKind::MissingRequiredArgument, Some(flag), ..) => {
            format!("{flag} is required; see {place}")
        }
        (ErrorKind::ArgumentConflict, Some(flag), ..)
            if context(error, ContextKind::PriorArg)
                .as_deref()
                .map(first_word)
                == Some(flag.as_str()) =>
        {
            format!("{flag} is given more than once: use it once")
        }
        (ErrorKind::ArgumentConflict, Some(flag), ..)
            if let Some(prior) = context(error, ContextKind::PriorArg) =>
        {
            let prior = origin(first_word(&prior).to_owned());
            format!(
                "{} and {prior} exclude each other: use one of them",
                origin(flag)
            )
        }
        (ErrorKind::UnknownArgument, Some(word), ..) if !word.starts_with('-') => {
            format!("'{word}': there is no such argument; see {place}")
        }
        (ErrorKind::UnknownArgument, Some(flag), ..) => {
            let similar = known_as(command, &flag)
                .or_else(|| context(error, ContextKind::SuggestedArg))
                .map_or(String::new(), |known| format!("; did you mean {known}?"));
            format!("{flag}: there is no such flag{similar} ({place} lists them)")
        }
        (ErrorKind::InvalidSubcommand, ..) => {
            let given = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("'{given}': there is no such command (beamflow --help lists them)")
        }
        (ErrorKind::InvalidUtf8, ..) => {
            "an argument or a variable is not UTF-8 text: use names and paths in UTF-8".to_owned()
        }
        // Other kinds are rare: the first line of clap's message is enough.
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// The command line that lists the flags of `command`.
fn help_of(command: &Command) -> String {
    match command.get_name() {
        "beamflow" => "beamflow --help".to_owned(),
        name => format!("beamflow {name} --help"),
    }
}

/// The variable that the value of `flag` comes from.
fn variable_of(
    flag: &str,
    command: &Command,
    origins: &BTreeMap<String, Origin>,
) -> Option<String> {
    let long = flag.strip_prefix("--")?;
    let mut args = command.get_arguments();
    let arg = args.find(|arg| arg.get_long() == Some(long))?;
    match origins.get(arg.get_id().as_str())? {
        Origin::Variable(name) => Some(name.clone()),
        Origin::Flag => None,
    }
}

/// The flag of `command` that is meant by the name of another flag: its variable's name, or what it is called elsewhere.
#[must_use]
pub(super) fn known_as(command: &Command, flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-');
    let name = name
        .split('=')
        .next()?
        .to_ascii_lowercase()
        .replace('_', "-");
    let longs = || command.get_arguments().filter_map(clap::Arg::get_long);
    let other = || {
        let (_, flags) = OTHER_NAMES.iter().find(|(other, _)| *other == name)?;
        flags
            .iter()
            .copied()
            .find(|flag| longs().any(|long| long == *flag))
    };
    let by_variable = || {
        let mut args = command.get_arguments();
        let arg = args.find(|arg| {
            let variable = arg.get_env().and_then(|name| name.to_str());
            variable.is_some_and(|variable| variable.to_ascii_lowercase().replace('_', "-") == name)
        })?;
        arg.get_long()
    };
    let same = longs().find(|long| *long == name);
    same.or_else(by_variable)
        .or_else(other)
        .map(|known| format!("--{known}"))
}

/// The message for several words in one argument, which a pod's `args` easily have. `command` is none if the words begin with
/// a command.
#[must_use]
pub(super) fn one_argument(text: &str, command: Option<&Command>) -> String {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let rest: Vec<_> = words.collect();
    let flag = command.and_then(|command| known_as(command, first));
    let flag = flag.as_deref().unwrap_or(first);
    let remedy = match rest.as_slice() {
        [value] if command.is_some() && !value.starts_with('-') && !first.contains('=') => {
            format!(
                "write {flag} and {value} as two arguments (in a pod's args: two list items), or {flag}={value}"
            )
        }
        _ => "write each word as an argument of its own (in a pod's args: a list item of its own)"
            .to_owned(),
    };
    escaped(&format!(
        "'{text}' is one argument with a space in it: {remedy}"
    ))
}

/// Refuses a dash of a text editor, and one dash in front of a long name.
///
/// # Errors
/// The mistake in one line.
pub(super) fn refuse_dash(text: &str, command: &Command) -> Result<(), String> {
    let name = text.trim_start_matches([
        '-', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}',
    ]);
    let name = name.split(|c: char| c == '=' || c.is_whitespace()).next();
    let dashes = text.split(char::is_alphanumeric).next().unwrap_or_default();
    let is_foreign =
        !dashes.is_empty() && dashes.chars().any(|dash| dash != '-' && !dash.is_ascii());
    let is_short = dashes == "-" && name.is_some_and(|name| name.chars().count() > 1);
    if !is_foreign && !is_short {
        return Ok(());
    }
    match name.and_then(|name| known_as(command, name)) {
        Some(known) => Err(escaped(&format!(
            "'{text}': a flag begins with two plain hyphens: use {known}"
        ))),
        None => Ok(()),
    }
}

/// Refuses a command that this build does not have.
///
/// # Errors
/// The mistake in one line.
pub(super) fn refuse_absent(command: &str) -> Result<(), String> {
    let needs_pva = matches!(command, "simulate-ioc" | "pva-source" | "pva-sink");
    if !cfg!(feature = "pva") && needs_pva {
        return Err(format!(
            "{command}: this build has no EPICS pvAccess; build it with: cargo build --features pva"
        ));
    }
    Ok(())
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(either(texts)),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Stop, read};

    fn line(args: &[&str]) -> String {
        match read(args.iter().map(Into::into), |_| None) {
            Err(Stop::Mistake(line)) => line,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn a_mistake_is_one_line_with_flag_value_and_allowed_values() {
        assert_eq!(
            line(&["--mode", "parallel"]),
            "--mode: 'parallel' is not allowed: use sequential, concurrent, pipelined or streaming"
        );
        assert_eq!(
            line(&["--bsz-size", "many"]),
            "--bsz-size: 'many' is not allowed: use auto or a whole number from 1 to 4096"
        );
        assert_eq!(
            line(&["--pipline-depth", "3"]),
            "--pipline-depth: there is no such flag; did you mean --pipeline-depth? (beamflow --help lists them)"
        );
        assert_eq!(
            line(&["serv"]),
            "'serv': there is no such command (beamflow --help lists them)"
        );
        assert!(line(&["size", "--fps", "10"]).starts_with("--batch-time is required"));
        assert!(line(&["--mode"]).starts_with("--mode: a value is missing"));
        assert_eq!(
            line(&["demo", "more"]),
            "'more': there is no such argument; see beamflow demo --help"
        );
        assert_eq!(
            line(&["--mode", "pipelined", "--mode=sequential"]),
            "--mode is given more than once: use it once"
        );
        for args in [&["--output-size", "64"][..], &["--frame-dtype", "int12"]] {
            let line = line(args);
            assert!(
                line.starts_with(args[0]) && line.contains(args[1]),
                "{line}"
            );
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_given_value_cannot_break_the_line() {
        for args in [
            &["--bsz-size", "8\n9"][..],
            &["se\x1bnd"],
            &["--tag\n\n--x"],
            &["--on-invalid", "tag:a\u{2028}b"],
            &["--mode pipelined\n--debug"],
        ] {
            let line = line(args);
            assert!(!line.contains(['\n', '\x1b', '\u{2028}']), "{line}");
        }
        assert!(line(&["se\x1bnd"]).starts_with(r"'se\u{1b}nd'"));
    }

    #[test]
    fn several_words_in_one_argument_are_shown_with_the_remedy() {
        assert_eq!(
            line(&["--bsz-size 16"]),
            "'--bsz-size 16' is one argument with a space in it: write --bsz-size and 16 as two arguments \
             (in a pod's args: two list items), or --bsz-size=16"
        );
        for (args, words) in [
            (
                &["--batch-size 8"][..],
                &["'--batch-size 8'", "--bsz-size and 8"][..],
            ),
            (&["--mode\tpipelined"], &["--mode and pipelined"]),
            (&["--mode pipelined --debug"], &["a list item of its own"]),
            (
                &["--mode=pipelined --bsz-size=8"],
                &["a list item of its own"],
            ),
            (
                &["demo --points 8"],
                &["'demo --points 8'", "a list item of its own"],
            ),
            (&["size", "--fps 100"], &["--fps and 100"]),
            (
                &["build-engine", "m.onnx", "-o m.engine"],
                &["-o and m.engine"],
            ),
        ] {
            let line = line(args);
            assert!(line.contains("is one argument"), "{line}");
            for word in words {
                assert!(line.contains(word), "{line}");
            }
        }
    }

    #[test]
    fn a_flag_by_another_name_suggests_the_one_that_is_meant() {
        for (args, known) in [
            (&["--batch-size", "8"][..], "--bsz-size"),
            (&["--batch_size=8"], "--bsz-size"),
            (&["--model", "m.onnx"], "--model-path"),
            (&["--socket", "/s"], "--sock-path"),
            (&["--port", "9100"], "--http-address"),
            (&["--output-names", "y"], "--output"),
            (&["--Mode", "pipelined"], "--mode"),
            (&["-mode", "pipelined"], "--mode"),
            (&["\u{2013}mode", "pipelined"], "--mode"),
            (&["\u{2014}bsz-size=8"], "--bsz-size"),
            (&["simulate-source", "--source-fps", "9"], "--fps"),
        ] {
            let line = line(args);
            let hint = [format!("did you mean {known}?"), format!("use {known}")];
            assert!(hint.iter().any(|hint| line.contains(hint)), "{line}");
        }
    }
}
