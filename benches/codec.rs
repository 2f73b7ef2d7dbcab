//! Speed of decoding compressed frames, compared with copying their pixels and with Python's libraries.
//!
//! The frames are simulated diffraction patterns (int16, 512 × 512, at most 10⁶, 10⁷ and 10⁸ photons). *decode* gives their pixels;
//! *to f32* also converts them into a row, as the sidecar does. The reference is `memcpy` of the pixels. All subjects
//! alternate; the results are medians of the rounds, on one core.
//!
//! ```sh
//! python3 -m venv venv && venv/bin/pip install -r benches/codec_requirements.txt
//! BEAMFLOW_PYTHON=venv/bin/python cargo bench --bench codec
//! ```
//!
//! Without `BEAMFLOW_PYTHON` there are only the codecs that this project can write.

use beamflow::frame::headers::Description;
use beamflow::frame::values::ValuesMut;
use beamflow::frame::{BadPixels, Codec, Decoder, Dtype, FrameShape, Scratch};
use beamflow::lab::encoder::Encoder;
use beamflow::lab::stack::FrameStack;
use beamflow::lab::{Raster, experiment};
use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

const SIDE: usize = 512;
const ROUNDS: usize = 21;

type Failure = Box<dyn std::error::Error>;

/// Compressed frames of one kind.
struct Subject {
    name: String,
    decoder: Decoder,
    headers: HashMap<String, String>,
    payloads: Vec<Vec<u8>>,
}

impl Subject {
    fn new(name: &str, codec: Codec, payloads: Vec<Vec<u8>>) -> Self {
        let shape = FrameShape {
            height: SIDE,
            width: SIDE,
        };
        let dtype = match codec {
            Codec::Jpeg => Dtype::U8,
            _ => Dtype::I16,
        };
        let description = Description {
            number: 0,
            dtype,
            shape,
            codec: Some(codec),
        };
        Self {
            name: name.to_owned(),
            decoder: Decoder::new(dtype, shape),
            headers: description.headers().collect(),
            payloads,
        }
    }

    /// Seconds that a frame takes, decoded and then converted.
    fn time(&self, scratch: &mut Scratch, row: &mut [f32]) -> Result<[f64; 2], Failure> {
        let bad = BadPixels::default();
        let (mut decoding, mut both) = (0.0, 0.0);
        for payload in &self.payloads {
            let begun = Instant::now();
            let payload = black_box(payload);
            let pixels = self.decoder.decode(payload, &self.headers, scratch)?;
            decoding += begun.elapsed().as_secs_f64();
            pixels.write_to(ValuesMut::F32(&mut *row), &bad)?;
            both += begun.elapsed().as_secs_f64();
            black_box(&row);
        }
        Ok([decoding, both].map(|seconds| seconds / self.payloads.len() as f64))
    }
}

/// The same frames in Python.
struct Peer {
    child: Child,
    names: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(
        python: &str,
        folder: &Path,
        stack: &FrameStack,
    ) -> Result<(Self, Vec<String>), Failure> {
        let mut file = std::fs::File::create(folder.join("frames"))?;
        for k in 0..stack.frames() {
            file.write_all(stack.frame(k))?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/codec_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder)
            .arg(SIDE.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let names = child.stdin.take().ok_or("no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut peer = Self {
            child,
            names,
            answers,
        };
        let codecs = peer.line()?.split_whitespace().map(str::to_owned).collect();
        Ok((peer, codecs))
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }

    fn time(&mut self, name: &str) -> Result<f64, Failure> {
        writeln!(self.names, "{name}")?;
        Ok(self.line()?.trim().parse()?)
    }

    fn stop(mut self) -> Result<(), Failure> {
        drop(self.names);
        self.child.wait()?;
        Ok(())
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(photons: f64) -> Result<(), Failure> {
    let raster = Raster {
        rows: 4,
        columns: 4,
        ..experiment::RASTER
    };
    let stack = FrameStack::simulate(&experiment::scan_of(SIDE, photons, raster)?, || ())?;
    let folder = tempfile::tempdir()?;
    let python = std::env::var("BEAMFLOW_PYTHON").ok();
    let mut subjects = Vec::new();
    let mut peer = None;
    match python {
        Some(python) => {
            let (started, names) = Peer::start(&python, folder.path(), &stack)?;
            peer = Some(started);
            for name in names {
                let read = |k| std::fs::read(folder.path().join(format!("{name}.{k}")));
                let payloads = (0..stack.frames()).map(read).collect::<Result<_, _>>()?;
                let codec = name.split('-').next().unwrap_or_default().parse()?;
                subjects.push(Subject::new(&name, codec, payloads));
            }
        }
        None => {
            for encoder in Encoder::ALL {
                let stack = stack.compressed(encoder);
                let payloads = (0..stack.frames()).map(|k| stack.frame(k).to_vec());
                let name = encoder.to_string();
                subjects.push(Subject::new(&name, encoder.codec(), payloads.collect()));
            }
        }
    }
    let mut scratch = Scratch::default();
    let mut row = vec![0.0; SIDE * SIDE];
    let mut copy = vec![0; stack.frame(0).len()];
    let mut memcpy = Vec::new();
    let mut times = vec![[const { Vec::new() }; 3]; subjects.len()];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for k in 0..stack.frames() {
            black_box(&mut copy).copy_from_slice(black_box(stack.frame(k)));
        }
        memcpy.push(begun.elapsed().as_secs_f64() / stack.frames() as f64);
        for (subject, [decode, convert, theirs]) in subjects.iter().zip(&mut times) {
            let [decoding, both] = subject.time(&mut scratch, &mut row)?;
            decode.push(decoding);
            convert.push(both);
            if let Some(peer) = &mut peer {
                theirs.push(peer.time(&subject.name)?);
            }
        }
    }
    let memcpy = median(&mut memcpy);
    println!(
        "at most {photons:e} photons; memcpy {:.1} GB/s",
        stack.frame(0).len() as f64 / memcpy / 1e9
    );
    println!("  codec       smaller   decode  × memcpy  × Python   to f32   frames/s");
    for (subject, [decode, convert, theirs]) in subjects.iter().zip(&mut times) {
        let bytes = SIDE * SIDE * if subject.name == "jpeg" { 1 } else { 2 };
        let compressed: usize = subject.payloads.iter().map(Vec::len).sum();
        let smaller = (bytes * stack.frames()) as f64 / compressed as f64;
        let (decode, convert) = (median(decode), median(convert));
        let speed = |seconds: f64| bytes as f64 / seconds / 1e9;
        println!(
            "  {:10}  {smaller:5.1} ×  {:5.2} GB/s  {:6.2}  {:8.2}  {:5.2} GB/s  {:6.0}",
            subject.name,
            speed(decode),
            memcpy / decode,
            median(theirs) / decode,
            speed(convert),
            1.0 / convert,
        );
    }
    println!();
    peer.map_or(Ok(()), Peer::stop)
}

fn main() -> Result<(), Failure> {
    println!("frames of {SIDE}x{SIDE} int16 (jpeg: uint8), one core\n");
    [1e6, 1e7, 1e8].into_iter().try_for_each(table)
}
