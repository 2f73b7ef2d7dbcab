//! Whether the lanes fit into the devices' memory, known before they are made.

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

/// The lanes do not fit into a device's memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{fit} of the {asked} lanes asked for fit on {device}, which has {free} bytes of memory free, and a lane with \
     a batch of {rows} takes {per_lane}"
)]
pub struct NoRoom {
    /// The device.
    pub device: String,
    /// Free memory, bytes.
    pub free: usize,
    /// What a lane takes, bytes.
    pub per_lane: usize,
    /// Lanes asked for on this device.
    pub asked: usize,
    /// Lanes that fit on this device.
    pub fit: usize,
    /// Rows in a batch.
    pub rows: usize,
    /// The most lanes on all devices that fit, fewer than were asked for; `None` if not even one does.
    pub fewer: Option<usize>,
}

/// Checks that `lanes` lanes with batches of `rows` rows, dealt out over the devices, fit into `memory`.
///
/// # Errors
/// [`NoRoom`], saying how many fit.
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
    fn lanes_are_dealt_out_evenly_and_none_is_lost() {
        let dealt: Vec<_> = (0..3).map(|device| lanes_on(device, 3, 7)).collect();
        assert_eq!(dealt, [3, 2, 2]);
    }

    /// What fits, of `lanes` lanes with batches of 8 rows.
    fn refused(memory: &[DeviceMemory], lanes: usize) -> Option<NoRoom> {
        check(memory, lanes, 8).err()
    }

    #[test]
    fn lanes_that_do_not_fit_are_refused_with_the_number_that_does() {
        assert_eq!(refused(&[device(100, 30)], 3), None);
        let refused = refused(&[device(100, 30)], 5).unwrap();
        assert!(
            refused.to_string().starts_with("3 of the 5 lanes"),
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
