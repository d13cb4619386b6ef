//! As much of the engine's API as attestation needs: two questions over a Unix socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{ContainerError, Error};

/// An engine, by its socket. Connects anew for each question.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    socket: PathBuf,
    /// Begins every path: empty, or a slash and the version.
    prefix: String,
}

/// What the engine knows of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) config: Config,
    /// The image that runs, by its digest.
    #[serde(default)]
    pub(super) image: String,
    #[serde(default)]
    pub(super) state: State,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) env: Option<Vec<String>>,
    /// The image as it was named at the start.
    #[serde(default)]
    pub(super) image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    /// The first process of the container, as the engine sees it; 0 where it does not run.
    #[serde(default)]
    pub(super) pid: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
}

impl Engine {
    /// The engine at `socket`: `unix://` and an absolute path, or the path alone.
    pub(super) fn new(socket: &str, version: &str) -> Result<Self, Error> {
        let path = Path::new(socket.strip_prefix("unix://").unwrap_or(socket));
        if !path.is_absolute() {
            let reason = format!("container engine socket {socket:?} is not unix:// and an absolute path");
            return Err(ContainerError::Config(reason).into());
        }
        let version = version.strip_prefix('v').unwrap_or(version);
        if !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(ContainerError::Config(format!("docker_version {version:?} is not a version")).into());
        }
        let prefix = if version.is_empty() { String::new() } else { format!("/v{version}") };
        Ok(Self { socket: path.to_owned(), prefix })
    }

    /// The container of this ID; `None` where the engine has no such one.
    pub(super) async fn container(&self, id: &str) -> Result<Option<Inspected>, Error> {
        self.get(&format!("/containers/{id}/json")).await
    }

    /// The digest of this image's configuration; `None` where the image has gone.
    pub(super) async fn image_digest(&self, image: &str) -> Result<Option<String>, Error> {
        // It becomes a part of a path.
        let is_digest = !image.is_empty() && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':');
        if !is_digest {
            return Ok(None);
        }
        Ok(self.get::<Image>(&format!("/images/{image}/json")).await?.map(|image| image.id))
    }

    /// Asks, and again if that fails.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..RETRIES {
            match self.get_once(path).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => tracing::warn!(err = %reason, socket = %self.socket.display(), "will ask again"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.get_once(path).await.map_err(|reason| {
            let socket = self.socket.display().to_string();
            ContainerError::Engine { socket, reason: reason.to_string() }.into()
        })
    }

    async fn get_once<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(format!("{}{path}", self.prefix))
            .header(header::HOST, "localhost")
            .body(Empty::<Bytes>::new())?;
        // The connection is driven here, and ends with this call.
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, Failure>((status, body))
        };
        tokio::pin!(exchange);
        let (status, body) = tokio::select! {
            answer = &mut exchange => answer?,
            ended = connection => {
                ended?;
                exchange.await?
            }
        };
        match status {
            StatusCode::OK => Ok(Some(serde_json::from_slice(&body)?)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(format!("{status}: {}", message(&body)).into()),
        }
    }
}

/// What the engine says about its refusal.
fn message(body: &[u8]) -> String {
    let text = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned));
    text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).chars().take(MAX_MESSAGE_CHARS).collect()
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

const RETRIES: usize = 3;
/// Doubled after each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Labels and environment are bounded by what a command line holds, 2 MiB.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
const MAX_MESSAGE_CHARS: usize = 256;
