//! A `file-sink` for tests, and h5py as the reader of its files.

use crate::black_box::results::{Scan, Sinking, stats, values};
use crate::black_box::source::Source;
use beamflow::vertex::client::Datum;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Starts a file sink that writes to `folder`.
pub async fn file_sink(folder: &Path, flags: &[&str]) -> Sinking {
    let folder = folder.to_str().unwrap();
    let all = ["--folder", folder, "--http-address", "127.0.0.1:0"];
    Source::start_as("file-sink", &[&all, flags].concat()).await
}

/// The names in a folder with this ending.
pub fn named(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let mut named: Vec<_> = paths
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    named.sort();
    named
}

/// The only file that is complete; none is growing.
pub fn only(folder: &Path) -> PathBuf {
    assert_eq!(named(folder, ".partial"), Vec::<PathBuf>::new());
    let [path] = <[PathBuf; 1]>::try_from(named(folder, ".h5")).unwrap();
    path
}

/// What h5py finds in a file.
pub fn found(path: &Path, how: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/files.py");
    let output = Command::new(std::env::var("BEAMFLOW_PYTHON").unwrap())
        .arg(script)
        .arg(path)
        .args(how)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The values of a dataset.
pub fn column(found: &Value, name: &str) -> Vec<Value> {
    let values = &found["groups"]["data"][name]["values"];
    values.as_array().unwrap().clone()
}

/// The values of the results of these frames, as h5py shows them.
pub fn images(numbers: &[u64]) -> Vec<Value> {
    let values = numbers.iter().flat_map(|number| values(*number));
    values.map(|value| json!(value)).collect()
}

/// Both outputs of these frames.
pub fn results(scan: &Scan, numbers: &[u64]) -> Vec<Datum> {
    let outputs = ["phase", "amplitude"];
    let both = numbers
        .iter()
        .flat_map(|n| outputs.map(|output| (*n, output)));
    both.map(|(number, output)| scan.result(number, output))
        .collect()
}

/// Every result is in one state.
pub async fn balanced(sink: &Sinking) {
    let stats = stats(sink).await;
    let of = |name: &str| stats[name].as_u64().unwrap();
    let states = [
        "written",
        "duplicates",
        "late",
        "other_outputs",
        "unfit",
        "failed",
    ];
    let all: u64 = states.map(of).iter().sum();
    assert_eq!(of("results"), all, "{stats}");
}
