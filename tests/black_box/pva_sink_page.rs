//! The status page of `beamflow pva-sink` in a real browser.

use crate::black_box::page::{Browser, browse};
use crate::black_box::results::{Scan, Viewer, connect, pva_sink, write};
use beamflow::vertex::client::Datum;
use beamflow_needs::needs;

#[needs(chromedriver)]
#[tokio::test]
async fn the_page_has_a_line_for_each_pv_and_follows_it() {
    browse(look).await;
}

async fn look(browser: &Browser) {
    let sink = pva_sink(&["--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let page = format!("http://{}/", sink.http_address().await);
    browser.client.goto(&page).await.unwrap();
    browser.shows("phase", |text| text == "ready").await;
    let line = |text: &str| text.contains("beamflow:phase:image") && text.contains("idle");
    browser.shows("pvs", line).await;
    // Results come, one frame is missing, and the page shows it without a reload.
    let scan = Scan::new();
    let mut batch: Vec<Datum> = [1, 2, 4].map(|n| scan.result(n, "phase")).into();
    batch.push(Datum::new("raw", vec![0; 8]));
    write(&mut numa, &batch).await;
    browser.shows("pvs", |text| text.contains("2x3")).await;
    browser.shows("frames", |text| text == "3").await;
    browser.shows("missing", |text| text == "1").await;
    browser
        .shows("no_results", |text| text == "no_metadata 1")
        .await;
    let viewer = Viewer::of(&sink, "beamflow:phase:image").await;
    browser.shows("clients", |text| text == "1").await;
    browser.screenshot("pva-sink-page.png").await;
    drop(viewer);
    browser.shows("clients", |text| text == "0").await;
    sink.stop().await;
    browser.shows("phase", |text| text == "unreachable").await;
}
