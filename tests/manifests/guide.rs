//! Output shown in the operations guide is the program's output.

use crate::manifests::documents::{parse, read, root};
use crate::manifests::image::copy;
use beamflow_needs::needs;
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

/// The overlay in "From a detector's PV", as a user makes it.
#[needs(kubectl)]
#[test]
fn the_guides_overlay_for_a_detector_sets_its_pv_and_its_server() {
    let guide = read("docs/operations.md");
    let (_, section) = guide.split_once("\n## From a detector's PV\n").unwrap();
    let (_, overlay) = section.split_once("```yaml\n").unwrap();
    let (overlay, _) = overlay.split_once("```").unwrap();
    for base in ["../../base", "../gpu"] {
        let folder = tempfile::tempdir().unwrap();
        copy(&root().join("k8s"), &folder.path().join("k8s"));
        let site = folder.path().join("k8s/overlays/site");
        std::fs::create_dir(&site).unwrap();
        let overlay = overlay.replace("../../base", base);
        std::fs::write(site.join("kustomization.yaml"), overlay).unwrap();
        let output = Command::new("kubectl")
            .arg("kustomize")
            .arg(site)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{base}: {errors}");
        let documents = parse(base, &String::from_utf8(output.stdout).unwrap());
        let spec = |kind: &str| {
            let mut all = documents.iter().filter(|d| d.kind() == kind);
            let found = all.next().unwrap().value["spec"].clone();
            assert!(all.next().is_none(), "{base}: {kind}");
            found
        };
        let source = &spec("Pipeline")["vertices"][0]["source"]["udsource"]["container"];
        for (n, name, value) in [
            (0, "PVA_INPUT_CHANNEL", "13SIM1:Pva1:Image"),
            (1, "PVA_SERVER", "tcp://10.1.2.3:5075"),
        ] {
            let expected = serde_json::json!({"name": name, "value": value});
            assert_eq!(source["env"][n], expected, "{base}");
        }
        let policy = spec("NetworkPolicy");
        for (direction, rule, side) in [("egress", 0, "to"), ("ingress", 2, "from")] {
            let address = &policy[direction][rule][side][0]["ipBlock"]["cidr"];
            assert_eq!(address, "10.1.2.3/32", "{base}: {direction}");
        }
        // The simulated IOC is left out.
        assert!(documents.iter().all(|d| d.kind() != "Deployment"), "{base}");
    }
}
