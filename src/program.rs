//! Parse → start logs → run the command → exit code.

#[cfg(feature = "hdf5")]
use crate::app::file_sink;
use crate::app::map::Stopped;
use crate::app::{check, exit, map, source};
#[cfg(feature = "pva")]
use crate::app::{pva_sink, pva_source};
use crate::cli::{self, Cli, Command, LogArgs, Reading, ServeArgs, Stop, settings, usage};
#[cfg(feature = "pva")]
use crate::commands::simulate_ioc;
use crate::commands::{bench, bench_engine, build_engine, demo, inspect, send, size};
use crate::telemetry::logs::{self, LogGuard};
use crate::telemetry::setting::Setting;
use std::io::Write;
use std::process::ExitCode;

/// The stack of the runtime's threads, in bytes. Only what is used of it takes memory.
const STACK: usize = 8 << 20;

/// Runs the program on the arguments of this process, to its exit code.
pub fn run() -> ExitCode {
    let read = cli::read(std::env::args_os().skip(1), |name| std::env::var_os(name));
    let Reading { cli, settings, .. } = match read {
        Ok(reading) => reading,
        Err(Stop::Mistake(line)) => return refuse(&line),
        Err(Stop::Help(text)) => {
            // Standard output may be closed early, by `beamflow --help | head` for one.
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
    };
    let log = match start_log(&cli) {
        Ok(log) => log,
        Err(mistake) => return refuse(&mistake),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Engines are loaded on its threads, and TensorRT-RTX compiles kernels then.
        .thread_stack_size(STACK)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let code = match cli.command {
        Some(Command::Demo(args)) => conclude(runtime.block_on(demo::run(args))),
        Some(Command::Send(args)) => conclude(runtime.block_on(send::run(args))),
        Some(Command::BuildEngine(args)) => conclude(build_engine::run(args)),
        Some(Command::Check(args)) => match check::run(*args) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        Some(Command::Inspect(args)) => conclude(inspect::run(&args)),
        Some(Command::Bench(args)) => conclude(runtime.block_on(bench::run(args))),
        Some(Command::BenchEngine(args)) => conclude(bench_engine::run(&args)),
        Some(Command::SimulateSource(args)) => match runtime.block_on(source::run(args)) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        #[cfg(feature = "pva")]
        Some(Command::PvaSource(args)) => match runtime.block_on(pva_source::run(args)) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        #[cfg(feature = "pva")]
        Some(Command::PvaSink(args)) => match runtime.block_on(pva_sink::run(args)) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        #[cfg(feature = "hdf5")]
        Some(Command::FileSink(args)) => match runtime.block_on(file_sink::run(args)) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        #[cfg(feature = "pva")]
        Some(Command::SimulateIoc(args)) => match runtime.block_on(simulate_ioc::run(args)) {
            Err(mistake) if mistake.is_usage() => refuse(&mistake.to_string()),
            outcome => conclude(outcome),
        },
        // Its flags may be at odds with each other; nothing else goes wrong.
        Some(Command::Size(args)) => match size::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(mistake) => refuse(&mistake.to_string()),
        },
        None if cli.serve.telemetry.print_config => match settings::checked(cli.serve, &settings) {
            Ok(table) => {
                let _ = std::io::stdout().write_all(table.as_bytes());
                ExitCode::SUCCESS
            }
            Err(mistake) => refuse(&mistake),
        },
        None => serve(&runtime, cli.serve, settings, log),
    };
    // Not dropped: that would wait for a model still being loaded, however long that takes.
    runtime.shutdown_background();
    code
}

/// Starts the log. `RUST_LOG` may be meant for other programs: it stops only what serves in a pod.
///
/// # Errors
/// The mistake in `RUST_LOG`.
fn start_log(cli: &Cli) -> Result<LogGuard, String> {
    let (args, serves) = match &cli.command {
        None => (cli.serve.telemetry.log, true),
        Some(Command::SimulateSource(args)) => (args.log, true),
        #[cfg(feature = "pva")]
        Some(Command::PvaSource(args)) => (args.log, true),
        #[cfg(feature = "pva")]
        Some(Command::PvaSink(args)) => (args.log, true),
        #[cfg(feature = "hdf5")]
        Some(Command::FileSink(args)) => (args.log, true),
        #[cfg(feature = "pva")]
        Some(Command::SimulateIoc(args)) => (args.log, true),
        Some(_) => (LogArgs::default(), false),
    };
    let LogArgs { log_format, debug } = args;
    let is_demo = matches!(cli.command, Some(Command::Demo(_)));
    let directives = match logs::directives() {
        Err(mistake) if serves => return Err(mistake),
        Err(mistake) => {
            logs::say(&format!("beamflow: {mistake}; it is ignored here"));
            None
        }
        Ok(directives) => directives,
    };
    // What the demo has to say it prints.
    let directives = directives.or_else(|| is_demo.then(logs::warnings));
    Ok(logs::start(log_format, debug, directives))
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
    let Stopped { outcome, is_clean } = runtime.block_on(map::run(args, settings.clone()));
    let (code, exit) = match outcome {
        Ok(()) => (0, ExitCode::SUCCESS),
        Err(mistake) if mistake.is_usage() => {
            let line = settings::by_origin(&mistake.to_string(), &settings);
            (usage::EXIT_USAGE, refuse(&line))
        }
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
