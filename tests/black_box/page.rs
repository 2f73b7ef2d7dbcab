//! The status page in a real browser: it shows the sidecar's state while it runs.
//!
//! Needs chromium and chromedriver (Debian: `chromium`, `chromium-driver`); where they are absent, the test
//! prints so and passes.

use crate::black_box::common::{NEVER, bad};
use crate::black_box::served::Served;
use beamflow::lab::stack::FrameStack;
use beamflow::vertex::client::{Datum, Driver};
use beamflow_needs::needs;
use fantoccini::{Client, ClientBuilder, Locator};
use futures::FutureExt;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");
const FRAMES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/ptychonn_64_frames.npy"
);

/// A headless browser and its driver, which is killed when this is dropped.
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1100,1500",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("it is an object");
        };
        let mut builder =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities);
        let address = format!("http://127.0.0.1:{port}");
        let connecting = async {
            loop {
                match builder.connect(&address).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let client = tokio::time::timeout(NEVER, connecting).await.unwrap();
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    pub async fn text(&self, id: &str) -> String {
        let element = self.client.find(Locator::Id(id)).await.unwrap();
        element.text().await.unwrap()
    }

    async fn number(&self, id: &str) -> f64 {
        let text = self.text(id).await;
        text.replace(',', "").parse().unwrap_or(f64::NAN)
    }

    /// Waits until the text of `id` is `wanted`.
    pub async fn shows(&self, id: &str, wanted: impl Fn(&str) -> bool) -> String {
        let waiting = async {
            loop {
                let text = self.text(id).await;
                if wanted(&text) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(NEVER, waiting).await;
        assert!(
            waited.is_ok(),
            "#{id} still shows '{}'",
            self.text(id).await
        );
        waited.unwrap()
    }

    pub async fn evaluate(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    /// Writes a screenshot into the test folder, for people; returns the number of its colours.
    pub async fn screenshot(&self, name: &str) -> usize {
        let png = self.client.screenshot().await.unwrap();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(path, &png).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let pixels = bytes.chunks_exact(info.color_type.samples());
        pixels.collect::<std::collections::HashSet<_>>().len()
    }
}

/// Sends `read_batches` read batches of simulated frames; one frame in ten is invalid.
async fn send(driver: &mut Driver, stack: &FrameStack, read_batches: usize) {
    for _ in 0..read_batches {
        let datums = (0..20).map(|k| -> Datum {
            if k % 10 == 9 {
                bad(k)
            } else {
                beamflow::commands::drive::datum(stack, k)
            }
        });
        driver.call(futures::stream::iter(datums)).await.unwrap();
    }
}

/// Lets `look` use a browser, which ends with it whatever the result. Its driver, when it ends, would leave the browser running.
pub async fn browse(look: impl AsyncFnOnce(&Browser)) {
    let browser = Browser::start().await;
    let looked = AssertUnwindSafe(look(&browser)).catch_unwind().await;
    let closed = browser.client.clone().close().await;
    if let Err(panic) = looked {
        resume_unwind(panic);
    }
    closed.unwrap();
}

#[needs(chromedriver)]
#[tokio::test]
async fn the_status_page_shows_what_the_sidecar_does_while_it_does_it() {
    browse(look).await;
}

async fn look(browser: &Browser) {
    let mut served = Served::start(&["--model-path", MODEL]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    let stack = FrameStack::read(Path::new(FRAMES)).unwrap();
    let page = format!("http://{}/", served.address);
    browser.client.goto(&page).await.unwrap();
    browser.shows("phase", |text| text == "ready").await;
    let what = browser.text("what").await;
    assert!(
        what.contains("pipelined") && what.contains("ptychonn_64.onnx"),
        "{what}"
    );
    assert_eq!(browser.text("frames").await, "0");

    // The page follows the work without a reload.
    let mut before = 0.0;
    for _ in 0..3 {
        send(&mut driver, &stack, 2).await;
        browser
            .shows("frames", |text| text.parse().is_ok_and(|n: f64| n > before))
            .await;
        before = browser.number("frames").await;
    }
    browser.shows("frames", |text| text == "120").await;
    assert_eq!(browser.text("rejected").await, "12");
    assert!(browser.text("rejections").await.contains("wrong_size 12"));
    browser
        .shows("rate", |text| text != "–" && text != "0")
        .await;
    browser.shows("fill", |text| text.ends_with('%')).await;
    browser
        .shows("peak", |text| text != "–" && text != "0")
        .await;
    let line = browser
        .evaluate("return document.querySelector('#sparkline .over').getAttribute('d')")
        .await;
    assert!(line.as_str().unwrap().matches('L').count() > 1, "{line}");
    assert!(browser.text("devices").await.starts_with("cpu"));

    // The newest frame next to its two results, drawn.
    send(&mut driver, &stack, 1).await;
    browser
        .shows("newest-number", |text| text.contains("ago"))
        .await;
    let drawn = browser
        .evaluate(
            "return [...document.querySelectorAll('#pictures img')].map((i) => [i.alt, i.naturalWidth])",
        )
        .await;
    let expected = json!([
        ["frame diffraction", 64],
        ["result amplitude", 64],
        ["result phase", 64]
    ]);
    assert_eq!(drawn, expected);
    let colours = browser.screenshot("status-page.png").await;
    assert!(colours > 100, "pictures are on the page: {colours} colours");

    // The end of the process shows, too.
    drop(driver);
    served.sidecar.stop().await.unwrap();
    browser.shows("phase", |text| text == "unreachable").await;
}

#[tokio::test]
async fn without_pictures_no_frame_is_shown() {
    let flags = [
        "--model-path",
        crate::black_box::common::SIM,
        "--no-pictures",
    ];
    let mut served = Served::start(&flags).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    for _ in 0..3 {
        crate::black_box::common::call(&mut driver, 8).await;
        assert_eq!(served.stats().await["newest"], Value::Null);
    }
    assert!(served.ask("GET", "/newest/1/0.png").await.0.contains("404"));
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn pictures_are_of_the_newest_frame_only() {
    let mut served = Served::start(&["--model-path", crate::black_box::common::SIM]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    assert_eq!(served.stats().await["newest"], Value::Null);
    crate::black_box::common::call(&mut driver, 8).await;
    let newest = &served.stats().await["newest"];
    assert_eq!(newest["sequence"], 1);
    assert_eq!(newest["images"].as_array().unwrap().len(), 2);
    // Frame 7 of the simulated device: pixels 112 to 127.
    assert_eq!(newest["images"][0]["range"], json!([112.0, 127.0]));
    for image in 0..2 {
        let png = served.get(&format!("/newest/1/{image}.png")).await;
        assert!(png.contains("PNG"), "{png}");
    }
    // Repeated requests keep newer frames; the last two of them are shown.
    let renewed = async {
        while served.stats().await["newest"]["sequence"] != 3 {
            crate::black_box::common::call(&mut driver, 8).await;
        }
    };
    tokio::time::timeout(NEVER, renewed).await.unwrap();
    for there in ["/newest/2/0.png", "/newest/3/1.png"] {
        assert!(served.get(there).await.contains("PNG"), "{there}");
    }
    for gone in ["/newest/1/0.png", "/newest/3/2.png", "/newest/3/0.gif"] {
        assert!(served.ask("GET", gone).await.0.contains("404"), "{gone}");
    }
    drop(driver);
    served.sidecar.stop().await.unwrap();
}
