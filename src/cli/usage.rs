//! A mistake on the command line as one line of text.
//!
//! clap reports a mistake in several lines, which the log of a pod separates. This module makes one line: the flag, the
//! given value, and the values to use instead.

use crate::frame::BadValue;
use crate::telemetry::text::escaped;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// The exit code for a mistake in a flag (`EX_USAGE` of `sysexits.h`).
pub(crate) const EXIT_USAGE: u8 = 64;

/// The mistake in one line, without a line break at its end.
#[must_use]
pub fn one_line(error: &Error) -> String {
    escaped(&told(error))
}

fn told(error: &Error) -> String {
    let flag = context(error, ContextKind::InvalidArg)
        .map(|flag| flag.split(' ').next().unwrap_or_default().to_owned());
    let given = context(error, ContextKind::InvalidValue);
    let instead = context(error, ContextKind::ValidValue).or_else(|| {
        let source = std::error::Error::source(error)?;
        Some(match source.downcast_ref::<BadValue>() {
            Some(bad) => bad.instead().to_owned(),
            None => source.to_string(),
        })
    });
    match (error.kind(), flag, given, instead) {
        (
            ErrorKind::InvalidValue | ErrorKind::ValueValidation,
            Some(flag),
            Some(given),
            Some(instead),
        ) if !given.is_empty() => format!("{flag}: '{given}' is not allowed: use {instead}"),
        (ErrorKind::InvalidValue, Some(flag), _, _) => {
            format!("{flag}: a value is missing; see beamflow --help")
        }
        (ErrorKind::MissingRequiredArgument, Some(flag), ..) => {
            format!("{flag} is required; see the --help of the command")
        }
        (ErrorKind::UnknownArgument, Some(flag), ..) => {
            let similar = context(error, ContextKind::SuggestedArg)
                .map_or(String::new(), |known| format!("; did you mean {known}?"));
            format!("{flag}: there is no such flag{similar} (beamflow --help lists them)")
        }
        (ErrorKind::InvalidSubcommand, ..) => {
            let given = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("'{given}': there is no such command (beamflow --help lists them)")
        }
        // Other kinds are rare: the first line of clap's message is enough.
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(match texts.as_slice() {
            [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
            other => other.join(", "),
        }),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn line(args: &[&str]) -> String {
        let args = ["beamflow"].iter().chain(args);
        one_line(&crate::cli::Cli::try_parse_from(args).unwrap_err())
    }

    #[test]
    fn a_mistake_is_one_line_with_flag_value_and_allowed_values() {
        assert_eq!(
            line(&["--mode", "parallel"]),
            "--mode: 'parallel' is not allowed: use sequential, concurrent or pipelined"
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
        assert_eq!(
            line(&["--bsz-size", "8\n"]),
            r"--bsz-size: '8\n' is not allowed: use auto or a whole number from 1 to 4096"
        );
        assert!(line(&["se\x1bnd"]).starts_with(r"'se\u{1b}nd'"));
    }
}
