//! All models of a sidecar in the memory of this machine: that of the devices, and the host's. Everything is computed before any
//! lane or slot is made.

use super::fitting::{FitError, Fitted};
use super::memory::{self, Limit};
use crate::engine::EngineError;
use crate::engine::room::{DeviceMemory, lanes_on};
use crate::inference::model::OrAuto;
use bytesize::ByteSize;
use std::fmt;

/// The models do not fit into a memory together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Crowded {
    /// The memory: a device's name, or the limit of the host's.
    place: String,
    /// What is free of it, in bytes.
    free: usize,
    /// What takes the memory: lanes or slots.
    unit: &'static str,
    shares: Vec<Share>,
    remedy: String,
}

/// What a model takes of a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    /// Its index among the models.
    index: usize,
    model: String,
    /// Lanes or slots.
    count: usize,
    /// The rows of each.
    rows: usize,
    /// The bytes of each.
    each: usize,
}

impl Share {
    fn bytes(&self) -> usize {
        self.each.saturating_mul(self.count)
    }
}

fn all(shares: &[Share]) -> usize {
    shares
        .iter()
        .map(Share::bytes)
        .fold(0, usize::saturating_add)
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: usize| ByteSize(bytes as u64).to_string();
        writeln!(
            f,
            "the models do not fit together into {}, of which {} are free; {}",
            self.place,
            size(self.free),
            self.remedy
        )?;
        let unit = self.unit;
        writeln!(
            f,
            "  {:<24} {unit:>5} {:>6} {:>12} {:>12}  fits",
            "model", "batch", "each", "together"
        )?;
        let mut taken: usize = 0;
        for share in &self.shares {
            taken = taken.saturating_add(share.bytes());
            let fits = if taken <= self.free { "yes" } else { "no" };
            let Share {
                model, count, rows, ..
            } = share;
            let (each, together) = (size(share.each), size(share.bytes()));
            writeln!(
                f,
                "  {model:<24} {count:>5} {rows:>6} {each:>12} {together:>12}  {fits}"
            )?;
        }
        write!(
            f,
            "  {:<24} {:>5} {:>6} {:>12} {:>12}",
            "all",
            "",
            "",
            "",
            size(taken)
        )
    }
}

/// Compares what the lanes of all models take with the memory of each device. A batch of `auto` becomes smaller where that is
/// needed, that of the model that takes most first.
///
/// # Errors
/// [`Crowded`] for the first device that is too full, or the error of a device that does not answer.
pub(super) fn on_devices(fitted: &mut [Fitted]) -> Result<(), FitError> {
    if fitted.len() < 2 {
        return Ok(()); // A model by itself is compared when it is planned.
    }
    while let Some((place, free, shares)) = too_full(fitted)? {
        let can_shrink = |share: &&Share| {
            fitted.get(share.index).is_some_and(|fitted| {
                let least = fitted.plan.engine.model().batch.least();
                fitted.config.model.batch_size == OrAuto::Auto && share.rows / 2 >= least.max(1)
            })
        };
        let largest = shares
            .iter()
            .filter(can_shrink)
            .max_by_key(|share| share.bytes());
        let Some(model) = largest.and_then(|share| fitted.get_mut(share.index)) else {
            let flag = fitted
                .first()
                .map_or("", |fitted| fitted.config.in_flight_flag());
            let remedy = remedy(free, &shares, flag);
            return Err(Crowded {
                place,
                free,
                unit: "lanes",
                shares,
                remedy,
            }
            .into());
        };
        let (batch, smaller) = (model.plan.batch_size, model.plan.batch_size / 2);
        tracing::warn!(
            model = model.plan.name,
            batch,
            smaller,
            device = place,
            "The models do not fit together; a smaller batch is tried."
        );
        model.plan.batch_size = smaller;
    }
    Ok(())
}

/// The first device with too little memory: its name, its free memory and what each model takes of it.
fn too_full(fitted: &[Fitted]) -> Result<Option<(String, usize, Vec<Share>)>, EngineError> {
    let mut told: Vec<(usize, Vec<DeviceMemory>)> = Vec::new();
    for (index, fitted) in fitted.iter().enumerate() {
        let memory = fitted.plan.engine.memory(fitted.plan.batch_size)?;
        told.extend(memory.map(|memory| (index, memory)));
    }
    let mut names: Vec<&str> = Vec::new();
    for device in told.iter().flat_map(|(_, memory)| memory) {
        if !names.contains(&device.device.as_str()) {
            names.push(&device.device);
        }
    }
    for name in names {
        let mut free = usize::MAX;
        let mut shares = Vec::new();
        for (index, memory) in &told {
            let Some(plan) = fitted.get(*index).map(|fitted| &fitted.plan) else {
                continue;
            };
            for (n, device) in memory
                .iter()
                .enumerate()
                .filter(|(_, device)| device.device == name)
            {
                free = free.min(device.free);
                shares.push(Share {
                    index: *index,
                    model: plan.name.clone(),
                    count: lanes_on(n, memory.len(), plan.lanes),
                    rows: plan.batch_size,
                    each: device.per_lane,
                });
            }
        }
        if all(&shares) > free {
            return Ok(Some((name.to_owned(), free, shares)));
        }
    }
    Ok(None)
}

/// What to lower; `flag` says how many lanes or slots each model has.
fn remedy(free: usize, shares: &[Share], flag: &str) -> String {
    let most = shares.iter().map(|share| share.count).max().unwrap_or(0);
    let with = |fewer: usize| {
        let of = |share: &Share| share.each.saturating_mul(share.count.min(fewer));
        shares.iter().map(of).fold(0, usize::saturating_add)
    };
    let largest = shares.iter().max_by_key(|share| share.bytes());
    let largest = largest.map_or("", |share| share.model.as_str());
    match (1..most).rev().find(|fewer| with(*fewer) <= free) {
        Some(fewer) => format!("lower {flag} to {fewer}, or the batch of '{largest}':"),
        None => format!("lower the batch of '{largest}', or serve fewer models here:"),
    }
}

/// Compares the memory limit, if there is one, with what the slots of all models and read batches need.
///
/// # Errors
/// [`FitError::Limit`] or [`Crowded`] if the slots do not fit. If only the read batches do not fit, a warning
/// says so; otherwise a line says how large read batches may be.
pub(super) fn in_memory(fitted: &[Fitted]) -> Result<(), FitError> {
    let Some(limit) = Limit::tightest() else {
        return Ok(());
    };
    let share = |(index, Fitted { plan, .. }): (usize, &Fitted)| {
        let batch = plan.engine.model().batch;
        let rows = batch.rows(plan.batch_size).max(plan.batch_size);
        Share {
            index,
            model: plan.name.clone(),
            count: plan.slots,
            rows,
            each: plan.engine.model().batch_bytes(rows),
        }
    };
    let shares: Vec<_> = fitted.iter().enumerate().map(share).collect();
    let room = limit.left().saturating_sub(memory::SPARE);
    if all(&shares) > room {
        return Err(match shares.as_slice() {
            [only] => FitError::Limit {
                fit: room.checked_div(only.each).unwrap_or(only.count),
                asked: only.count,
                limit: limit.to_string(),
            },
            _ => {
                let flag = fitted
                    .first()
                    .map_or("", |fitted| fitted.config.in_flight_flag());
                let remedy = remedy(room, &shares, flag);
                let place = format!("the memory below {limit}");
                Crowded {
                    place,
                    free: room,
                    unit: "slots",
                    shares,
                    remedy,
                }
                .into()
            }
        });
    }
    // A read batch may hold frames of the model whose frames are the largest, and of no other.
    let of_a_frame = |Fitted { plan, .. }: &Fitted| {
        let results = plan.outputs.iter().map(|o| o.envelope.encoded_len()).sum();
        memory::of_read_batch(1, plan.decoder.raw_frame_bytes(), results)
    };
    let of_a_frame = fitted.iter().map(of_a_frame).max().unwrap_or(0);
    let decoding =
        |Fitted { plan, .. }: &Fitted| (plan.decoders + 1) * plan.decoder.raw_frame_bytes();
    let taken = all(&shares).saturating_add(fitted.iter().map(decoding).sum());
    let left = limit.left().saturating_sub(taken);
    let frames = left.checked_div(of_a_frame).unwrap_or(usize::MAX);
    let useful = |fitted: &Fitted| fitted.config.useful_read_batch(fitted.plan.batch_size);
    let useful: usize = fitted.iter().map(useful).sum();
    if frames < useful {
        tracing::warn!(
            left = %ByteSize(left as u64),
            needed = %ByteSize(useful.saturating_mul(of_a_frame) as u64),
            "Read batches of {useful} frames may exceed {limit}, and the kernel would end the process: raise the limit, or lower \
             limits.readBatchSize, --bsz-size or {}.",
            fitted.first().map_or("", |fitted| fitted.config.in_flight_flag())
        );
    } else {
        tracing::info!("There is room for read batches of {frames} frames below {limit}.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(index: usize, model: &str, count: usize, each: usize) -> Share {
        Share {
            index,
            model: model.to_owned(),
            count,
            rows: 8,
            each,
        }
    }

    #[test]
    fn models_that_do_not_fit_are_listed_with_what_each_takes_and_what_to_lower() {
        let shares = vec![share(0, "low", 3, 1 << 30), share(1, "high", 3, 6 << 30)];
        let free = 16 << 30;
        let remedy = remedy(free, &shares, "--pipeline-depth");
        let crowded = Crowded {
            place: "gpu-0".to_owned(),
            free,
            unit: "lanes",
            shares,
            remedy,
        };
        assert_eq!(
            crowded.to_string(),
            "the models do not fit together into gpu-0, of which 16.0 GiB are free; lower --pipeline-depth to 2, or the \
             batch of 'high':\n\
             \x20 model                    lanes  batch         each     together  fits\n\
             \x20 low                          3      8      1.0 GiB      3.0 GiB  yes\n\
             \x20 high                         3      8      6.0 GiB     18.0 GiB  no\n\
             \x20 all                                                    21.0 GiB"
        );
    }

    #[test]
    fn a_batch_is_named_where_fewer_lanes_do_not_help() {
        let shares = [share(0, "low", 1, 100), share(1, "high", 1, 200)];
        let told = remedy(250, &shares, "--pipeline-depth");
        assert_eq!(
            told,
            "lower the batch of 'high', or serve fewer models here:"
        );
    }
}
