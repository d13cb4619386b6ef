//! The SPIFFE standards as types: IDs, X.509- and JWT-SVIDs, bundles.
//!
//! Owns what the standards say: parsing, printing, verification. Does no I/O, knows no clock (time is an argument),
//! holds no global state. Start at [`SpiffeId`], [`x509::verify_svid`], [`jwt::JwtSvid::verify`] and [`Bundle`].
//! Standards: SPIFFE-ID, X509-SVID, JWT-SVID, SPIFFE Trust Domain and Bundle; WIT-SVID behind the feature `wit`.
//!
//! # An ID
//!
//! An ID is valid by construction, and prints as it was read. What is not one says which rule it breaks.
//!
//! ```
//! use spiffe_core::{SpiffeId, TrustDomain};
//!
//! let id = SpiffeId::parse("spiffe://example.org/billing/payments")?;
//! assert_eq!(id.trust_domain(), TrustDomain::parse("example.org")?);
//! assert_eq!(id.path(), "/billing/payments");
//!
//! let refused = SpiffeId::parse("spiffe://Example.org/billing").unwrap_err();
//! assert_eq!(refused.clause(), "SPIFFE-ID §2.1");
//! # Ok::<(), spiffe_core::IdError>(())
//! ```
//!
//! # A bundle
//!
//! A bundle holds the keys that one trust domain's SVIDs are verified with. It is loaded for a trust domain whose name
//! the caller knows; nothing inside the document can change whose it is.
//!
//! ```
//! use spiffe_core::{Bundle, BundleSet, TrustDomain};
//!
//! let document = br#"{
//!     "keys": [{
//!         "use": "jwt-svid", "kty": "EC", "kid": "k1", "crv": "P-256",
//!         "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
//!         "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
//!     }],
//!     "spiffe_sequence": 1
//! }"#;
//! let parsed = Bundle::parse_document(TrustDomain::parse("example.org")?, document)?;
//! assert!(parsed.problems.is_empty(), "entries that cannot be used are ignored, and reported");
//!
//! // One bundle for each trust domain; an SVID is judged by its own alone.
//! let bundles: BundleSet = [parsed.bundle].into_iter().collect();
//! assert_eq!(bundles.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An SVID
//!
//! [`x509::verify_svid`] takes a chain, leaf first, and [`jwt::JwtSvid::verify`] a token; both return whose it is.
//!
//! ```
//! use spiffe_core::jwt::JwtSvid;
//! use spiffe_core::x509::{Certificate, verify_svid};
//! use spiffe_core::{Timestamp, Ttl};
//!
//! # let authority = spiffe_core::testing::TestAuthority::new("example.org");
//! # let chain_der = authority.svid("/billing").leaf().der().to_vec();
//! # let token = authority.jwt_svid("/billing", &["payments"], Timestamp::from_unix(1_790_000_300));
//! # let bundles = authority.bundles();
//! let now = Timestamp::from_unix(1_790_000_000);
//!
//! // Certificates one after the other, as the Workload API sends them.
//! let chain = Certificate::from_der_many(&chain_der)?;
//! let peer = verify_svid(&chain, &bundles, now)?;
//! assert_eq!(peer.as_str(), "spiffe://example.org/billing");
//!
//! // We are "payments", and allow for no difference between clocks.
//! let svid = JwtSvid::verify(&token, "payments", &bundles, now, Ttl::ZERO)?;
//! assert_eq!(svid.id(), &peer);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `ring` | cryptography by ring; the default |
//! | `aws-lc-rs` | cryptography by AWS-LC, which knows P-521 and makes RSA keys; taken where both are on |
//! | `rustls` | mutual TLS between SVIDs |
//! | `wit` | WIT-SVIDs; the standard is incubating |
//! | `testing` | throwaway authorities and SVIDs for tests |
//!
//! Without `ring` and `aws-lc-rs` everything parses and prints, and nothing verifies.
//!
//! # Limits
//!
//! What is longer is refused before it is parsed: [`id::MAX_ID_LENGTH`], [`id::MAX_TRUST_DOMAIN_LENGTH`],
//! [`pem::MAX_TEXT_LENGTH`], [`key::MAX_PRIVATE_KEY_LENGTH`], [`x509::MAX_CERTIFICATE_LENGTH`],
//! [`x509::MAX_CHAIN_LENGTH`], [`jwt::MAX_TOKEN_LENGTH`], [`jwt::MAX_KEYS_WITHOUT_ID`],
//! [`bundle::MAX_DOCUMENT_LENGTH`], [`bundle::MAX_ENTRIES`], [`bundle::MAX_KEYS`], [`bundle::MAX_BUNDLES`].

#![forbid(unsafe_code)]

pub mod bundle;
pub mod id;
pub mod jwt;
pub mod key;
pub mod pem;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
#[cfg(feature = "rustls")]
pub mod tls;
#[cfg(all(feature = "wit", any(feature = "ring", feature = "aws-lc-rs")))]
pub mod wit;
pub mod x509;

mod asn1;
mod json;

pub use bundle::{Bundle, BundleSet, JwtAuthority, X509Authority};
pub use id::{IdError, IdMatcher, SpiffeId, TrustDomain};
pub use key::{KeyError, KeyType, PrivateKey, PublicKey, SignatureAlgorithm};
pub use time::{Timestamp, Ttl};
