//! Chromium, by WebDriver.
#![expect(clippy::indexing_slicing, reason = "what JSON lacks reads as null")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::http;

/// A headless browser with one page.
pub(super) struct Browser {
    driver: Child,
    address: String,
    session: String,
}

impl Browser {
    /// `None` where chromium or its driver is not installed.
    pub(super) fn start() -> Result<Option<Self>, String> {
        let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| installed(name))
        else {
            return Ok(None);
        };
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = spawned else { return Ok(None) };
        let output = driver.stdout.take().ok_or("chromedriver has no output")?;
        let port = BufReader::new(output).lines().map_while(Result::ok).find_map(|line| port(&line));
        let address = format!("127.0.0.1:{}", port.ok_or("chromedriver says no port")?);
        let mut browser = Self { driver, address, session: String::new() };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": path(chromium)?, "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,900",
            ] },
        } } });
        let session = browser.call("POST", "/session", &capabilities)?;
        session["sessionId"].as_str().ok_or("the driver gave no session")?.clone_into(&mut browser.session);
        Ok(Some(browser))
    }

    pub(super) fn open(&mut self, url: &str) -> Result<(), String> {
        self.in_session("POST", "/url", &json!({ "url": url })).map(drop)
    }

    /// What the function body returns, which has to be text.
    pub(super) fn evaluate(&mut self, script: &str) -> Result<String, String> {
        let value = self.in_session("POST", "/execute/sync", &json!({ "script": script, "args": [] }))?;
        value.as_str().map(str::to_owned).ok_or_else(|| format!("{script}: {value}"))
    }

    pub(super) fn resize(&mut self, width: u32, height: u32, mobile: bool) -> Result<(), String> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.in_session("POST", "/goog/cdp/execute", &command).map(drop)
    }

    pub(super) fn screenshot(&mut self, file: &Path) -> Result<(), String> {
        let picture = self.in_session("GET", "/screenshot", &Value::Null)?;
        let picture = STANDARD.decode(picture.as_str().unwrap_or_default()).map_err(|err| err.to_string())?;
        std::fs::write(file, picture).map_err(|err| format!("{}: {err}", file.display()))
    }

    /// Ends the browser.
    ///
    /// # Errors
    /// What its console had to complain of.
    pub(super) fn close(mut self) -> Result<(), String> {
        let log = self.in_session("POST", "/se/log", &json!({ "type": "browser" }))?;
        let complaints: Vec<String> = log
            .as_array()
            .ok_or("the browser has no log")?
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].to_string())
            .collect();
        if complaints.is_empty() { Ok(()) } else { Err(format!("the browser's console: {}", complaints.join("; "))) }
    }

    fn in_session(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/session/{}{path}", self.session);
        self.call(method, &path, body)
    }

    fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = http::request(&self.address, method, path, &body)?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|err| format!("{path}: {err}: {answer}"))?;
        let value = answer["value"].take();
        if value["error"].is_string() { Err(format!("{path}: {value}")) } else { Ok(value) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The session's end takes the browser with it; the driver alone would leave it.
        if !self.session.is_empty() {
            let _ = self.in_session("DELETE", "", &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn installed(program: &str) -> bool {
    path(program).is_ok()
}

fn path(program: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let output = output.map_err(|err| format!("failed to run sh: {err}"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(path) } else { Err(format!("{program} is not installed")) }
}

/// From "ChromeDriver was started successfully on port 12345."
fn port(line: &str) -> Option<u16> {
    line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
}
