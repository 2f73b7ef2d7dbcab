//! The type and shape of raw results: both or neither.

use crate::config::ConfigError;
use crate::frame::{Dtype, FrameShape};
use crate::sink::result::Raw;

/// What `--output-dtype` and `--output-shape` say.
///
/// # Errors
/// One of them without the other.
pub(super) fn raw(dtype: Option<Dtype>, shape: Option<FrameShape>) -> Result<Raw, ConfigError> {
    let wrong = |flag, given: String, reason: &str| {
        Err(ConfigError {
            flag,
            given,
            reason: reason.to_owned(),
        })
    };
    match (dtype, shape) {
        (Some(dtype), None) => wrong(
            "--output-dtype",
            dtype.to_string(),
            "raw results have a shape, too; add --output-shape",
        ),
        (None, Some(shape)) => wrong(
            "--output-shape",
            shape.to_string(),
            "raw results have a type, too; add --output-dtype",
        ),
        (dtype, shape) => Ok(dtype.zip(shape)),
    }
}
