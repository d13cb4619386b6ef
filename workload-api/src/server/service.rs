//! The RPCs, over [`Identities`].

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, BundleSet, SpiffeId, TrustDomain};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use super::{Caller, Gate, Identities, IdentityError, Ticket, Updates, require_security_header};
use crate::claims;
use crate::context::{X509Context, same_bundles};
use crate::proto;
use crate::proto::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};

/// The Workload API as a service for a tonic router, the check of the security header included.
pub type WorkloadApiService<I> = InterceptedService<SpiffeWorkloadApiServer<Service<I>>, Interceptor>;
/// As tonic calls an interceptor.
pub type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;

/// Puts the service together. `gate` may be shared with other services of the endpoint; streams end with `Unavailable`
/// once `closing` is cancelled.
///
/// Its connections must be [`super::Connection`]s, which tell who is calling.
pub fn workload_api_service<I: Identities>(
    identities: Arc<I>,
    gate: Gate,
    closing: CancellationToken,
) -> WorkloadApiService<I> {
    let service = Service { identities, gate, closing };
    InterceptedService::new(SpiffeWorkloadApiServer::new(service), require_security_header)
}

/// The RPCs.
#[derive(Debug)]
pub struct Service<I> {
    identities: Arc<I>,
    gate: Gate,
    closing: CancellationToken,
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<I: Identities> SpiffeWorkloadApi for Service<I> {
    type FetchX509SVIDStream = ResponseStream<proto::X509svidResponse>;
    type FetchX509BundlesStream = ResponseStream<proto::X509BundlesResponse>;
    type FetchJWTBundlesStream = ResponseStream<proto::JwtBundlesResponse>;
    type FetchWITSVIDStream = ResponseStream<proto::WitsvidResponse>;
    type FetchWITBundlesStream = ResponseStream<proto::WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<proto::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let (caller, ticket) = self.enter(&request, "/SpiffeWorkloadAPI/FetchX509SVID")?;
        let updates = self.identities.watch_x509(&caller).await;
        let updates = still_there(&caller, updates)?;
        Ok(self.respond(updates, ticket, |context, last| {
            if last.is_some_and(|last| last.same_as(context)) { Ok(None) } else { x509_response(context).map(Some) }
        }))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<proto::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let (caller, ticket) = self.enter(&request, "/SpiffeWorkloadAPI/FetchX509Bundles")?;
        let updates = self.identities.watch_bundles(&caller).await;
        let updates = still_there(&caller, updates)?;
        let same =
            |bundles: &BundleSet, last: &BundleSet| same_bundles(bundles, last, |bundle| &bundle.x509_authorities);
        Ok(self.respond(updates, ticket, move |bundles, last| match last {
            Some(last) if same(bundles, last) => Ok(None),
            _ => non_empty(x509_bundles(bundles.iter()))
                .map(|bundles| Some(proto::X509BundlesResponse { crl: Vec::new(), bundles })),
        }))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<proto::JwtsvidRequest>,
    ) -> Result<Response<proto::JwtsvidResponse>, Status> {
        let message = request.get_ref();
        if message.audience.iter().all(String::is_empty) {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        let id = match message.spiffe_id.as_str() {
            "" => None,
            id => Some(
                SpiffeId::parse(id)
                    .map_err(|err| Status::invalid_argument(format!("invalid requested SPIFFE ID: {err}")))?,
            ),
        };
        let (caller, _ticket) = self.enter(&request, "/SpiffeWorkloadAPI/FetchJWTSVID")?;
        let tokens = self.identities.fetch_jwt_svids(&caller, &message.audience, id.as_ref()).await;
        let tokens = still_there(&caller, tokens)?;
        if tokens.is_empty() {
            return Err(IdentityError::NoIdentity.into());
        }
        let svids = tokens
            .into_iter()
            .map(|token| proto::Jwtsvid { spiffe_id: token.id.to_string(), svid: token.token, hint: token.hint })
            .collect();
        Ok(Response::new(proto::JwtsvidResponse { svids }))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<proto::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let (caller, ticket) = self.enter(&request, "/SpiffeWorkloadAPI/FetchJWTBundles")?;
        let updates = self.identities.watch_bundles(&caller).await;
        let updates = still_there(&caller, updates)?;
        let same =
            |bundles: &BundleSet, last: &BundleSet| same_bundles(bundles, last, |bundle| &bundle.jwt_authorities);
        Ok(self.respond(updates, ticket, move |bundles, last| match last {
            Some(last) if same(bundles, last) => Ok(None),
            _ => non_empty(jwt_bundles(bundles)).map(|bundles| Some(proto::JwtBundlesResponse { bundles })),
        }))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<proto::ValidateJwtsvidRequest>,
    ) -> Result<Response<proto::ValidateJwtsvidResponse>, Status> {
        let message = request.get_ref();
        if message.audience.is_empty() {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        if message.svid.is_empty() {
            return Err(Status::invalid_argument("svid must be specified"));
        }
        let (caller, _ticket) = self.enter(&request, "/SpiffeWorkloadAPI/ValidateJWTSVID")?;
        let valid = self.identities.validate_jwt_svid(&caller, &message.audience, &message.svid).await;
        let valid = still_there(&caller, valid)?;
        Ok(Response::new(proto::ValidateJwtsvidResponse {
            spiffe_id: valid.id.to_string(),
            claims: Some(claims::to_struct(valid.claims)),
        }))
    }

    async fn fetch_witsvid(
        &self,
        _: Request<proto::WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        Err(Status::unimplemented("fetching WIT-SVIDs is not implemented"))
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<proto::WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        Err(Status::unimplemented("fetching WIT bundles is not implemented"))
    }
}

impl<I: Identities> Service<I> {
    fn enter<T>(&self, request: &Request<T>, method: &'static str) -> Result<(Caller, Ticket), Status> {
        let caller = Caller::of_request(request, method)?;
        let ticket = self.gate.enter(caller.peer())?;
        Ok((caller, ticket))
    }

    /// Sends what `answer` makes of each update, which it is given along with the one before; ends with an error, never
    /// well, because some clients take a good end for a final one.
    fn respond<S, T, A>(&self, updates: Updates<S>, ticket: Ticket, answer: A) -> Response<ResponseStream<T>>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        A: Fn(&S, Option<&S>) -> Result<Option<T>, IdentityError> + Send + Unpin + 'static,
    {
        let closing = Box::pin(self.closing.clone().cancelled_owned());
        let open = Open { updates, last: None, answer, closing, _ticket: ticket };
        let responses = Responses { open: Some(open), of: PhantomData };
        Response::new(Box::pin(responses))
    }
}

/// One open stream. Written out, because a future of the same would take several times the memory, and most streams wait.
struct Open<S, A> {
    updates: Updates<S>,
    last: Option<Arc<S>>,
    answer: A,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    _ticket: Ticket,
}

impl<S, A> Open<S, A> {
    fn poll_next<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, IdentityError>>
    where
        A: Fn(&S, Option<&S>) -> Result<Option<T>, IdentityError>,
    {
        loop {
            let update = match self.updates.as_mut().poll_next(context) {
                Poll::Pending if self.closing.as_mut().poll(context).is_pending() => return Poll::Pending,
                Poll::Pending => None,
                Poll::Ready(update) => update,
            };
            let ended = || IdentityError::Unavailable { reason: "endpoint is closing".to_owned() };
            let update = update.ok_or_else(ended)??;
            let response = (self.answer)(&update, self.last.as_deref())?;
            self.last = Some(update);
            if let Some(response) = response {
                return Poll::Ready(Ok(response));
            }
        }
    }
}

/// The responses of a stream, until the first error.
struct Responses<S, A, T> {
    open: Option<Open<S, A>>,
    of: PhantomData<fn() -> T>,
}

impl<S, A, T> Stream for Responses<S, A, T>
where
    A: Fn(&S, Option<&S>) -> Result<Option<T>, IdentityError> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        open.poll_next(context).map(|response| {
            Some(response.map_err(|err| {
                self.open = None;
                err.into()
            }))
        })
    }
}

/// Whoever was attested must be the one who called: asked after the attestation, which went by the process number.
fn still_there<T>(caller: &Caller, answer: Result<T, IdentityError>) -> Result<T, Status> {
    match caller.peer().check() {
        Ok(()) => Ok(answer?),
        Err(err) => {
            tracing::warn!(%err, method = caller.method(), "caller has gone");
            Err(IdentityError::AttestationFailed.into())
        }
    }
}

fn x509_response(context: &X509Context) -> Result<proto::X509svidResponse, IdentityError> {
    let mut context = context.clone();
    context.drop_repeated_hints();
    let mut own: Vec<TrustDomain> = Vec::new();
    let mut svids = Vec::with_capacity(context.identities.len());
    for identity in &context.identities {
        let svid = &identity.svid;
        let trust_domain = svid.id().trust_domain();
        let bundle = context
            .bundles
            .get(&trust_domain)
            .ok_or_else(|| IdentityError::Response { reason: "bundle not available".to_owned() })?;
        svids.push(proto::X509svid {
            spiffe_id: svid.id().to_string(),
            x509_svid: svid.chain().iter().flat_map(Certificate::der).copied().collect(),
            x509_svid_key: Bytes::copy_from_slice(&svid.private_key().to_pkcs8_der()),
            bundle: bundle.x509_roots_der().into(),
            hint: identity.hint.clone(),
        });
        own.push(trust_domain);
    }
    if svids.is_empty() {
        return Err(IdentityError::NoIdentity);
    }
    let federated = context.bundles.iter().filter(|bundle| !own.contains(&bundle.trust_domain));
    Ok(proto::X509svidResponse { svids, crl: Vec::new(), federated_bundles: x509_bundles(federated) })
}

/// A trust domain without X.509 authorities has none to be told: some clients refuse an empty value.
fn x509_bundles<'a>(bundles: impl Iterator<Item = &'a Arc<Bundle>>) -> BTreeMap<String, Bytes> {
    bundles
        .filter(|bundle| !bundle.x509_authorities.is_empty())
        .map(|bundle| (bundle.trust_domain.id().to_string(), bundle.x509_roots_der().into()))
        .collect()
}

fn jwt_bundles(bundles: &BundleSet) -> BTreeMap<String, Bytes> {
    bundles.iter().map(|bundle| (bundle.trust_domain.id().to_string(), bundle.to_jwks().into())).collect()
}

/// At least the bundle of the endpoint's own trust domain is always there (SPIFFE Workload API §5.2.2).
fn non_empty(bundles: BTreeMap<String, Bytes>) -> Result<BTreeMap<String, Bytes>, IdentityError> {
    if bundles.is_empty() {
        return Err(IdentityError::Response { reason: "bundle not available".to_owned() });
    }
    Ok(bundles)
}
