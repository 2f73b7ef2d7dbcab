use super::rig::{By, Numbers, Rig, finish, number_of, settings};
use beamflow::vertex::client::pipeline::{Report, Settings};
use numaflow::batchmap::Message;
use numaflow::shared::NackOptions;
use numaflow::sink::{Response, SinkRequest};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Passes each message on.
fn same() -> By<impl Fn(&numaflow::batchmap::Datum) -> Vec<Message>> {
    By(|datum: &numaflow::batchmap::Datum| vec![Message::new(datum.value.clone())])
}

/// Writes everything.
fn ok() -> By<impl Fn(&SinkRequest) -> Response> {
    By(|request: &SinkRequest| Response::ok(request.id.clone()))
}

#[tokio::test]
async fn an_output_has_the_id_headers_and_times_numa_gives_it() {
    let rig = Rig::new();
    let source = Numbers::new(3);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let two = By(|datum: &numaflow::batchmap::Datum| {
        let keyed = Message::new(datum.value.clone()).with_keys(vec!["k".to_owned()]);
        vec![keyed, Message::new(datum.id.clone().into_bytes())]
    });
    let to = Arc::clone(&seen);
    let note = By(move |request: &SinkRequest| {
        to.lock().unwrap().push((
            request.id.clone(),
            String::from_utf8(request.value.clone()).unwrap(),
            request.keys.clone(),
            request.headers["x-txn-id"].clone(),
            request.event_time.timestamp(),
            request.user_metadata.value("scan", "n"),
        ));
        Response::ok(request.id.clone())
    });
    let _programs = (rig.source(&source), rig.map(two), rig.sink("sink", note));
    let report = finish(&mut rig.pipeline(settings())).await.unwrap();
    assert_eq!((report.read, report.acked, report.written), (3, 3, 6));
    let seen = seen.lock().unwrap();
    // 0xff and the digit "1", in base64.
    let id = "v-/zE=-3-";
    let keys = vec!["k".to_owned()];
    let first = (
        id.to_owned() + "0",
        "1".to_owned(),
        keys,
        "1".to_owned(),
        1_001,
        vec![7],
    );
    assert_eq!(seen[2], first);
    let of_map = "/zE=-3".to_owned();
    let second = (
        id.to_owned() + "1",
        of_map,
        vec![],
        "1".to_owned(),
        1_001,
        vec![7],
    );
    assert_eq!(seen[3], second);
}

#[tokio::test]
async fn no_message_is_acked_before_its_batch_is_written() {
    let rig = Rig::new();
    let source = Numbers::new(200);
    let account = source.clone();
    let unacked = By(move |request: &SinkRequest| {
        let number = number_of(request);
        assert!(account.stock(|stock| stock.out.contains(&number)));
        Response::ok(request.id.clone())
    });
    let _programs = (
        rig.source(&source),
        rig.map(same()),
        rig.sink("sink", unacked),
    );
    let report = finish(&mut rig.pipeline(settings())).await.unwrap();
    assert_eq!((report.read, report.written, report.acked), (200, 200, 200));
    assert!(report.is_balanced());
    assert_eq!(source.stock(|stock| stock.acked.len()), 200);
    let calls = [report.reads.count, report.maps.count, report.writes.count];
    assert_eq!(calls, [14, 13, 13], "the last read is empty");
    assert!(report.maps.longest >= report.maps.mean());
}

#[tokio::test]
async fn a_dropped_output_is_acked_and_not_written() {
    let rig = Rig::new();
    let source = Numbers::new(20);
    let odd = By(|datum: &numaflow::batchmap::Datum| {
        let number: u64 = datum.headers["x-txn-id"].parse().unwrap();
        match number % 2 {
            1 => vec![Message::new(Vec::new())],
            _ => vec![Message::message_to_drop()],
        }
    });
    let written_odd = By(|request: &SinkRequest| {
        assert_eq!(number_of(request) % 2, 1);
        Response::ok(request.id.clone())
    });
    let _programs = (
        rig.source(&source),
        rig.map(odd),
        rig.sink("sink", written_odd),
    );
    let report = finish(&mut rig.pipeline(settings())).await.unwrap();
    let expected = Report {
        read: 20,
        acked: 20,
        mapped: 20,
        dropped: 10,
        written: 10,
        ..report
    };
    assert_eq!(report, expected);
}

#[tokio::test]
async fn a_nacked_message_goes_back_with_its_delay() {
    let rig = Rig::new();
    let source = Numbers::new(20);
    let tries = AtomicUsize::new(0);
    let nack_five = By(move |datum: &numaflow::batchmap::Datum| {
        if datum.headers["x-txn-id"] != "5" || tries.fetch_add(1, Ordering::SeqCst) > 0 {
            return vec![Message::new(Vec::new())];
        }
        let options = NackOptions {
            delay: Some(30),
            ..NackOptions::default()
        };
        vec![Message::message_to_nack(Some(options))]
    });
    let _programs = (
        rig.source(&source),
        rig.map(nack_five),
        rig.sink("sink", ok()),
    );
    let report = finish(&mut rig.pipeline(settings())).await.unwrap();
    assert_eq!((report.read, report.again, report.nacked), (21, 1, 1));
    assert_eq!((report.acked, report.written), (20, 20));
    assert!(report.is_balanced());
    assert_eq!(source.stock(|stock| stock.nacked.clone()), [(5, Some(30))]);
}

/// The most messages that were out while a sink wrote.
async fn most_out(read_ahead: usize) -> usize {
    let rig = Rig::new();
    let source = Numbers::new(320);
    let (account, most) = (source.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let look = By(move |request: &SinkRequest| {
        // The reader has all the time that it needs to read ahead, if it does.
        for _ in 0..200 {
            let out = account.stock(|stock| stock.out.len());
            seen.fetch_max(out, Ordering::SeqCst);
            if out > 16 || number_of(request) > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Response::ok(request.id.clone())
    });
    let _programs = (rig.source(&source), rig.map(same()), rig.sink("sink", look));
    let settings = Settings {
        read_ahead,
        ..settings()
    };
    let report = finish(&mut rig.pipeline(settings)).await.unwrap();
    assert_eq!(report.acked, 320);
    most.load(Ordering::SeqCst)
}

#[tokio::test]
async fn read_ahead_bounds_what_is_in_hand() {
    assert_eq!(most_out(1).await, 16);
    let most = most_out(3).await;
    assert!((17..=48).contains(&most), "{most}");
}
