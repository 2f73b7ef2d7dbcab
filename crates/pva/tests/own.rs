//! Our server and our monitor, together.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use beamflow_frame::{Codec, Dtype, FrameShape};
use beamflow_pva::{
    Attribute, Content, Event, Image, Monitor, MonitorOptions, NewImage, ReadOptions, Server,
    ServerError, ServerOptions, Unwritable, Update,
};

const PATIENCE: Duration = Duration::from_secs(60);

const SHAPE: FrameShape = FrameShape {
    height: 5,
    width: 7,
};

fn server() -> Server {
    Server::start(&ServerOptions::loopback()).unwrap()
}

fn monitor(server: &Server) -> Monitor {
    let address = format!("tcp://127.0.0.1:{}", server.tcp_port());
    Monitor::new(MonitorOptions {
        server: Some(address.parse().unwrap()),
        queue: 4,
        read: ReadOptions {
            attributes: vec![
                "PositionX".to_owned(),
                "Text".to_owned(),
                "Count".to_owned(),
            ],
            ..ReadOptions::default()
        },
        ..MonitorOptions::new("a:image")
    })
}

async fn update(monitor: &mut Monitor) -> Update {
    loop {
        let event = tokio::time::timeout(PATIENCE, monitor.next())
            .await
            .expect("nothing happens");
        if let Event::Update(update) = event {
            return *update;
        }
    }
}

fn image(dtype: Dtype, codec: Option<Codec>) -> NewImage {
    let bytes = match codec {
        None => SHAPE.bytes(dtype).unwrap(),
        Some(_) => 11,
    };
    NewImage {
        image: Image {
            pixels: (0..bytes).map(|byte| (3 + 7 * byte) as u8).collect(),
            dtype,
            shape: SHAPE,
            codec,
        },
        unique_id: -5,
        data_time_stamp: 1_700_000_000_123_456_789,
        attributes: vec![
            ("PositionX".to_owned(), Attribute::Number(-2.5e-6)),
            ("Text".to_owned(), Attribute::Text("sample 7".to_owned())),
            ("Count".to_owned(), Attribute::Integer(1 << 40)),
        ],
    }
}

#[tokio::test]
async fn every_image_comes_back_as_it_was_posted() {
    let server = server();
    let pv = server.image("a:image").unwrap();
    let mut monitor = monitor(&server);
    assert_eq!(update(&mut monitor).await.content, Content::Idle);
    let codecs = std::iter::once(None).chain(Codec::ALL.map(Some));
    let mut last = 0;
    for codec in codecs {
        for dtype in Dtype::ALL {
            let posted = image(dtype, codec);
            pv.post(&posted).unwrap();
            let update = update(&mut monitor).await;
            assert_eq!(update.content, Content::Image(posted.image));
            assert_eq!(update.unique_id, Some(-5));
            assert_eq!(update.data_time_stamp, posted.data_time_stamp);
            assert_eq!(update.attributes, posted.attributes);
            assert!(update.time_stamp > last);
            last = update.time_stamp;
        }
    }
}

#[tokio::test]
async fn a_client_that_connects_later_gets_the_last_image() {
    let server = server();
    let pv = server.image("a:image").unwrap();
    for id in 1..=3 {
        let posted = NewImage {
            unique_id: id,
            ..image(Dtype::U16, None)
        };
        pv.post(&posted).unwrap();
    }
    let first = update(&mut monitor(&server)).await;
    assert_eq!((first.unique_id, first.first), (Some(3), true));
}

#[tokio::test]
async fn a_repeated_image_keeps_its_number_and_both_times() {
    let server = server();
    let pv = server.image("a:image").unwrap();
    let mut monitor = monitor(&server);
    assert_eq!(update(&mut monitor).await.content, Content::Idle);
    pv.post(&image(Dtype::U16, None)).unwrap();
    assert_eq!(pv.repeat(), Ok(1));
    let [first, second] = [update(&mut monitor).await, update(&mut monitor).await];
    assert_eq!(first, second);
    // A new post is later.
    pv.post(&image(Dtype::U16, None)).unwrap();
    assert!(update(&mut monitor).await.time_stamp > first.time_stamp);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitored_pv_loses_no_post_from_then_on() {
    const POSTS: i32 = 50;
    let server = server();
    let pv = server.image("a:image").unwrap();
    let none = tokio::time::timeout(Duration::from_millis(50), pv.monitored()).await;
    assert!(none.is_err(), "nothing is connected");
    let mut monitor = Monitor::new(MonitorOptions {
        server_queue: 200,
        queue: 200,
        ..monitor(&server).options().clone()
    });
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&Some(POSTS.into())) {
            let update = update(&mut monitor).await;
            if update.content != Content::Idle {
                seen.push(update.unique_id);
            }
        }
        seen
    });
    let monitored = tokio::time::timeout(PATIENCE, pv.monitored()).await;
    monitored.unwrap().unwrap();
    for id in 1..=POSTS {
        let posted = NewImage {
            unique_id: id,
            ..image(Dtype::U8, None)
        };
        pv.post(&posted).unwrap();
    }
    let seen = reader.await.unwrap();
    assert!(seen.into_iter().eq((1..=POSTS).map(|id| Some(id.into()))));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing_in_another_task() {
    const POSTS: i32 = 20;
    let server = server();
    let pv = server.image("a:image").unwrap();
    // All queues are long enough for all posts.
    let mut monitor = Monitor::new(MonitorOptions {
        server_queue: 200,
        queue: 200,
        ..monitor(&server).options().clone()
    });
    assert_eq!(update(&mut monitor).await.content, Content::Idle);
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&Some(POSTS.into())) {
            // The wait is cancelled whenever there is nothing yet.
            let next = tokio::select! {
                biased;
                event = monitor.next() => Some(event),
                () = tokio::task::yield_now() => None,
            };
            if let Some(Event::Update(update)) = next {
                seen.push(update.unique_id);
            }
        }
        seen
    });
    for id in 1..=POSTS {
        let posted = NewImage {
            unique_id: id,
            ..image(Dtype::U8, None)
        };
        pv.post(&posted).unwrap();
        tokio::task::yield_now().await;
    }
    let seen = tokio::time::timeout(PATIENCE, reader)
        .await
        .unwrap()
        .unwrap();
    assert!(seen.into_iter().eq((1..=POSTS).map(|id| Some(id.into()))));
}

#[tokio::test]
async fn an_image_that_is_none_is_not_posted() {
    let server = server();
    let pv = server.image("a:image").unwrap();
    let mut short = image(Dtype::U16, None);
    short.image.pixels = short.image.pixels.slice(1..);
    let error = pv.post(&short).unwrap_err().to_string();
    assert_eq!(error, "69 bytes of pixels do not fill 5x7 uint16");
    let mut wide = image(Dtype::U8, Some(Codec::Lz4));
    wide.image.shape.width = 1 << 31;
    assert_eq!(
        pv.post(&wide).unwrap_err(),
        Unwritable::Dimension(1 << 31).into()
    );
}

#[tokio::test]
async fn two_pvs_of_one_name_are_refused() {
    let server = server();
    let _first = server.image("a:image").unwrap();
    let second = server.number("a:image", 0.0).err();
    assert_eq!(second, Some(ServerError::Name("a:image".to_owned())));
}

/// The server writes first, to those that it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_allowed_are_disconnected() {
    let options = ServerOptions {
        max_connections: 1,
        ..ServerOptions::loopback()
    };
    let server = Server::start(&options).unwrap();
    let greeted = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read(&mut [0; 8]).is_ok_and(|bytes| bytes > 0)
    };
    let mut first = TcpStream::connect(("127.0.0.1", server.tcp_port())).unwrap();
    assert!(greeted(&mut first));
    let mut second = TcpStream::connect(("127.0.0.1", server.tcp_port())).unwrap();
    assert!(!greeted(&mut second));
    assert_eq!(server.connections(), 1);
}

/// The reader starts when all queues are full. Its updates and their counts of lost updates add up to all posts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_reader_misses_is_counted() {
    const POSTS: i32 = 100;
    let server = server();
    let pv = server.image("a:image").unwrap();
    let mut slow = Monitor::new(MonitorOptions {
        // The server and the client keep them all, so that only the queue of four is too short.
        server_queue: 200,
        ..monitor(&server).options().clone()
    });
    let mut fast = monitor(&server);
    assert_eq!(update(&mut slow).await.content, Content::Idle);
    assert_eq!(update(&mut fast).await.content, Content::Idle);
    for id in 1..=POSTS {
        let posted = NewImage {
            unique_id: id,
            ..image(Dtype::U16, None)
        };
        pv.post(&posted).unwrap();
        assert_eq!(update(&mut fast).await.unique_id, Some(id.into()));
    }
    // Those that were kept are the oldest.
    for id in 1..=4 {
        let update = update(&mut slow).await;
        assert_eq!((update.unique_id, update.lost_in_client), (Some(id), 0));
    }
    // Some posts may still be on their way, so a later one may be lost too. The ids are consecutive: the last one that
    // came is the number of all posts up to it.
    let mut seen: u64 = 4;
    let mut last = 4;
    let mut later = POSTS;
    while last <= i64::from(POSTS) {
        later += 1;
        pv.post(&NewImage {
            unique_id: later,
            ..image(Dtype::U16, None)
        })
        .unwrap();
        let update = update(&mut slow).await;
        last = update.unique_id.unwrap();
        seen += 1 + update.lost_in_client;
    }
    assert_eq!(seen, u64::try_from(last).unwrap());
}

#[tokio::test]
async fn a_port_that_is_taken_is_replaced_unless_it_must_be_this_one() {
    let first = server();
    let port = first.tcp_port();
    let options = ServerOptions {
        tcp_port: Some(port),
        ..ServerOptions::loopback()
    };
    assert_ne!(Server::start(&options).unwrap().tcp_port(), port);
    let exact = ServerOptions {
        exact_port: true,
        ..options
    };
    assert_eq!(Server::start(&exact).err(), Some(ServerError::Port(port)));
    let any = ServerOptions {
        tcp_port: Some(0),
        ..exact
    };
    assert_ne!(Server::start(&any).unwrap().tcp_port(), 0);
}
