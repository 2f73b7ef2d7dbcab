//! Progress of a build.

use crate::tensorrt::BuildProgress;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use trtx::interfaces::MonitorProgress;

/// Passes on TensorRT's progress. Phases are nested; only the outermost phases are passed on.
pub(crate) struct Monitor {
    watcher: Box<dyn BuildProgress>,
    /// The outermost phases in progress, with their numbers of steps.
    phases: Mutex<BTreeMap<String, usize>>,
}

impl Monitor {
    pub(crate) fn new(watcher: Box<dyn BuildProgress>) -> Self {
        Self {
            watcher,
            phases: Mutex::default(),
        }
    }
}

impl MonitorProgress for Monitor {
    fn phase_start(&self, phase_name: &str, parent_phase: Option<&str>, num_steps: i32) {
        let steps = usize::try_from(num_steps).unwrap_or_default();
        tracing::debug!(phase = phase_name, steps, "A phase of the build starts.");
        if parent_phase.is_none() {
            self.phases.lock().insert(phase_name.to_owned(), steps);
            self.watcher.step(phase_name, 0, steps);
        }
    }

    fn step_complete(&self, phase_name: &str, step: i32) -> ControlFlow<()> {
        let steps = self.phases.lock().get(phase_name).copied();
        if let (Some(steps), Ok(step)) = (steps, usize::try_from(step)) {
            self.watcher.step(phase_name, step + 1, steps);
        }
        ControlFlow::Continue(())
    }

    fn phase_finish(&self, phase_name: &str) {
        tracing::debug!(phase = phase_name, "A phase of the build is complete.");
        self.phases.lock().remove(phase_name);
    }
}
