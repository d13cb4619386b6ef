//! Keeps the private keys of servers and agents, and signs with them.
//!
//! Owns where keys live: in memory, or on disk in SPIRE's `keys.json`. Does not know what is signed, nor when a key is
//! due for replacement. Start at [`KeyManager`]; a new one is proven by `testing::suite`.
//! Standards: PKCS#8 for keys at rest, X.509 and JOSE (RFC 7518 §3.4) for the two forms of a signature.

#![forbid(unsafe_code)]

mod disk;
mod error;
mod key_id;
mod memory;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use spiffe_core::key::signature_to_jws;
use spiffe_core::{KeyType, PrivateKey, PublicKey, SignatureAlgorithm};

pub use disk::{DiskKeyManager, KEYS_FILE_NAME};
pub use error::Error;
pub use key_id::KeyId;
pub use memory::MemoryKeyManager;

/// Keys under names.
///
/// All methods may be called concurrently. [`Self::generate_key`] replaces what stood under the name: the old key is
/// lost to the manager, while signers handed out before go on signing where the key is held in this process.
#[async_trait]
pub trait KeyManager: Send + Sync + fmt::Debug {
    /// Makes a key and keeps it under `id`, in place of the one that is there.
    ///
    /// When it returns, the key is as durable as the manager makes it. When it fails, the old key is still there.
    ///
    /// # Errors
    /// [`Error::Key`] when the key cannot be made, [`Error::Io`] when it cannot be kept.
    async fn generate_key(&self, id: &KeyId, key_type: KeyType) -> Result<Arc<dyn Signer>, Error>;

    /// The key under `id`; `None` where there is none.
    ///
    /// # Errors
    /// Where the manager is remote: when it cannot be asked.
    async fn get_key(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, Error>;

    /// All keys, by name.
    ///
    /// # Errors
    /// As [`Self::get_key`].
    async fn keys(&self) -> Result<Vec<(KeyId, Arc<dyn Signer>)>, Error>;
}

/// One key that signs. The private half never comes out.
///
/// Signing may be called concurrently.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The algorithm of its signatures.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Signs in the X.509 form: ECDSA as DER. The whole message is given; hashing it is part of signing.
    ///
    /// # Errors
    /// [`Error::Key`] when the provider fails.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;

    /// Signs in the JOSE form: ECDSA as r and s side by side (RFC 7518 §3.4).
    ///
    /// # Errors
    /// As [`Self::sign`].
    async fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(signature_to_jws(self.algorithm(), self.sign(message).await?)?)
    }
}

/// A key in this process signs at once: it was parsed when it was loaded, and nothing is locked.
#[async_trait]
impl Signer for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        Self::public_key(self)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(Self::sign(self, message)?)
    }

    async fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(Self::sign_jws(self, message)?)
    }
}
