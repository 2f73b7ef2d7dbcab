//! Parse → start logs → run the command → exit code.

use crate::app::map::Stopped;
use crate::app::{exit, map, source};
use crate::cli::{Cli, Command, ServeArgs, settings, usage};
use crate::commands::{bench, bench_engine, build_engine, demo, inspect, send, size};
use crate::telemetry::logs::{self, LogGuard};
use crate::telemetry::setting::Setting;
use clap::{CommandFactory, FromArgMatches};
use std::io::Write;
use std::process::ExitCode;

/// Runs the program on the arguments of this process, to its exit code.
pub fn run() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => return refuse(&usage::one_line(&error)),
        Err(help_or_version) => {
            // Standard output may be closed early, by `beamflow --help | head` for one.
            let _ = help_or_version.print();
            return ExitCode::SUCCESS;
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return refuse(&usage::one_line(&error)),
    };
    let log = match logs::start(cli.serve.telemetry.log_format, cli.serve.telemetry.debug) {
        Ok(log) => log,
        Err(mistake) => return refuse(&mistake),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let code = match cli.command {
        Some(Command::Demo(args)) => conclude(runtime.block_on(demo::run(args))),
        Some(Command::Send(args)) => conclude(runtime.block_on(send::run(args))),
        Some(Command::BuildEngine(args)) => conclude(build_engine::run(args)),
        Some(Command::Inspect(args)) => conclude(inspect::run(&args)),
        Some(Command::Bench(args)) => conclude(runtime.block_on(bench::run(args))),
        Some(Command::BenchEngine(args)) => conclude(bench_engine::run(&args)),
        Some(Command::SimulateSource(args)) => match runtime.block_on(source::run(args)) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        // Its flags may be at odds with each other; nothing else goes wrong.
        Some(Command::Size(args)) => match size::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(mistake) => refuse(&mistake.to_string()),
        },
        None if cli.serve.telemetry.print_config => {
            let table = settings::table(&settings::in_force(&Cli::command(), &matches));
            let _ = std::io::stdout().write_all(table.as_bytes());
            ExitCode::SUCCESS
        }
        None => {
            let settings = settings::in_force(&Cli::command(), &matches);
            serve(&runtime, cli.serve, settings, log)
        }
    };
    // Not dropped: that would wait for a model still being loaded, however long that takes.
    runtime.shutdown_background();
    code
}

fn serve(
    runtime: &tokio::runtime::Runtime,
    args: ServeArgs,
    settings: Vec<Setting>,
    log: LogGuard,
) -> ExitCode {
    if args.numaflow.queue_size.is_some() {
        tracing::info!(
            "--queue-size (PVA_QUEUE_SIZE) is unused: the queue is the ring of slots, one batch more than may be in flight."
        );
    }
    let Stopped { outcome, is_clean } = runtime.block_on(map::run(args, settings));
    let (code, exit) = match outcome {
        Ok(()) => (0, ExitCode::SUCCESS),
        Err(mistake) if mistake.is_usage() => (usage::EXIT_USAGE, refuse(&mistake.to_string())),
        Err(error) => (1, fail(&error.to_string())),
    };
    if !is_clean {
        drop(log);
        exit::at_once(code);
    }
    exit
}

fn conclude<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// A mistake in the settings.
fn refuse(mistake: &str) -> ExitCode {
    logs::say(&format!("beamflow: {mistake}"));
    ExitCode::from(usage::EXIT_USAGE)
}

/// Anything else that ends the process.
fn fail(reason: &str) -> ExitCode {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{reason}");
    } else {
        logs::say(&format!("beamflow: {reason}"));
    }
    ExitCode::FAILURE
}
