//! Messages on a `MapFn` stream, valid by the protocol or not, over the socket of a sidecar. The input is a
//! mode, then messages.
//!
//! Each batch that ends, by its end of transmission or by the end of the stream, is answered: one response per
//! datum with the datum's metadata, in any order, then one end of transmission. In streaming mode the whole stream is one
//! batch without an end of transmission. A message that violates the protocol ends its
//! stream with a status that names the violation, and nothing else: the next stream is served.

use super::datums::{self, MODES, Said, Subject, check_all, runtime, subject};
use super::feed::Feed;
use beamflow::vertex::MapMode;
use beamflow::vertex::client::{Datum, dial};
use beamflow::vertex::map::{Server, ServerConfig};
use numaflow::proto::map::map_client::MapClient;
use numaflow::proto::map::{Handshake, MapRequest, MapResponse, TransmissionStatus};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

const MOST: usize = 40;

/// Longer than any stream takes.
const NEVER: Duration = Duration::from_secs(60);

pub fn target(data: &[u8]) {
    let mut feed = Feed(data);
    let mode = feed.below(MODES);
    let mut messages = Vec::new();
    while !feed.is_empty() && messages.len() < MOST {
        messages.push(message(&mut feed, messages.is_empty()));
    }
    let map_mode = map_mode(mode);
    let expected = Expected::of(&messages, map_mode);
    let requests = messages.into_iter().map(|(request, _)| request).collect();
    let channel = channel(mode);
    let told = runtime().block_on(async {
        let told = exchange(channel, requests);
        tokio::time::timeout(NEVER, told)
            .await
            .expect("the stream ends")
    });
    expected.check(subject(mode), map_mode, told);
}

fn map_mode(mode: usize) -> MapMode {
    match mode {
        mode if mode + 1 == MODES => MapMode::Unary,
        _ => MapMode::Batch,
    }
}

/// The next message, and the datum that is in it.
fn message(feed: &mut Feed<'_>, is_first: bool) -> (MapRequest, Option<Datum>) {
    let mut request = MapRequest::default();
    let choice = feed.below(16);
    // Most streams begin with a handshake: without it, little is tested.
    if is_first && choice != 1 || choice == 2 {
        request.handshake = Some(Handshake { sot: choice != 3 });
        return (request, None);
    }
    request.id = feed.text(4);
    let datum = match choice {
        1 | 4 | 5 => None,
        _ => {
            let datum = datums::datum(feed);
            request = MapRequest::from(datum.clone());
            Some(datum)
        }
    };
    request.status = match choice {
        4..7 => Some(TransmissionStatus { eot: true }),
        7 => Some(TransmissionStatus { eot: false }),
        _ => None,
    };
    if choice == 8 {
        request.handshake = Some(Handshake { sot: true });
    }
    (request, datum)
}

/// The expected answers.
#[derive(Default)]
struct Expected {
    /// The stream is refused because the handshake is missing.
    refused: bool,
    /// The batches that are answered.
    batches: Vec<Vec<Datum>>,
    /// The stream ends with an error.
    broken: bool,
}

impl Expected {
    fn of(messages: &[(MapRequest, Option<Datum>)], map_mode: MapMode) -> Self {
        let mut expected = Self::default();
        let [(first, _), rest @ ..] = messages else {
            expected.refused = true;
            return expected;
        };
        if first.handshake.is_none() {
            expected.refused = true;
            return expected;
        }
        let mut open: Option<Vec<Datum>> = None;
        for (request, datum) in rest {
            let batch = open.get_or_insert_default();
            let eot = request.status.as_ref().is_some_and(|status| status.eot);
            match datum {
                Some(datum) => batch.push(datum.clone()),
                None if eot => {}
                None => {
                    expected.broken = true;
                    return expected;
                }
            }
            if eot && map_mode == MapMode::Batch {
                expected.batches.extend(open.take());
            }
        }
        expected.batches.extend(open);
        expected
    }

    fn check(
        self,
        subject: &Subject,
        map_mode: MapMode,
        (responses, status): (Vec<MapResponse>, Option<Status>),
    ) {
        let is_expected = self.refused || self.broken;
        assert_eq!(status.is_some(), is_expected, "{status:?}");
        if let Some(status) = status {
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
        let mut responses = responses.into_iter();
        if !self.refused {
            let echo = responses.next().expect("the handshake is echoed");
            assert!(echo.handshake.is_some() && echo.results.is_empty());
        }
        for batch in &self.batches {
            let answers: Vec<_> = responses.by_ref().take(batch.len()).collect();
            for response in &answers {
                assert!(response.status.is_none() && response.handshake.is_none());
                for result in &response.results {
                    let mut came = result.metadata.clone().unwrap_or_default();
                    // What the sidecar says of its results is added.
                    came.user_metadata.remove("beamflow");
                    let is_of = |datum: &Datum| {
                        datum.id == response.id
                            && datum.metadata.clone().unwrap_or_default() == came
                    };
                    assert!(batch.iter().any(is_of), "{response:?}");
                }
            }
            check_all(subject, batch, answers.into_iter().map(said));
            if map_mode == MapMode::Batch {
                let end = responses
                    .next()
                    .expect("a batch has an end of transmission");
                assert!(end.status.is_some_and(|status| status.eot) && end.results.is_empty());
            }
        }
        // Some datums of a stream that broke may have been answered before.
        assert!(
            self.broken || responses.next().is_none(),
            "nothing comes after the end"
        );
    }
}

fn said(response: MapResponse) -> (String, Vec<Said>) {
    let said = response.results.into_iter().map(|result| Said {
        keys: result.keys,
        tags: result.tags,
        value: result.value,
    });
    (response.id, said.collect())
}

/// Sends everything and receives until the stream ends; returns the answers, and the status if it was an error.
async fn exchange(
    channel: Channel,
    requests: Vec<MapRequest>,
) -> (Vec<MapResponse>, Option<Status>) {
    let mut said = Vec::new();
    let mut client = MapClient::new(channel);
    let mut responses = match client.map_fn(futures::stream::iter(requests)).await {
        Ok(responses) => responses.into_inner(),
        Err(status) => return (said, Some(status)),
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => said.push(response),
            Ok(None) => return (said, None),
            Err(status) => return (said, Some(status)),
        }
    }
}

/// A connection to the sidecar of that mode, which is started at the first call.
fn channel(mode: usize) -> Channel {
    static CHANNELS: [OnceLock<Channel>; MODES] = [const { OnceLock::new() }; MODES];
    let serve = || serve(subject(mode), map_mode(mode));
    CHANNELS[mode].get_or_init(serve).clone()
}

fn serve(subject: &'static Subject, map_mode: MapMode) -> Channel {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        map_mode,
        sock_path: folder.path().join("sock"),
        server_info_path: folder.path().join("info"),
        read_ahead: subject.sidecar.batch_size,
        ..ServerConfig::default()
    };
    let sock = config.sock_path.clone();
    let handler = Arc::clone(&subject.sidecar.handler);
    let server = Server::new(subject.sidecar.mapper(), config, move |id, _| {
        handler.unanswered(id)
    });
    runtime().spawn(server.serve(CancellationToken::new()));
    runtime().block_on(async {
        loop {
            match dial(&sock).await {
                // The client is connected, so the folder can be removed.
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
}
