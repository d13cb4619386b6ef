//! The server's authorities, and what SVIDs are like by default.

use spiffe_core::{KeyType, Ttl};
use spire_ca::DistinguishedName;
use spire_ca::rotation::Publication;
use spire_ca::template::{CA_TTL, JWT_SVID_TTL, X509_SVID_TTL};

/// Lifetimes, keys and subject of the server's own authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaConfig {
    /// `ca_ttl`: lifetime of X.509 CAs and JWT keys.
    pub ttl: Ttl,
    /// `ca_key_type`
    pub key_type: KeyType,
    /// `jwt_key_type`; in a file, that of the CA where it is missing.
    pub jwt_key_type: KeyType,
    /// `ca_subject`
    pub subject: DistinguishedName,
    /// `experimental.key_publication_delay` and `experimental.first_key_publication_delay`, which SPIRE does not have: how
    /// long an authority is published before it signs. Below several levels of servers, the latter is ten seconds for
    /// each and ten more for agents.
    pub publication: Publication,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self {
            ttl: CA_TTL,
            key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            subject: DistinguishedName::default_ca(),
            publication: Publication::default(),
        }
    }
}

/// What SVIDs are like where the entry does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SvidConfig {
    /// `default_x509_svid_ttl`
    pub x509_ttl: Ttl,
    /// `default_jwt_svid_ttl`
    pub jwt_ttl: Ttl,
    /// `agent_ttl`: lifetime of agents' SVIDs; in a file, `default_x509_svid_ttl` where it is missing.
    pub agent_ttl: Ttl,
    /// `jwt_issuer`: the `iss` claim; `None` writes none.
    pub jwt_issuer: Option<String>,
    /// False with `disable_jwt_svids`: none are minted, and the bundle has no keys for them.
    pub jwt_svids: bool,
}

impl Default for SvidConfig {
    fn default() -> Self {
        Self {
            x509_ttl: X509_SVID_TTL,
            jwt_ttl: JWT_SVID_TTL,
            agent_ttl: X509_SVID_TTL,
            jwt_issuer: None,
            jwt_svids: true,
        }
    }
}
