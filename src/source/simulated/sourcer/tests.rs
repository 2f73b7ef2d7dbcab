use super::*;
use crate::frame::headers;
use crate::lab::Raster;
use crate::lab::experiment;
use numaflow::shared::NackOptions;
use tokio::sync::mpsc;

fn stack() -> FrameStack {
    let raster = Raster {
        rows: 2,
        columns: 2,
        ..experiment::RASTER
    };
    FrameStack::simulate(&experiment::scan_on(16, raster).unwrap(), || ()).unwrap()
}

/// Ten frames a second.
fn source(last: Option<u64>) -> SimulatedSource {
    let settings = Settings {
        exposures: Exposures { fps: 10.0, last },
        buffer: 100,
        ack_timeout: None,
        linger: None,
        replica: 3,
    };
    SimulatedSource::new(
        stack(),
        vec![(1e-6, -2e-6)],
        settings,
        CancellationToken::new(),
    )
}

async fn read(source: &SimulatedSource, count: usize, timeout_ms: u64) -> Vec<Message> {
    let (to, mut from) = mpsc::channel(1000);
    let timeout = Duration::from_millis(timeout_ms);
    source.read(SourceReadRequest { count, timeout }, to).await;
    let mut messages = Vec::new();
    while let Some(message) = from.recv().await {
        messages.push(message);
    }
    messages
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    messages
        .iter()
        .map(|message| message.headers[headers::TXN_ID].parse().unwrap())
        .collect()
}

fn offset(message: &Message) -> Offset {
    Offset {
        offset: message.offset.offset.clone(),
        partition_id: message.offset.partition_id,
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_ends_when_its_count_is_reached_or_its_time_is_over() {
    let source = source(None);
    let start = Instant::now();
    assert_eq!(numbers(&read(&source, 5, 10_000).await), [1, 2, 3, 4, 5]);
    assert_eq!(start.elapsed().as_millis(), 500);
    assert_eq!(read(&source, 1000, 1000).await.len(), 10);
    assert_eq!(start.elapsed().as_millis(), 1500);
    assert!(read(&source, 1000, 0).await.is_empty());
    assert!(read(&source, 0, 1000).await.is_empty());
    assert_eq!(start.elapsed().as_millis(), 1500);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_a_frame_with_headers_and_event_time() {
    let source = source(None);
    let stack = stack();
    let messages = read(&source, 6, 10_000).await;
    for (k, message) in messages.iter().enumerate() {
        // After its end the scan starts again.
        assert_eq!(message.value, stack.frame(k % 4));
        assert_eq!(message.headers[headers::TXN_ID], (k + 1).to_string());
        assert_eq!(message.headers[headers::DTYPE], "int16");
        assert_eq!(message.headers[headers::SHAPE], "16x16");
        assert_eq!(
            message.headers[headers::SERIES_START],
            messages[0].headers[headers::FRAME_TIME]
        );
        // This stack has the position of its first frame only.
        let position = message.headers.get(headers::POSITION_X).map(String::as_str);
        assert_eq!(position, (k % 4 == 0).then_some("0.000001"));
        assert_eq!(message.headers.len(), if k % 4 == 0 { 7 } else { 5 });
        assert_eq!(message.offset.partition_id, 3);
    }
    let between = messages[5].event_time - messages[0].event_time;
    assert_eq!(between.num_milliseconds(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_nack_wakes_a_read_that_waits_and_its_delay_is_kept() {
    let source = source(Some(2));
    let messages = read(&source, 2, 10_000).await;
    let (waiting, start) = (source.clone(), Instant::now());
    let reading = tokio::spawn(async move { numbers(&read(&waiting, 2, 60_000).await) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let nack = |message: &Message, delay| NackOffset {
        offset: offset(message),
        options: Some(NackOptions {
            delay,
            ..NackOptions::default()
        }),
    };
    let nacks = vec![nack(&messages[0], Some(2000)), nack(&messages[1], None)];
    source.nack(nacks).await;
    assert_eq!(reading.await.unwrap(), [2, 1]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_an_earlier_process_and_garbage_change_nothing() {
    let source = source(Some(2));
    read(&source, 2, 10_000).await;
    let strange = ["1", "0-1", "", "-", "x-y"].map(|text| Offset {
        offset: text.as_bytes().to_vec(),
        partition_id: 3,
    });
    source.ack(strange.into()).await;
    assert_eq!(source.pending().await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn frames_of_an_aborted_read_are_delivered_again() {
    let source = source(Some(4));
    let (to, mut from) = mpsc::channel(1);
    let reader = source.clone();
    let request = SourceReadRequest {
        count: 4,
        timeout: Duration::from_secs(60),
    };
    let reading = tokio::spawn(async move { reader.read(request, to).await });
    assert!(from.recv().await.is_some());
    drop(from);
    reading.await.unwrap();
    assert_eq!(numbers(&read(&source, 4, 10_000).await), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_stop_ends_a_read_that_waits() {
    let stop = CancellationToken::new();
    let settings = Settings {
        exposures: Exposures {
            fps: 0.001,
            last: None,
        },
        buffer: 1,
        ack_timeout: None,
        linger: None,
        replica: 0,
    };
    let source = SimulatedSource::new(stack(), Vec::new(), settings, stop.clone());
    let start = Instant::now();
    let reading = tokio::spawn(async move { read(&source, 1, 900_000).await.len() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    assert_eq!(reading.await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), 1);
}
