//! Messages into our types and back: requests are parsed here, and nowhere else.
//!
//! Errors are clauses without the attempt, e.g. `missing selector list`; services put the attempt in front.

pub mod agent;
pub mod bundle;
pub mod entry;
pub mod federation;
pub mod id;
pub mod selector;
pub mod svid;

use std::fmt::Display;

/// Why a message does not make a value: a clause for the reader of the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(String);

impl ConvertError {
    pub(crate) fn new(clause: impl Into<String>) -> Self {
        Self(clause.into())
    }

    pub(crate) fn in_field(field: &str, cause: impl Display) -> Self {
        Self(format!("{field}: {cause}"))
    }
}

/// A lifetime in seconds; zero stands for "the default".
pub(crate) fn ttl(field: &str, seconds: i32) -> Result<Option<spiffe_core::Ttl>, ConvertError> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(spiffe_core::Ttl::from_secs(seconds))),
        Err(_) => Err(ConvertError::new(format!("{field} must not be negative"))),
    }
}

pub(crate) fn ttl_to_proto(ttl: Option<spiffe_core::Ttl>) -> i32 {
    ttl.map_or(0, |ttl| i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX))
}

/// A time; zero stands for "never".
pub(crate) fn time(seconds: i64) -> Option<spiffe_core::Timestamp> {
    (seconds != 0).then(|| spiffe_core::Timestamp::from_unix(seconds))
}
