//! Services that are made when somebody first calls them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::Either;
use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// A service that most agents are never asked for. It takes no memory before the first call.
#[derive(Clone)]
pub(super) struct OnDemand<S> {
    make: Arc<dyn Fn() -> Option<S> + Send + Sync>,
    made: Arc<OnceLock<Option<S>>>,
}

impl<S> OnDemand<S> {
    /// Made by `make`, once; `None` answers that there is no such service.
    pub(super) fn new(make: impl Fn() -> Option<S> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), made: Arc::default() }
    }
}

impl<S: NamedService> NamedService for OnDemand<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for OnDemand<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    /// As all services that are generated.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.made.get_or_init(|| (self.make)()) {
            Some(service) => Either::Left(service.clone().call(request)),
            None => Either::Right(ready(Ok(Status::unimplemented("service is not available").into_http()))),
        }
    }
}
