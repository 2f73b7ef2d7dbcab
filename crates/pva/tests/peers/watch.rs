//! A monitor in a test.

use beamflow_pva::{Content, Event, Image, Monitor, MonitorOptions, ReadOptions, Refusal, Update};

use crate::peer::PATIENCE;

pub(crate) struct Watch(Monitor);

/// Follows `pva:image` at `server`.
pub(crate) fn options(server: &str) -> MonitorOptions {
    MonitorOptions {
        server: Some(server.parse().unwrap()),
        read: ReadOptions {
            max_bytes: 1 << 20,
            attributes: vec!["x".to_owned(), "name".to_owned(), "absent".to_owned()],
        },
        ..MonitorOptions::new("pva:image")
    }
}

impl Watch {
    pub(crate) fn new(options: MonitorOptions) -> Self {
        Self(Monitor::new(options))
    }

    pub(crate) fn at(port: u16) -> Self {
        Self::new(options(&format!("tcp://127.0.0.1:{port}")))
    }

    pub(crate) async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.0.next())
            .await
            .expect("nothing happens")
    }

    /// The next update.
    pub(crate) async fn update(&mut self) -> Update {
        loop {
            if let Event::Update(update) = self.event().await {
                return *update;
            }
        }
    }

    /// Waits for the snapshot of an idle channel.
    pub(crate) async fn idle(&mut self) {
        let update = self.update().await;
        assert!(update.first);
        assert_eq!(update.content, Content::Idle);
    }

    /// The next update, which must be an image.
    pub(crate) async fn image(&mut self) -> (Option<i64>, Image) {
        let update = self.update().await;
        match update.content {
            Content::Image(image) => (update.unique_id, image),
            other => panic!("{other:?}"),
        }
    }

    /// The next update, which must be refused.
    pub(crate) async fn refusal(&mut self) -> Refusal {
        match self.update().await.content {
            Content::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for `event`, whatever comes before it.
    pub(crate) async fn wait_for(&mut self, event: impl Fn(&Event) -> bool) -> Event {
        loop {
            let next = self.event().await;
            if event(&next) {
                return next;
            }
        }
    }
}
