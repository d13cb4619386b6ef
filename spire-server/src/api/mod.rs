//! The gRPC services, one a file: convert, call, convert back.
//!
//! Before a handler runs, the layer in `endpoints` has found out who calls and whether it may ([`crate::authz`]);
//! handlers find the outcome with [`caller`] and [`role`].

pub(crate) mod agent;
pub(crate) mod authorized_entries;
pub(crate) mod bundle;
pub(crate) mod debug;
pub(crate) mod entry;
pub(crate) mod follow;
pub(crate) mod health;
pub(crate) mod local_authority;
pub(crate) mod logger;
pub(crate) mod svid;
pub(crate) mod trust_domain;

use spire_api::status;
use spire_types::{ErrorKind, Revision};
use tonic::{Code, Extensions, Status};

use crate::authz::Role;
use crate::caller::Caller;
use crate::entries::EntryCache;

/// Who calls: `caller(request.extensions())`.
///
/// # Errors
/// `Internal` where the layer did not run, which is our mistake.
pub(crate) fn caller(extensions: &Extensions) -> Result<&Caller, Status> {
    extensions.get::<Caller>().ok_or_else(|| Status::internal("caller is not known"))
}

/// In which role the caller was admitted.
///
/// # Errors
/// `Internal` where the layer did not run, which is our mistake.
pub(crate) fn role(extensions: &Extensions) -> Result<&Role, Status> {
    extensions.get::<Role>().ok_or_else(|| Status::internal("caller has no role"))
}

/// A failure of the store, by what was attempted.
pub(crate) fn store_failed(attempt: &str, err: &spire_datastore::Error) -> Status {
    status::status(status::code(err.kind()), attempt, err)
}

/// The same where SPIRE calls it internal whatever it is, even what is there already or is not; but a disk that is full or a
/// database that is locked has its code here, too.
pub(crate) fn internal(attempt: &str, err: &spire_datastore::Error) -> Status {
    match err.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotFound => status::status(Code::Internal, attempt, err),
        _ => store_failed(attempt, err),
    }
}

/// Waits until the index shows what was written. Where it cannot be brought up to date now, it will be a little later: what
/// was written stays written.
pub(crate) async fn await_revision(cache: &EntryCache, written: Option<Revision>) {
    if let Some(revision) = written
        && let Err(err) = cache.reach(revision).await
    {
        tracing::warn!(%err, "Failed to refresh the entry cache, will retry");
    }
}
