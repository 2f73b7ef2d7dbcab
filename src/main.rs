//! The program. Everything is in the library, so that it is compiled once for the program and its tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    beamflow::run()
}
