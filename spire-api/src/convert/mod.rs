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

use spire_types::PageRequest;

/// Why a message does not make a value: a clause for the reader of the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{clause}")]
pub struct ConvertError {
    clause: String,
    of_store: bool,
}

impl ConvertError {
    pub(crate) fn new(clause: impl Into<String>) -> Self {
        Self { clause: clause.into(), of_store: false }
    }

    /// A rule that SPIRE leaves to the store, worded as the store does.
    pub(crate) fn rule(cause: impl Display) -> Self {
        Self { clause: format!("datastore-validation: invalid registration entry: {cause}"), of_store: true }
    }

    pub(crate) fn in_field(field: &str, cause: impl Display) -> Self {
        Self::new(format!("{field}: {cause}"))
    }

    /// Whether SPIRE comes upon it only when it stores the value: clients are told so.
    #[must_use]
    pub fn is_of_store(&self) -> bool {
        self.of_store
    }
}

/// A lifetime in seconds; zero stands for "the default".
pub(crate) fn ttl(field: &str, seconds: i32) -> Result<Option<spiffe_core::Ttl>, ConvertError> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(spiffe_core::Ttl::from_secs(seconds))),
        Err(_) => Err(ConvertError::rule(format!("{field} is not set"))),
    }
}

pub(crate) fn ttl_to_proto(ttl: Option<spiffe_core::Ttl>) -> i32 {
    ttl.map_or(0, |ttl| i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX))
}

/// The part of a list that is asked for; without a size all of it, whatever the token.
#[must_use]
pub fn page_from_proto(size: i32, token: String) -> PageRequest {
    PageRequest { size: usize::try_from(size).ok().filter(|size| *size > 0), token }
}

/// A count; more than the wire can say is its most.
#[must_use]
pub fn count_to_proto(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A time; zero stands for "never".
pub(crate) fn time(seconds: i64) -> Option<spiffe_core::Timestamp> {
    (seconds != 0).then(|| spiffe_core::Timestamp::from_unix(seconds))
}
