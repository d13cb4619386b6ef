//! The active signing set: an immutable snapshot of the X.509 CA and the JWT key with their signers.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use rand_core::CryptoRng;
use spiffe_core::x509::Certificate;
use spiffe_core::{PublicKey, SignatureAlgorithm, Timestamp, TrustDomain};
use spire_keymanager::Signer;

use crate::Error;
use crate::composer::Composers;
use crate::jwt::Header;
use crate::x509::Issuer;

/// Names an authority: the lower-case hex of a CA's subject key id, or the key id (`kid`) of a JWT key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId(Arc<str>);

impl AuthorityId {
    /// Takes a name as it is.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// That of a CA certificate: its subject key id, or the one its key gives where it has none.
    #[must_use]
    pub fn of_certificate(certificate: &Certificate) -> Self {
        match certificate.subject_key_id() {
            Some(id) => Self::new(&hex(id)),
            None => Self::of_public_key(certificate.public_key()),
        }
    }

    /// That of the CA whose certificate we would make for this key.
    #[must_use]
    pub fn of_public_key(key: &PublicKey) -> Self {
        Self::new(&hex(&key.subject_key_id()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityId({})", self.0)
    }
}

impl FromStr for AuthorityId {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(name))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An X.509 CA that can sign. What its certificates share is encoded when it is made.
#[derive(Debug)]
pub struct X509Ca {
    id: AuthorityId,
    certificate: Certificate,
    upstream_chain: Arc<[Certificate]>,
    signer: Arc<dyn Signer>,
    issuer: Issuer,
}

impl X509Ca {
    /// Puts a CA certificate and its key together.
    ///
    /// `upstream_chain` is empty for a self-signed CA; otherwise it begins with `certificate` itself and leads up to,
    /// without it, the root.
    ///
    /// # Errors
    /// [`Error::NotAnAuthority`], [`Error::KeyMismatch`], [`Error::UnusableAlgorithm`].
    pub fn new(
        certificate: Certificate,
        upstream_chain: Vec<Certificate>,
        signer: Arc<dyn Signer>,
    ) -> Result<Self, Error> {
        if !certificate.may_sign_certificates() {
            return Err(Error::NotAnAuthority { reason: "it may not sign certificates" });
        }
        if upstream_chain.first().is_some_and(|first| *first != certificate) {
            return Err(Error::NotAnAuthority { reason: "its chain does not begin with it" });
        }
        if certificate.public_key() != signer.public_key() {
            return Err(Error::KeyMismatch);
        }
        let own_key_id = certificate.public_key().subject_key_id();
        let key_id = certificate.subject_key_id().unwrap_or(&own_key_id);
        let issuer = Issuer::new(signer.algorithm(), certificate.subject_der(), key_id)?;
        let id = AuthorityId::of_certificate(&certificate);
        Ok(Self { id, certificate, upstream_chain: upstream_chain.into(), signer, issuer })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &AuthorityId {
        &self.id
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificates that follow a leaf in its chain: none for a self-signed CA, otherwise the CA's own and those
    /// above it up to, without it, the root.
    #[must_use]
    pub fn upstream_chain(&self) -> &Arc<[Certificate]> {
        &self.upstream_chain
    }

    /// How many certificates its chain has, itself included.
    #[must_use]
    pub fn chain_length(&self) -> usize {
        self.upstream_chain.len().max(1)
    }

    /// End of its validity: nothing it signs outlives it.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.certificate.not_after()
    }

    /// The key.
    #[must_use]
    pub fn signer(&self) -> &dyn Signer {
        self.signer.as_ref()
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }
}

/// A key that signs JWT-SVIDs.
#[derive(Debug)]
pub struct JwtKey {
    id: AuthorityId,
    not_after: Timestamp,
    signer: Arc<dyn Signer>,
    header: Header,
}

impl JwtKey {
    /// A key under its key id, which signs nothing that lives longer than `not_after`.
    ///
    /// # Errors
    /// [`Error::UnusableAlgorithm`] for a key that JWT-SVIDs are not signed with.
    pub fn new(key_id: &str, not_after: Timestamp, signer: Arc<dyn Signer>) -> Result<Self, Error> {
        let header = Header::new(signer.algorithm(), key_id)?;
        Ok(Self { id: AuthorityId::new(key_id), not_after, signer, header })
    }

    /// Its key id (`kid`).
    #[must_use]
    pub fn id(&self) -> &AuthorityId {
        &self.id
    }

    /// Nothing it signs lives longer.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The key.
    #[must_use]
    pub fn signer(&self) -> &dyn Signer {
        self.signer.as_ref()
    }

    /// The algorithm of its tokens.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.signer.algorithm()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
}

/// Draws a key id as SPIRE does: 32 letters and digits.
pub fn random_key_id(rng: &mut (impl CryptoRng + ?Sized)) -> AuthorityId {
    let mut id = String::with_capacity(KEY_ID_LENGTH);
    while id.len() < KEY_ID_LENGTH {
        // Six bits at a time; those beyond the alphabet are thrown away, so that none is likelier than another.
        let draw = usize::try_from(rng.next_u32() & 0x3f).unwrap_or(usize::MAX);
        if let Some(character) = KEY_ID_ALPHABET.get(draw) {
            id.push(char::from(*character));
        }
    }
    AuthorityId::new(&id)
}

const KEY_ID_LENGTH: usize = 32;
const KEY_ID_ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// What signs at the moment. Immutable; a copy is cheap, and a change is another snapshot.
#[derive(Clone, Debug)]
pub struct Authority(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trust_domain: TrustDomain,
    x509: Arc<X509Ca>,
    jwt: Option<Arc<JwtKey>>,
    composers: Composers,
}

impl Authority {
    /// Puts the active authorities of a trust domain together.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, x509: Arc<X509Ca>, jwt: Option<Arc<JwtKey>>, composers: Composers) -> Self {
        Self(Arc::new(Inner { trust_domain, x509, jwt, composers }))
    }

    /// Whose authority it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The active X.509 CA.
    #[must_use]
    pub fn x509(&self) -> &Arc<X509Ca> {
        &self.0.x509
    }

    /// The active JWT key; `None` where JWT-SVIDs are disabled.
    #[must_use]
    pub fn jwt(&self) -> Option<&Arc<JwtKey>> {
        self.0.jwt.as_ref()
    }

    /// What changes credentials before they are signed.
    #[must_use]
    pub fn composers(&self) -> &Composers {
        &self.0.composers
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn key_ids_are_32_letters_and_digits() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (first, second) = (random_key_id(&mut rng), random_key_id(&mut rng));
        assert_eq!(first.as_str().len(), 32);
        assert!(first.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(first, second);
    }
}
