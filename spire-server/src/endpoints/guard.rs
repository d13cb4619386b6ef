//! Stands before every handler: judges the caller by [`crate::authz`], and notes who did what.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::SpiffeId;
use spire_api::proto::types::permission_denied_details::Reason;
use spire_api::status::{self, code_name};
use spire_datastore::DataStore;
use spire_runtime::Clock;
use spire_runtime::telemetry::{Metrics, rpc_key};
use spire_types::entry::uuid_v4;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::audit::Note;
use crate::authz::{self, AgentAdmission, AgentDenial, AgentSerials, Allowed, Role};
use crate::caller::Caller;
use crate::entries::EntryCache;

/// What callers are judged with. Answers from memory, but for the first use of a renewed agent SVID, which is put on
/// record, and before a refusal, when the newest records are read.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) cache: Arc<EntryCache>,
    pub(crate) store: Arc<dyn DataStore>,
    pub(crate) clock: Arc<dyn Clock>,
    /// `admin_ids`
    pub(crate) admin_ids: Vec<SpiffeId>,
    /// Whether every call is noted.
    pub(crate) audit: bool,
    /// Where calls are counted.
    pub(crate) metrics: Metrics,
}

impl Guard {
    /// In which role `caller` may use `method`, and how that is known.
    ///
    /// # Errors
    /// `PermissionDenied`, for agents with the reason; `Unimplemented` for what is not served to such callers at all.
    async fn admit(&self, method: &str, caller: &Caller) -> Result<(Role, Via), Status> {
        let allowed = authz::allowed(method).ok_or_else(|| unknown(method))?;
        if allowed.is_only_local() && !matches!(caller, Caller::Local { .. }) {
            return Err(unknown(method));
        }
        if let Some(role) = authz::judge_transport(allowed, caller, &self.admin_ids) {
            let via = match role {
                Role::Nobody => "",
                Role::Admin => "config",
                _ => "transport",
            };
            return Ok((role, via));
        }
        let denied = || Status::permission_denied(denial(method));
        let Caller::Identified { id, .. } = caller else { return Err(denied()) };
        if let Some(role) = self.judge_entries(allowed, id) {
            return Ok((role, "entries"));
        }
        if !allowed.agent {
            return Err(denied());
        }
        Ok((self.judge_agent(method, caller).await?, "datastore"))
    }

    fn judge_entries(&self, allowed: Allowed, id: &SpiffeId) -> Option<Role> {
        if !allowed.admin && !allowed.downstream {
            return None;
        }
        let index = self.cache.current();
        let mut role = None;
        for entry in index.entries_of(id, self.clock.now()) {
            if entry.admin && allowed.admin {
                return Some(Role::Admin);
            }
            if entry.downstream && allowed.downstream {
                role = Some(Role::Downstream(Box::new(entry)));
            }
        }
        role
    }

    async fn judge_agent(&self, method: &str, caller: &Caller) -> Result<Role, Status> {
        let Caller::Identified { id, leaf, serial, .. } = caller else {
            return Err(Status::permission_denied(denial(method)));
        };
        let failed =
            |err: spire_datastore::Error| Status::internal(format!("unable to look up agent information: {err}"));
        let judge = || {
            let index = self.cache.current();
            let record = index.node(id).map(|node| AgentSerials::from(node.as_ref()));
            authz::judge_agent(serial, leaf.not_after(), record, self.clock.now())
        };
        let mut verdict = judge();
        if verdict == Ok(AgentAdmission::Promote) {
            if let Some(revision) = self.store.promote_node(id, serial).await.map_err(failed)? {
                self.cache.reach(revision).await.map_err(failed)?;
                tracing::debug!(agent_id = %id, "Renewed agent SVID is in use");
            }
            verdict = judge();
        }
        if verdict != Ok(AgentAdmission::Current) {
            // Nobody is turned away by what may have changed since.
            self.cache.refresh().await.map_err(failed)?;
            verdict = judge();
        }
        match verdict {
            Ok(_) => Ok(Role::Agent(id.clone())),
            Err(why) => {
                tracing::error!(agent_id = %id, "{}", refusal(why));
                Err(status::permission_denied(&denial(method), reason(why)))
            }
        }
    }
}

impl Guard {
    /// Counts a call. For a response in parts it counts with the first one.
    fn count(&self, method: &str, code: Code, began: Instant) {
        // Nobody makes up names of metrics.
        if self.metrics.is_enabled() && authz::allowed(method).is_some() {
            let key = rpc_key(method);
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            self.metrics.call(&key, &[], code_name(code), began.elapsed());
        }
    }
}

/// What vouches for a role, by SPIRE's word: `transport`, `config`, `entries`, `datastore`, or nothing.
type Via = &'static str;

fn denial(method: &str) -> String {
    format!("authorization denied for method {method}")
}

fn unknown(method: &str) -> Status {
    let service = method.trim_start_matches('/').split('/').next().unwrap_or_default();
    Status::unimplemented(format!("unknown service {service} or method {method}"))
}

/// In SPIRE's words, which scripts look for.
fn refusal(denial: AgentDenial) -> &'static str {
    match denial {
        AgentDenial::Expired => "Agent SVID is expired",
        AgentDenial::NotAttested => "Agent is not attested",
        AgentDenial::NotActive => "Agent SVID is not active",
        AgentDenial::Banned => "Agent is banned",
    }
}

fn reason(denial: AgentDenial) -> Reason {
    match denial {
        AgentDenial::Expired => Reason::AgentExpired,
        AgentDenial::NotAttested => Reason::AgentNotAttested,
        AgentDenial::NotActive => Reason::AgentNotActive,
        AgentDenial::Banned => Reason::AgentBanned,
    }
}

/// Puts the guard before services.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer(pub(crate) Arc<Guard>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: Arc::clone(&self.0), inner }
    }
}

/// Services behind the guard.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that was asked whether it is ready must be the one that is called.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let guard = Arc::clone(&self.guard);
        let method = request.uri().path().to_owned();
        // Without the transport's word nobody is known.
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Unauthenticated { address: None });
        let span = span(&method, &caller);
        let began = Instant::now();
        let answer = async move {
            let note = guard.audit.then(|| Note::begin(&caller, std::mem::take(&mut request)));
            let (note, mut request) = match note {
                Some((note, request)) => (Some(note), request),
                None => (None, request),
            };
            let role = match guard.admit(&method, &caller).await {
                Ok((role, via)) => {
                    tracing::Span::current().record("authorized_as", role.as_str()).record("authorized_via", via);
                    role
                }
                Err(refused) => {
                    if let Some(note) = note {
                        note.failed(&method, refused.code(), refused.message());
                    }
                    guard.count(&method, refused.code(), began);
                    return Ok(refused.into_http());
                }
            };
            request.extensions_mut().insert(role);
            let mut response = inner.call(request).await?;
            if let Some(note) = note {
                response = note.answered(&method, response).await;
            }
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            guard.count(&method, code, began);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

/// Fields for every line that is logged on the way, by SPIRE's names.
fn span(full_method: &str, caller: &Caller) -> tracing::Span {
    let (service, method) = full_method.trim_start_matches('/').split_once('/').unwrap_or_default();
    // The last word of the package, the version left out, and the service: `agent.v1.Agent`.
    let service = service.strip_prefix("spire.api.server.").unwrap_or(service);
    let span = tracing::info_span!(
        "rpc",
        service,
        method,
        subsystem_name = "api",
        request_id = tracing::field::Empty,
        caller_addr = tracing::field::Empty,
        caller_id = tracing::field::Empty,
        authorized_as = tracing::field::Empty,
        authorized_via = tracing::field::Empty,
    );
    if !span.is_disabled() {
        span.record("request_id", uuid_v4(&mut OsRng.unwrap_err()));
        if let Some(address) = caller.address() {
            span.record("caller_addr", tracing::field::display(address));
        }
        if let Some(id) = caller.id() {
            span.record("caller_id", id.as_str());
        }
    }
    span
}
