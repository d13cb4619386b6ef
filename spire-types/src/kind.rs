//! The kinds of failure that callers tell apart.

/// What kind of failure an error is, as an API reports it; one gRPC status code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong, whatever the state.
    InvalidArgument,
    /// What is asked for is not there.
    NotFound,
    /// What is to be made is there already.
    AlreadyExists,
    /// The state does not allow it now.
    FailedPrecondition,
    /// The caller may not.
    PermissionDenied,
    /// The caller is not known.
    Unauthenticated,
    /// A limit is reached.
    ResourceExhausted,
    /// It may work later.
    Unavailable,
    /// A fault on this side.
    Internal,
    /// Not built in.
    Unimplemented,
}
