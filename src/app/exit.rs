//! How the process ends when something in it hangs.

/// Ends the process at once with exit code `code`, without the exit handlers of the libraries that it has opened: a GPU
/// driver that hangs would hang in them too. Flush what must be written before.
pub(crate) fn at_once(code: u8) -> ! {
    signal_hook::low_level::exit(code.into())
}
