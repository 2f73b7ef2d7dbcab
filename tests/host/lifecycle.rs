//! Start, shutdown, the socket and the server-info file.

use std::os::unix::net::UnixListener;

use beamflow::vertex::client::{Driver, DriverError, dial};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::support::{Rig, answer, datum, datums, echo, server, soon, value};

/// A host with a call in progress; its handler has read datum `a` and waits for more.
async fn in_mid_call() -> (Rig, Driver) {
    let (tell, mut news) = mpsc::unbounded_channel();
    let rig = Rig::start(move |mut input| {
        let tell = tell.clone();
        async move {
            let first = input.recv().await.unwrap();
            tell.send(()).unwrap();
            let mut responses = echo(input).await;
            responses.push(answer(first.id, first.value));
            responses
        }
    })
    .await;
    let mut driver = rig.driver().await;
    driver.send_datum(datum("a")).await.unwrap();
    soon(news.recv()).await.unwrap();
    (rig, driver)
}

#[tokio::test]
async fn a_shutdown_in_mid_call_lets_the_call_finish_and_answers_it() {
    let (rig, mut driver) = in_mid_call().await;
    rig.shutdown.cancel();
    // The rest of the batch arrives after the signal and belongs to the call in progress.
    let back = soon(driver.call(datums(&["b", "c"]))).await.unwrap();
    for id in ["a", "b", "c"] {
        assert_eq!(value(&back, id), id.as_bytes());
    }
    // No further batch starts: the stream ends.
    assert!(soon(driver.next_response()).await.unwrap().is_none());
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_draining_sidecar_is_not_ready_and_opens_no_stream() {
    let (rig, mut driver) = in_mid_call().await;
    assert!(driver.is_ready().await.unwrap());
    rig.shutdown.cancel();
    assert!(!soon(driver.is_ready()).await.unwrap(), "same connection");
    match soon(Driver::connect(&rig.config.sock_path)).await {
        Err(DriverError::NotReady { .. }) => {}
        other => panic!("on a new connection: {other:?}"),
    }
    let channel = dial(&rig.config.sock_path).await.unwrap();
    match soon(Driver::over(channel)).await {
        Err(DriverError::Status { status, .. }) => assert_eq!(status.code(), Code::Unavailable),
        other => panic!("{other:?}"),
    }
    driver.end_of_transmission().await.unwrap();
    assert_eq!(soon(driver.answer()).await.unwrap().len(), 1);
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_between_batches_removes_the_files() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    soon(driver.call(datums(&["a"]))).await.unwrap();
    let config = rig.config.clone();
    rig.shutdown.cancel();
    assert!(soon(driver.next_response()).await.unwrap().is_none());
    let dir = rig.dir.path().to_owned();
    let served = soon(rig.serving).await.unwrap();
    served.unwrap();
    assert!(!config.sock_path.exists());
    assert!(!config.server_info_path.exists());
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
}

#[tokio::test]
async fn a_dropped_host_removes_its_files() {
    let rig = Rig::start(echo).await;
    rig.serving.abort();
    assert!(soon(rig.serving).await.unwrap_err().is_cancelled());
    assert!(!rig.config.sock_path.exists());
    assert!(!rig.config.server_info_path.exists());
}

#[tokio::test]
async fn a_socket_in_use_is_not_replaced() {
    let rig = Rig::start(echo).await;
    let second = server(echo, rig.config.clone()).serve(CancellationToken::new());
    let error = soon(second).await.unwrap_err();
    assert_eq!(error.kind(), "in_use");
    let path = rig.config.sock_path.display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    // The first host is unchanged, including its server-info file.
    let mut driver = rig.driver().await;
    soon(driver.call(datums(&["a"]))).await.unwrap();
}

#[tokio::test]
async fn files_of_a_killed_sidecar_are_replaced() {
    let rig = Rig::start_with(echo, |config| {
        drop(UnixListener::bind(&config.sock_path).unwrap());
        std::fs::write(&config.server_info_path, "{}U+005C__END__").unwrap();
        // Neither end of a path needs to exist.
        config.server_info_path = config.sock_path.with_file_name("a/b/info");
    })
    .await;
    let mut driver = rig.driver().await;
    soon(driver.call(datums(&["a"]))).await.unwrap();
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_a_socket_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = beamflow::vertex::map::ServerConfig {
        sock_path: dir.path().join("precious"),
        server_info_path: dir.path().join("info"),
        ..Default::default()
    };
    std::fs::write(&config.sock_path, "data").unwrap();
    let serving = server(echo, config.clone()).serve(CancellationToken::new());
    assert_eq!(soon(serving).await.unwrap_err().kind(), "not_a_socket");
    assert_eq!(std::fs::read(&config.sock_path).unwrap(), b"data");
}
