//! Credential composers: what changes a credential before it is checked and signed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use der::asn1::ObjectIdentifier;
use serde_json::{Map, Value};
use spiffe_core::{PublicKey, SpiffeId};

use crate::Error;
use crate::name::DistinguishedName;
use crate::x509::Extension;

/// What a composer may change of a CA certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X509CaAttributes {
    /// The subject.
    pub subject: DistinguishedName,
    /// Certificate policies.
    pub policy_identifiers: Vec<ObjectIdentifier>,
    /// Extensions beyond those of the profile.
    pub extra_extensions: Vec<Extension>,
}

/// What a composer may change of an X.509-SVID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X509SvidAttributes {
    /// The subject.
    pub subject: DistinguishedName,
    /// DNS SANs.
    pub dns_names: Vec<String>,
    /// Extensions beyond those of the profile.
    pub extra_extensions: Vec<Extension>,
}

/// Changes what is about to be signed. What it answers replaces what it was given, completely.
///
/// Each method may be called concurrently and answers, unless it is written, what it was given. A wrong answer is
/// refused by [`crate::lint`]; an error keeps the credential from being made.
#[async_trait]
pub trait CredentialComposer: Send + Sync + fmt::Debug {
    /// The server's own CA, self-signed or requested upstream, and those of downstream servers.
    ///
    /// # Errors
    /// [`Error::Composer`]
    async fn server_x509_ca(&self, attributes: X509CaAttributes) -> Result<X509CaAttributes, Error> {
        Ok(attributes)
    }

    /// The server's X.509-SVID.
    ///
    /// # Errors
    /// [`Error::Composer`]
    async fn server_x509_svid(&self, attributes: X509SvidAttributes) -> Result<X509SvidAttributes, Error> {
        Ok(attributes)
    }

    /// An agent's X.509-SVID.
    ///
    /// # Errors
    /// [`Error::Composer`]
    async fn agent_x509_svid(
        &self,
        _id: &SpiffeId,
        _public_key: &PublicKey,
        attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, Error> {
        Ok(attributes)
    }

    /// A workload's X.509-SVID.
    ///
    /// # Errors
    /// [`Error::Composer`]
    async fn workload_x509_svid(
        &self,
        _id: &SpiffeId,
        _public_key: &PublicKey,
        attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, Error> {
        Ok(attributes)
    }

    /// A workload's JWT-SVID. Whole numbers in `iat` and `exp` become integers again, should they have been changed
    /// to floating point.
    ///
    /// # Errors
    /// [`Error::Composer`]
    async fn workload_jwt_svid(&self, _id: &SpiffeId, claims: Map<String, Value>) -> Result<Map<String, Value>, Error> {
        Ok(claims)
    }
}

/// Composers in their order: each sees what the one before it made.
#[derive(Clone, Debug, Default)]
pub struct Composers(Arc<[Arc<dyn CredentialComposer>]>);

impl Composers {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) async fn x509_ca(&self, mut attributes: X509CaAttributes) -> Result<X509CaAttributes, Error> {
        for composer in self.0.iter() {
            attributes = composer.server_x509_ca(attributes).await?;
        }
        Ok(attributes)
    }

    /// Which method is asked follows from the ID: `/spire/server` is the server, `/spire/agent/…` are agents.
    pub(crate) async fn x509_svid(
        &self,
        id: &SpiffeId,
        public_key: &PublicKey,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, Error> {
        for composer in self.0.iter() {
            attributes = if id.path() == "/spire/server" {
                composer.server_x509_svid(attributes).await?
            } else if id.path().starts_with("/spire/agent/") {
                composer.agent_x509_svid(id, public_key, attributes).await?
            } else {
                composer.workload_x509_svid(id, public_key, attributes).await?
            };
        }
        Ok(attributes)
    }

    pub(crate) async fn jwt_svid(
        &self,
        id: &SpiffeId,
        mut claims: Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        for composer in self.0.iter() {
            claims = composer.workload_jwt_svid(id, claims).await?;
        }
        Ok(claims)
    }
}

impl FromIterator<Arc<dyn CredentialComposer>> for Composers {
    fn from_iter<I: IntoIterator<Item = Arc<dyn CredentialComposer>>>(composers: I) -> Self {
        Self(composers.into_iter().collect())
    }
}

/// `uniqueid`: the subject of a workload's X.509-SVID gets an x500UniqueIdentifier made of its SPIFFE ID.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniqueId;

/// x500UniqueIdentifier
const UNIQUE_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.45");

#[async_trait]
impl CredentialComposer for UniqueId {
    async fn workload_x509_svid(
        &self,
        id: &SpiffeId,
        _public_key: &PublicKey,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, Error> {
        attributes.subject.extra.retain(|(oid, _)| *oid != UNIQUE_IDENTIFIER);
        attributes.subject.extra.push((UNIQUE_IDENTIFIER, unique_id(id)));
        Ok(attributes)
    }
}

/// The first half of the SHA-256 of the ID, in hex.
fn unique_id(id: &SpiffeId) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.as_str().as_bytes());
    crate::authority::hex(digest.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unique_id_is_half_a_sha256() {
        // printf %s spiffe://example.org/a | sha256sum | cut -c1-32
        let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
        assert_eq!(unique_id(&id), UNIQUE_ID_OF_A);
    }

    const UNIQUE_ID_OF_A: &str = "82b77c40cf8cbad97463d0ab0ca8c200";
}
