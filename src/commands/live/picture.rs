//! The mosaic as a viewer of its PV gets it, and its error against the truth.

use super::LiveError;
use crate::lab::{SimulatedScan, experiment};
use crate::mosaic::PhaseError;
use crate::pva::{Attribute, Content, Event, Monitor, MonitorOptions, ReadOptions, Update};
use ndarray::Array2;
use std::path::Path;

/// The PV of the mosaic's phase.
const PV: &str = "beamflow:mosaic_phase:image";
/// The attributes that are read of a picture.
const ATTRIBUTES: [&str; 6] = [
    "Placed",
    "Missing",
    "Unpositioned",
    "OriginX",
    "OriginY",
    "Final",
];

/// A viewer of the mosaic.
pub(super) struct Watcher {
    monitor: Monitor,
    newest: Option<Update>,
}

/// A picture.
pub(super) struct Seen {
    /// Radians; NaN where nothing lies. Shape (rows, columns).
    phase: Array2<f64>,
    /// The middle of the pixel [0, 0] on the stage, in metres.
    origin: (f64, f64),
    pub(super) missing: u64,
    pub(super) unpositioned: u64,
}

impl Watcher {
    /// A viewer of the server on `port` of this machine.
    pub(super) fn start(port: &str) -> Result<Self, LiveError> {
        let server = format!("tcp://127.0.0.1:{port}").parse();
        let server = server.map_err(|_| LiveError::NoPicture(format!("its port is '{port}'")))?;
        let monitor = Monitor::new(MonitorOptions {
            server: Some(server),
            watchdog: None,
            read: ReadOptions {
                attributes: ATTRIBUTES.map(str::to_owned).into(),
                ..ReadOptions::default()
            },
            ..MonitorOptions::new(PV)
        });
        Ok(Self {
            monitor,
            newest: None,
        })
    }

    /// Waits for the next update. May be dropped at any time.
    pub(super) async fn step(&mut self) {
        if let Event::Update(update) = self.monitor.next().await
            && matches!(update.content, Content::Image(_))
        {
            self.newest = Some(*update);
        }
    }

    /// Frames in the newest picture.
    pub(super) fn placed(&self) -> u64 {
        let newest = self.newest.as_ref();
        newest.map_or(0, |newest| number(newest, "Placed") as u64)
    }

    /// The final picture of so many frames, if it has come. Frames that are missing or have no position are none of it.
    pub(super) fn last_of(&self, frames: u64) -> Option<Result<Seen, LiveError>> {
        let newest = self.newest.as_ref()?;
        let count = |name| number(newest, name) as u64;
        let all = count("Placed") + count("Missing") + count("Unpositioned");
        (count("Final") == 1 && all >= frames).then(|| Seen::of(newest))
    }
}

/// The value of a numeric attribute; 0 without it.
fn number(update: &Update, name: &str) -> f64 {
    let found = update.attributes.iter().find(|(given, _)| given == name);
    match found.map(|(_, value)| value) {
        Some(Attribute::Integer(number)) => *number as f64,
        Some(Attribute::Number(number)) => *number,
        _ => 0.0,
    }
}

impl Seen {
    fn of(update: &Update) -> Result<Self, LiveError> {
        let Content::Image(image) = &update.content else {
            return Err(LiveError::NoPicture("it has no image".to_owned()));
        };
        let (values, _) = image.pixels.as_chunks();
        let value = |bytes: &[u8; 4]| match f64::from(f32::from_le_bytes(*bytes)) {
            // Viewers cannot scale an image with NaN: the sink posts 0 where nothing lies.
            0.0 => f64::NAN,
            value => value,
        };
        let shape = (image.shape.height, image.shape.width);
        let phase = Array2::from_shape_vec(shape, values.iter().map(value).collect());
        Ok(Self {
            phase: phase.map_err(|error| LiveError::NoPicture(error.to_string()))?,
            origin: (number(update, "OriginX"), number(update, "OriginY")),
            missing: number(update, "Missing") as u64,
            unpositioned: number(update, "Unpositioned") as u64,
        })
    }

    /// The picture on the object's pixels, without its constant and the badly covered rim, and its error.
    pub(super) fn compare(
        &self,
        scan: &SimulatedScan,
    ) -> Result<(Array2<f64>, PhaseError), LiveError> {
        let truth = scan.object().phase();
        let (rows, columns) = truth.dim();
        let pixel = experiment::pixel_size(scan.size());
        // The stage's zero is the middle of the object.
        let corner = |metres: f64, extent: usize| {
            usize::try_from((metres / pixel).round() as i64 + (extent / 2) as i64).ok()
        };
        let (height, width) = self.phase.dim();
        let (top, left) = (corner(self.origin.1, rows), corner(self.origin.0, columns));
        let inside = top
            .zip(left)
            .filter(|(top, left)| top + height <= rows && left + width <= columns);
        let (top, left) = inside.ok_or_else(|| {
            let words = format!(
                "{height} × {width} pixels at {:?} are not on the object",
                self.origin
            );
            LiveError::NoPicture(words)
        })?;
        let mut phase = Array2::from_elem((rows, columns), f64::NAN);
        lay(&mut phase, (top, left), &self.phase, |pixel, value| {
            *pixel = value
        });
        let mut coverage = Array2::zeros((rows, columns));
        let probe = scan.probe().intensity();
        for at in scan.positions() {
            lay(&mut coverage, (at.y, at.x), &probe, |pixel, value| {
                *pixel += value
            });
        }
        // What is not in the picture has no error.
        ndarray::Zip::from(&mut coverage)
            .and(&phase)
            .for_each(|covered, value| {
                if value.is_nan() {
                    *covered = 0.0;
                }
            });
        let error = PhaseError::compare(phase.view(), coverage.view(), truth.view())?;
        phase -= error.offset;
        Ok((phase, error))
    }
}

/// Lays `values` on `onto` with the corner at (row, column).
fn lay(
    onto: &mut Array2<f64>,
    (top, left): (usize, usize),
    values: &Array2<f64>,
    each: impl Fn(&mut f64, f64),
) {
    for ((row, column), value) in values.indexed_iter() {
        if let Some(pixel) = onto.get_mut((top + row, left + column)) {
            each(pixel, *value);
        }
    }
}

/// Writes an array as float64 `.npy`.
pub(super) fn write_npy(path: &Path, values: &Array2<f64>) -> std::io::Result<()> {
    let header = format!(
        "{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {}), }}",
        values.nrows(),
        values.ncols()
    );
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes)
}
