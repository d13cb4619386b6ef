//! The HTTP client of the ACME protocol: ours, so that it believes, waits and reads no more than for bundles.

use std::{fmt::Display, pin::Pin};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use spiffe_core::BundleSet;
use spire_types::EndpointProfile;

use crate::{
    Error, Stage,
    fetch::{ANSWER_DEADLINE, BODY_DEADLINE, EndpointUrl, Fetcher, exchange, within},
};

type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// One connection per request.
#[derive(Clone)]
pub(super) struct AcmeHttp(pub(super) Fetcher);

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let answer = client.send(request).await.map_err(instant_acme::Error::Other)?;
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

impl AcmeHttp {
    /// Gets what is at `url`.
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, Refusal> {
        let request = Request::get(url).body(BodyWrapper::default()).map_err(|_| not_a_url(url))?;
        Ok(self.send(request).await?.into_body())
    }

    /// A refusal comes back as an answer if the ACME client can read it, and as an error otherwise.
    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Refusal> {
        let url = EndpointUrl::parse(&request.uri().to_string())?;
        let config = self.0.client_config(&EndpointProfile::HttpsWeb, &BundleSet::default()).await?;
        let stream = self.0.connect(&url, config).await?;
        let request = addressed(request, &url)?;
        exchange::converse(&url, stream, async |mut sender| {
            let failed = |source| Error::Http { host: url.host_and_port(), source };
            let answer = within(ANSWER_DEADLINE, Stage::Answer, sender.send_request(request)).await?.map_err(failed)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = within(BODY_DEADLINE, Stage::Body, exchange::read(&url, answer, MAX_ANSWER_BYTES)).await??;
            let json = headers.get(header::CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()));
            if !status.is_success() && !json {
                return Ok(Err(format!("unexpected status {status}: {:?}", exchange::readable(&body))));
            }
            let mut answer = Response::new(Bytes::from(body));
            (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
            Ok(Ok(answer))
        })
        .await?
        .map_err(Into::into)
    }
}

/// What goes to a server rather than to a proxy.
fn addressed(
    mut request: Request<BodyWrapper<Bytes>>,
    url: &EndpointUrl,
) -> Result<Request<BodyWrapper<Bytes>>, Error> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| not_a_url(text));
    let headers = request.headers_mut();
    headers.insert(header::HOST, value(url.host_header())?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(exchange::USER_AGENT));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    *request.uri_mut() = url.target().parse().map_err(|_| not_a_url(url.target()))?;
    Ok(request)
}

/// Problems are `application/problem+json`, perhaps with a charset.
fn is_json(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    content_type.get(..end).is_some_and(|media_type| media_type.trim_ascii().ends_with(b"json"))
}

fn not_a_url(url: impl Display) -> Error {
    Error::Url { url: url.to_string(), reason: "makes no HTTP request" }
}

/// Directories, orders and chains have a few thousand.
const MAX_ANSWER_BYTES: usize = 1 << 20;
