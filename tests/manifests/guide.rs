//! Output shown in the operations guide is the program's output.

use crate::manifests::documents::{read, root};
use std::process::Command;

#[test]
fn the_guides_sizing_is_what_the_program_prints() {
    let guide = read("docs/operations.md");
    let (_, rest) = guide.split_once("```sh\nbeamflow size ").unwrap();
    let (flags, rest) = rest.split_once("\n```\n\n```text\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .arg("size")
        .args(flags.split(' '))
        .output()
        .unwrap();
    assert_eq!(shown, String::from_utf8(output.stdout).unwrap());
}

#[test]
fn every_file_that_the_guide_names_is_there() {
    let guide = read("docs/operations.md");
    let mut checked = 0;
    for word in guide.split(['`', ' ', '\n', '(', ')']) {
        let path = word.trim_start_matches("../");
        if ["k8s/", "pipeline.yaml", "deny.toml"]
            .iter()
            .any(|start| path.starts_with(start))
        {
            assert!(root().join(path).exists(), "{path}");
            checked += 1;
        }
    }
    assert!(checked > 10);
}
