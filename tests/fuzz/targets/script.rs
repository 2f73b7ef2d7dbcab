//! Scripts of the simulated device. The input is the text after `sim:`.

use super::assert_one_line;
use beamflow::engine::simulated::{Script, SimulatedEngine};
use beamflow::engine::{Engine, EngineOptions, load};

/// Devices for larger frames are not created: they cost memory and test nothing more.
const FEW: usize = 1 << 12;

pub fn target(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = format!("sim:{text}");
    let script: Script = match text.parse() {
        Ok(script) => script,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            assert!(load(&path, &EngineOptions::default()).is_err());
            return;
        }
    };
    let written = script.to_string();
    assert_one_line(&format!("sim:{written}"), usize::MAX);
    assert_eq!(written.parse::<Script>().as_ref(), Ok(&script), "{written}");

    // A device can execute every script that parses.
    let (height, width) = script.size;
    if height * width <= FEW {
        let engine = SimulatedEngine::new(script.clone());
        let model = engine.model();
        assert!(model.input.shape.ends_with(&[height, width]));
        assert_eq!(model.outputs.len(), script.outputs);
        assert_eq!(engine.devices().len(), script.devices);
        assert!(model.batch.allows(model.batch.best()));
        load(&path, &EngineOptions::default()).unwrap();
    }
}
