//! Models files. The input is the content of the file.

use super::assert_one_line;
use beamflow::cli;
use beamflow::config::Config;
use beamflow::config::models::{ModelsFile, parse};
use beamflow::inference::model::ModelSettings;
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// What the flags say, if none is given.
fn flags() -> &'static ModelSettings {
    static FLAGS: OnceLock<ModelSettings> = OnceLock::new();
    FLAGS.get_or_init(|| {
        let reading = cli::read([], |_| None).unwrap();
        Config::try_from(reading.cli.serve).unwrap().model
    })
}

pub fn target(data: &[u8]) {
    match parse(data, flags()) {
        Ok(file) => check(&file),
        Err(mistake) => {
            let text = mistake.to_string();
            assert_one_line(&text, 1000);
            let mut numbers = text.split(':').map(str::parse::<usize>);
            let (line, column) = (numbers.next().unwrap(), numbers.next().unwrap());
            // YAML's line breaks are \n, \r and both together. The end of the file is a place, too.
            let breaks = data.iter().filter(|byte| [b'\n', b'\r'].contains(byte));
            assert!((1..=breaks.count() + 1).contains(&line.unwrap()), "{text}");
            assert!((1..=data.len() + 1).contains(&column.unwrap()), "{text}");
        }
    }
}

/// What holds in every file that is accepted.
fn check(file: &ModelsFile) {
    let models = 0..file.models.len();
    assert!((1..=64).contains(&models.end));
    assert!(models.contains(&file.default));
    for model in &file.models {
        assert!(!model.path.is_empty());
        assert!((1..=65_536).contains(&model.backlog));
        assert!(!model.limits.inference_timeout.is_zero());
    }
    let headers: BTreeSet<_> = file.routes.iter().map(|route| &route.header).collect();
    assert_eq!(headers.len(), file.routes.len());
    for route in &file.routes {
        assert!(route.header.starts_with("x-") && !route.header.contains(char::is_uppercase));
        assert!(!route.values.is_empty());
        assert!(route.values.values().all(|model| models.contains(model)));
        assert!(
            route
                .values
                .keys()
                .all(|value| value.trim() == value && !value.is_empty())
        );
    }
}
