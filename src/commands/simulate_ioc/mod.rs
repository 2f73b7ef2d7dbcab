//! `beamflow simulate-ioc`: the simulated detector as an EPICS PV, an NTNDArray as areaDetector posts it.
//!
//! What always holds:
//!
//! 1. The detector waits for no client. Once it has started, frame k is taken at k ÷ `--fps` and posted at once.
//! 2. `uniqueId` begins at 1, `dataTimeStamp` is the time of the exposure, `timeStamp` that of the post. Only a
//!    repeated frame has the times of the one before.
//! 3. The same flags give the same frames and the same faults.
//! 4. SIGTERM and SIGINT end the command without an error.

/// The order of the posts, and the faults in it.
mod faults;
/// The frames by their number.
mod frames;

use crate::cli::{SimulateIocArgs, TooLarge, check_memory};
use crate::lab::exposures::Exposures;
use crate::lab::stack::FrameStack;
use crate::lab::{DetectorError, Raster, experiment};
use crate::pva::{ImagePv, PostError, Server, ServerError, ServerOptions};
use faults::{Due, Faults, Order};
use frames::Frames;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

/// How often the totals are logged.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Why the simulated IOC did not start or stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IocError {
    /// The scan does not fit into a reasonable amount of memory.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The frames cannot be simulated.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// A task ended unexpectedly: a defect.
    #[error("simulating the scan broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
    /// The signals cannot be watched.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// The server does not start.
    #[error("{error} (--bind {bind}, --search-port {port})")]
    Server {
        /// What the server says.
        error: ServerError,
        /// The address that was asked for.
        bind: String,
        /// The UDP port that was asked for.
        port: String,
    },
    /// Another program has the TCP port.
    #[error(
        "--server-port: cannot listen on port {0}: another program has it, or it is not permitted; 0 is any free port"
    )]
    Port(u16),
    /// The PV cannot be served.
    #[error(transparent)]
    Pv(#[from] ServerError),
    /// A frame cannot be posted.
    #[error(transparent)]
    Post(#[from] PostError),
}

impl IocError {
    /// Whether a flag is wrong. The exit code is then 64.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::TooLarge(_))
    }
}

/// Simulates the scan and serves it until SIGTERM.
///
/// # Errors
/// [`IocError`].
pub(crate) async fn run(args: SimulateIocArgs) -> Result<(), IocError> {
    check_memory(args.points, args.frame_size)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(IocError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(IocError::Signals)?;
    let server = start(&args)?;
    let pv = server.image(&args.pv)?;
    announce(&args.pv, &server);
    let count = |every: Option<usize>| every.map(|every| every as u64);
    let mut order = Order::new(Faults {
        drop: count(args.drop),
        repeat: count(args.repeat),
        late: count(args.late),
    });
    let ended = tokio::select! {
        failed = expose(&args, &pv, &server, &mut order) => failed.map(|never| match never {}),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    report(&order, &server, "The simulated IOC has ended.");
    ended
}

/// Starts the server, on the ports that were asked for.
fn start(args: &SimulateIocArgs) -> Result<Server, IocError> {
    let options = ServerOptions {
        bind: args.bind,
        tcp_port: args.server_port,
        udp_port: args.search_port,
        beacons: !args.bind.is_some_and(|address| address.is_loopback()),
        ..ServerOptions::default()
    };
    let server = Server::start(&options).map_err(|error| IocError::Server {
        error,
        bind: args
            .bind
            .map_or("not given".into(), |bind| bind.to_string()),
        port: args
            .search_port
            .map_or("not given".into(), |port| port.to_string()),
    })?;
    match args.server_port {
        // The server has taken another one.
        Some(port) if port != 0 && port != server.tcp_port() => Err(IocError::Port(port)),
        _ => Ok(server),
    }
}

/// Logs where the PV is, and what a client needs to find it.
fn announce(pv: &str, server: &Server) {
    let (tcp_port, search_port) = (server.tcp_port(), server.udp_port());
    tracing::info!(
        pv,
        tcp_port,
        search_port,
        "The PV is served. Clients on another network set EPICS_PVA_ADDR_LIST=HOST and \
         EPICS_PVA_BROADCAST_PORT={search_port}, or EPICS_PVA_NAME_SERVERS=HOST:{tcp_port}."
    );
}

/// Takes and posts frames; returns only if that fails.
async fn expose(
    args: &SimulateIocArgs,
    pv: &ImagePv,
    server: &Server,
    order: &mut Order,
) -> Result<std::convert::Infallible, IocError> {
    let frames = frames(args).await?;
    if args.wait_for_client {
        tracing::info!("The detector waits for a client.");
        pv.monitored().await?;
    }
    let camera = Camera {
        frames,
        exposures: Exposures {
            fps: args.fps,
            last: args.frames.map(|frames| frames as u64),
        },
        opened: Instant::now(),
        opened_at: SystemTime::now(),
    };
    tracing::info!("The detector starts.");
    let mut reports = reports();
    loop {
        let taken = order.totals().taken;
        let Some(next) = camera.next(taken) else {
            break;
        };
        tokio::select! {
            biased;
            _ = reports.tick() => {
                report(order, server, "Frames so far.");
                let behind = next.elapsed();
                if behind > Duration::from_secs(1) {
                    tracing::warn!(?behind, "The machine is too slow: frames are posted after their time.");
                }
            }
            () = sleep_until(next) => {
                for due in order.take() {
                    camera.post(due, pv)?;
                }
            }
        }
    }
    if let Some(due) = order.rest() {
        camera.post(due, pv)?;
    }
    report(order, server, "The last frame is posted. The PV keeps it.");
    // Clients that connect now find the last frame.
    std::future::pending().await
}

/// The first report comes after the first interval; one that is late moves those that follow.
fn reports() -> Interval {
    let mut reports = interval_at(Instant::now() + REPORT_EVERY, REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reports
}

/// Takes every frame of the scan.
async fn frames(args: &SimulateIocArgs) -> Result<Frames, IocError> {
    let (points, side) = (args.points, args.frame_size.height);
    let encoder = args.codec.0;
    let reset_every = args.reset_every.map(|every| every as u64);
    tracing::info!(
        frames = points * points,
        side,
        "Simulating the scan: it is kept, and posted again and again."
    );
    let simulating = tokio::task::spawn_blocking(move || {
        let raster = Raster {
            rows: points,
            columns: points,
            ..experiment::RASTER
        };
        let scan = experiment::scan_on(side, raster)?;
        let stack = FrameStack::simulate(&scan, || ())?;
        let stack = match encoder {
            Some(encoder) => stack.compressed(encoder),
            None => stack,
        };
        Ok::<_, DetectorError>(Frames::new(&scan, &stack, reset_every))
    });
    Ok(simulating.await??)
}

/// The detector with its shutter open.
struct Camera {
    frames: Frames,
    exposures: Exposures,
    opened: Instant,
    opened_at: SystemTime,
}

impl Camera {
    /// When the frame after `number` is taken; nothing after the last.
    fn next(&self, number: u64) -> Option<Instant> {
        self.opened.checked_add(self.exposures.next(number)?)
    }

    fn post(&self, due: Due, pv: &ImagePv) -> Result<(), PostError> {
        let taken = self.opened_at.checked_add(self.exposures.at(due.number));
        let taken = taken.unwrap_or(self.opened_at);
        if let Some(image) = self.frames.frame(due.number, taken) {
            pv.post(&image)?;
            if due.is_repeated {
                pv.repeat()?;
            }
        }
        Ok(())
    }
}

fn report(order: &Order, server: &Server, text: &str) {
    let totals = order.totals();
    tracing::info!(
        taken = totals.taken,
        posted = totals.posted,
        dropped = totals.dropped,
        repeated = totals.repeated,
        late = totals.late,
        clients = server.connections(),
        "{text}"
    );
}
