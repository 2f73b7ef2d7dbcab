//! Dashboard, alerts, PodMonitors.

use crate::manifests::documents::{KUSTOMIZATIONS, parse, read, root, written};
use beamflow_needs::needs;
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Labels that Prometheus adds, by the operator or by the PodMonitor's relabelling.
const OF_TARGETS: [&str; 6] = [
    "namespace",
    "pod",
    "endpoint",
    "pipeline",
    "vertex",
    "mvtx_name",
];

/// Series of other programs, with those of their labels that are used.
const OF_OTHERS: [(&str, &[&str]); 11] = [
    (
        "DCGM_FI_DEV_FB_USED",
        &["Hostname", "gpu", "exported_namespace"],
    ),
    (
        "DCGM_FI_DEV_GPU_UTIL",
        &["Hostname", "gpu", "exported_namespace"],
    ),
    ("isb_jetstream_buffer_soft_usage", &["buffer"]),
    ("kube_pod_container_status_restarts_total", &["container"]),
    (
        "kube_pod_init_container_status_restarts_total",
        &["container"],
    ),
    ("kube_pod_status_phase", &["phase"]),
    (
        "kubelet_volume_stats_capacity_bytes",
        &["persistentvolumeclaim"],
    ),
    (
        "kubelet_volume_stats_used_bytes",
        &["persistentvolumeclaim"],
    ),
    ("monovtx_pending_raw", &["mvtx_name"]),
    ("monovtx_read_total", &["mvtx_name"]),
    ("vertex_pending_messages_raw", &["pipeline", "vertex"]),
];

type Table = BTreeMap<String, BTreeSet<String>>;

/// Metric → labels: from the README's table, and the series of other programs.
fn known() -> Table {
    let row = Regex::new(r"(?m)^\| `(beamflow_[a-z_]+)(?:\{([a-z_,]+)\})?` \|").unwrap();
    let readme = read("README.md");
    let mut table: Table = row
        .captures_iter(&readme)
        .map(|row| {
            let labels = row.get(2).map_or("", |labels| labels.as_str());
            let labels = labels.split(',').filter(|label| !label.is_empty());
            (row[1].to_owned(), labels.map(str::to_owned).collect())
        })
        .collect();
    assert!(
        table.len() > 20,
        "cannot parse the README's table: {table:?}"
    );
    for (name, labels) in OF_OTHERS {
        let known = table.entry(name.to_owned()).or_default();
        known.extend(labels.iter().map(ToString::to_string));
    }
    table
}

/// The metric of a series: `_bucket`, `_sum` and `_count` belong to a histogram.
fn metric<'a>(series: &'a str, known: &Table) -> &'a str {
    ["_bucket", "_sum", "_count"]
        .into_iter()
        .filter_map(|suffix| series.strip_suffix(suffix))
        .find(|name| known.contains_key(*name))
        .unwrap_or(series)
}

fn alerts() -> Vec<Value> {
    let file = "k8s/monitoring/alerts.yaml";
    let rules = parse(file, &read(file)).remove(0).value;
    let groups = rules["spec"]["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("k8s/monitoring/dashboard.json")).unwrap()
}

/// Every expression, with its place.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for rule in alerts() {
        all.push((
            rule["alert"].to_string(),
            rule["expr"].as_str().unwrap().to_owned(),
        ));
    }
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            all.push((panel["title"].to_string(), expression.to_owned()));
        }
    }
    assert!(all.len() > 20);
    all
}

#[test]
fn every_metric_and_label_in_panels_and_alerts_exists() {
    let known = known();
    let series = Regex::new(
        r"\b((?:beamflow|vertex|monovtx|isb|kube|kubelet|DCGM)_[A-Za-z_]+|up)(?:\{([^}]*)\})?",
    )
    .unwrap();
    let label = Regex::new(r"([A-Za-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let grouping = Regex::new(r"\b(?:by|on) \(([^)]*)\)").unwrap();
    let none = BTreeSet::new();
    for (place, expression) in expressions() {
        let mut allowed: BTreeSet<&str> = OF_TARGETS.into_iter().collect();
        for found in series.captures_iter(&expression) {
            let name = metric(found.get(1).unwrap().as_str(), &known);
            let labels = match known.get(name) {
                Some(labels) => labels,
                None if name == "up" => &none,
                None => panic!("{place}: there is no metric {name}"),
            };
            let selector = found.get(2).map_or("", |selector| selector.as_str());
            for used in label.captures_iter(selector) {
                let is_known = labels.contains(&used[1]) || OF_TARGETS.contains(&&used[1]);
                assert!(is_known, "{place}: {name} has no label {}", &used[1]);
            }
            allowed.extend(labels.iter().map(String::as_str));
            if found[1].ends_with("_bucket") {
                allowed.insert("le");
            }
        }
        for group in grouping.captures_iter(&expression) {
            for used in group[1].split(", ") {
                assert!(
                    allowed.contains(used),
                    "{place}: nothing has a label {used}"
                );
            }
        }
    }
}

#[test]
fn panels_have_unique_numbers_and_do_not_overlap() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(
            at("x") + at("w") <= 24 && at("w") > 0 && at("h") > 0,
            "{title}"
        );
        for (x, y) in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            let other = taken.insert((x, y), title);
            assert_eq!(other, None, "{title} overlaps another panel");
        }
        let is_row = panel["type"] == "row";
        let says_what = panel["description"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        assert!(is_row || says_what, "{title} has no description");
    }
}

#[test]
fn every_alert_is_explained_in_the_operations_guide() {
    let guide = read("docs/operations.md");
    let explained: BTreeSet<_> = guide
        .lines()
        .filter_map(|l| l.strip_prefix("### Beamflow"))
        .collect();
    let alerts = alerts();
    let named: BTreeSet<_> = alerts
        .iter()
        .map(|rule| {
            rule["alert"]
                .as_str()
                .unwrap()
                .strip_prefix("Beamflow")
                .unwrap()
        })
        .collect();
    assert_eq!(named, explained);
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_not() {
    let tests = read("tests/manifests/alerts.yaml");
    let parsed = parse("alerts.yaml", &tests).remove(0).value;
    let cases = parsed["tests"].as_array().unwrap().iter();
    let cases: Vec<_> = cases
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    let alerts = alerts();
    for rule in &alerts {
        for fires in [true, false] {
            let has = cases.iter().any(|case| {
                case["alertname"] == rule["alert"] && case["exp_alerts"].is_array() == fires
            });
            assert!(has, "{}: no test in which it fires: {fires}", rule["alert"]);
        }
    }
}

#[needs(promtool)]
#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    promtool(&alerts(), &["test", "rules", "alerts.yaml"]);
}

#[needs(promtool)]
#[test]
fn every_panels_query_is_promql() {
    let rules: Vec<_> = expressions()
        .into_iter()
        .enumerate()
        .map(|(n, (_, expression))| {
            // Grafana replaces these variables with durations.
            let expression = Regex::new(r"\$__(rate_interval|range)")
                .unwrap()
                .replace_all(&expression, "5m");
            serde_json::json!({"record": format!("panel:{n}"), "expr": expression})
        })
        .collect();
    promtool(&rules, &["check", "rules", "rules.yaml"]);
}

/// Runs promtool on `rules` and the alerts' tests.
fn promtool(rules: &[Value], arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let rules = serde_json::json!({"groups": [{"name": "beamflow", "rules": rules}]});
    // JSON is YAML.
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
    std::fs::write(
        folder.path().join("alerts.yaml"),
        read("tests/manifests/alerts.yaml"),
    )
    .unwrap();
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}

#[test]
fn prometheus_scrapes_ports_that_exist() {
    let documents = written();
    let monitors: Vec<_> = documents
        .iter()
        .filter(|d| d.kind() == "PodMonitor")
        .collect();
    let ports: Vec<_> = monitors
        .iter()
        .flat_map(|monitor| {
            monitor.value["spec"]["podMetricsEndpoints"]
                .as_array()
                .unwrap()
        })
        .map(|endpoint| endpoint["port"].as_str().unwrap())
        .collect();
    // The ports of map, source and sinks, checked with the containers, and the one that Numaflow gives to numa.
    let expected = [
        "beamflow",
        "beamflow-source",
        "beamflow-sink",
        "beamflow-files",
        "metrics",
        // Of Numaflow's controller.
        "metrics",
    ];
    assert_eq!(ports, expected);
    assert!(
        KUSTOMIZATIONS
            .iter()
            .all(|folder| root().join(folder).is_dir())
    );
}

/// Alerts that do not say where their explanation is, or name a place that is none.
fn without_runbook(rules: &[Value], guide: &str) -> Vec<String> {
    let headings = guide.lines().filter_map(|line| line.strip_prefix("### "));
    // As GitHub makes anchors of headings of one word.
    let anchors: BTreeSet<_> = headings.map(str::to_lowercase).collect();
    let is_wrong = |rule: &&Value| {
        let url = rule["annotations"]["runbook_url"].as_str();
        let anchor = url.and_then(|url| url.strip_prefix("docs/operations.md#"));
        let own = rule["alert"].as_str().unwrap().to_lowercase();
        anchor.is_none_or(|anchor| anchor != own || !anchors.contains(anchor))
    };
    let wrong = rules.iter().filter(is_wrong);
    wrong.map(|rule| rule["alert"].to_string()).collect()
}

#[test]
fn every_alert_says_where_it_is_explained() {
    let none: [String; 0] = [];
    assert_eq!(
        without_runbook(&alerts(), &read("docs/operations.md")),
        none
    );
    for annotations in [
        "{}",
        "{runbook_url: docs/operations.md#b}",
        "{runbook_url: docs/other.md#a}",
        "{runbook_url: docs/operations.md#c}",
    ] {
        let rule = format!("{{alert: A, annotations: {annotations}}}");
        let rule = parse("an example", &rule).remove(0).value;
        assert_eq!(without_runbook(&[rule], "### A\n### B\n"), ["\"A\""]);
    }
    let rule = "{alert: A, annotations: {runbook_url: docs/operations.md#a}}";
    let rule = parse("an example", rule).remove(0).value;
    assert_eq!(without_runbook(&[rule], "### A\n"), none);
}

/// Series of Kubernetes have no label of Numaflow: alerts and panels select them by names.
#[test]
fn names_in_alerts_and_panels_are_those_of_the_manifests() {
    let documents = written();
    let names: BTreeSet<_> = documents
        .iter()
        .filter(|d| ["Pipeline", "MonoVertex"].contains(&d.kind()))
        .map(|d| d.value["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let selector = Regex::new(r#"(?:pod|buffer)[!=]?=?~"(?:\.\*)?([a-z]+)-"#).unwrap();
    let mut found = BTreeSet::new();
    for (_, expression) in expressions() {
        let selected = selector.captures_iter(&expression);
        found.extend(selected.map(|name| name[1].to_owned()));
    }
    assert_eq!(found, names);
}

/// A beamline with several pipelines looks at one.
#[test]
fn the_dashboard_can_show_one_pipeline_and_one_vertex() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["datasource", "namespace", "pipeline", "vertex", "pod"]
    );
    let selector = Regex::new(r"\bbeamflow_[a-z_]+\{([^}]*)\}").unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            for found in selector.captures_iter(target["expr"].as_str().unwrap()) {
                for name in &names[1..] {
                    assert!(found[1].contains(&format!("${name}")), "{}", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn the_missing_map_alert_names_the_mono_vertex() {
    let documents = written();
    let mono_vertex = documents.iter().find(|d| d.kind() == "MonoVertex").unwrap();
    let name = mono_vertex.value["metadata"]["name"].as_str().unwrap();
    let alerts = alerts();
    let alert = alerts
        .iter()
        .find(|rule| rule["alert"] == "BeamflowMapMissing")
        .unwrap();
    let selector = format!("{{mvtx_name=\"{name}\"}}");
    assert!(alert["expr"].as_str().unwrap().contains(&selector));
}
