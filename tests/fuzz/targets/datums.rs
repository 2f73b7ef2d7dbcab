//! Datums made from bytes, sidecars to send them to, and the expected answer to each.
//!
//! Valid frames are as likely as damaged ones: a batch without computation tests little.

use super::feed::Feed;
use beamflow::app::map::Sidecar;
use beamflow::cli;
use beamflow::config::Config;
use beamflow::engine::simulated::expected;
use beamflow::frame::values::{Element, ValuesMut};
use beamflow::frame::{BadPixels, Decoder, Dtype, FrameShape, OutputSize, Scratch};
use beamflow::vertex::client::Datum;
use half::f16;
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use prost_types::Timestamp;
use std::sync::OnceLock;
use tokio::runtime::Runtime;

/// The tag of a datum that is dropped.
const DROP: &str = "U+005C__DROP__";

const SIDE: usize = 4;
const PIXELS: usize = SIDE * SIDE;

/// A message of an answer, from the handler or from the socket.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub keys: Vec<String>,
    pub tags: Vec<String>,
    pub value: Vec<u8>,
}

/// A sidecar, and its settings.
pub struct Subject {
    pub sidecar: Sidecar,
    /// The type of the model's input.
    element: Element,
    /// The model's outputs that are sent.
    outputs: Vec<usize>,
    /// The tag of rejected frames; without it they are dropped.
    dead_letter: Option<String>,
}

/// The runtime for all async code.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    })
}

/// Modes of a sidecar. The last is served as a unary map.
pub const MODES: usize = 4;

/// A sidecar for each mode, loaded at first use.
pub fn subject(mode: usize) -> &'static Subject {
    static SUBJECTS: [OnceLock<Subject>; MODES] = [const { OnceLock::new() }; MODES];
    let make: [fn() -> Subject; MODES] = [sequential, concurrent, pipelined, streaming];
    SUBJECTS[mode].get_or_init(make[mode])
}

fn sequential() -> Subject {
    Subject::new(
        Element::F32,
        &[0],
        None,
        &["--mode=sequential", "--model-path=sim:size=4x4"],
    )
}

fn concurrent() -> Subject {
    let model = "--model-path=sim:size=4x4,outputs=3,input=f16";
    let flags = ["--mode=concurrent", model, "--on-invalid=tag:wrong"];
    Subject::new(Element::F16, &[0, 1, 2], Some("wrong"), &flags)
}

fn pipelined() -> Subject {
    let model = "--model-path=sim:size=4x4,outputs=2,batch=4";
    let flags = ["--mode=pipelined", model, "--output=output_1"];
    Subject::new(Element::F32, &[1], None, &flags)
}

fn streaming() -> Subject {
    let model = "--model-path=sim:size=4x4,outputs=2";
    let flags = ["--mode=streaming", model, "--on-invalid=tag:wrong"];
    Subject::new(Element::F32, &[0, 1], Some("wrong"), &flags)
}

impl Subject {
    fn new(element: Element, outputs: &[usize], dead_letter: Option<&str>, flags: &[&str]) -> Self {
        let always = ["--bsz-size=4", "--output-format=raw"];
        let arguments = always.iter().chain(flags).map(Into::into);
        let cli = cli::read(arguments, |_| None).unwrap().cli;
        let mut config = Config::try_from(cli.serve).unwrap();
        config.model.output_size = OutputSize::Full;
        // No answer may depend on the speed of the machine.
        config.model.limits.batch_timeout = None;
        Self {
            sidecar: Sidecar::load(&config).unwrap(),
            element,
            outputs: outputs.to_vec(),
            dead_letter: dead_letter.map(str::to_owned),
        }
    }

    /// The expected answer to `datum`.
    pub fn expected(&self, datum: &Datum) -> Vec<Said> {
        let Some(row) = self.row(datum) else {
            return vec![match &self.dead_letter {
                None => Said {
                    keys: Vec::new(),
                    tags: vec![DROP.to_owned()],
                    value: Vec::new(),
                },
                Some(tag) => Said {
                    keys: datum.keys.clone(),
                    tags: vec![tag.clone()],
                    value: datum.value.clone(),
                },
            }];
        };
        let results = self.outputs.iter().map(|output| {
            let values = row.iter().enumerate();
            let values = values.map(|(position, pixel)| expected(*output, position, *pixel));
            Said {
                keys: datum.keys.clone(),
                tags: match self.outputs.len() {
                    1 => Vec::new(),
                    _ => vec![format!("output_{output}")],
                },
                value: values.flat_map(f32::to_le_bytes).collect(),
            }
        });
        results.collect()
    }

    /// The row of the batch for the datum's frame, if it is a valid one. The target `frame` checks that the row
    /// is correct.
    fn row(&self, datum: &Datum) -> Option<Vec<f32>> {
        let shape = FrameShape {
            height: SIDE,
            width: SIDE,
        };
        let decoder = Decoder::new(Dtype::I16, shape);
        let mut scratch = Scratch::default();
        let pixels = decoder
            .decode(&datum.value, &datum.headers, &mut scratch)
            .ok()?;
        match self.element {
            Element::F32 => {
                let mut row = vec![0.0; PIXELS];
                pixels
                    .write_to(ValuesMut::F32(&mut row), &BadPixels::default())
                    .ok()?;
                Some(row)
            }
            Element::F16 => {
                let mut row = vec![f16::ZERO; PIXELS];
                pixels
                    .write_to(ValuesMut::F16(&mut row), &BadPixels::default())
                    .ok()?;
                Some(row.into_iter().map(f32::from).collect())
            }
        }
    }
}

/// Asserts that the answers, with their ids, are the expected ones to `datums`, each answered once, in any order. Which of
/// two datums with one id an answer belongs to, its messages say.
pub fn check_all(
    subject: &Subject,
    datums: &[Datum],
    answers: impl Iterator<Item = (String, Vec<Said>)>,
) {
    let mut open: Vec<&Datum> = datums.iter().collect();
    for (id, said) in answers {
        let is_answered = |datum: &&Datum| datum.id == id && is_expected(subject, datum, &said);
        match open.iter().position(is_answered) {
            Some(place) => drop(open.swap_remove(place)),
            None => panic!("{id}: {said:?} is no answer to one of {open:?}"),
        }
    }
    assert!(open.is_empty(), "unanswered: {open:?}");
}

/// Whether `said` is the expected answer to `datum`.
fn is_expected(subject: &Subject, datum: &Datum, said: &[Said]) -> bool {
    let expected = subject.expected(datum);
    let is_same = |(said, expected): (&Said, &Said)| {
        (&said.keys, &said.tags) == (&expected.keys, &expected.tags)
            && is_same_value(&said.value, &expected.value)
    };
    said.len() == expected.len() && said.iter().zip(&expected).all(is_same)
}

/// Equal bit for bit, except NaN, which has many bit patterns.
fn is_same_value(said: &[u8], expected: &[u8]) -> bool {
    said == expected || {
        let (said, _) = said.as_chunks::<4>();
        let (expected, _) = expected.as_chunks::<4>();
        let is_nan = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_nan();
        let is_same = |(said, expected)| said == expected || is_nan(said) && is_nan(expected);
        said.len() == expected.len() && said.iter().zip(expected).all(is_same)
    }
}

const NAMES: [&str; 6] = [
    "x-txn-id",
    "x-frame-dtype",
    "x-frame-shape",
    "X-Txn-Id",
    "X-Frame-Dtype",
    "X-Frame-Shape",
];
const VALUES: [&str; 10] = [
    "int16",
    "uint8",
    "float64",
    "4x4",
    "2x8",
    "",
    "0",
    "1",
    "17",
    "18446744073709551615",
];

/// The next datum. Some ids occur twice.
pub fn datum(feed: &mut Feed<'_>) -> Datum {
    let id = match feed.below(4) {
        0 => feed.text(20),
        other => other.to_string(),
    };
    let mut datum = Datum::new(id, payload(feed));
    datum.keys = (0..feed.below(3)).map(|_| feed.text(8)).collect();
    for _ in 0..feed.below(4) {
        let name = match feed.below(NAMES.len() + 1) {
            0 => feed.text(16),
            n => NAMES[n - 1].to_owned(),
        };
        let value = match feed.below(VALUES.len() + 1) {
            0 => feed.text(24),
            n => VALUES[n - 1].to_owned(),
        };
        datum.headers.insert(name, value);
    }
    // The default event time: no answer depends on it.
    if feed.below(4) == 0 {
        datum.event_time = Some(Timestamp {
            seconds: feed.number() as i64,
            nanos: feed.number() as i32,
        });
    }
    if feed.below(8) == 0 {
        let group = KeyValueGroup {
            key_value: [(feed.text(4), feed.bytes(4).to_vec())].into(),
        };
        datum.metadata = Some(Metadata {
            previous_vertex: feed.text(8),
            user_metadata: [(feed.text(4), group)].into(),
            ..Metadata::default()
        });
    }
    datum
}

fn payload(feed: &mut Feed<'_>) -> Vec<u8> {
    let frame = |feed: &mut Feed<'_>, size: usize| -> Vec<u8> {
        (0..PIXELS * size).map(|_| feed.byte()).collect()
    };
    match feed.below(8) {
        0..3 => frame(feed, 2),
        3 => {
            let size = feed.one_of(&[1, 4, 8]);
            frame(feed, size)
        }
        4 => feed.bytes(255).to_vec(),
        choice => {
            let (descr, size) = feed.one_of(&[("<i2", 2), ("<f8", 8), ("|u1", 1), ("<f4", 4)]);
            let dict =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (4, 4), }}\n");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((dict.len() as u16).to_le_bytes());
            file.extend(dict.as_bytes());
            file.extend(frame(feed, size));
            if choice == 5 {
                let place = feed.below(file.len());
                file[place] = feed.byte();
            }
            file
        }
    }
}
