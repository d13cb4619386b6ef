//! What sort of failure an error is: decided where it arises, turned into a wire code in one place.

/// The sorts of failure that callers can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing is there already.
    AlreadyExists,
    /// The request is sound, but the state does not allow it.
    FailedPrecondition,
    /// A fault on our side.
    Internal,
    /// The request is malformed.
    InvalidArgument,
    /// There is no such thing.
    NotFound,
    /// The caller may not do this.
    PermissionDenied,
    /// The caller asked for more than a limit allows.
    ResourceExhausted,
    /// Not now; trying again may help.
    Unavailable,
    /// The caller is not known.
    Unauthenticated,
    /// Not built.
    Unimplemented,
}
