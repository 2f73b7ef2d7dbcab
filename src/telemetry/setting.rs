//! A setting in force, as `/stats` and `--print-config` show it.

use serde::Serialize;

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its flag, without the dashes.
    pub flag: String,
    /// As it was given, or its default; empty where there is none.
    pub value: String,
    /// `default`, `flag`, or the environment variable that it came from.
    pub(crate) origin: String,
}
