//! The README's first command from end to end: the page, rows that change, the notice, and nothing left behind. In a
//! browser too, where chromium and chromedriver are installed.
#![expect(clippy::indexing_slicing, reason = "what JSON lacks reads as null")]

mod browser;
mod http;
mod quickstart;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use self::browser::Browser;
use self::quickstart::Quickstart;

/// How long something that takes a second or two may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// The goal for rows to change.
const CHANGE: Duration = Duration::from_secs(3);
const GLANCE: Duration = Duration::from_millis(100);

/// Runs it. `arguments`: `--debug` builds without optimisation, `--https-web` has the Web PKI
/// certify the broker's bundle endpoint, `--grpc` has the programs speak gRPC, `--screenshot FILE` keeps a picture of the page.
///
/// # Errors
/// What was not as it should be.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let passed_on: Vec<&str> = ["--https-web", "--grpc"].into_iter().filter(|flag| given(flag)).collect();
    let screenshot = arguments.iter().skip_while(|argument| *argument != "--screenshot").nth(1);

    let mut quickstart = Quickstart::start(root, given("--debug"), &passed_on)?;
    say(&format!("the page was there {}", quickstart.took));
    let mut page = Page { address: quickstart.page.clone(), browser: Browser::start()? };
    page.open()?;
    page.rows_change()?;
    page.fits_a_phone(screenshot.map(Path::new))?;

    let first_service = quickstart.service_pid.clone();
    signal(&first_service, "TERM")?;
    page.shows_quotes(false)?;
    say("without the quotes service the notice is there, and the last quotes");

    let _service = Restarted::start(&quickstart.restart_line)?;
    page.shows_quotes(true)?;
    page.rows_change()?;
    say("the rows came back with it");
    page.close()?;

    quickstart.interrupt()?;
    say("after Ctrl-C no process and no file is left");
    Ok(())
}

/// The page, by its data and, where there is one, in a browser.
struct Page {
    address: String,
    browser: Option<Browser>,
}

impl Page {
    fn open(&mut self) -> Result<(), String> {
        let html = http::get(&self.address, "/quotes")?;
        if !html.contains("Quotes service unavailable") {
            return Err(format!("/quotes is not the page: {html}"));
        }
        match &mut self.browser {
            Some(browser) => browser.open(&format!("http://{}/quotes", self.address)),
            None => {
                say("chromium or chromedriver is not installed: the page is looked at without a browser");
                Ok(())
            }
        }
    }

    fn rows_change(&mut self) -> Result<(), String> {
        let before = self.data()?["quotes"].clone();
        eventually(CHANGE, "quotes to change", || Ok(self.data()?["quotes"] != before))?;
        if let Some(browser) = &mut self.browser {
            let prices = "return [...document.querySelectorAll('td.price')].map(cell => cell.textContent).join(' ')";
            eventually(PATIENCE, "rows in the browser", || Ok(!browser.evaluate(prices)?.is_empty()))?;
            let before = browser.evaluate(prices)?;
            eventually(CHANGE, "rows in the browser to change", || Ok(browser.evaluate(prices)? != before))?;
            say("rows change in the browser");
        }
        Ok(())
    }

    /// Waits until quotes are live, or away with the last ones kept.
    fn shows_quotes(&mut self, live: bool) -> Result<(), String> {
        eventually(PATIENCE, "the page to notice", || Ok(self.data()?["available"] == live))?;
        if self.data()?["quotes"].as_array().is_none_or(Vec::is_empty) {
            return Err("the page has lost its quotes".to_owned());
        }
        if let Some(browser) = &mut self.browser {
            let notice = "const notice = document.getElementById('notice'); \
                          return notice.checkVisibility() ? notice.innerText : ''";
            let wanted = if live { "" } else { "Quotes service unavailable" };
            eventually(PATIENCE, "the notice in the browser", || Ok(browser.evaluate(notice)? == wanted))?;
            if browser.evaluate("return String(document.querySelectorAll('#rows tr').length)")? != "10" {
                return Err("the browser does not show ten rows".to_owned());
            }
        }
        Ok(())
    }

    fn fits_a_phone(&mut self, screenshot: Option<&Path>) -> Result<(), String> {
        let Some(browser) = &mut self.browser else { return Ok(()) };
        if let Some(file) = screenshot {
            browser.resize(900, 860, false)?;
            // Until the lines show their minute.
            std::thread::sleep(Duration::from_secs(60));
            browser.screenshot(file)?;
        }
        browser.resize(360, 740, true)?;
        let overflow = "return String(document.documentElement.scrollWidth - document.documentElement.clientWidth)";
        let overflow = browser.evaluate(overflow)?;
        if overflow != "0" {
            return Err(format!("on a phone the page is {overflow} pixels too wide"));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.browser.take().map_or(Ok(()), Browser::close)
    }

    fn data(&self) -> Result<Value, String> {
        let body = http::get(&self.address, "/quotes.json")?;
        serde_json::from_str(&body).map_err(|err| format!("/quotes.json: {err}: {body}"))
    }
}

/// The quotes service, started by the line that quickstart printed.
struct Restarted(Child);

impl Restarted {
    fn start(line: &str) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec env {line}")]).stdout(Stdio::null());
        command.spawn().map(Self).map_err(|err| format!("failed to run sh: {err}"))
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: &str, name: &str) -> Result<(), String> {
    let status = Command::new("kill").args(["-s", name, pid]).status().map_err(|err| format!("kill: {err}"))?;
    if status.success() { Ok(()) } else { Err(format!("kill -s {name} {pid}: {status}")) }
}

fn eventually(patience: Duration, what: &str, mut holds: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let glances = patience.as_millis() / GLANCE.as_millis();
    for _ in 0..glances {
        if holds()? {
            return Ok(());
        }
        std::thread::sleep(GLANCE);
    }
    Err(format!("waited {patience:?} for {what}"))
}

#[expect(clippy::print_stdout, reason = "a command for people")]
fn say(line: &str) {
    println!("{line}");
}
