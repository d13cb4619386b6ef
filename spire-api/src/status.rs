//! Errors as gRPC sees them: the one place where kinds become codes, and where SPIRE's wording conventions live.

use std::fmt::Display;

use prost::Message as _;
use spire_types::ErrorKind;
use tonic::{Code, Status};

use crate::proto::types;
use crate::proto::types::permission_denied_details::Reason;

/// The code of a kind of error.
#[must_use]
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Unimplemented => Code::Unimplemented,
        _ => Code::Internal,
    }
}

/// The code as Go writes it, as in logs and the labels of metrics.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// What was attempted and why it failed, worded as SPIRE does: `attempt: cause`, but for NotFound the attempt alone.
#[must_use]
pub fn status(code: Code, attempt: &str, cause: impl Display) -> Status {
    match code {
        Code::NotFound => Status::new(code, attempt),
        _ => Status::new(code, short(format!("{attempt}: {cause}"))),
    }
}

/// Bytes of a message at most. It repeats what callers sent, and a client ends the connection over a header that is too long.
const MAX_MESSAGE: usize = 4096;

fn short(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push_str("...");
    }
    message
}

/// A malformed request: `attempt: cause`.
#[must_use]
pub fn invalid(attempt: &str, cause: impl Display) -> Status {
    status(Code::InvalidArgument, attempt, cause)
}

/// The outcome of a member of a batch that succeeded.
#[must_use]
pub fn batch_ok() -> types::Status {
    types::Status { code: 0, message: "OK".into() }
}

/// The outcome of a member of a batch that failed.
#[must_use]
pub fn batch_error(status: &Status) -> types::Status {
    types::Status { code: status.code() as i32, message: status.message().into() }
}

/// `google.rpc.Status`, as it travels in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

const DETAILS_URL: &str = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";
/// Longest details that are decoded, in bytes.
const MAX_DETAILS_LENGTH: usize = 8 << 10;

/// PermissionDenied with the reason that agents act on.
#[must_use]
pub fn permission_denied(message: &str, reason: Reason) -> Status {
    let details = types::PermissionDeniedDetails { reason: reason.into() };
    let rpc = RpcStatus {
        code: Code::PermissionDenied as i32,
        message: message.into(),
        details: vec![prost_types::Any { type_url: DETAILS_URL.into(), value: details.encode_to_vec() }],
    };
    Status::with_details(Code::PermissionDenied, message, rpc.encode_to_vec().into())
}

/// The reason that a PermissionDenied status carries, if it does.
#[must_use]
pub fn permission_denied_reason(status: &Status) -> Option<Reason> {
    let details = status.details();
    if status.code() != Code::PermissionDenied || details.len() > MAX_DETAILS_LENGTH {
        return None;
    }
    let rpc = RpcStatus::decode(details).ok()?;
    let any = rpc.details.iter().find(|any| any.type_url == DETAILS_URL)?;
    types::PermissionDeniedDetails::decode(any.value.as_slice()).ok().map(|details| details.reason())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_sent_is_repeated_up_to_a_length() {
        let status = invalid("malformed param", "\u{20ac}".repeat(1 << 20));
        assert!((4000..4200).contains(&status.message().len()) && status.message().ends_with("\u{20ac}..."));
    }

    #[test]
    fn reasons_travel_in_the_details() {
        let status = permission_denied("authorization denied", Reason::AgentBanned);
        assert_eq!(permission_denied_reason(&status), Some(Reason::AgentBanned));
        assert_eq!(permission_denied_reason(&Status::permission_denied("no details")), None);
        let garbled = Status::with_details(Code::PermissionDenied, "x", vec![0xff; 100].into());
        assert_eq!(permission_denied_reason(&garbled), None);
    }

    #[test]
    fn wording_follows_spire() {
        assert_eq!(status(Code::NotFound, "entry not found", "cause").message(), "entry not found");
        assert_eq!(
            status(Code::Internal, "failed to create entry", "disk full").message(),
            "failed to create entry: disk full"
        );
    }
}
