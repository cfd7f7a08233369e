//! The page in a real browser: what a reader does with it. Needs Debian's `chromium` and `chromium-driver`;
//! without them it says so and passes.
//!
//! `REPORT_SCREENSHOTS=DIR` keeps pictures of the page at two widths, light and dark, for people to look at.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::binary::{left_out, runner, text};
use base64::Engine as _;
use serde_json::{Value, json};

/// A browser behind the WebDriver protocol.
struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    _profile: tempfile::TempDir,
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |it| it.join(name)))
        .find(|it| it.is_file())
}

impl Browser {
    /// `None` where there is no Chromium.
    fn start() -> Option<Self> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"])?;
        let driver = program(&["chromedriver"])?;
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = BufReader::new(driver.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.split("started successfully on port ").nth(1)?;
                Some(rest.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver tells its port");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            agent: config.into(),
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let data = format!("--user-data-dir={}", browser._profile.path().display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &data,
        ];
        let options = json!({ "binary": chromium, "args": args });
        let always = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" }
        });
        let made = browser.post("", &json!({ "capabilities": { "alwaysMatch": always } }));
        browser.session += &format!("/{}", made["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut answer = self
            .agent
            .post(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap();
        let text = answer.body_mut().with_config().limit(50_000_000).read_to_string().unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["value"]["error"].is_null(), "{path}: {text}");
        value["value"].take()
    }

    fn open(&self, page: &Path) {
        self.post("/url", &json!({ "url": format!("file://{}", page.display()) }));
    }

    fn js(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn cdp(&self, command: &str, params: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    fn click(&self, selector: &str) {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Enter on what has the focus.
    fn enter(&self) {
        let key = json!({ "type": "keyDown", "key": "Enter", "code": "Enter", "text": "\r",
            "windowsVirtualKeyCode": 13 });
        self.cdp("Input.dispatchKeyEvent", &key);
        let key = json!({ "type": "keyUp", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13 });
        self.cdp("Input.dispatchKeyEvent", &key);
    }

    fn log(&self, kind: &str) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": kind }));
        let message = |it: &Value| it["message"].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(message).collect()
    }

    fn width(&self, width: u32) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", &size);
    }

    fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.cdp("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// A picture of the whole page, when asked for.
    fn screenshot(&self, name: &str) {
        let Some(folder) = std::env::var_os("REPORT_SCREENSHOTS") else { return };
        let answer = self.cdp(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true,
            "clip": { "x": 0, "y": 0, "scale": 1, "width": self.js("return innerWidth"),
                "height": self.js("return document.documentElement.scrollHeight") } }),
        );
        let bytes =
            base64::prelude::BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::write(PathBuf::from(folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The page of the synthetic sweep.
fn page(root: &Path) -> PathBuf {
    let folder = root.join("results/synthetic/20260102T030405Z-abcdef");
    fs::create_dir_all(&folder).unwrap();
    crate::synthetic_run::write(&folder);
    let output = runner(root, &["report", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    fs::canonicalize(folder.join("report.html")).unwrap()
}

#[test]
fn a_reader_can_use_the_page_and_nothing_leaves_it() {
    let root = tempfile::tempdir().unwrap();
    let page = page(root.path());
    let size = fs::metadata(&page).unwrap().len();
    assert!(size < 2_000_000, "the page of 24 trials takes {size} bytes");
    let Some(browser) = Browser::start() else {
        left_out("no `chromium` and `chromedriver` in PATH (Debian: chromium, chromium-driver)");
        return;
    };
    // What the browser's own first page asks for does not count.
    browser.post("/url", &json!({ "url": "about:blank" }));
    browser.log("performance");
    browser.open(&page);

    // What the user wrote is text.
    let title = browser.js("return document.querySelector('h1').textContent");
    assert_eq!(title, crate::synthetic_run::TITLE);
    assert_eq!(
        browser
            .js("return document.querySelectorAll('h1 *, [onerror], img:not([src^=data])').length"),
        0
    );

    sections_are_there_and_named(&browser);
    a_table_sorts(&browser);
    a_stage_opens(&browser);
    curves_have_a_point_for_each_epoch(&browser);
    numbers_can_be_asked_for(&browser);
    the_page_fits(&browser);

    let said: Vec<String> = browser.log("browser");
    assert!(said.is_empty(), "the console says {said:#?}");
    let asked = browser.log("performance").into_iter().filter_map(|entry| {
        let entry: Value = serde_json::from_str(&entry).unwrap();
        let message = &entry["message"];
        (message["method"] == "Network.requestWillBeSent")
            .then(|| message["params"]["request"]["url"].as_str().unwrap().to_owned())
    });
    let asked: Vec<String> = asked.filter(|it| !it.starts_with("data:")).collect();
    assert_eq!(asked, [format!("file://{}", page.display())], "only the page itself is loaded");
}

fn sections_are_there_and_named(browser: &Browser) {
    let ids =
        browser.js("return [...document.querySelectorAll('main > section')].map(it => it.id)");
    let all = [
        "results",
        "stages",
        "curves",
        "schedules",
        "sweep",
        "confusion",
        "features",
        "images",
        "provenance",
    ];
    assert_eq!(ids, json!(all));
    let unnamed = browser.js(
        "return [...document.querySelectorAll('svg.plot')].filter(it => \
           !it.getAttribute('aria-labelledby').split(' ').every(id => document.getElementById(id)?.textContent)).length \
         + [...document.querySelectorAll('img')].filter(it => !it.alt).length \
         + [...document.querySelectorAll('table')].filter(it => !it.caption.textContent).length \
         + [...document.querySelectorAll('th')].filter(it => !it.scope).length",
    );
    assert_eq!(unnamed, 0, "pictures and tables without names");
    let twice = browser.js(
        "const ids = [...document.querySelectorAll('[id]')].map(it => it.id); return ids.length - new Set(ids).size",
    );
    assert_eq!(twice, 0, "ids that stand twice");
    let banner = browser.js("return document.querySelector('.oracle').textContent");
    assert!(banner.as_str().unwrap().contains("oracle: selected by target labels"));
}

fn a_table_sorts(browser: &Browser) {
    let column = |browser: &Browser| {
        browser.js(
            "return [...document.querySelectorAll('#sweep table tbody tr')].map(it => it.cells[2].dataset.value)",
        )
    };
    let before = column(browser);
    assert_eq!(before.as_array().unwrap().len(), 24);
    browser.click("#sweep table.sortable th:nth-child(3) button");
    let rising = column(browser);
    let mut expected: Vec<String> =
        before.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    expected.sort_by(|a, b| a.parse::<f64>().unwrap().total_cmp(&b.parse().unwrap()));
    assert_eq!(rising, json!(expected));
    browser.click("#sweep table.sortable th:nth-child(3) button");
    expected.reverse();
    assert_eq!(column(browser), json!(expected));
    let sorted = browser
        .js("return document.querySelector('#sweep th:nth-child(3)').getAttribute('aria-sort')");
    assert_eq!(sorted, "descending");
}

fn a_stage_opens(browser: &Browser) {
    let open =
        |name: &str| browser.js(&format!("return document.getElementById('stage-{name}').open"));
    assert_eq!(open("dann"), false);
    browser.click(".dag a[href='#stage-dann'] rect");
    assert_eq!(open("dann"), true);
    let shown = browser.js("return document.getElementById('stage-dann').innerText");
    let shown = shown.as_str().unwrap();
    for part in ["optimizer.lr", "0.001 | 0.003", "validate accuracy", "Logs (24)"] {
        assert!(shown.contains(part), "`{part}` in {shown}");
    }
    assert_eq!(open("score"), false);
    browser.js("document.querySelector(\".dag a[href='#stage-score']\").focus()");
    browser.enter();
    assert_eq!(open("score"), true);
    let focus = browser.js("return document.activeElement.parentElement.id");
    assert_eq!(focus, "stage-score", "the focus goes to what opened");
}

fn curves_have_a_point_for_each_epoch(browser: &Browser) {
    let points = |figure: &str| {
        browser.js(&format!(
            "return [...document.querySelectorAll(\"[data-figure='{figure}'] path.l\")] \
               .map(it => it.getAttribute('d').split(/[ML]/).length - 1).filter(it => it > 2)"
        ))
    };
    let epochs = crate::synthetic_run::EPOCHS;
    // One line of training and one of validation: all settings share this stage.
    assert_eq!(points("source_only-loss"), json!([epochs, epochs]));
    // Both for each of 4 lambdas and 2 learning rates.
    assert_eq!(points("dann-loss"), json!(vec![epochs; 16]));
    let bands =
        browser.js("return document.querySelectorAll(\"[data-figure='dann-loss'] .band\").length");
    assert_eq!(bands, 16);
}

fn numbers_can_be_asked_for(browser: &Browser) {
    browser.click("[data-figure='source_only-loss'] button[aria-expanded]");
    let rows = browser.js(
        "return document.querySelectorAll(\"[data-figure='source_only-loss'] tbody tr\").length",
    );
    assert_eq!(rows, 2 * crate::synthetic_run::EPOCHS);
}

fn the_page_fits(browser: &Browser) {
    let ground = || browser.js("return getComputedStyle(document.body).backgroundColor");
    for width in [1280, 390] {
        browser.width(width);
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            let over = browser.js("return document.documentElement.scrollWidth - innerWidth");
            assert!(over.as_i64().unwrap() <= 0, "{over} pixels too wide at {width}");
            let expected = if scheme == "dark" { "rgb(22, 25, 29)" } else { "rgb(255, 255, 255)" };
            assert_eq!(ground(), expected, "{scheme}");
            browser.screenshot(&format!("{width}-{scheme}"));
        }
    }
    // The reader's choice stands above the system's.
    assert_eq!(
        browser.js("return document.getElementById('theme').getAttribute('aria-pressed')"),
        "true"
    );
    browser.js("window.scrollTo(0, 0)");
    browser.click("#theme");
    assert_eq!(ground(), "rgb(255, 255, 255)");
    assert_eq!(
        browser.js("return document.getElementById('theme').getAttribute('aria-pressed')"),
        "false"
    );
}
