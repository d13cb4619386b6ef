//! SPIFFE IDs: `spiffe://trust-domain/path`.
//!
//! Standard: SPIFFE-ID §2.

mod matcher;
mod path;
mod trust_domain;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use matcher::IdMatcher;
pub use path::check as check_path;
pub use trust_domain::TrustDomain;

/// Longest SPIFFE ID in bytes (SPIFFE-ID §2.3).
pub const MAX_ID_LENGTH: usize = 2048;
/// Longest trust domain name in bytes (SPIFFE-ID §2.1).
pub const MAX_TRUST_DOMAIN_LENGTH: usize = 255;
pub(crate) const SCHEME: &str = "spiffe://";

/// A SPIFFE ID, valid by construction.
///
/// ```
/// use spiffe_core::SpiffeId;
///
/// let id = SpiffeId::parse("spiffe://example.org/billing/payments")?;
/// assert_eq!(id.path(), "/billing/payments");
/// assert_eq!(id.trust_domain().as_str(), "example.org");
/// # Ok::<(), spiffe_core::IdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    uri: Arc<str>,
    /// Where the path begins in `uri`.
    path_at: usize,
}

impl SpiffeId {
    /// Parses a SPIFFE ID from its URI.
    ///
    /// # Errors
    /// [`IdError`] names the rule that is broken (SPIFFE-ID §2, §2.1, §2.2, §2.3).
    pub fn parse(uri: &str) -> Result<Self, IdError> {
        let path_at = check_uri(uri)?;
        Ok(Self { uri: Arc::from(uri), path_at })
    }

    /// Joins a trust domain and a path, which is empty or begins with a slash.
    ///
    /// # Errors
    /// [`IdError`] when the path breaks a rule or the whole is longer than [`MAX_ID_LENGTH`].
    pub fn from_parts(trust_domain: &TrustDomain, path: &str) -> Result<Self, IdError> {
        let name = trust_domain.as_str();
        let length = SCHEME.len() + name.len() + path.len();
        if length > MAX_ID_LENGTH {
            return Err(IdError::TooLong { length });
        }
        path::check(path)?;
        let mut uri = String::with_capacity(length);
        uri.push_str(SCHEME);
        uri.push_str(name);
        uri.push_str(path);
        Ok(Self { uri: uri.into(), path_at: SCHEME.len() + name.len() })
    }

    /// Joins a trust domain and segments, none of which holds a slash; no segment at all yields the trust domain's own ID.
    ///
    /// # Errors
    /// As [`Self::from_parts`]; a slash inside a segment is [`IdError::BadPathCharacter`].
    pub fn from_segments<S: AsRef<str>>(
        trust_domain: &TrustDomain,
        segments: impl IntoIterator<Item = S>,
    ) -> Result<Self, IdError> {
        let mut path = String::new();
        for segment in segments {
            let segment = segment.as_ref();
            path::check_segment(segment)?;
            path.push('/');
            path.push_str(segment);
        }
        Self::from_parts(trust_domain, &path)
    }

    /// The ID below this one: `path` is empty or begins with a slash.
    ///
    /// # Errors
    /// As [`Self::from_parts`].
    pub fn join(&self, path: &str) -> Result<Self, IdError> {
        path::check(path)?;
        Self::from_parts(&self.trust_domain(), &[self.path(), path].concat())
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain::from_checked(self.trust_domain_name())
    }

    /// The trust domain's name, without an allocation.
    #[must_use]
    pub fn trust_domain_name(&self) -> &str {
        self.uri.get(SCHEME.len()..self.path_at).unwrap_or_default()
    }

    /// The path with its leading slash, or the empty string for a trust domain's own ID.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.get(self.path_at..).unwrap_or_default()
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Whether the ID belongs to `trust_domain`.
    #[must_use]
    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain_name() == trust_domain.as_str()
    }
}

/// Checks a URI and returns where its path begins.
fn check_uri(uri: &str) -> Result<usize, IdError> {
    if uri.is_empty() {
        return Err(IdError::Empty);
    }
    if uri.len() > MAX_ID_LENGTH {
        return Err(IdError::TooLong { length: uri.len() });
    }
    let rest = match uri.get(..SCHEME.len()) {
        Some(SCHEME) => uri.get(SCHEME.len()..).unwrap_or_default(),
        _ => return Err(IdError::WrongScheme),
    };
    let name_length = rest.find('/').unwrap_or(rest.len());
    let (name, path) = rest.split_at(name_length);
    trust_domain::check(name)?;
    path::check(path)?;
    Ok(SCHEME.len() + name_length)
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.uri)
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(uri: &str) -> Result<Self, IdError> {
        Self::parse(uri)
    }
}

impl AsRef<str> for SpiffeId {
    fn as_ref(&self) -> &str {
        &self.uri
    }
}

/// Which rule of SPIFFE-ID a text breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// SPIFFE-ID §2.1
    #[error("trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores")]
    BadTrustDomainCharacter,
    /// SPIFFE-ID §2.2
    #[error("path segment characters are limited to letters, numbers, dots, dashes, and underscores")]
    BadPathCharacter,
    /// SPIFFE-ID §2.2
    #[error("path cannot contain dot segments")]
    DotSegment,
    /// There is no text at all.
    #[error("cannot be empty")]
    Empty,
    /// SPIFFE-ID §2.2
    #[error("path cannot contain empty segments")]
    EmptySegment,
    /// SPIFFE-ID §2.1
    #[error("trust domain is missing")]
    MissingTrustDomain,
    /// A path given apart from its trust domain.
    #[error("path must have a leading slash")]
    NoLeadingSlash,
    /// SPIFFE-ID §2.3
    #[error("SPIFFE ID is {length} bytes long, at most {MAX_ID_LENGTH} are allowed")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// SPIFFE-ID §2.2
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    /// SPIFFE-ID §2.1
    #[error("trust domain is {length} bytes long, at most {MAX_TRUST_DOMAIN_LENGTH} are allowed")]
    TrustDomainTooLong {
        /// Length in bytes.
        length: usize,
    },
    /// SPIFFE-ID §2
    #[error("scheme is missing or invalid")]
    WrongScheme,
}

impl IdError {
    /// The clause that is broken.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::BadPathCharacter
            | Self::DotSegment
            | Self::EmptySegment
            | Self::NoLeadingSlash
            | Self::TrailingSlash => "SPIFFE-ID §2.2",
            Self::BadTrustDomainCharacter | Self::MissingTrustDomain => "SPIFFE-ID §2.1",
            Self::Empty | Self::WrongScheme => "SPIFFE-ID §2",
            Self::TooLong { .. } | Self::TrustDomainTooLong { .. } => "SPIFFE-ID §2.3",
        }
    }
}

#[cfg(test)]
mod tests;
