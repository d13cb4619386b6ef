//! A gRPC server that says what a test has told it to, byte by byte if need be, over TLS in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost::bytes::Bytes;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ALPN_H2, ClientAuth, Live, Settings, TlsIdentity, authorize_any, server_config};
use spiffe_core::{Timestamp, Ttl};
use spire_agent::client::{Connecting, Dial, Stream};
use spire_runtime::{Clock, SystemClock, rustls_time};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};

/// What is said to a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These messages, and that it went well.
    Messages(Vec<Vec<u8>>),
    /// These messages, and nothing more.
    Open(Vec<Vec<u8>>),
    /// This message again and again.
    Endless(Vec<u8>),
    /// These bytes in place of messages, and nothing more for a second.
    Raw(Vec<u8>),
    /// No message.
    Status(Status),
}

impl Answer {
    pub(crate) fn one(message: &impl Message) -> Self {
        Self::Messages(vec![message.encode_to_vec()])
    }

    fn frames(self) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
        let all = |messages: Vec<Vec<u8>>| stream::iter(messages.into_iter().map(|message| data(framed(&message))));
        let end = |status: Status| {
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers).unwrap();
            stream::iter([Ok(Frame::trailers(trailers))])
        };
        match self {
            Self::Messages(messages) => all(messages).chain(end(Status::new(Code::Ok, ""))).boxed(),
            Self::Open(messages) => all(messages).chain(stream::pending()).boxed(),
            Self::Endless(message) => {
                let message = framed(&message);
                stream::repeat_with(move || data(message.clone())).boxed()
            }
            Self::Raw(bytes) => {
                let later = tokio::time::sleep(Duration::from_secs(1)).into_stream();
                stream::iter([data(bytes.into())])
                    .chain(later.flat_map(move |()| end(Status::new(Code::Ok, ""))))
                    .boxed()
            }
            Self::Status(status) => end(status).boxed(),
        }
    }
}

fn data(bytes: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(bytes))
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

type Script = Arc<dyn Fn(&[u8]) -> Answer + Send + Sync>;

/// Answers calls by their paths, each to a new connection in memory.
#[derive(Clone)]
pub(crate) struct Hostile {
    tls: TlsAcceptor,
    script: BTreeMap<&'static str, Script>,
}

impl Hostile {
    /// With the identity of a server, so that the agent listens at all.
    pub(crate) fn new(authority: &TestAuthority) -> Self {
        let settings =
            Settings::new(Arc::new(rustls::crypto::ring::default_provider()), rustls_time(Arc::new(SystemClock)))
                .with_alpn(&[ALPN_H2]);
        let identity = TlsIdentity::from(authority.svid("/spire/server").as_ref());
        let live = Live::new(Some(identity), authority.bundles());
        let tls = server_config(live, ClientAuth::Optional(authorize_any()), &settings).unwrap();
        Self { tls: TlsAcceptor::from(Arc::new(tls)), script: BTreeMap::new() }
    }

    pub(crate) fn on(mut self, path: &'static str, answer: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        self.script.insert(path, Arc::new(answer));
        self
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
        let answer = match self.script.get(request.uri().path()).cloned() {
            Some(script) => script(&first_message(request.into_body()).await),
            None => Answer::Status(Status::unimplemented(format!("nothing to say to {}", request.uri().path()))),
        };
        let body = StreamBody::new(answer.frames());
        Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
    }
}

async fn first_message(mut body: Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if let [_, a, b, c, d, message @ ..] = bytes.as_slice()
            && message.len() >= usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap()
        {
            return message.to_vec();
        }
    }
    Vec::new()
}

impl Dial for Hostile {
    fn dial(&self) -> Connecting {
        let server = self.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let stream = server.tls.accept(theirs).await.unwrap();
                let service = hyper::service::service_fn(move |request| server.clone().answer(request));
                // The agent may hang up at any time.
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

/// A minute is over after a second.
#[derive(Debug)]
pub(crate) struct Impatient(Timestamp);

impl Default for Impatient {
    fn default() -> Self {
        Self(SystemClock.now())
    }
}

#[async_trait::async_trait]
impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        self.0 + Ttl::from_secs(SystemClock.now().since(self.0).as_secs() * 60)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / 60).await;
    }
}
