//! Whether the lanes fit into the devices' memory, known before they are made.

use super::{BatchDimension, EngineError};

/// A device's memory, and what a session takes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The name of the device, such as `gpu-0`.
    pub device: String,
    /// Bytes free now.
    pub free: usize,
    /// Bytes that one session takes.
    pub per_lane: usize,
}

impl DeviceMemory {
    /// Sessions that fit.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.free.checked_div(self.per_lane).unwrap_or(usize::MAX)
    }
}

/// How many of `lanes` lanes device `device` of `devices` gets: they are dealt out one by one.
#[must_use]
pub fn lanes_on(device: usize, devices: usize, lanes: usize) -> usize {
    let devices = devices.max(1);
    lanes / devices + usize::from(device < lanes % devices)
}

/// Checks that `lanes` lanes with batches of `rows` rows, dealt out over the devices, fit into `memory`.
/// `flag` is what says how many lanes there are.
///
/// # Errors
/// [`EngineError::NoRoom`], saying how many fit and what to lower.
pub fn check(
    memory: &[DeviceMemory],
    lanes: usize,
    rows: usize,
    batch: BatchDimension,
    flag: &'static str,
) -> Result<(), EngineError> {
    let too_full = |lanes: usize| {
        let asked = |n| lanes_on(n, memory.len(), lanes);
        let mut devices = memory.iter().enumerate();
        devices.find(|(n, device)| asked(*n) > device.lanes())
    };
    let Some((n, device)) = too_full(lanes) else {
        return Ok(());
    };
    let smaller_batch = if matches!(batch, BatchDimension::Static(_)) {
        "use an engine with a smaller batch"
    } else {
        "lower --bsz-size"
    };
    let remedy = match (1..lanes).rev().find(|fewer| too_full(*fewer).is_none()) {
        Some(fewer) => format!("lower {flag} to {fewer}, or {smaller_batch}"),
        None => format!("{smaller_batch}, or free memory on the device"),
    };
    Err(EngineError::NoRoom {
        device: device.device.clone(),
        free: device.free,
        per_lane: device.per_lane,
        asked: lanes_on(n, memory.len(), lanes),
        fit: device.lanes(),
        rows,
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(free: usize, per_lane: usize) -> DeviceMemory {
        DeviceMemory {
            device: "gpu-0".to_owned(),
            free,
            per_lane,
        }
    }

    #[test]
    fn lanes_are_dealt_out_evenly_and_none_is_lost() {
        let dealt: Vec<_> = (0..3).map(|device| lanes_on(device, 3, 7)).collect();
        assert_eq!(dealt, [3, 2, 2]);
    }

    fn refused(memory: &[DeviceMemory], lanes: usize, batch: BatchDimension) -> Option<String> {
        check(memory, lanes, 8, batch, "--pipeline-depth")
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn lanes_that_do_not_fit_are_refused_with_a_remedy() {
        let open = BatchDimension::Dynamic;
        assert_eq!(refused(&[device(100, 30)], 3, open), None);
        let text = refused(&[device(100, 30)], 5, open).unwrap();
        assert!(text.starts_with("3 of the 5 lanes"), "{text}");
        assert!(
            text.contains("--pipeline-depth to 3, or lower --bsz-size"),
            "{text}"
        );
    }

    #[test]
    fn the_advice_counts_all_devices() {
        let memory = [device(60, 30), device(90, 30)];
        assert_eq!(refused(&memory, 4, BatchDimension::Dynamic), None);
        let text = refused(&memory, 8, BatchDimension::Dynamic).unwrap();
        assert!(text.contains("--pipeline-depth to 4"), "{text}");
    }

    #[test]
    fn what_cannot_help_is_not_advised() {
        let text = refused(&[device(20, 30)], 1, BatchDimension::Static(8)).unwrap();
        assert!(
            !text.contains("--pipeline-depth") && !text.contains("--bsz-size"),
            "{text}"
        );
        assert!(text.contains("an engine with a smaller batch"), "{text}");
    }

    #[test]
    fn a_session_that_takes_nothing_always_fits() {
        assert_eq!(refused(&[device(0, 0)], 64, BatchDimension::Dynamic), None);
    }
}
