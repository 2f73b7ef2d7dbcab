//! Numa between source, map and sink: one read batch at a time, and every step entered in the account.

use super::account::{Account, Written};
use super::part::Part;
use super::{NEVER, number};
use beamflow::vertex::client::{
    Datum, Driver, DriverError, Message, Nack, Offset, Sink, Source, Verdict,
};
use futures::stream;
use numaflow::proto::map::map_response;
use numaflow::proto::metadata::Metadata;
use numaflow::shared::{DROP, NACK};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// See the module documentation. Dropped, it hangs up.
pub struct Numa {
    source: Source,
    map: Driver,
    sink: Sink,
}

/// What was read, and what the map made of it.
struct Mapped {
    outputs: Vec<Datum>,
    acks: Vec<Offset>,
    nacks: Vec<Nack>,
}

impl Numa {
    pub async fn connect(source: &Part, map: &Part, sink: &Part) -> Self {
        let source = Source::wait_ready(&source.info(), &source.sock(), NEVER).await;
        let map = Driver::wait_ready(&map.info(), &map.sock(), NEVER).await;
        let sink = Sink::wait_ready(&sink.info(), &sink.sock(), NEVER).await;
        Self {
            source: source.expect("the source is ready"),
            map: map.expect("the map is ready"),
            sink: sink.expect("the sink is ready"),
        }
    }

    /// Reads, maps, writes, and acks or nacks.
    ///
    /// # Errors
    /// A part is gone.
    pub async fn turn(
        &mut self,
        chance: &mut ChaCha8Rng,
        account: &mut Account,
    ) -> Result<(), DriverError> {
        let turn = self.bounded(chance, account);
        let ended = tokio::time::timeout(NEVER, turn).await;
        ended.expect("nothing hangs")
    }

    async fn bounded(
        &mut self,
        chance: &mut ChaCha8Rng,
        account: &mut Account,
    ) -> Result<(), DriverError> {
        let count = number(chance, 1, 100) as usize;
        let messages = self.source.read(count, Duration::from_millis(5)).await?;
        if messages.is_empty() {
            return Ok(());
        }
        account.mapping(messages.len() as u64);
        let datums: Vec<_> = messages.iter().map(|m| m.datum.clone()).collect();
        let answer = self.map.call(stream::iter(datums)).await?;
        account.mapped(messages.len() as u64);
        let answer = answer.responses.into_iter().collect();
        let mut mapped = Mapped::new(messages, answer, account);
        let written: Vec<_> = mapped.outputs.iter().map(Written::of).collect();
        account.writing(&written);
        if !mapped.outputs.is_empty() {
            let verdicts = self.sink.write(&mapped.outputs).await?;
            assert!(verdicts.iter().all(|one| *one == Verdict::Written));
        }
        account.written(&written);
        // An answer that numa did not see: the frames come again.
        if number(chance, 1, 20) == 1 {
            account.count("batches given back after they were written", 1);
            let back = mapped.acks.drain(..);
            mapped.nacks.extend(back.map(|offset| Nack {
                offset,
                delay: None,
            }));
        }
        if !mapped.nacks.is_empty() {
            self.source.nack(mapped.nacks).await?;
        }
        if !mapped.acks.is_empty() {
            self.source.ack(mapped.acks).await?;
        }
        Ok(())
    }
}

impl Mapped {
    fn new(
        messages: Vec<Message>,
        mut answer: std::collections::HashMap<String, Vec<map_response::Result>>,
        account: &mut Account,
    ) -> Self {
        let mut mapped = Self {
            outputs: Vec::new(),
            acks: Vec::new(),
            nacks: Vec::new(),
        };
        for Message { offset, datum } in messages {
            let results = answer.remove(&datum.id).unwrap();
            let has = |tag: &str| results.iter().any(|one| one.tags.iter().any(|t| t == tag));
            assert!(!has(DROP), "nothing is dropped: {datum:?}");
            if has(NACK) {
                account.count("nacked by the map", 1);
                mapped.nacks.push(Nack {
                    offset,
                    delay: None,
                });
                continue;
            }
            for (index, result) in results.into_iter().enumerate() {
                mapped.outputs.push(output(&datum, index, result));
            }
            mapped.acks.push(offset);
        }
        mapped
    }
}

/// A message of the map as numa hands it on: with the headers and the event time of its parent.
fn output(parent: &Datum, index: usize, result: map_response::Result) -> Datum {
    Datum {
        id: format!("map-{}-{index}", parent.id),
        keys: result.keys,
        value: result.value,
        headers: parent.headers.clone(),
        metadata: Some(Metadata {
            user_metadata: result.metadata.unwrap_or_default().user_metadata,
            ..parent.metadata.clone().unwrap_or_default()
        }),
        event_time: parent.event_time,
    }
}
