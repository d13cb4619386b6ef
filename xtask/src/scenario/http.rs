//! As much of HTTP/1.1 as a page on this machine and a WebDriver need.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A browser may take a while to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a page.
pub(super) fn get(address: &str, path: &str) -> Result<String, String> {
    request(address, "GET", path, "")
}

/// The body of the answer, whatever its code.
pub(super) fn request(address: &str, method: &str, path: &str, body: &str) -> Result<String, String> {
    exchange(address, method, path, body).map_err(|err| format!("{method} http://{address}{path}: {err}"))
}

fn exchange(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut length = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut answer = String::new();
    reader.take(length.unwrap_or(u64::MAX)).read_to_string(&mut answer)?;
    Ok(answer)
}
