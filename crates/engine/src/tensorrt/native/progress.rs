//! How far a build has come.

use crate::tensorrt::BuildProgress;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use trtx::interfaces::MonitorProgress;

/// TensorRT's progress. Phases lie within phases; only the outermost are passed on.
pub(crate) struct Monitor {
    watcher: Box<dyn BuildProgress>,
    /// The outermost phases under way, with their steps.
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
        tracing::debug!(phase = phase_name, steps, "A build phase begins.");
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
        tracing::debug!(phase = phase_name, "A build phase is done.");
        self.phases.lock().remove(phase_name);
    }
}
