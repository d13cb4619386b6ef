//! Services whose calls are counted, by SPIRE's names.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use hyper::{Request, Response};
use spire_api::status::code_name;
use spire_runtime::telemetry::{Metrics, rpc_key};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::{BoxError, Service};
use workload_api::server::Peer;

/// A service, and where its calls are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    service: S,
    metrics: Metrics,
    /// What its calls are called when they count as connections, as `workload_api`; and how many there are.
    connections: Option<(&'static str, Arc<AtomicI64>)>,
}

impl<S> Counted<S> {
    /// Counts its calls.
    pub(super) fn new(service: S, metrics: &Metrics) -> Self {
        Self { service, metrics: metrics.clone(), connections: None }
    }

    /// Counts its calls, and those that are open as connections of `api`.
    pub(super) fn with_connections(service: S, metrics: &Metrics, api: &'static str) -> Self {
        Self { connections: Some((api, Arc::default())), ..Self::new(service, metrics) }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !self.metrics.is_enabled() || is_own(&request) {
            let answer = self.service.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
        }
        let (metrics, began) = (self.metrics.clone(), Instant::now());
        let connection = self.connections.as_ref().map(|(api, open)| Connection::new(api, open, &metrics));
        let method = request.uri().path().to_owned();
        let answer = self.service.call(request);
        Box::pin(async move {
            let response = answer.await?;
            let status = Status::from_header_map(response.headers());
            let code = status.map_or(Code::Ok, |status| status.code());
            // Nobody makes up names of metrics.
            if code != Code::Unimplemented {
                let key = rpc_key(&method);
                let key: Vec<&str> = key.iter().map(String::as_str).collect();
                metrics.call(&key, &[], code_name(code), began.elapsed());
            }
            // Open for as long as somebody may read from it.
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _open = &connection;
                    frame
                }))
            }))
        })
    }
}

/// The agent asks itself how it does; that is no use of it.
fn is_own(request: &Request<Body>) -> bool {
    let process = request.extensions().get::<Peer>().and_then(Peer::process);
    process.is_some_and(|process| u32::try_from(process.pid()).is_ok_and(|pid| pid == std::process::id()))
}

/// One that is open.
struct Connection {
    api: &'static str,
    open: Arc<AtomicI64>,
    metrics: Metrics,
}

impl Connection {
    fn new(api: &'static str, open: &Arc<AtomicI64>, metrics: &Metrics) -> Self {
        metrics.count(&[api, "connection"], &[]);
        let connection = Self { api, open: Arc::clone(open), metrics: metrics.clone() };
        connection.change(1);
        connection
    }

    fn change(&self, by: i64) {
        let open = self.open.fetch_add(by, Ordering::Relaxed) + by;
        self.metrics.gauge(&[self.api, "connections"], &[], f64::from(i32::try_from(open).unwrap_or(i32::MAX)));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.change(-1);
    }
}
