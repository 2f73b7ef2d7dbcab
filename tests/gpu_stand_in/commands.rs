//! `beamflow inspect` and `beamflow bench-engine`.

use crate::fixture::{FLAVOUR, VERSION, needs_the_stand_in_driver};
use crate::frames::{plan, usual};
use crate::sidecar::Bench;

#[test]
fn inspect_shows_tensors_batch_range_and_memory_per_gpu() {
    needs_the_stand_in_driver!("it needs two devices of a known name");
    let workspace = "workspace 1048576";
    let bench = Bench::new(&plan("f16", "2 4 6", workspace)).with("STAND_IN_DEVICES", 2);
    let output = bench.run(&["inspect", "model.engine", "--devices", "all"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let opened = |gpu: usize| {
        format!(
            "opened by {FLAVOUR} {VERSION} on gpu-{gpu} (Stand-in device {gpu}, compute capability 8.6): 1.0 GiB free, 1.0 \
             MiB a lane"
        )
    };
    for words in [
        opened(0).as_str(),
        &opened(1),
        "diffraction",
        "f16",
        "N×1×4×4",
        "batch N: 2 to 6",
    ] {
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
    bench.assert_all_given_back();
}

#[test]
fn inspect_json_has_the_bytes_of_a_lane() {
    needs_the_stand_in_driver!("it sets the device's memory");
    let workspace = 1 << 20;
    let bench = Bench::new(&plan("f32", "8", &format!("workspace {workspace}")));
    let output = bench.run(&["inspect", "model.engine", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // Three tensors of 16 values and 4 bytes, 8 rows of each.
    let lane = workspace + 3 * 16 * 4 * 8;
    assert_eq!(told["opened_on"][0]["per_lane"], lane, "{told}");
    assert_eq!(told["opened_on"][0]["free"], 1 << 30, "{told}");
}

#[test]
fn bench_engine_measures_each_lane_count_and_graph_setting() {
    let both = [(1, true), (2, true), (1, false), (2, false)];
    for (flags, wanted) in [(&[][..], &both[..]), (&["--no-cuda-graphs"], &both[2..])] {
        let bench = Bench::new(&usual()).with("STAND_IN_COMPUTE_US", 50);
        let asked = ["bench-engine", "model.engine", "--json", "bench.json"];
        let extent = ["--lanes", "2", "--batches", "20"];
        let output = bench.run(&[&asked[..], &extent, flags].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let file = bench.engine().with_file_name("bench.json");
        let told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let runs = told["runs"].as_array().unwrap();
        let kind = |run: &serde_json::Value| {
            let lanes = run["lanes"].as_u64().unwrap();
            (lanes, run["cuda_graphs"].as_bool().unwrap())
        };
        assert_eq!(runs.iter().map(kind).collect::<Vec<_>>(), wanted);
        for run in runs {
            for figure in [
                "/batches_per_second",
                "/frames_per_second",
                "/compute/p50_us",
            ] {
                let figure = run.pointer(figure).unwrap().as_f64().unwrap();
                assert!(figure > 0.0, "{run}");
            }
        }
        bench.assert_all_given_back();
        if let Some(report) = bench.report() {
            assert_eq!(report.graph_launches > 0, flags.is_empty());
            // It is loaded once: read, opened twice to measure its memory, and for each lane.
            let rounds = if flags.is_empty() { 2 } else { 1 };
            assert_eq!(report.engines, 1 + 2 + rounds * (1 + 2));
        }
    }
}
