//! `beamflow pva-sink`.

use super::log::LogArgs;
use super::mosaic::{MosaicArgs, PictureArgs};
use super::parse::{
    AddressOrOff, RateOrOff, TimeOrOff, address, address_or_off, port, rate_or_off, time_or_off,
    whole_number,
};
use super::raw::raw;
use crate::config::ConfigError;
use crate::frame::{BadValue, Dtype, FrameShape};
use crate::pva::ServerOptions;
use crate::sink::pva::settings::{MOST_OUTPUTS, MosaicSettings, Settings};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How values that are no finite numbers are posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Nan {
    /// As 0.
    Zero,
    /// As they are.
    Keep,
}

/// Flags of `beamflow pva-sink`.
#[derive(Args, Debug)]
#[command(mut_args = |arg| arg.hide_env_values(true))]
pub struct PvaSinkArgs {
    /// What the names of the PVs begin with: PREFIX:OUTPUT:image has the results of an output. A * becomes the number of the
    /// replica.
    #[arg(long, env = "PVA_PREFIX", default_value = "beamflow", value_name = "PREFIX", value_parser = prefix)]
    pub(crate) prefix: String,

    /// The outputs of the model that get a PV, separated by commas, at most 16: clients can connect to them at once. If not
    /// given, each output gets one with its first result.
    #[arg(long, env = "PVA_OUTPUTS", value_name = "NAME", value_delimiter = ',')]
    pub(crate) outputs: Vec<String>,

    /// The address to listen on; if not given, EPICS_PVAS_INTF_ADDR_LIST decides, or it is every address. With a loopback
    /// address nothing is sent to the network.
    #[arg(long, env = "PVA_BIND", value_name = "ADDRESS", value_parser = address)]
    pub(crate) bind: Option<IpAddr>,

    /// The TCP port; 0: any free one. If it is taken, the program ends. If not given: EPICS_PVAS_SERVER_PORT, or 5075.
    #[arg(long, env = "PVA_TCP_PORT", value_name = "PORT", value_parser = port)]
    pub(crate) tcp_port: Option<u16>,

    /// The UDP port for searches; 0: any free one. If not given: EPICS_PVAS_BROADCAST_PORT, or 5076.
    #[arg(long, env = "PVA_UDP_PORT", value_name = "PORT", value_parser = port)]
    pub(crate) udp_port: Option<u16>,

    /// Updates per second and PV, at most: of more results the newest is posted, and the last one always. off: all of them.
    #[arg(long, env = "PVA_MAX_RATE", default_value = "off", value_name = "RATE", value_parser = rate_or_off)]
    pub(crate) max_rate: RateOrOff,

    /// Updates that are kept for a client that does not say how many.
    #[arg(long, env = "PVA_MONITOR_QUEUE", default_value = "16", value_name = "UPDATES", value_parser = whole_number::<1, 10_000>)]
    pub(crate) monitor_queue: usize,

    /// How long a result waits for those with smaller numbers, so that they are posted in order; one that comes later is left
    /// out. off: results are posted as they come.
    #[arg(long, env = "PVA_REORDER", default_value = "off", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) reorder: TimeOrOff,

    /// How values that are no finite numbers are posted. Many viewers cannot scale an image that has one.
    #[arg(
        long,
        env = "PVA_NAN",
        value_enum,
        default_value = "zero",
        value_name = "zero|keep"
    )]
    pub(crate) nan: Nan,

    /// Hands every result on to the onSuccess sink of the manifest (sink.onSuccess), such as a file-sink, when it is posted. Without
    /// such a sink numa ends at the first result. Messages that are no results are not handed on.
    #[arg(long, env = "PVA_ON_SUCCESS")]
    pub(crate) on_success: bool,

    /// The type of raw results, for maps that do not send npy. --output-shape is needed with it.
    #[arg(long, env = "PVA_OUTPUT_DTYPE", value_name = "DTYPE")]
    pub(crate) output_dtype: Option<Dtype>,

    /// The shape of raw results.
    #[arg(long, env = "PVA_OUTPUT_SHAPE", value_name = "HEIGHTxWIDTH")]
    pub(crate) output_shape: Option<FrameShape>,

    /// The live mosaic.
    #[command(flatten)]
    pub(crate) mosaic: MosaicArgs,

    /// Its pictures.
    #[command(flatten)]
    pub(crate) pictures: PictureArgs,

    /// The Unix socket that numa connects to. If not given, it is in /var/run/numaflow: sink.sock, or in a fallback sink
    /// fb-sink.sock and in an onSuccess sink ons-sink.sock (NUMAFLOW_UD_CONTAINER_TYPE, which Numaflow sets).
    #[arg(long, env = "PVA_SOCK_PATH", value_name = "PATH")]
    pub(crate) sock_path: Option<PathBuf>,

    /// The server-info file, through which numa finds the socket; written last. If not given, it is in /var/run/numaflow:
    /// sinker-server-info, or the same with fb- or ons- before it.
    #[arg(long, env = "PVA_SERVER_INFO_PATH", value_name = "PATH")]
    pub(crate) server_info_path: Option<PathBuf>,

    /// Where the status page, /metrics, /stats and health are served; off: nowhere.
    #[arg(long, env = "PVA_HTTP_ADDRESS", default_value = "[::]:9102", value_name = "ADDRESS", value_parser = address_or_off)]
    pub(crate) http_address: AddressOrOff,

    /// The log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

fn prefix(text: &str) -> Result<String, BadValue> {
    let is_prefix = !text.is_empty() && text.len() <= 100 && !text.contains(char::is_whitespace);
    is_prefix
        .then(|| text.to_owned())
        .ok_or_else(|| BadValue::new(text, "a text of at most 100 bytes without spaces"))
}

impl PvaSinkArgs {
    /// Checks the flags against each other. A `*` in the prefix becomes `replica`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the flag.
    pub(crate) fn settings(&self, replica: &str) -> Result<Settings, ConfigError> {
        let wrong = |flag, given: String, reason: &str| ConfigError {
            flag,
            given,
            reason: reason.to_owned(),
        };
        if self.outputs.len() > MOST_OUTPUTS {
            return Err(wrong(
                "--outputs",
                self.outputs.join(","),
                "at most 16 outputs can have a PV; name fewer",
            ));
        }
        let raw = raw(self.output_dtype, self.output_shape)?;
        let settings = Settings {
            prefix: self.prefix.replace('*', replica),
            outputs: self.outputs.clone(),
            interval: self
                .max_rate
                .0
                .map(|rate| Duration::from_secs_f64(1.0 / rate)),
            reorder: self.reorder.0,
            keep_nan: self.nan == Nan::Keep,
            raw,
            on_success: self.on_success,
            mosaic: self.mosaic.recipe()?.map(|recipe| MosaicSettings {
                recipe,
                interval: Duration::from_secs_f64(1.0 / self.pictures.mosaic_rate),
                idle: self.pictures.mosaic_idle,
            }),
            server: ServerOptions {
                bind: self.bind,
                tcp_port: self.tcp_port,
                // No client would find the server on another port than its own setting names.
                exact_port: true,
                udp_port: self.udp_port,
                monitor_queue: self.monitor_queue,
                beacons: !self.bind.is_some_and(|address| address.is_loopback()),
                ..ServerOptions::default()
            },
        };
        let pictures = settings.mosaic.as_ref();
        let pictures = pictures.map_or(&[][..], |_| &["mosaic_phase", "mosaic_amplitude"]);
        let outputs = settings.outputs.iter().map(String::as_str);
        let mut names: Vec<String> = outputs
            .chain(pictures.iter().copied())
            .map(|name| settings.pv(name))
            .collect();
        names.sort();
        if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
            let reason = format!("two of them would have the PV {twice}; use one of them");
            return Err(wrong("--outputs", self.outputs.join(","), &reason));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, read};

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let flags = ["pva-sink"].iter().chain(flags).map(Into::into);
        let reading = read(flags, |_| None).map_err(|stop| stop.to_string())?;
        match reading.cli.command {
            Some(Command::PvaSink(args)) => args.settings("3").map_err(|wrong| wrong.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_pvs_are_made_of_prefix_output_and_replica() {
        let settings = settings(&["--prefix", "vit:*", "--max-rate", "30"]).unwrap();
        assert_eq!(settings.pv("phase"), "vit:3:phase:image");
        assert_eq!(settings.pv("Conv 2/out"), "vit:3:Conv_2_out:image");
        assert_eq!(settings.number("frames"), "vit:3:frames");
        assert_eq!(settings.interval, Some(Duration::from_secs_f64(1.0 / 30.0)));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for (flags, said) in [
            (&["--outputs", "a b,a/b"][..], "two of them"),
            (&["--outputs", "a,a"], "two of them"),
            (
                &["--outputs", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"],
                "at most 16",
            ),
            (&["--output-dtype", "float32"], "--output-shape"),
            (&["--output-shape", "2x2"], "--output-dtype"),
            (&["--prefix", "a b"], "without spaces"),
            (&["--max-rate", "0"], "off or updates"),
        ] {
            let error = settings(flags).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
