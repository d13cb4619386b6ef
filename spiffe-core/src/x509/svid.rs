//! X.509-SVIDs with their private keys.

use super::{Certificate, X509Error, check_leaf};
use crate::id::SpiffeId;
use crate::key::PrivateKey;

/// An X.509-SVID: a chain, leaf first and without the root, and the leaf's private key.
///
/// That the chain leads to a bundle is for its consumers to verify ([`super::verify_svid`]).
#[derive(Clone, Debug)]
pub struct X509Svid {
    id: SpiffeId,
    chain: Vec<Certificate>,
    private_key: PrivateKey,
}

impl X509Svid {
    /// Puts chain and key together.
    ///
    /// # Errors
    /// [`X509Error`] when the leaf breaks the profile (X509-SVID §4) or the key is not the leaf's.
    pub fn new(chain: Vec<Certificate>, private_key: PrivateKey) -> Result<Self, X509Error> {
        let leaf = chain.first().ok_or(X509Error::NoCertificate)?;
        let id = check_leaf(leaf)?;
        if leaf.public_key() != private_key.public_key() {
            return Err(X509Error::KeyMismatch { id });
        }
        Ok(Self { id, chain, private_key })
    }

    /// The SPIFFE ID.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The leaf.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "`new` refuses an empty chain")]
    pub fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The leaf's private key.
    #[must_use]
    pub fn private_key(&self) -> &PrivateKey {
        &self.private_key
    }
}
