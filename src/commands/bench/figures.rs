//! Figures, medians and ratios; as a table, as JSON, against older ones.

use crate::commands::table;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one subject did in one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Frames answered per second of waiting for answers.
    pub frames_per_second: f64,
    /// Time on CPUs per frame, of the subject alone.
    pub(crate) cpu_seconds_per_frame: f64,
    /// Median time of a read batch.
    pub call_seconds_p50: f64,
    /// Time that 99 of 100 read batches did not exceed.
    pub call_seconds_p99: f64,
    /// Memory that the subject held at the end of its turn.
    pub resident_bytes: u64,
    /// Frames acked per second of a whole vertex, if that was measured.
    #[serde(default)]
    pub vertex_frames_per_second: Option<f64>,
}

/// What one subject did with one kind of frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The subject.
    pub subject: String,
    /// `HEIGHTxWIDTH`.
    pub(crate) frame: String,
    pub(crate) model: String,
    /// Memory that the configuration allows for frames: all slots, and a read batch. Unknown of a peer.
    #[serde(default)]
    pub(crate) bound_bytes: Option<usize>,
    /// Its turns.
    pub rounds: Vec<Round>,
}

impl Case {
    pub(super) fn new(subject: &str, frame: &str, model: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            frame: frame.to_owned(),
            model: model.to_owned(),
            bound_bytes: None,
            rounds: Vec::new(),
        }
    }

    /// The median over the rounds of what `of` gives.
    #[must_use]
    pub(crate) fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }

    /// How much more memory was held in the last third of the rounds than in the first, relative to that.
    #[must_use]
    pub(crate) fn memory_growth(&self) -> f64 {
        let third = self.rounds.len().div_ceil(3);
        let held =
            |rounds: &[Round]| median(rounds.iter().map(|round| round.resident_bytes as f64));
        let first = self.rounds.get(..third).unwrap_or_default();
        let last = self.rounds.get(self.rounds.len() - third..);
        held(last.unwrap_or_default()) / held(first) - 1.0
    }

    /// The median of the rounds' ratios to `other`'s, of what `of` gives.
    #[must_use]
    pub(crate) fn ratio(&self, other: &Self, of: impl Fn(&Round) -> f64) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(one, other)| of(one) / of(other)))
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Of the program.
    pub(crate) version: String,
    /// Cores of the machine.
    pub(crate) cores: usize,
    /// Datums in a read batch.
    pub(crate) read_batch: usize,
    /// Read batches in hand of a whole vertex, if that was measured.
    #[serde(default)]
    pub(crate) read_ahead: Option<usize>,
    /// How long a turn was, in seconds.
    pub(crate) turn_seconds: f64,
    /// All subjects with all kinds of frames; of each kind, what the ratios relate to is first.
    pub cases: Vec<Case>,
}

/// Columns of the table.
const HEADER: [&str; 10] = [
    "subject",
    "frames/s",
    "ratio",
    "CPU/frame",
    "ratio",
    "p50/call",
    "p99/call",
    "memory",
    "of bound",
    "growth",
];

impl BenchReport {
    pub(super) fn new(read_batch: usize, turn: Duration) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            read_batch,
            read_ahead: None,
            turn_seconds: turn.as_secs_f64(),
            cases: Vec::new(),
        }
    }

    /// Whether the figures of `older` can be compared with these: taken in the same way, on as many cores.
    #[must_use]
    pub(crate) fn is_comparable(&self, older: &Self) -> bool {
        (self.read_batch, self.turn_seconds, self.cores)
            == (older.read_batch, older.turn_seconds, older.cores)
    }

    pub(super) fn add(&mut self, cases: Vec<Case>) {
        self.cases.extend(cases);
    }

    /// The cases with frames of one kind, the one that ratios relate to first.
    pub fn of_frame<'a>(&'a self, frame: &'a str) -> impl Iterator<Item = &'a Case> {
        self.cases.iter().filter(move |case| case.frame == frame)
    }

    /// The kinds of frames, in the order in which they were measured.
    #[must_use]
    pub fn frames(&self) -> Vec<&str> {
        let mut frames: Vec<_> = self.cases.iter().map(|case| case.frame.as_str()).collect();
        frames.dedup();
        frames
    }

    /// The medians for frames of the kind `frame`, a line per subject; with how they relate to those of `older`, if given.
    #[must_use]
    pub(crate) fn table(&self, older: Option<&Self>, frame: &str) -> String {
        let cases: Vec<_> = self.of_frame(frame).collect();
        let Some((first, model)) = cases.first().map(|case| (case, &case.model)) else {
            return String::new();
        };
        let rounds = first.rounds.len();
        let mut text = format!(
            "Frames of {frame}, {model}, read batches of {}; medians of {rounds} rounds, ratios to {}\n\n",
            self.read_batch, first.subject
        );
        let mut rows = vec![HEADER.map(str::to_owned)];
        rows.extend(cases.iter().map(|case| row(case, first)));
        text.push_str(&table::render(&rows));
        if let Some(read_ahead) = self.read_ahead {
            text.push_str(&vertices(&cases, read_ahead));
        }
        if let Some(older) = older {
            text.push_str(&compared(&cases, older));
        }
        text
    }
}

fn row(case: &Case, first: &Case) -> [String; 10] {
    let memory = case.median(|round| round.resident_bytes as f64);
    let rate = |round: &Round| round.frames_per_second;
    let cpu = |round: &Round| round.cpu_seconds_per_frame;
    [
        case.subject.clone(),
        format!("{:.0}", case.median(rate)),
        format!("{:.2}", case.ratio(first, rate)),
        format!("{:.1} µs", 1e6 * case.median(cpu)),
        format!("{:.2}", case.ratio(first, cpu)),
        format!(
            "{:.1} ms",
            1e3 * case.median(|round| round.call_seconds_p50)
        ),
        format!(
            "{:.1} ms",
            1e3 * case.median(|round| round.call_seconds_p99)
        ),
        format!("{:.0} MiB", memory / 1048576.0),
        case.bound_bytes
            .map_or_else(String::new, |b| format!("{:.2}", memory / b as f64)),
        format!("{:+.1} %", 100.0 * case.memory_growth()),
    ]
}

/// The rates of whole vertices, and how they relate to those of the calls alone.
fn vertices(cases: &[&Case], read_ahead: usize) -> String {
    let title = format!("as a whole vertex, read batches in hand: {read_ahead}");
    let mut rows = vec![[title, "frames/s".to_owned(), "of calls".to_owned()]];
    let vertex = |round: &Round| round.vertex_frames_per_second.unwrap_or(f64::NAN);
    rows.extend(cases.iter().map(|case| {
        let of_calls = median(case.rounds.iter().map(|r| vertex(r) / r.frames_per_second));
        [
            case.subject.clone(),
            format!("{:.0}", case.median(vertex)),
            format!("{of_calls:.2}"),
        ]
    }));
    format!("\n{}", table::render(&rows))
}

/// Each case's medians relative to the older ones.
fn compared(cases: &[&Case], older: &BenchReport) -> String {
    let mut rows = vec![["against the older figures", "frames/s", "CPU/frame"].map(str::to_owned)];
    for case in cases {
        let same = |other: &&Case| {
            (&other.subject, &other.frame, &other.model)
                == (&case.subject, &case.frame, &case.model)
        };
        let Some(other) = older.cases.iter().find(same) else {
            continue;
        };
        let relative =
            |of: fn(&Round) -> f64| format!("× {:.2}", case.median(of) / other.median(of));
        rows.push([
            case.subject.clone(),
            relative(|round| round.frames_per_second),
            relative(|round| round.cpu_seconds_per_frame),
        ]);
    }
    format!("\n{}", table::render(&rows))
}

/// The middle one; of two, the upper. Not a number if there are none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rates: [&[f64]; 2]) -> BenchReport {
        let mut report = BenchReport::new(64, Duration::from_secs(1));
        let cases = ["no-op", "sidecar"].into_iter().zip(rates);
        report.add(
            cases
                .map(|(name, rates)| {
                    let mut case = Case::new(name, "4x4", "sim:");
                    case.rounds = rates
                        .iter()
                        .map(|rate| Round {
                            frames_per_second: *rate,
                            cpu_seconds_per_frame: 1.0 / rate,
                            ..Round::default()
                        })
                        .collect();
                    case
                })
                .collect(),
        );
        report
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A machine that slows down: each round's ratio is 0.9, the ratio of medians is too.
        let report = report([&[1000.0, 500.0, 100.0], &[900.0, 450.0, 90.0]]);
        let [first, second] = &report.cases[..] else {
            panic!("two cases");
        };
        assert!((second.ratio(first, |r| r.frames_per_second) - 0.9).abs() < 1e-12);
        assert_eq!(second.median(|r| r.frames_per_second), 450.0);
    }

    #[test]
    fn json_comes_back_as_it_was_and_older_figures_are_compared() {
        let older = report([&[100.0], &[90.0]]);
        let text = serde_json::to_string(&older).unwrap();
        assert_eq!(serde_json::from_str::<BenchReport>(&text).unwrap(), older);
        let table = report([&[100.0], &[180.0]]).table(Some(&older), "4x4");
        assert!(table.contains("against the older figures"), "{table}");
        assert!(
            table.contains("× 2.00") && table.contains("× 0.50"),
            "{table}"
        );
    }
}
