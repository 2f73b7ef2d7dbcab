//! Output shown in the operations guide is the program's output.

use crate::manifests::documents::{Document, files, parse, read, rendered, root};
use crate::manifests::image::copy;
use crate::manifests::pva::{named, runs};
use beamflow_needs::needs;
use std::collections::BTreeSet;
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

/// The first overlay in a section, rendered on `base`, as a user makes it.
fn overlay(section: &str, base: &str) -> Vec<Document> {
    let guide = read("docs/operations.md");
    let (_, section) = guide.split_once(&format!("\n## {section}\n")).unwrap();
    let (_, overlay) = section.split_once("```yaml\n").unwrap();
    let (overlay, _) = overlay.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("k8s"), &folder.path().join("k8s"));
    let site = folder.path().join("k8s/overlays/site");
    std::fs::create_dir(&site).unwrap();
    let overlay = overlay.replace("../../base", base);
    std::fs::write(site.join("kustomization.yaml"), overlay).unwrap();
    std::fs::write(site.join("weights.npy"), b"\x93NUMPY").unwrap();
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(site)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{base}: {errors}");
    let documents = parse(base, &String::from_utf8(output.stdout).unwrap());
    // The simulated IOC is left out.
    assert!(documents.iter().all(|d| d.kind() != "Deployment"), "{base}");
    documents
}

#[needs(kubectl)]
#[test]
fn the_guides_overlay_for_a_detector_sets_its_pv_and_its_server() {
    for base in ["../../base", "../gpu"] {
        let documents = overlay("From a detector's PV", base);
        let pipeline = &named(&documents, "Pipeline", "ptychography")["spec"];
        let source = &pipeline["vertices"][0]["source"]["udsource"]["container"];
        for (n, name, value) in [
            (0, "PVA_INPUT_CHANNEL", "13SIM1:Pva1:Image"),
            (1, "PVA_SERVER", "tcp://10.1.2.3:5075"),
        ] {
            let expected = serde_json::json!({"name": name, "value": value});
            assert_eq!(source["env"][n], expected, "{base}");
        }
        let policy = &named(&documents, "NetworkPolicy", "pva-source")["spec"];
        for (direction, rule, side) in [("egress", 0, "to"), ("ingress", 2, "from")] {
            let address = &policy[direction][rule][side][0]["ipBlock"]["cidr"];
            assert_eq!(address, "10.1.2.3/32", "{base}: {direction}");
        }
    }
}

#[needs(kubectl)]
#[test]
fn the_guides_overlay_for_alerts_puts_the_sites_address_into_each() {
    let urls = |documents: &[Document]| -> Vec<String> {
        let groups = &named(documents, "PrometheusRule", "beamflow")["spec"]["groups"];
        let rules = groups.as_array().unwrap().iter();
        let rules = rules.flat_map(|group| group["rules"].as_array().unwrap());
        let url = |rule: &serde_json::Value| rule["annotations"]["runbook_url"].clone();
        rules
            .map(|rule| url(rule).as_str().unwrap().to_owned())
            .collect()
    };
    let shipped = rendered("k8s/monitoring");
    let documents = overlay("Alerts", "../../monitoring");
    let at_site = |path: &String| format!("https://git.example.org/beamline/beamflow/{path}");
    let expected: Vec<_> = urls(&shipped).iter().map(at_site).collect();
    assert!(expected.len() > 20);
    assert_eq!(urls(&documents), expected);
    assert_eq!(documents.len(), shipped.len(), "nothing else is applied");
}

#[needs(kubectl)]
#[test]
fn the_guides_overlay_for_viewers_sets_the_mosaic() {
    for base in ["../../base", "../gpu"] {
        let documents = overlay("See the results", base);
        let pipeline = documents.iter().find(|d| d.kind() == "Pipeline").unwrap();
        let source = runs(pipeline, "pva-source").unwrap();
        for (name, value) in [
            ("PVA_INPUT_CHANNEL", "13SIM1:Pva1:Image"),
            ("PVA_SERVER", "tcp://10.1.2.3:5075"),
            ("PVA_POSITION_X", "StageX*1e-6"),
            ("PVA_POSITION_Y", "StageY*1e-6"),
        ] {
            assert_eq!(source.variable(name), Some(value), "{base}");
        }
        let sink = runs(pipeline, "pva-sink").unwrap();
        for (name, value) in [
            ("PVA_PREFIX", "13PTYCHO"),
            ("PVA_MOSAIC", "true"),
            ("PVA_PIXEL_SIZE", "6.89e-9"),
            ("PVA_WEIGHTS", "/probe/weights.npy"),
        ] {
            assert_eq!(sink.variable(name), Some(value), "{base}");
        }
        // A variable that is there twice would be the last one.
        let names = sink.spec["env"].as_array().unwrap().iter();
        let names: BTreeSet<_> = names.map(|one| one["name"].as_str()).collect();
        assert_eq!(names.len(), sink.spec["env"].as_array().unwrap().len());
        let volume = &sink.vertex["volumes"][0];
        assert_eq!(volume["name"], sink.spec["volumeMounts"][0]["name"]);
        let file = named(
            &documents,
            "ConfigMap",
            volume["configMap"]["name"].as_str().unwrap(),
        );
        assert!(file["binaryData"]["weights.npy"].is_string(), "{base}");
        let policy = &named(&documents, "NetworkPolicy", "pva-sink")["spec"];
        for (direction, side) in [("ingress", "from"), ("egress", "to")] {
            let address = &policy[direction][0][side][0]["ipBlock"]["cidr"];
            assert_eq!(address, "10.1.2.0/24", "{base}: {direction}");
        }
    }
}

#[needs(kubectl)]
#[test]
fn the_guides_overlay_for_files_sets_the_volume() {
    for base in ["../../base", "../gpu", "../../monovertex/base"] {
        let documents = overlay("Keep the results", base);
        let mut sinks = documents.iter().filter_map(|d| runs(d, "file-sink"));
        assert!(sinks.next().is_some(), "{base}");
        let claim = &named(&documents, "PersistentVolumeClaim", "beamflow-files")["spec"];
        assert_eq!(claim["resources"]["requests"]["storage"], "2Ti", "{base}");
        assert_eq!(claim["storageClassName"], "beamline-nfs", "{base}");
    }
}

/// Folders that the guide's tables do not name.
fn unlisted(folders: &[String], guide: &str) -> Vec<String> {
    let rows: Vec<_> = guide
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    let is_listed = |folder: &&String| {
        let cell = format!("`{folder}`");
        rows.iter().any(|row| row.contains(&cell))
    };
    let missing = folders.iter().filter(|folder| !is_listed(folder));
    missing.cloned().collect()
}

#[test]
fn every_overlay_component_and_job_is_in_a_table_of_the_guide() {
    let files = files();
    let folders = files
        .iter()
        .filter_map(|file| file.strip_suffix("/kustomization.yaml"));
    let folders = folders.filter(|folder| !folder.ends_with("/base"));
    let folders: Vec<_> = folders.map(str::to_owned).collect();
    assert!(folders.len() > 30);
    let none: [String; 0] = [];
    assert_eq!(unlisted(&folders, &read("docs/operations.md")), none);
    let folder = ["k8s/a".to_owned()];
    assert_eq!(
        unlisted(&folder, "The folder `k8s/a`.\n| `k8s/ab` |"),
        folder
    );
}

/// The places in a document that a link can name, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    // What is between fences is no text.
    let prose = text.split("```").step_by(2);
    let lines = prose.flat_map(str::lines);
    let headings = lines.filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Links of a document to places that are not there. `other` reads a document beside it.
fn dead_links(text: &str, other: impl Fn(&str) -> String) -> Vec<String> {
    let link = regex::Regex::new(r"\]\(([A-Za-z_./-]*\.md)?#([^)]+)\)").unwrap();
    let links = link.captures_iter(text);
    let dead = links.filter(|link| {
        let target = link.get(1).map(|path| other(path.as_str()));
        !anchors(target.as_deref().unwrap_or(text)).contains(&link[2])
    });
    dead.map(|link| link[0].to_owned()).collect()
}

#[test]
fn every_link_to_a_place_in_a_document_finds_it() {
    for name in [
        "README.md",
        "docs/beamline.md",
        "docs/gpu.md",
        "docs/migration.md",
        "docs/operations.md",
        "docs/reliability.md",
        "docs/troubleshooting.md",
    ] {
        let folder = root().join(name).parent().unwrap().to_owned();
        let other = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
        let none: [String; 0] = [];
        assert_eq!(dead_links(&read(name), other), none, "{name}");
    }
    let text = "# A b\n```sh\n# C\n```\n[1](#a-b) [2](#c) [3](x.md#d) [4](x.md#e)";
    let dead = dead_links(text, |_| "## E".to_owned());
    assert_eq!(dead, ["](#c)", "](x.md#d)"]);
}
