//! Whether the lanes fit into the devices' memory, known before they are made.

use super::EngineError;

/// A device's memory, and what a session takes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The device's name.
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
    flag: &'static str,
) -> Result<(), EngineError> {
    for (n, device) in memory.iter().enumerate() {
        let (asked, fit) = (lanes_on(n, memory.len(), lanes), device.lanes());
        if asked > fit {
            return Err(EngineError::NoRoom {
                device: device.device.clone(),
                free: device.free,
                per_lane: device.per_lane,
                asked,
                fit,
                rows,
                flag,
            });
        }
    }
    Ok(())
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

    #[test]
    fn lanes_that_do_not_fit_are_refused_with_how_many_do_and_what_to_lower() {
        assert!(check(&[device(100, 30)], 3, 8, "--pipeline-depth").is_ok());
        let error = check(&[device(100, 30)], 4, 8, "--pipeline-depth").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("3 of the 4 lanes"), "{text}");
        assert!(text.contains("--pipeline-depth to 3"), "{text}");
    }

    #[test]
    fn every_device_counts_with_its_own_share() {
        assert!(check(&[device(60, 30), device(30, 30)], 3, 8, "").is_ok());
        assert!(check(&[device(60, 30), device(30, 30)], 4, 8, "").is_err());
    }

    #[test]
    fn a_session_that_takes_nothing_always_fits() {
        assert!(check(&[device(0, 0)], 64, 8, "").is_ok());
    }
}
