//! Command lines and their settings. The input is arguments separated by zero bytes, as the kernel passes them.
//! Environment variables are read by the same rules: the settings of each line are also given as variables.

use super::assert_one_line;
use beamflow::cli::{self, Command, Reading, Stop};
use beamflow::config::Config;
use beamflow::engine::Engine;
use beamflow::engine::simulated::{Script, SimulatedEngine};
use beamflow::telemetry::setting::Setting;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

pub fn target(data: &[u8]) {
    let arguments: Vec<&OsStr> = data
        .split(|byte| *byte == 0)
        .map(OsStr::from_bytes)
        .collect();
    let reading = match cli::read(arguments.iter().map(OsString::from), |_| None) {
        Ok(reading) => reading,
        Err(Stop::Mistake(line)) => return assert_one_line(&line, usize::MAX),
        Err(Stop::Help(_)) => return,
    };
    let Reading { cli, settings, .. } = reading;
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

    // The reported settings are those in force: given as flags or as variables, they make the same configuration.
    if arguments.iter().all(|argument| argument.to_str().is_some()) {
        let flags = settings
            .iter()
            .map(|Setting { flag, value, .. }| format!("--{flag}={value}").into());
        let again = cli::read(flags, |_| None).unwrap();
        same(again, &config);
        let (variables, flags) = as_variables(&settings);
        let again = cli::read(flags, |name| variables.get(name).cloned()).unwrap();
        same(again, &config);
    }
}

fn same(again: Reading, config: &Config) {
    let again = Config::try_from(again.cli.serve).unwrap();
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

/// The settings as variables, and as flags where there is no variable.
fn as_variables(settings: &[Setting]) -> (HashMap<String, OsString>, Vec<OsString>) {
    let command = cli::command();
    let (mut variables, mut flags) = (HashMap::new(), Vec::new());
    for Setting { flag, value, .. } in settings {
        let mut args = command.get_arguments();
        let arg = args.find(|arg| arg.get_long() == Some(flag));
        match arg.and_then(|arg| arg.get_env()).and_then(OsStr::to_str) {
            Some(name) => drop(variables.insert(name.to_owned(), value.into())),
            None => flags.push(format!("--{flag}={value}").into()),
        }
    }
    (variables, flags)
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
