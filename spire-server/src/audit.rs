//! The audit log: one line for each call of the API, whatever became of it.

use tonic::Code;

use crate::authz::Role;
use crate::caller::Caller;

/// Notes one call with its outcome. For a response in parts it is what the first part said.
pub(crate) fn record(method: &str, caller: &Caller, role: Option<&Role>, code: Code, message: &str) {
    let status = if code == Code::Ok { "success" } else { "error" };
    let (mut caller_uid, mut caller_gid) = (None, None);
    if let Caller::Local { uid, gid, .. } = caller {
        (caller_uid, caller_gid) = (*uid, *gid);
    }
    tracing::info!(
        "type" = "audit",
        full_method = method,
        authorized_as = role.map(Role::as_str),
        status,
        status_code = ?code,
        status_message = (code != Code::Ok).then_some(message),
        caller_uid,
        caller_gid,
        "API accessed"
    );
}
