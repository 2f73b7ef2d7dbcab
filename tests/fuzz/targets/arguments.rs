//! Command lines and their settings. The input is arguments separated by zero bytes, as the kernel passes them.
//! Environment variables use the same parsers.

use super::assert_one_line;
use beamflow::cli::{Cli, Command, settings, usage};
use beamflow::config::Config;
use beamflow::engine::Engine;
use beamflow::engine::simulated::{Script, SimulatedEngine};
use beamflow::telemetry::setting::Setting;
use clap::{CommandFactory, FromArgMatches};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

type Parsed = (Cli, Vec<Setting>);

/// The flags without a value.
const SWITCHES: [&str; 5] = [
    "allow-mixed-rows",
    "spin",
    "no-cuda-graphs",
    "no-pictures",
    "debug",
];

/// Parses the arguments as the program does.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let command = Cli::command();
    let all = std::iter::once(OsString::from("beamflow")).chain(arguments);
    let matches = command.clone().try_get_matches_from(all)?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok((cli, settings::in_force(&command, &matches)))
}

pub fn target(data: &[u8]) {
    let arguments: Vec<&OsStr> = data
        .split(|byte| *byte == 0)
        .map(OsStr::from_bytes)
        .collect();
    let (cli, in_force) = match parse(arguments.iter().map(OsString::from)) {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() {
                assert_one_line(&usage::one_line(&error), usize::MAX);
            }
            return;
        }
    };
    let config = match cli.command {
        None => match Config::try_from(cli.serve) {
            Ok(config) => config,
            Err(mistake) => return assert_one_line(&mistake.to_string(), usize::MAX),
        },
        Some(Command::Size(args)) => {
            if let Ok(text) = beamflow::commands::size::told(&args) {
                let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                assert!(words.all(|word| !["NaN", "inf"].contains(&word)), "{text}");
                // JSON writes null for such a number; except for this value, which was given as null.
                let given = text.matches("\"collection_seconds\": null").count();
                assert_eq!(text.matches("null").count(), given, "{text}");
            }
            return;
        }
        Some(_) => return,
    };
    check(&config);

    // The reported settings are those in force: given as flags, they make the same configuration.
    if arguments.iter().all(|argument| argument.to_str().is_some()) {
        let again = in_force.iter().filter_map(|Setting { flag, value, .. }| {
            if !SWITCHES.contains(&flag.as_str()) {
                return Some(format!("--{flag}={value}"));
            }
            (value == "true").then(|| format!("--{flag}"))
        });
        let (again, _) = parse(again.map(OsString::from)).unwrap();
        assert_eq!(
            format!("{:?}", Config::try_from(again.serve).unwrap()),
            format!("{config:?}")
        );
    }
}

/// Invariants of every configuration.
fn check(config: &Config) {
    assert!(config.in_flight() >= 1 && config.slots() == config.in_flight() + 1);
    assert!(!config.model.limits.inference_timeout.is_zero());
    for devices in [1, 2, 16] {
        for each in [None, Some(1), Some(3)] {
            let lanes = config.lanes(devices, each);
            assert!((1..=config.in_flight()).contains(&lanes));
        }
    }
    let engine = SimulatedEngine::new(Script {
        size: (16, 16),
        outputs: 2,
        ..Script::default()
    });
    match config.suit(engine.model()) {
        Ok(suited) => {
            assert!(suited.batch_size >= 1 && !suited.outputs.is_empty());
            assert!(config.useful_read_batch(suited.batch_size) >= suited.batch_size);
            for output in &suited.outputs {
                assert_eq!(output.envelope.row_len(), 16 * 16);
                assert!(output.envelope.wanted().len() <= 16 * 16);
            }
        }
        Err(mistake) => assert_one_line(&mistake.to_string(), usize::MAX),
    }
}
