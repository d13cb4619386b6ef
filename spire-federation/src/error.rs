//! What can go wrong with bundle endpoints, on either side.

use std::{io, path::PathBuf, time::Duration};

use rustls::CertificateError;
use spiffe_core::{TrustDomain, bundle::BundleError};
use spire_types::ErrorKind;

/// Why a bundle could not be fetched, or an endpoint not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be that of a bundle endpoint (SPIFFE Federation §5.2.1.1).
    #[error("bundle endpoint URL {url:?} {reason}")]
    Url {
        /// As configured, without what stood before an `@`.
        url: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The profile is one that this build does not know.
    #[error("bundle endpoint profile is not supported")]
    Profile,
    /// Profile https_spiffe needs the bundle of the endpoint's trust domain, and there is none yet.
    #[error(
        "can't perform SPIFFE Authentication: local copy of bundle not found for trust domain {trust_domain}; \
         set it first, as with `spire-server bundle set -id spiffe://{trust_domain}`"
    )]
    NoEndpointBundle {
        /// The trust domain of the endpoint's SPIFFE ID.
        trust_domain: TrustDomain,
    },
    /// Profile https_web: the certificates of the Web PKI cannot be loaded.
    #[error("web PKI roots cannot be loaded: {0}")]
    WebRoots(String),
    /// A stage of a fetch took too long.
    #[error("bundle endpoint took more than {} s to {stage}", .limit.as_secs())]
    Timeout {
        /// What was waited for.
        stage: Stage,
        /// How long.
        limit: Duration,
    },
    /// No connection.
    #[error("failed to connect to {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The endpoint did not prove to be the one that is meant, or speaks no TLS.
    #[error("failed to authenticate bundle endpoint {host}: {}", reason(.source))]
    Tls {
        /// Host and port.
        host: String,
        /// What TLS said.
        source: io::Error,
    },
    /// The connection broke, or what came is not HTTP/1.1.
    #[error("bundle endpoint {host}: {source}")]
    Http {
        /// Host and port.
        host: String,
        /// What HTTP said.
        source: hyper::Error,
    },
    /// The endpoint points elsewhere; redirects are not followed.
    #[error(
        "bundle endpoint redirects (status {status}) to {location:?}: redirects are not followed, configure that URL if it is the right one"
    )]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// Where to, shortened.
        location: String,
    },
    /// The endpoint does not give a bundle.
    #[error("unexpected status {status} fetching bundle: {body:?}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of what came with it.
        body: String,
    },
    /// The answer is compressed although that was not asked for.
    #[error("bundle endpoint answered in content encoding {0:?}, which was not asked for")]
    Encoding(String),
    /// The document is longer than any we read.
    #[error("bundle document is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The document is no bundle.
    #[error("failed to decode bundle: {0}")]
    Document(#[from] BundleError),
    /// The endpoint gave an older bundle than the one at hand (SPIFFE Federation §4.2).
    #[error(
        "bundle of {trust_domain} has sequence number {received}, older than {current} at hand, which is kept; \
         delete or set the bundle if the trust domain has started anew"
    )]
    Older {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// The sequence number that came.
        received: u64,
        /// The one at hand.
        current: u64,
    },
    /// TLS cannot be set up on this side.
    #[error("TLS settings: {0}")]
    TlsSettings(#[from] rustls::Error),
    /// No certificate was to be had by ACME.
    #[error("ACME at {directory_url}: failed to {attempt}: {reason}")]
    Acme {
        /// The directory that was asked.
        directory_url: String,
        /// What was attempted.
        attempt: &'static str,
        /// What the directory said, or what is wrong with its answer.
        reason: String,
    },
    /// The serving certificate or its key cannot be used.
    #[error("serving certificate {path}: {reason}", path = .path.display())]
    ServingCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The kind of failure, as an API reports it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Url { .. } | Self::ServingCertificate { .. } => ErrorKind::InvalidArgument,
            Self::Profile => ErrorKind::Unimplemented,
            Self::NoEndpointBundle { .. } => ErrorKind::FailedPrecondition,
            Self::Timeout { .. } | Self::Connect { .. } => ErrorKind::Unavailable,
            Self::WebRoots(_)
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Redirect { .. }
            | Self::Status { .. }
            | Self::Encoding(_)
            | Self::TooLong { .. }
            | Self::Document(_)
            | Self::Older { .. }
            | Self::Acme { .. }
            | Self::TlsSettings(_) => ErrorKind::Internal,
        }
    }
}

/// What TLS said, without its wrappings.
fn reason(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return error.to_string();
    };
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::Other(refused)) => refused.0.to_string(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("{tls}; if the endpoint shows an X.509-SVID, its profile is https_spiffe"),
        other => other.to_string(),
    }
}

/// What a fetch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// A connection, the look-up of the name included.
    Connect,
    /// The TLS handshake.
    Handshake,
    /// The head of the answer.
    Answer,
    /// The rest of the answer.
    Body,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "accept a connection",
            Self::Handshake => "complete the TLS handshake",
            Self::Answer => "answer",
            Self::Body => "send the bundle",
        })
    }
}
