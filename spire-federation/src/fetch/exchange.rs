//! One GET over HTTP/1.1.

use std::{convert::Infallible, pin::pin};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use spiffe_core::bundle::MAX_DOCUMENT_LENGTH;

use super::{ANSWER_DEADLINE, BODY_DEADLINE, Connection, EndpointUrl, within};
use crate::{Error, Stage};

/// Asks for `url` over `stream` and gives the document.
pub(super) async fn get(url: &EndpointUrl, stream: impl Connection + 'static) -> Result<Vec<u8>, Error> {
    converse(url, stream, |sender| document(url, sender)).await
}

/// Has `exchange` send its one request over `stream`.
pub(crate) async fn converse<B, T, F, R>(
    url: &EndpointUrl,
    stream: impl Connection + 'static,
    exchange: F,
) -> Result<T, Error>
where
    B: Body<Data = Bytes, Error = Infallible> + 'static,
    F: FnOnce(http1::SendRequest<B>) -> R,
    R: Future<Output = Result<T, Error>>,
{
    let failed = |source| Error::Http { host: url.host_and_port(), source };
    let handshake =
        http1::Builder::new().max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(failed)?;
    let (mut exchange, mut connection) = (pin!(exchange(sender)), pin!(connection));
    // The connection has to be driven for the exchange to go on; once it has ended, the exchange ends on what has come.
    let broke = tokio::select! {
        biased;
        answer = &mut exchange => return answer,
        ended = &mut connection => ended.err(),
    };
    match (exchange.await, broke) {
        // All that the exchange knows is that nothing comes any more.
        (Err(Error::Http { source, .. }), Some(broke)) if source.is_canceled() => Err(failed(broke)),
        (answer, _) => answer,
    }
}

async fn document(url: &EndpointUrl, mut sender: http1::SendRequest<Empty<Bytes>>) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Http { host: url.host_and_port(), source };
    let answer = within(ANSWER_DEADLINE, Stage::Answer, sender.send_request(request(url)?)).await?.map_err(failed)?;
    let status = answer.status();
    if status.is_redirection() {
        let location =
            answer.headers().get(header::LOCATION).map(|value| readable(value.as_bytes())).unwrap_or_default();
        return Err(Error::Redirect { status: status.as_u16(), location });
    }
    if status != StatusCode::OK {
        let body = within(BODY_DEADLINE, Stage::Body, read(url, answer, MAX_MESSAGE_BYTES)).await?;
        let body = match body {
            Ok(body) => readable(&body),
            Err(_) => String::new(),
        };
        return Err(Error::Status { status: status.as_u16(), body });
    }
    if let Some(encoding) = answer.headers().get(header::CONTENT_ENCODING).filter(|value| *value != "identity") {
        return Err(Error::Encoding(readable(encoding.as_bytes())));
    }
    within(BODY_DEADLINE, Stage::Body, read(url, answer, MAX_DOCUMENT_LENGTH)).await?
}

fn request(url: &EndpointUrl) -> Result<Request<Empty<Bytes>>, Error> {
    Request::builder()
        .method(Method::GET)
        .uri(&*url.target())
        .header(header::HOST, url.host_header())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| Error::Url { url: url.host_and_port(), reason: "makes no HTTP request" })
}

/// The body, of at most `limit` bytes.
pub(crate) async fn read(url: &EndpointUrl, answer: Response<Incoming>, limit: usize) -> Result<Vec<u8>, Error> {
    let mut body = answer.into_body();
    if body.size_hint().lower() > limit as u64 {
        return Err(Error::TooLong { limit });
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| Error::Http { host: url.host_and_port(), source })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(Error::TooLong { limit });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The beginning of what a stranger says, fit for a log.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let beginning = bytes.get(..MAX_SHOWN_BYTES).unwrap_or(bytes);
    String::from_utf8_lossy(beginning).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(crate) const USER_AGENT: &str = concat!("spire-server/", env!("CARGO_PKG_VERSION"));

const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Of an answer that is not what was asked for, this much is read.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// And this much is shown.
const MAX_SHOWN_BYTES: usize = 1024;
