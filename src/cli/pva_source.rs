//! `beamflow pva-source`.

use super::log::LogArgs;
use super::parse::{AddressOrOff, TimeOrOff, address_or_off, bytes, time_or_off, whole_number};
use crate::config::ConfigError;
use crate::pva::ServerAddress;
use crate::source::pva::backlog::BacklogLimits;
use crate::source::pva::rules::Initial;
use crate::source::pva::settings::{Common, PositionAttribute, PvSettings, Settings};
use clap::Args;
use numaflow::source::{SERVER_INFO_FILE, SOCK_ADDR};
use std::path::PathBuf;

/// Where compressed frames are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Decompress {
    /// In the map.
    Map,
    /// In the source.
    Source,
}

/// Flags of `beamflow pva-source`.
#[derive(Args, Debug)]
#[command(mut_args = |arg| arg.hide_env_values(true))]
pub struct PvaSourceArgs {
    /// The PVs with the frames, separated by commas. The place of a PV in this list is its partition: do not change the order.
    #[arg(
        long,
        env = "PVA_INPUT_CHANNEL",
        default_value = "pva:image",
        value_name = "PV",
        value_delimiter = ','
    )]
    pub(crate) input_channel: Vec<String>,

    /// Where the PVs' servers are: HOST or udp://HOST:PORT (a search there, by UDP, which finds a server on any TCP port), or
    /// tcp://HOST:PORT (no search). One for all PVs, or as many as PVs. If not given, the EPICS_PVA_* variables decide.
    #[arg(
        long,
        env = "PVA_SERVER",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub(crate) server: Vec<ServerAddress>,

    /// Maximum number of unread frames to keep. If one more comes, the oldest is dropped.
    #[arg(long, env = "PVA_QUEUE_SIZE", default_value = "1000", value_name = "FRAMES", value_parser = whole_number::<1, 1_000_000>)]
    pub(crate) queue_size: usize,

    /// Maximum number of bytes of all frames that are kept, unread and unacked. The container needs 200 MiB more.
    #[arg(long, env = "PVA_QUEUE_BYTES", default_value = "1GiB", value_name = "BYTES", value_parser = bytes)]
    pub(crate) queue_bytes: usize,

    /// Updates that the PV's server is asked to keep for this client. As many, and at least 64, are kept here until they are
    /// judged.
    #[arg(long, env = "PVA_SERVER_QUEUE_SIZE", default_value = "16", value_name = "UPDATES", value_parser = whole_number::<1, 10_000>)]
    pub(crate) server_queue_size: usize,

    /// The largest frame, uncompressed; larger ones are refused.
    #[arg(long, env = "PVA_MAX_FRAME_BYTES", default_value = "64MiB", value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_frame_bytes: usize,

    /// Where compressed frames are decoded: in the map, which is beamflow's own and knows their codec, or here, in the source, for
    /// other maps. In the source every frame is sent on as raw pixels.
    #[arg(
        long,
        env = "PVA_DECOMPRESS",
        value_enum,
        default_value = "map",
        value_name = "map|source"
    )]
    pub(crate) decompress: Decompress,

    /// Whether the image that a PV has when the connection begins is a frame: always, never, or if it is not older than a
    /// time. One that continues the numbers seen before is one in any case.
    #[arg(
        long,
        env = "PVA_INITIAL",
        default_value = "5s",
        value_name = "always|never|TIME"
    )]
    pub(crate) initial: Initial,

    /// The number of the first frame of a scan that is sent on; those before it are left out.
    #[arg(long, env = "PVA_FIRST_FRAME", value_name = "NUMBER", value_parser = whole_number::<0, 1_000_000_000>)]
    pub(crate) first_frame: Option<usize>,

    /// NDAttributes that become headers x-attr-NAME, separated by commas.
    #[arg(
        long,
        env = "PVA_ATTRIBUTES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) attributes: Vec<String>,

    /// The NDAttribute with the number or the file name of the scan: its change begins a series, and it becomes the header
    /// x-scan.
    #[arg(long, env = "PVA_SCAN_ATTRIBUTE", value_name = "NAME")]
    pub(crate) scan_attribute: Option<String>,

    /// The NDAttribute with the position along the rows, in metres; NAME*1e-6 if it is in micrometres. It becomes the header
    /// x-position-x.
    #[arg(long, env = "PVA_POSITION_X", value_name = "NAME*FACTOR")]
    pub(crate) position_x: Option<PositionAttribute>,

    /// The same across the rows: x-position-y.
    #[arg(long, env = "PVA_POSITION_Y", value_name = "NAME*FACTOR")]
    pub(crate) position_y: Option<PositionAttribute>,

    /// How long a read that has at least one frame waits for more; off: until it has as many as were asked for.
    #[arg(long, env = "PVA_LINGER", default_value = "10ms", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) linger: TimeOrOff,

    /// Connected, and no update for so long after there was one: the monitor is started again. An idle detector looks the
    /// same, so this may happen often, and does no harm. off: never.
    #[arg(long, env = "PVA_WATCHDOG", default_value = "30s", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) watchdog: TimeOrOff,

    /// How long to wait for an ack before a read frame is delivered again; off: never.
    #[arg(long, env = "PVA_ACK_TIMEOUT", default_value = "60s", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) ack_timeout: TimeOrOff,

    /// The Unix socket that numa connects to.
    #[arg(long, env = "PVA_SOCK_PATH", default_value = SOCK_ADDR, value_name = "PATH")]
    pub(crate) sock_path: PathBuf,

    /// The server-info file, through which numa finds the socket; written last.
    #[arg(long, env = "PVA_SERVER_INFO_PATH", default_value = SERVER_INFO_FILE, value_name = "PATH")]
    pub(crate) server_info_path: PathBuf,

    /// Where the status page, /metrics, /stats and health are served; off: nowhere.
    #[arg(long, env = "PVA_HTTP_ADDRESS", default_value = "[::]:9101", value_name = "ADDRESS", value_parser = address_or_off)]
    pub(crate) http_address: AddressOrOff,

    /// The log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Checks the flags against each other.
///
/// # Errors
/// [`ConfigError`] naming the flag.
impl TryFrom<&PvaSourceArgs> for Settings {
    type Error = ConfigError;

    fn try_from(args: &PvaSourceArgs) -> Result<Self, ConfigError> {
        let pvs = &args.input_channel;
        if let Some(twice) = pvs
            .iter()
            .enumerate()
            .find(|(k, pv)| pvs.iter().take(*k).any(|other| other == *pv))
        {
            return Err(ConfigError {
                flag: "--input-channel",
                given: twice.1.clone(),
                reason: "the PV is in the list twice; use it once".to_owned(),
            });
        }
        let servers = &args.server;
        if servers.len() > 1 && servers.len() != pvs.len() {
            return Err(ConfigError {
                flag: "--server",
                given: servers
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
                reason: format!("use one server, or one for each of the {} PVs", pvs.len()),
            });
        }
        if args.max_frame_bytes > args.queue_bytes {
            return Err(ConfigError {
                flag: "--max-frame-bytes",
                given: args.max_frame_bytes.to_string(),
                reason: format!(
                    "such a frame does not fit into --queue-bytes {}; use a smaller one, or a larger queue",
                    args.queue_bytes
                ),
            });
        }
        let server = |k: usize| {
            servers
                .get(k)
                .or(servers.first().filter(|_| servers.len() == 1))
        };
        Ok(Self {
            pvs: pvs
                .iter()
                .enumerate()
                .map(|(k, name)| PvSettings {
                    name: name.clone(),
                    server: server(k).cloned(),
                })
                .collect(),
            common: Common {
                server_queue: u32::try_from(args.server_queue_size).unwrap_or(u32::MAX),
                max_frame_bytes: args.max_frame_bytes,
                watchdog: args.watchdog.0,
                decompress: args.decompress == Decompress::Source,
                initial: args.initial,
                first_frame: args.first_frame.map(|number| number as u64),
                scan_attribute: args.scan_attribute.clone(),
                attributes: args.attributes.clone(),
                position_x: args.position_x.clone(),
                position_y: args.position_y.clone(),
            },
            limits: BacklogLimits {
                frames: args.queue_size,
                bytes: args.queue_bytes,
                ack_timeout: args.ack_timeout.0,
            },
            linger: args.linger.0,
        })
    }
}
