//! A small HTTP endpoint for whoever watches a process: every request is answered from memory.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crowd::Crowd;

/// Connections at a time; for one more the oldest is closed.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take, and a connection wait for its next request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection lives.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10 * 60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is said to a request.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn not_found() -> Self {
        let body = "404 page not found\n".to_owned();
        Self { status: StatusCode::NOT_FOUND, content_type: "text/plain; charset=utf-8", body }
    }
}

/// Listens on a host, which is an IP address or a DNS name.
pub(crate) async fn bind(host: &str, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let failed = |err: io::Error| io::Error::new(err.kind(), format!("unable to listen on {host}:{port}: {err}"));
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers requests by their paths, until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let (answer, crowd, connections) = (Arc::new(answer), Crowd::new(MAX_CONNECTIONS), TaskTracker::new());
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (answer, place) = (Arc::clone(&answer), crowd.enter(shutdown.child_token()));
                    connections.spawn(async move {
                        let serving = tokio::time::timeout(CONNECTION_DEADLINE, connection(stream, answer));
                        place.leave().run_until_cancelled(serving).await;
                    });
                }
                Err(err) => {
                    tracing::warn!(%err, "connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, answer: Arc<impl Fn(&str) -> Answer>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.uri().path());
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() = answer.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(err) = served {
        tracing::debug!(%err, "connection broke");
    }
}
