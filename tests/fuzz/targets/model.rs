//! Model files, prepared as the CPU engine prepares them before it passes them on. The input is the file.
//!
//! The file lies in a folder with one file of weights, `w`, so that a model may refer to it.

use super::assert_one_line;
use beamflow::engine::onnx::prepare;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Bytes in the file of weights.
const WEIGHTS: usize = 64;

/// How much longer a completed model may be than the file: an operator becomes at most four, with new names.
const GROWTH: usize = 64;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w"), [1; WEIGHTS]).unwrap();
    folder
});

pub fn target(data: &[u8]) {
    let path: PathBuf = FOLDER.path().join("m.onnx");
    let prepared = match prepare(data, &path) {
        Ok(prepared) => prepared,
        Err(cause) => {
            assert_one_line(&cause.to_string(), usize::MAX);
            return;
        }
    };
    assert!(prepared.outside <= WEIGHTS, "{} bytes", prepared.outside);
    let Some(completed) = prepared.completed else {
        return;
    };
    let most = data.len() * GROWTH + 64;
    assert!(completed.len() <= most, "{} of {most}", completed.len());
    // What was completed is a model in which nothing is left to be completed. Only its weights have moved.
    match prepare(&completed, &path) {
        Ok(again) => assert_eq!(again.completed, None),
        Err(cause) => assert!(
            cause.to_string().contains("not in the model's folder"),
            "{cause}"
        ),
    }
}
