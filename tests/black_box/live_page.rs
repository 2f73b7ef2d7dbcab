//! `beamflow demo --live` as a user sees it: the mosaic grows in a real browser.

use crate::black_box::page::{Browser, browse};
use beamflow_needs::needs;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

#[needs(chromedriver)]
#[tokio::test]
async fn the_mosaic_of_the_live_demo_grows_in_a_browser() {
    browse(watch_the_live_demo).await;
}

async fn watch_the_live_demo(browser: &Browser) {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(["demo", "--live", "--points", "30", "--fps", "20"])
        .args(["--picture", "demo.png", "--results", "results"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let page = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, page)) = line.split_once("The mosaic grows at ") {
            break page.to_owned();
        }
    };
    browser.client.goto(&page).await.unwrap();
    let frames = |text: &str| text.parse::<u64>().unwrap_or(0);
    let early = browser.shows("placed", |text| frames(text) > 0).await;
    let more = |text: &str| frames(text) > frames(&early);
    browser.shows("placed", more).await;
    let drawn = "return [...document.querySelectorAll('#parts img')].filter(image => image.naturalWidth > 1).length";
    while browser.evaluate(drawn).await != 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let colours = browser.screenshot("demo-live-growing.png").await;
    assert!(colours > 64, "{colours}");
    // As Ctrl-C does: every part gets it.
    let group = demo.id().and_then(|id| Pid::from_raw(id as i32)).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    demo.wait().await.unwrap();
}
