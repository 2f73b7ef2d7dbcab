//! HTTP answers are correct: counts add up, and readiness follows the sidecar's state.

use crate::black_box::common::{MODES, NEVER, SIM, bad, call, good};
use crate::black_box::served::Served;
use beamflow::vertex::client::Driver;
use std::collections::BTreeMap;

/// The label of the model that the flags set.
const MODEL: &str = "{model=\"default\"}";

fn completed(metrics: &BTreeMap<String, f64>) -> f64 {
    let outcomes = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("beamflow_frames_completed_total{"));
    outcomes.map(|(_, frames)| frames).sum()
}

/// The samples of a metric whose labels contain `label`.
fn of_family<'a>(
    metrics: &'a BTreeMap<String, f64>,
    name: &str,
    label: &'a str,
) -> impl Iterator<Item = f64> + use<'a> {
    let name = format!("beamflow_{name}{{");
    let found = move |(key, _): &(&String, &f64)| key.starts_with(&name) && key.contains(label);
    metrics.iter().filter(found).map(|(_, value)| *value)
}

async fn open_call(driver: &mut Driver, sidecar: &Served) {
    for k in 0..3 {
        driver.send_datum(good(k)).await.unwrap();
    }
    let begun = || sidecar.sidecar.log().contains("A call begins");
    crate::black_box::common::eventually("the call", begun).await;
}

#[tokio::test]
async fn at_rest_received_frames_are_the_sum_of_all_outcomes() {
    for mode in MODES {
        let model = format!("{SIM},error=1+2,error-every=7");
        let mut served = Served::start(&["--mode", mode, "--model-path", &model]).await;
        let mut driver = served.sidecar.connect().await.unwrap();
        for round in 0..3 {
            let datums = (0..50).map(|k| if k % 10 == round { bad(k) } else { good(k) });
            driver.call(futures::stream::iter(datums)).await.unwrap();
        }
        let metrics = served.metrics().await;
        let of = |name: &str| metrics[&format!("beamflow_{name}")];
        let of_model = |name: &str| of(&format!("{name}{MODEL}"));
        assert_eq!(of("frames_received_total"), 150.0, "{mode}");
        assert_eq!(completed(&metrics), 150.0, "{mode}");
        assert_eq!(of("frames_completed_total{outcome=\"rejected\"}"), 15.0);
        assert_eq!(of("frames_rejected_total{reason=\"wrong_size\"}"), 15.0);
        // 45 valid frames of 16 int16 pixels and 5 invalid ones of 8 bytes, three times.
        assert_eq!(of("received_bytes_total"), 3.0 * (45.0 * 32.0 + 5.0 * 8.0));
        let done = of("frames_completed_total{outcome=\"done\"}");
        assert_eq!(of("sent_bytes_total"), done * (128.0 + 64.0), "{mode}");
        assert_eq!(of("frame_latency_seconds_count"), 150.0);
        // A stream has no read batches.
        let read_batches = if mode == "streaming" { 0.0 } else { 3.0 };
        assert_eq!(of("read_batches_total"), read_batches);
        assert_eq!(of_model("batch_frames_sum"), 135.0, "{mode}");
        assert_eq!(of("read_batch_frames_sum"), 50.0 * read_batches);
        assert!(
            of("engine_errors_total{model=\"default\",kind=\"engine\"}") >= 2.0,
            "{mode}"
        );
        assert!(of_model("batches_retried_total") >= 1.0, "{mode}");
        for stage in [
            "decode", "fill", "wait", "copy_in", "compute", "copy_out", "encode",
        ] {
            let runs = of(&format!(
                "stage_duration_seconds_count{{model=\"default\",stage=\"{stage}\"}}"
            ));
            assert!(runs > 0.0, "{mode}, {stage}");
        }
        assert_eq!(of_model("slots_in_use"), 0.0);
        let batches: f64 = of_family(&metrics, "batches_total", mode).sum();
        assert_eq!(of_model("batch_frames_count"), batches, "{mode}");
        let calls = format!("handler_duration_seconds_count{{mode=\"{mode}\"}}");
        // In a stream each datum is a call.
        let expected = if mode == "streaming" { 150.0 } else { 3.0 };
        assert_eq!(of(&calls), expected);
        let lanes = of_family(&metrics, "lane_busy_seconds_total", "device=\"sim-0\"");
        assert!((1..=4).contains(&lanes.count()), "{metrics:?}");
        drop(driver);
        served.sidecar.stop().await.unwrap();
    }
}

#[tokio::test]
async fn under_load_no_more_frames_complete_than_were_received() {
    let model = format!("{SIM},devices=2,error-every=5,panic=7+19,lost=11+31,device-lost=40");
    let mut served = Served::start(&["--devices", "all", "--model-path", &model]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    let load = async {
        for round in 0..60 {
            let datums = (0..200).map(|k| {
                if k % 50 == round % 50 {
                    bad(k)
                } else {
                    good(k)
                }
            });
            driver.call(futures::stream::iter(datums)).await.unwrap();
        }
    };
    let watch = async {
        let mut before = served.metrics().await;
        let mut under_way = 0;
        loop {
            let now = served.metrics().await;
            let received = |m: &BTreeMap<String, f64>| m["beamflow_frames_received_total"];
            // Frames completed at the first query had been received by the second.
            assert!(completed(&before) <= received(&now), "{before:?} {now:?}");
            assert!(received(&before) <= received(&now) && completed(&before) <= completed(&now));
            under_way += usize::from(completed(&now) < received(&now));
            if received(&now) == 12_000.0 && completed(&now) == 12_000.0 {
                return under_way;
            }
            before = now;
        }
    };
    let (under_way, ()) = tokio::time::timeout(NEVER, async { tokio::join!(watch, load) })
        .await
        .unwrap();
    assert!(under_way > 0, "no query while frames were in progress");
    let metrics = served.metrics().await;
    assert_eq!(
        metrics["beamflow_frames_completed_total{outcome=\"rejected\"}"],
        240.0
    );
    assert_eq!(metrics[&format!("beamflow_devices_lost{MODEL}")], 1.0);
    let sum_of = |name: &str, label| of_family(&metrics, name, label).sum::<f64>();
    let sum = |name: &str| sum_of(name, "");
    let failures = sum("engine_errors_total");
    assert!(failures >= 10.0, "{failures}");
    // Every run of a batch has one outcome: batches + retries = results + failures.
    let results = sum_of("stage_duration_seconds_count", "stage=\"compute\"");
    let runs = sum("batches_total") + sum("batches_retried_total");
    assert_eq!(runs, results + failures);
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn stats_show_devices_settings_and_counts() {
    let model = format!("{SIM},devices=2,error=1");
    let mut served = Served::start(&["--mode", "concurrent", "--model-path", &model]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    for _ in 0..4 {
        call(&mut driver, 40).await;
    }
    // A lane reports that it is idle after it has replied.
    let mut stats = served.stats().await;
    while stats["devices"]
        .as_array()
        .unwrap()
        .iter()
        .any(|d| d["queue_depth"] != 0)
    {
        stats = served.stats().await;
    }
    assert_eq!(stats["phase"], "ready");
    assert_eq!(stats["mode"], "concurrent");
    assert_eq!(stats["totals"]["frames"], 160);
    assert_eq!(stats["read_batch_frames_needed"], 40);
    let devices = stats["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    let total = |key: &str| -> f64 { devices.iter().map(|d| d[key].as_f64().unwrap()).sum() };
    // Twenty batches of eight, and one that was retried.
    assert_eq!(total("batches"), 21.0);
    assert_eq!(total("frames"), 168.0);
    assert_eq!(total("lanes"), 4.0);
    for device in devices {
        assert_eq!(device["mean_batch_frames"], 8.0);
        assert!(device["mean_wait_seconds"].as_f64().unwrap() > 0.0);
        assert!(device["mean_inference_seconds"].as_f64().unwrap() > 0.0);
    }
    let settings = stats["settings"].as_array().unwrap();
    let model_path = settings.iter().find(|s| s["flag"] == "model-path").unwrap();
    assert_eq!(model_path["value"], *model);
    assert_eq!(model_path["origin"], "flag");
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn frames_of_a_call_that_is_given_up_are_counted_as_abandoned() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    open_call(&mut driver, &served).await;
    drop(driver);
    let given_up = async {
        loop {
            let metrics = served.metrics().await;
            let abandoned = metrics["beamflow_frames_completed_total{outcome=\"abandoned\"}"];
            if abandoned > 0.0 {
                return metrics;
            }
        }
    };
    let metrics = tokio::time::timeout(NEVER, given_up).await.unwrap();
    // The frames read from the stream before the client disconnected: at least the first.
    let received = metrics["beamflow_frames_received_total"];
    assert!((1.0..=3.0).contains(&received), "{received}");
    assert_eq!(completed(&metrics), received);
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn a_sidecar_that_is_loading_is_alive_and_not_ready() {
    // The only lane takes an hour to open.
    let model = format!("{SIM},hang-session=1,hang-time=1h");
    let flags = ["--pipeline-depth", "1", "--model-path", &model];
    let mut served = Served::start(&flags).await;
    let (status, body) = served.ask("GET", "/readyz").await;
    assert!(status.contains("503") && body.contains("loading"), "{body}");
    assert_eq!(served.get("/livez").await, "alive\n");
    assert_eq!(served.metrics().await["beamflow_engine_ready"], 0.0);
    assert_eq!(served.stats().await["phase"], "loading");
    served.sidecar.terminate().unwrap();
    assert!(served.sidecar.ended().await.unwrap().success());
}

#[tokio::test]
async fn readiness_lasts_from_loaded_model_to_signal() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    served.until_answered("/readyz", "200", "ready").await;
    let mut driver = served.sidecar.connect().await.unwrap();
    open_call(&mut driver, &served).await;
    served.sidecar.terminate().unwrap();
    served.until_answered("/readyz", "503", "in hand").await;
    driver.end_of_transmission().await.unwrap();
    assert_eq!(driver.answer().await.unwrap().len(), 3);
    drop(driver);
    assert!(served.sidecar.ended().await.unwrap().success());
}

#[tokio::test]
async fn readiness_goes_with_the_last_device() {
    let model = format!("{SIM},device-lost=1");
    let mut served = Served::start(&["--model-path", &model]).await;
    let mut held = served.sidecar.connect().await.unwrap();
    open_call(&mut held, &served).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    assert_eq!(call(&mut driver, 8).await.len(), 8);
    served
        .until_answered("/readyz", "503", "last device is lost")
        .await;
    assert_eq!(served.metrics().await["beamflow_engine_ready"], 0.0);
    held.end_of_transmission().await.unwrap();
    assert_eq!(held.answer().await.unwrap().len(), 3);
    drop((held, driver));
    assert_eq!(served.sidecar.ended().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn http_is_read_only_and_knows_its_paths_only() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    drop(served.sidecar.connect().await.unwrap());
    for path in ["/", "/metrics", "/stats", "/livez", "/readyz"] {
        for method in ["POST", "PUT", "DELETE"] {
            let (status, _) = served.ask(method, path).await;
            assert!(status.contains("405"), "{method} {path}: {status}");
        }
    }
    for path in ["/etc/passwd", "/../../etc/passwd", "/metrics/x"] {
        assert!(served.ask("GET", path).await.0.contains("404"), "{path}");
    }
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_of_another_machine_is_one_line_and_exit_code_1() {
    // An address for documentation (RFC 5737): no machine has it.
    let address = "192.0.2.1:9100";
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args([
            "--model-path",
            SIM,
            "--output-size",
            "full",
            "--debug",
            "--http-address",
            address,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(address) && text.contains("--http-address"),
        "{text}"
    );
}

#[tokio::test]
async fn the_readme_lists_every_metric_and_no_other() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    call(&mut driver, 8).await;
    let text = served.get("/metrics").await;
    let mut told: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect();
    told.sort();
    let readme = include_str!("../../README.md");
    let mut listed: Vec<_> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `beamflow_")?.split_once('`'))
        .filter(|(name, _)| {
            let others = ["source_", "sink_", "file_"];
            !others.iter().any(|other| name.starts_with(other))
        })
        .map(|(name, _)| format!("beamflow_{}", name.split('{').next().unwrap()))
        .collect();
    listed.sort();
    assert_eq!(told, listed);
    drop(driver);
    served.sidecar.stop().await.unwrap();
}
