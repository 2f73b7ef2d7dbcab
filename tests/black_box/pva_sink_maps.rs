//! `beamflow pva-sink` behind maps: dead letters as a map writes them, and two maps with outputs of one name.

use crate::black_box::common::{Host, NEVER, SIM, bad, good};
use crate::black_box::results::{
    Scan, Viewer, balanced, connect, notes, pva_sink, says, stats, write,
};
use beamflow::frame::headers;
use beamflow::pva::Attribute;
use beamflow::vertex::client::Datum;
use beamflow::vertex::client::pipeline::{
    Address, Datums, Intake, Outlet, Pipeline, Settings, Until,
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn the_dead_letters_of_a_map_are_counted_and_not_posted() {
    let host = Host::start(&["--model-path", SIM, "--on-invalid", "tag:bad"]).await;
    let sink = pva_sink(&["--outputs", "output"]).await;
    // As in a MonoVertex, the sink gets the messages of every tag.
    let datum = |k: usize| {
        let datum = if k % 3 == 2 { bad(k) } else { good(k) };
        datum.with_header(headers::TXN_ID, k.to_string())
    };
    let outlet = Outlet::Sink(Address::new(&sink.sock, &sink.info));
    let settings = Settings {
        until: Until::Acked(9),
        ..Settings::default()
    };
    let intake = Intake::Memory(Datums::of((0..9).map(datum)));
    let map = Address::new(&host.sock, &host.server_info);
    let mut numa = Pipeline::new(settings, intake, outlet).with_map(map);
    let stop = CancellationToken::new();
    let report = tokio::time::timeout(NEVER, numa.run(&stop)).await;
    let report = report.expect("all are acked").unwrap();
    assert_eq!((report.acked, report.written), (9, 9), "{report:?}");
    let told = stats(&sink).await;
    assert_eq!(told["no_results"]["dead_letter"], 3, "{told}");
    assert_eq!(told["outputs"][0]["posted"], 6, "{told}");
    // With the map's reason.
    says(&sink, "it is a dead letter of the map: ").await;
    drop(numa);
    host.stop().await;
    sink.stop().await;
}

/// A result of another model than that of [`Scan`].
fn of_other(scan: &Scan, number: u64, output: &str, model: (&str, &str)) -> Datum {
    let (name, version) = model;
    Datum {
        id: format!("{name}-{version}-{number}-{output}"),
        metadata: Some(notes(&[
            ("output", output),
            ("model", name),
            ("version", version),
        ])),
        ..scan.result(number, output)
    }
}

#[tokio::test]
async fn results_of_two_models_are_no_duplicates_of_each_other() {
    for other in [("other", "abc123"), ("ptycho", "def456")] {
        let flags = ["--mosaic", "--pixel-size", "1e-8"];
        let sink = pva_sink(&[&flags[..], &["--outputs", "phase,amplitude"]].concat()).await;
        let mut numa = connect(&sink).await;
        let (mut viewer, _) = Viewer::of(&sink, "beamflow:phase:image").await;
        let scan = Scan::new();
        let both = |number: u64| {
            ["phase", "amplitude"]
                .into_iter()
                .flat_map(move |output| [(number, output, false), (number, output, true)])
        };
        let batch: Vec<Datum> = (1..=3)
            .flat_map(both)
            .map(|(number, output, is_other)| match is_other {
                false => scan.result(number, output),
                true => of_other(&scan, number, output, other),
            })
            .collect();
        write(&mut numa, &batch).await;
        // Numa delivers all of it again: now these are duplicates.
        let again: Vec<Datum> = batch
            .iter()
            .map(|datum| Datum {
                id: format!("again-{}", datum.id),
                ..datum.clone()
            })
            .collect();
        write(&mut numa, &again).await;
        let mut models = Vec::new();
        for _ in 0..6 {
            let update = viewer.update().await;
            let attribute = |name: &str| {
                let found = update.attributes.iter().find(|(given, _)| given == name);
                match found {
                    Some((_, Attribute::Text(text))) => text.clone(),
                    other => panic!("{other:?}"),
                }
            };
            models.push((attribute("Model"), attribute("ModelVersion")));
        }
        let (name, version) = other;
        let own = ("ptycho".to_owned(), "abc123".to_owned());
        let other = (name.to_owned(), version.to_owned());
        let wanted: Vec<_> = [own, other].into_iter().cycle().take(6).collect();
        assert_eq!(models, wanted);
        let told = stats(&sink).await;
        assert_eq!(
            (&told["duplicates"], &told["other_models"], &told["frames"]),
            (&12.into(), &6.into(), &3.into()),
            "{told}"
        );
        // Each frame is in the mosaic once, as the model that came first gave it.
        let mosaic = &told["mosaic"];
        let counts = ["patches", "placed", "repeated", "other_models"];
        let counts = counts.map(|name| mosaic[name].as_u64().unwrap());
        assert_eq!(counts, [6, 3, 0, 6], "{mosaic}");
        says(&sink, "Two models give the same output of a frame.").await;
        let log = sink.log_text();
        assert_eq!(log.matches("Two models give").count(), 1, "{log}");
        balanced(&sink).await;
        drop(numa);
        sink.stop().await;
    }
}
