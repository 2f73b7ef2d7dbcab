//! `beamflow simulate-ioc`.

use super::log::LogArgs;
use super::parse::{EncoderOrNone, address, codec, port, rate, whole_number};
use super::scan::square;
use crate::frame::{BadValue, FrameShape};
use clap::Args;
use std::net::IpAddr;

/// Flags of `beamflow simulate-ioc`.
#[derive(Args, Debug)]
#[command(mut_args = |arg| arg.hide_env_values(true))]
pub struct SimulateIocArgs {
    /// The name of the PV.
    #[arg(long, env = "IOC_PV", default_value = "pva:image", value_name = "PV", value_parser = pv)]
    pub(crate) pv: String,

    /// Frames per second that the detector takes, whether or not a client is there.
    #[arg(long, env = "IOC_FPS", default_value = "100", value_name = "RATE", value_parser = rate)]
    pub(crate) fps: f64,

    /// Number of frames after which the detector stops; if not given, it never stops. The PV keeps its last frame.
    #[arg(long, env = "IOC_FRAMES", value_name = "FRAMES", value_parser = whole_number::<1, 1_000_000_000_000>)]
    pub(crate) frames: Option<usize>,

    /// The frames' size in pixels: a square from 16x16 to 1024x1024. The models of this project take 64x64.
    #[arg(long, env = "IOC_FRAME_SIZE", default_value = "64x64", value_name = "HEIGHTxWIDTH", value_parser = square)]
    pub(crate) frame_size: FrameShape,

    /// Scan points along each side; the number of frames is the square of this. The scan is kept in memory and repeated
    /// without end.
    #[arg(long, env = "IOC_POINTS", default_value = "16", value_name = "POINTS", value_parser = whole_number::<2, 100>)]
    pub(crate) points: usize,

    /// How the frames are compressed: none, lz4, bslz4 or zlib.
    #[arg(long, env = "IOC_CODEC", default_value = "none", value_name = "CODEC", value_parser = codec)]
    pub(crate) codec: EncoderOrNone,

    /// The detector starts when the first client monitors the PV, so that this client misses no frame.
    #[arg(long, env = "IOC_WAIT_FOR_CLIENT")]
    pub(crate) wait_for_client: bool,

    /// The address to listen on; if not given, EPICS_PVAS_INTF_ADDR_LIST decides, or it is every address. With a
    /// loopback address nothing is sent to the network.
    #[arg(long, env = "IOC_BIND", value_name = "ADDRESS", value_parser = address)]
    pub(crate) bind: Option<IpAddr>,

    /// The TCP port; 0: any free one. If not given: EPICS_PVAS_SERVER_PORT, or 5075, or a free one if that is taken.
    #[arg(long, env = "IOC_SERVER_PORT", value_name = "PORT", value_parser = port)]
    pub(crate) server_port: Option<u16>,

    /// The UDP port for searches; 0: any free one. If not given: EPICS_PVAS_BROADCAST_PORT, or 5076.
    #[arg(long, env = "IOC_SEARCH_PORT", value_name = "PORT", value_parser = port)]
    pub(crate) search_port: Option<u16>,

    /// A fault, for tests: every Nth frame is taken and never posted.
    #[arg(long, env = "IOC_DROP", value_name = "N", value_parser = whole_number::<2, 1_000_000_000>)]
    pub(crate) drop: Option<usize>,

    /// A fault, for tests: every Nth frame is posted twice, with the same number and times.
    #[arg(long, env = "IOC_REPEAT", value_name = "N", value_parser = whole_number::<1, 1_000_000_000>)]
    pub(crate) repeat: Option<usize>,

    /// A fault, for tests: every Nth frame is posted after the frame that follows it.
    #[arg(long, env = "IOC_LATE", value_name = "N", value_parser = whole_number::<2, 1_000_000_000>)]
    pub(crate) late: Option<usize>,

    /// Begins a new scan after N frames, at its first point and with 1 as number. If not given, the numbers go on when
    /// the scan begins again.
    #[arg(long, env = "IOC_RESET_EVERY", value_name = "N", value_parser = whole_number::<2, 1_000_000_000>)]
    pub(crate) reset_every: Option<usize>,

    /// The log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

fn pv(text: &str) -> Result<String, BadValue> {
    let is_name = !text.is_empty() && text.len() <= 256 && !text.contains(char::is_whitespace);
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| BadValue::new(text, "a name of at most 256 bytes without spaces"))
}
