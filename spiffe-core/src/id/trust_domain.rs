//! Trust domain names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{IdError, MAX_TRUST_DOMAIN_LENGTH, SCHEME, SpiffeId};

/// A trust domain's name, valid by construction; cheap to clone.
///
/// Standard: SPIFFE-ID §2.1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Parses a trust domain name, e.g. `example.org`.
    ///
    /// # Errors
    /// [`IdError`] names the rule that is broken.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// Parses a name, or the name out of a SPIFFE ID, whose path is ignored: what SPIRE's commands accept.
    ///
    /// # Errors
    /// [`IdError`] names the rule that is broken.
    pub fn parse_name_or_id(text: &str) -> Result<Self, IdError> {
        if text.contains(":/") { SpiffeId::parse(text).map(|id| id.trust_domain()) } else { Self::parse(text) }
    }

    /// Of a text that was checked as part of something larger.
    pub(super) fn from_checked(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own SPIFFE ID, which has no path.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        SpiffeId { uri: format!("{SCHEME}{}", self.0).into(), path_at: SCHEME.len() + self.0.len() }
    }

    /// The ID of a member: `path` is empty or begins with a slash.
    ///
    /// # Errors
    /// As [`SpiffeId::from_parts`].
    pub fn join(&self, path: &str) -> Result<SpiffeId, IdError> {
        SpiffeId::from_parts(self, path)
    }
}

/// Checks a name.
pub(super) fn check(name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::MissingTrustDomain);
    }
    if name.len() > MAX_TRUST_DOMAIN_LENGTH {
        return Err(IdError::TrustDomainTooLong { length: name.len() });
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if name.bytes().all(allowed) { Ok(()) } else { Err(IdError::BadTrustDomainCharacter) }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::parse(name)
    }
}
