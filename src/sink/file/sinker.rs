//! The SDK's `Sinker`, and the task that completes files.
//!
//! Files are written on blocking threads, one read batch at a time.

use super::files::Files;
use super::settings::Settings;
use super::tally::FileTally;
use numaflow::sink::{Response, SinkRequest, Sinker};
use parking_lot::Mutex;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the ends of files are looked for.
const TICK: Duration = Duration::from_secs(1);

/// How long files may take to be completed at the end: Kubernetes ends the pod 30 s after the shutdown has begun.
const COMPLETED_WITHIN: Duration = Duration::from_secs(15);

/// Why the files cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// The folder is not there, or not writable.
    #[error("cannot write files to {}: {source}; name a writable folder with --folder", path.display())]
    Folder {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// Another process writes there.
    #[error(
        "another file-sink writes to {}: two would repair each other's files; give each a folder of its own with --folder",
        path.display()
    )]
    Taken { path: std::path::PathBuf },
}

/// Results as files; clones share their state.
#[derive(Clone)]
pub(crate) struct FileSink(Arc<Shared>);

struct Shared {
    /// Locked on blocking threads only: for as long as a write takes.
    files: Mutex<Files>,
    /// A copy for readers, which do not wait for the disk.
    seen: Mutex<FileTally>,
    /// Holds one token for each file that is being completed.
    completing: TaskTracker,
    /// Held while the process lives, so that no other one writes to the folder.
    _lock: Option<File>,
}

impl FileSink {
    /// Repairs what an earlier process left in the folder, which is created if it does not exist. Blocks.
    ///
    /// # Errors
    /// [`FolderError`].
    pub(crate) fn start(settings: Settings) -> Result<Self, FolderError> {
        let path = settings.folder.clone();
        let failed = |source| FolderError::Folder {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&path).map_err(failed)?;
        let lock = lock(&path)?;
        let files = Files::new(settings).map_err(failed)?;
        Ok(Self(Arc::new(Shared {
            seen: Mutex::new(files.tally()),
            files: Mutex::new(files),
            completing: TaskTracker::new(),
            _lock: lock,
        })))
    }

    /// What has happened so far.
    pub(crate) fn tally(&self) -> FileTally {
        self.0.seen.lock().clone()
    }

    /// Completes files when their time is over, until the process ends. Then all of them are completed, if that does not take
    /// too long: what is left then is repaired and completed by the next process.
    pub(crate) async fn tend(&self, ended: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.with(Files::sweep).await;
        }
        self.with(Files::end).await;
        self.0.completing.close();
        if tokio::time::timeout(COMPLETED_WITHIN, self.0.completing.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                files = self.0.completing.len(),
                "Files are not complete yet: the next file-sink on this folder completes them."
            );
        }
    }

    /// Runs `task` on a blocking thread, and completes what is over then; `None` if it died, which is logged.
    async fn with<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Option<T> {
        let result = self
            .locked(move |files| (task(files), files.take_over()))
            .await;
        let (result, over) = result?;
        for over in over {
            let sink = self.clone();
            self.0.completing.spawn(async move {
                let outcome = spawn_blocking(move || over.complete()).await;
                let outcome = outcome.inspect_err(|error| {
                    tracing::error!(%error, "Completing a file died: the next process repairs it.");
                });
                if let Ok(outcome) = outcome {
                    sink.locked(move |files| files.completed(outcome)).await;
                }
            });
        }
        Some(result)
    }

    /// Runs `task` on a blocking thread; `None` if it died, which is logged.
    async fn locked<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = Arc::clone(&self.0);
        let result = spawn_blocking(move || {
            let mut files = shared.files.lock();
            let result = task(&mut files);
            *shared.seen.lock() = files.tally();
            result
        })
        .await;
        result
            .inspect_err(|error| tracing::error!(%error, "Writing files died."))
            .ok()
    }
}

/// Locks the folder for this process; `None` if the file system has no locks.
fn lock(folder: &Path) -> Result<Option<File>, FolderError> {
    let path = folder.to_owned();
    let file =
        File::create(folder.join(".beamflow.lock")).map_err(|source| FolderError::Folder {
            path: path.clone(),
            source,
        })?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(FolderError::Taken { path }),
        Err(std::fs::TryLockError::Error(error)) => {
            tracing::warn!(
                folder = %path.display(),
                %error,
                "The folder cannot be locked: make sure that no other file-sink writes to it."
            );
            Ok(None)
        }
    }
}

#[async_trait::async_trait]
impl Sinker for FileSink {
    /// A message without a response counts as failed: Numaflow sends it again.
    async fn sink(&self, mut input: Receiver<SinkRequest>) -> Vec<Response> {
        let mut batch = Vec::new();
        while let Some(request) = input.recv().await {
            batch.push(request);
        }
        let written = self.with(move |files| files.take(batch)).await;
        written.unwrap_or_default()
    }
}
