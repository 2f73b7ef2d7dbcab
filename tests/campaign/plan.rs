//! Random choices by seed: which incidents happen, when, and with which settings.
//!
//! Lives and calls have their own random numbers: the n-th life and the n-th call are the same in every
//! campaign of a seed, even if lives end a call earlier or later.

use crate::frames::{Frames, ONE, ROUTE, Target};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// What happens around one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    /// Nothing.
    None,
    /// The stream stalls within a call, for longer than the batch timeout.
    Stall,
    /// Far more datums than the slots hold, sent at once.
    Burst,
    /// The client disconnects within a call.
    Disconnect,
    /// SIGTERM within a call.
    Terminate,
    /// SIGKILL within a call.
    Kill,
}

/// The modes of the sidecar.
pub const MODES: [&str; 4] = ["sequential", "concurrent", "pipelined", "streaming"];

/// See the module documentation.
pub struct Plan {
    frames: Frames,
    only: Option<&'static str>,
    lives: ChaCha8Rng,
    calls: ChaCha8Rng,
    call: usize,
    due: usize,
}

/// An incident is due every so many calls; fewer in a short campaign, so that every incident occurs.
const DUE: usize = 20;
/// A campaign with fewer than [`DUE`] times as many frames counts as short.
const FRAMES_PER_DUE: usize = 2_000;
/// Faults are among so many batches of a device.
const MOST: u64 = 2_000;
const INCIDENTS: [Incident; 5] = [
    Incident::Stall,
    Incident::Disconnect,
    Incident::Terminate,
    Incident::Burst,
    Incident::Kill,
];

/// A number from `least` to `most`.
fn number(chance: &mut ChaCha8Rng, least: u64, most: u64) -> u64 {
    least + chance.next_u64() % (most - least + 1)
}

impl Plan {
    /// A plan for a campaign of so many frames.
    pub fn new(seed: u64, frames: usize) -> Self {
        Self {
            due: (frames / FRAMES_PER_DUE).clamp(1, DUE),
            frames: Frames { seed, models: &ONE },
            only: None,
            lives: ChaCha8Rng::seed_from_u64(seed),
            calls: ChaCha8Rng::seed_from_u64(!seed),
            call: 0,
        }
    }

    /// The same in one mode only.
    pub fn only(self, mode: &'static str) -> Self {
        Self {
            only: Some(mode),
            ..self
        }
    }

    /// The same with these models.
    pub fn with_models(self, models: &'static [Target]) -> Self {
        let seed = self.frames.seed;
        Self {
            frames: Frames { seed, models },
            ..self
        }
    }

    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// How long a stream stalls, in milliseconds.
    pub fn stall(&mut self) -> u64 {
        number(&mut self.calls, 5, 60)
    }

    pub fn incident(&mut self) -> Incident {
        self.call += 1;
        if self.call.is_multiple_of(self.due) {
            return INCIDENTS[self.call / self.due % INCIDENTS.len()];
        }
        match number(&mut self.calls, 0, 999) {
            0..=7 => Incident::Kill,
            8..=15 => Incident::Terminate,
            16..=39 => Incident::Disconnect,
            40..=69 => Incident::Stall,
            70..=99 => Incident::Burst,
            _ => Incident::None,
        }
    }

    /// Datums in a read batch: none, one, a few, many.
    pub fn read_batch(&mut self, incident: Incident) -> usize {
        let most = match (incident, number(&mut self.calls, 0, 9)) {
            (Incident::Burst, _) => return 2_000,
            (_, 0) => 1,
            (_, 1..=3) => 40,
            _ => 500,
        };
        number(&mut self.calls, 0, most) as usize
    }

    /// The flags of a sidecar's life: a mode, batch settings, and a device with every kind of fault. A models file is written
    /// to `folder`.
    pub fn flags(&mut self, folder: &Path) -> Vec<String> {
        let chosen = MODES[number(&mut self.lives, 0, MODES.len() as u64 - 1) as usize];
        let mode = self.only.unwrap_or(chosen);
        let models = match self.frames.models {
            [_] => ("--model-path", self.faulty((4, 4), MOST)),
            several => {
                let file = folder.join("models.yaml");
                std::fs::write(&file, self.models_file(several)).unwrap();
                ("--models", file.to_str().unwrap().to_owned())
            }
        };
        let flags = [
            ("--mode", mode.to_owned()),
            models,
            ("--output-size", "full".to_owned()),
            ("--bsz-size", number(&mut self.lives, 1, 16).to_string()),
            (
                "--pipeline-depth",
                number(&mut self.lives, 1, 6).to_string(),
            ),
            (
                "--max-concurrent-batches",
                number(&mut self.lives, 1, 6).to_string(),
            ),
            ("--batch-timeout", "20ms".to_owned()),
            // Every frame must get its result in the end.
            ("--max-deliveries", "off".to_owned()),
            ("--inference-timeout", "300ms".to_owned()),
            ("--devices", "all".to_owned()),
        ];
        let flags = flags.into_iter();
        flags
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    /// Devices with every kind of fault, most of them in the first `most` batches.
    fn faulty(&mut self, (height, width): (usize, usize), most: u64) -> String {
        let every = number(&mut self.lives, 20, 300);
        let [panic, lost] = [(); 2].map(|()| self.ordinals(4, most));
        let hang = self.ordinals(if most < MOST { 6 } else { 2 }, most);
        let device_lost = self.ordinals(2, 3 * most);
        format!(
            "sim:size={height}x{width},devices=3,error-every={every},panic={panic},lost={lost},hang={hang},hang-time=1s,\
             device-lost={device_lost}"
        )
    }

    /// Several models on the same three devices. Backlogs are smaller than a read batch, or larger.
    fn models_file(&mut self, models: &[Target]) -> String {
        let mut list = String::new();
        for Target {
            name,
            size,
            is_sound,
        } in models
        {
            let (height, width) = size;
            let (path, timeout) = if *is_sound {
                // On a busy machine they may be slow.
                (format!("sim:size={height}x{width},devices=3"), "60s")
            } else {
                (self.faulty(*size, MOST / 10), "300ms")
            };
            let batch = number(&mut self.lives, 1, 16);
            let backlog = [1, 40, 512, 4096][number(&mut self.lives, 0, 3) as usize];
            let priority = ["normal", "high"][number(&mut self.lives, 0, 1) as usize];
            let _ = writeln!(
                list,
                "- {{name: {name}, path: \"{path}\", batch: {batch}, backlog: {backlog}, priority: {priority}, \
                 inference-timeout: {timeout}}}"
            );
        }
        let values = models.iter().map(|model| format!("{0}: {0}", model.name));
        let values = values.collect::<Vec<_>>().join(", ");
        format!(
            "default: {}\nmodels:\n{list}routes:\n- {{header: {ROUTE}, values: {{{values}}}}}\n",
            models[0].name
        )
    }

    /// `count` failing batches, in the syntax of the simulated device.
    fn ordinals(&mut self, count: usize, most: u64) -> String {
        let mut ordinals = BTreeSet::new();
        while ordinals.len() < count {
            ordinals.insert(number(&mut self.lives, 10, most));
        }
        let ordinals: Vec<_> = ordinals.iter().map(ToString::to_string).collect();
        ordinals.join("+")
    }
}
