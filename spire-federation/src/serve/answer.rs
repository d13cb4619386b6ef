//! The HTTP side of the endpoint: which request gets what.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use spiffe_core::Bundle;

use super::BundleEndpoint;
use crate::fetch::Connection;

/// Answers one request on `stream`.
pub(super) async fn serve(endpoint: &BundleEndpoint, stream: impl Connection + 'static, peer: &str) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let answer = answer(endpoint, &request).await;
        tracing::debug!(
            peer,
            method = %request.method(),
            path = request.uri().path(),
            status = answer.status().as_u16(),
            "bundle endpoint asked"
        );
        Ok::<_, Infallible>(answer)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, peer, "connection to bundle endpoint broke");
    }
}

async fn answer(endpoint: &BundleEndpoint, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    // In SPIRE's order: the method first.
    if request.method() != Method::GET {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    if request.uri().path() != "/" {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    match endpoint.bundle.own_bundle().await {
        Ok(bundle) => document(endpoint, &bundle),
        Err(error) => {
            tracing::error!(%error, "Unable to retrieve local bundle");
            text(StatusCode::INTERNAL_SERVER_ERROR, "500 unable to retrieve local bundle\n")
        }
    }
}

fn document(endpoint: &BundleEndpoint, bundle: &Arc<Bundle>) -> Response<Full<Bytes>> {
    let bundle = Bundle { refresh_hint: Some(endpoint.refresh_hint), ..Bundle::clone(bundle) };
    let mut answer = Response::new(Full::from(bundle.to_document()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn text(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(message));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// For the head of a request, from the end of the handshake.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 32 * 1024;
