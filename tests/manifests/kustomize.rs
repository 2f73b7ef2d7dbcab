//! Overlays that sites make: other images and tags, each component by itself.

use crate::manifests::containers::containers;
use crate::manifests::documents::{Document, KUSTOMIZATIONS, parse, rendered, root};
use crate::manifests::image::copy;
use beamflow_needs::needs;
use std::process::Command;

/// What an overlay in `k8s/overlays/site` renders to.
pub fn site(overlay: &str) -> Vec<Document> {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("k8s"), &folder.path().join("k8s"));
    let site = folder.path().join("k8s/overlays/site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("kustomization.yaml"), overlay).unwrap();
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(site)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{overlay}\n{errors}");
    parse(overlay, &String::from_utf8(output.stdout).unwrap())
}

/// Without its fields, kustomize changes the image of init containers and Deployments only.
#[needs(kubectl)]
#[test]
fn one_place_changes_registry_and_tag_of_every_container() {
    let mut changed = 0;
    // One has no containers, and one has its own registry.
    let others = ["k8s/monitoring", "k8s/overlays/site-example"];
    for folder in KUSTOMIZATIONS
        .iter()
        .filter(|folder| !others.contains(folder))
    {
        let flavours = ["", "-tensorrt-rtx"].map(|flavour| {
            format!("  - {{name: beamflow{flavour}, newName: registry.example.org/line/beamflow{flavour}, newTag: v7}}\n")
        });
        let overlay = format!(
            "kind: Kustomization\nresources: [../../../{folder}]\nimages:\n{}",
            flavours.concat()
        );
        for document in site(&overlay) {
            for container in containers(&document) {
                let image = container.spec["image"].as_str().unwrap();
                assert!(
                    image.starts_with("registry.example.org/line/beamflow")
                        && image.ends_with(":v7"),
                    "{}: {image}",
                    container.place
                );
                changed += 1;
            }
        }
    }
    assert!(changed > 20, "only {changed} containers were found");
    for document in rendered(others[1]) {
        for container in containers(&document) {
            let image = container.spec["image"].as_str().unwrap();
            assert!(image.starts_with("registry.example.org/"), "{image}");
        }
    }
}
