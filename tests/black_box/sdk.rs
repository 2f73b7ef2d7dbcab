//! The handler implements the SDK's `BatchMapper`: the SDK's own server runs it too.

use crate::black_box::common::{MODES, NEVER, SIM, assert_result, call, config};
use beamflow::app::map::Sidecar;
use beamflow::vertex::client::Driver;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum, Server};
use numaflow::shared::ServerExtras;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The SDK takes its handler by value.
struct Shared(Arc<beamflow::inference::handler::FrameHandler>);

#[tonic::async_trait]
impl BatchMapper for Shared {
    async fn batchmap(&self, input: mpsc::Receiver<Datum>) -> Vec<BatchResponse> {
        self.0.batchmap(input).await
    }
}

#[tokio::test]
async fn the_handler_answers_every_datum_under_the_sdks_own_server() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let (sock, info) = (folder.path().join("s.sock"), folder.path().join("info"));
        let config = config(&["--mode", mode, "--model-path", SIM, "--output-size", "full"]);
        let sidecar = tokio::task::spawn_blocking(move || Sidecar::load(&config))
            .await
            .unwrap()
            .unwrap();
        let server = Server::new(Shared(sidecar.handler))
            .with_socket_file(&sock)
            .with_server_info_file(&info);
        let (stop, stopped) = oneshot::channel();
        let serving =
            tokio::spawn(async move { server.start_with_shutdown(stopped).await.is_ok() });

        let mut driver = Driver::wait_ready(&info, &sock, NEVER).await.unwrap();
        crate::host::sdk::keep_panic_messages();
        for frames in [0, 1, 45, 1_500] {
            let answer = call(&mut driver, frames).await;
            assert_eq!(answer.len(), frames, "{mode}");
            (0..frames).for_each(|k| assert_result(&answer, k));
        }
        drop(driver);
        stop.send(()).unwrap();
        assert!(serving.await.unwrap(), "{mode}");
    }
}
