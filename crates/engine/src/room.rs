//! Checks whether the lanes fit into the devices' memory, before they are created.

/// The free memory of a device, and the memory that a session takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The name of the device, such as `gpu-0`.
    pub device: String,
    /// Free memory now, in bytes.
    pub free: usize,
    /// Memory that one session takes, in bytes.
    pub per_lane: usize,
}

impl DeviceMemory {
    /// Number of sessions that fit into the free memory.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.free.checked_div(self.per_lane).unwrap_or(usize::MAX)
    }
}

/// Number of lanes on device `device` of `devices`, if `lanes` lanes are distributed over the devices one by one.
#[must_use]
pub fn lanes_on(device: usize, devices: usize, lanes: usize) -> usize {
    let devices = devices.max(1);
    lanes / devices + usize::from(device < lanes % devices)
}

/// The lanes do not fit into a device's memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{fit} of the {asked} requested lanes fit on {device}: {free} bytes of its memory are free, and a lane with a \
     batch of {rows} rows takes {per_lane} bytes"
)]
pub struct NoRoom {
    /// The name of the device.
    pub device: String,
    /// Free memory, in bytes.
    pub free: usize,
    /// Memory that a lane takes, in bytes.
    pub per_lane: usize,
    /// Lanes requested on this device.
    pub asked: usize,
    /// Lanes that fit on this device.
    pub fit: usize,
    /// Rows in a batch.
    pub rows: usize,
    /// The largest number of lanes on all devices that fits, less than requested; `None` if not even one lane fits.
    pub fewer: Option<usize>,
}

/// Checks that `lanes` lanes with batches of `rows` rows, distributed over the devices, fit into `memory`.
///
/// # Errors
/// [`NoRoom`], with the number of lanes that fit.
pub fn check(memory: &[DeviceMemory], lanes: usize, rows: usize) -> Result<(), NoRoom> {
    let too_full = |lanes: usize| {
        let asked = |n| lanes_on(n, memory.len(), lanes);
        let mut devices = memory.iter().enumerate();
        devices.find(|(n, device)| asked(*n) > device.lanes())
    };
    let Some((n, device)) = too_full(lanes) else {
        return Ok(());
    };
    Err(NoRoom {
        device: device.device.clone(),
        free: device.free,
        per_lane: device.per_lane,
        asked: lanes_on(n, memory.len(), lanes),
        fit: device.lanes(),
        rows,
        fewer: (1..lanes).rev().find(|fewer| too_full(*fewer).is_none()),
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
    fn lanes_are_distributed_evenly_and_completely() {
        let dealt: Vec<_> = (0..3).map(|device| lanes_on(device, 3, 7)).collect();
        assert_eq!(dealt, [3, 2, 2]);
    }

    /// The error for `lanes` lanes with batches of 8 rows, if they do not fit.
    fn refused(memory: &[DeviceMemory], lanes: usize) -> Option<NoRoom> {
        check(memory, lanes, 8).err()
    }

    #[test]
    fn lanes_that_do_not_fit_are_refused_with_the_number_that_does() {
        assert_eq!(refused(&[device(100, 30)], 3), None);
        let refused = refused(&[device(100, 30)], 5).unwrap();
        assert!(
            refused
                .to_string()
                .starts_with("3 of the 5 requested lanes fit"),
            "{refused}"
        );
        assert_eq!(refused.fewer, Some(3));
    }

    #[test]
    fn the_number_that_fits_counts_all_devices() {
        let memory = [device(60, 30), device(90, 30)];
        assert_eq!(refused(&memory, 4), None);
        assert_eq!(refused(&memory, 8).unwrap().fewer, Some(4));
    }

    #[test]
    fn no_number_is_named_if_not_even_one_lane_fits() {
        assert_eq!(refused(&[device(20, 30)], 1).unwrap().fewer, None);
    }

    #[test]
    fn a_session_that_takes_nothing_always_fits() {
        assert_eq!(refused(&[device(0, 0)], 64), None);
    }
}
