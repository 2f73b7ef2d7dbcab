//! The status page of `beamflow pva-source` in a real browser.

use crate::black_box::detector::{Detector, LONG, source};
use crate::black_box::page::{Browser, browse};
use crate::black_box::source::{connect, offsets, read};
use beamflow_needs::needs;

#[needs(chromedriver)]
#[tokio::test]
async fn the_page_has_a_line_for_each_pv_and_follows_it() {
    browse(look).await;
}

async fn look(browser: &Browser) {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let page = format!("http://{}/", source.http_address().await);
    browser.client.goto(&page).await.unwrap();
    browser.shows("phase", |text| text == "ready").await;
    browser
        .shows("pvs", |text| {
            text.contains("test:image") && text.contains("idle")
        })
        .await;
    // Frames come, one is missing, and the page shows it without a reload.
    for id in [1, 2, 3, 5, 6] {
        detector.post(id);
    }
    let line = browser
        .shows("pvs", |text| text.contains("3x4 uint16, raw"))
        .await;
    assert!(line.contains("127.0.0.1:"), "{line}");
    browser
        .shows("pvs", |text| text.contains("upstream 1"))
        .await;
    browser.shows("unread", |text| text == "5").await;
    let mut reader = connect(&source).await;
    let messages = read(&mut reader, 5, LONG).await;
    browser.shows("unacked", |text| text == "5").await;
    reader.ack(offsets(&messages)).await.unwrap();
    browser.shows("acked", |text| text == "5").await;
    // The newest frame is drawn after the page has asked for one.
    let mut id = 6;
    while !browser.text("pictures").await.contains("test:image no. ") {
        id += 1;
        detector.post(id);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let caption = browser.text("pictures").await;
    assert!(caption.contains(", 3 × 4, "), "{caption}");
    let drawn = "return document.querySelector('#pictures img').naturalWidth";
    assert_eq!(browser.evaluate(drawn).await, 4);
    let messages = read(&mut reader, id as usize - 6, LONG).await;
    reader.ack(offsets(&messages)).await.unwrap();
    browser.screenshot("pva-source-page.png").await;
    let told = browser
        .evaluate("return document.querySelectorAll('#pvs tr').length")
        .await;
    assert_eq!(told, 1);
    // The end of the connection shows, and that of the process.
    drop(detector);
    browser
        .shows("pvs", |text| text.contains("not connected"))
        .await;
    source.stop().await;
    browser.shows("phase", |text| text == "unreachable").await;
}
