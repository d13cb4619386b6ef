//! For tests: the suite every key manager passes, keys that need not be made, and a manager that fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use spiffe_core::{KeyType, PrivateKey, PublicKey, SignatureAlgorithm};

use crate::{Error, KeyId, KeyManager, MemoryKeyManager, Signer};

/// Runs the contract of [`KeyManager`] on an empty manager.
///
/// # Panics
/// Where the contract is broken.
#[expect(clippy::expect_used, reason = "a failing test panics")]
pub async fn suite(manager: &dyn KeyManager) {
    let (first_id, second_id) = (id("first"), id("second"));
    assert!(manager.keys().await.expect("keys").is_empty(), "the manager is not empty");
    assert!(manager.get_key(&first_id).await.expect("get").is_none());

    for key_type in [KeyType::EcP256, KeyType::EcP384] {
        let made = manager.generate_key(&first_id, key_type).await.expect("generate");
        assert_eq!(made.public_key().key_type(), Some(key_type));
        proves_possession(made.as_ref()).await;
        let found = manager.get_key(&first_id).await.expect("get").expect("the key just made");
        assert_eq!(found.public_key(), made.public_key());
        proves_possession(found.as_ref()).await;
    }

    let first = manager.get_key(&first_id).await.expect("get").expect("first");
    let second = manager.generate_key(&second_id, KeyType::EcP256).await.expect("generate");
    assert_ne!(first.public_key(), second.public_key());
    let names: Vec<_> = manager.keys().await.expect("keys").into_iter().map(|(id, _)| id).collect();
    assert_eq!(names, [first_id.clone(), second_id.clone()]);

    let replaced = manager.generate_key(&first_id, KeyType::EcP256).await.expect("generate");
    assert_ne!(replaced.public_key(), first.public_key(), "a name's new key is another key");
    let found = manager.get_key(&first_id).await.expect("get").expect("first");
    assert_eq!(found.public_key(), replaced.public_key());
    let untouched = manager.get_key(&second_id).await.expect("get").expect("second");
    assert_eq!(untouched.public_key(), second.public_key());
    assert_eq!(manager.keys().await.expect("keys").len(), 2);
}

#[expect(clippy::expect_used, reason = "a failing test panics")]
async fn proves_possession(signer: &dyn Signer) {
    let signature = signer.sign(b"message").await.expect("sign");
    signer.public_key().verify(signer.algorithm(), b"message", &signature).expect("verify");
    let signature = signer.sign_jws(b"message").await.expect("sign");
    signer.public_key().verify_jws(signer.algorithm(), b"message", &signature).expect("verify");
}

#[expect(clippy::expect_used, reason = "the names are ours")]
fn id(name: &str) -> KeyId {
    KeyId::new(name).expect("name")
}

/// All ready-made P-256 keys.
///
/// # Panics
/// Never, but for damage to the files.
#[must_use]
pub fn keys() -> Vec<PrivateKey> {
    KEYS.iter().map(|der| parse(der)).collect()
}

/// A ready-made P-256 key; `number` counts from zero and wraps at their number (six).
///
/// # Panics
/// Never, but for damage to the files.
#[must_use]
#[expect(clippy::indexing_slicing, reason = "wrapped at the length")]
pub fn key(number: usize) -> PrivateKey {
    parse(KEYS[number % KEYS.len()])
}

/// A ready-made P-384 key.
///
/// # Panics
/// Never, but for damage to the file.
#[must_use]
pub fn p384() -> PrivateKey {
    parse(include_bytes!("testing/p384.pk8"))
}

/// A ready-made RSA key of 2048 bits.
///
/// # Panics
/// Never, but for damage to the file.
#[must_use]
pub fn rsa2048() -> PrivateKey {
    parse(include_bytes!("testing/rsa2048.pk8"))
}

#[expect(clippy::expect_used, reason = "the keys are ours")]
fn parse(der: &[u8]) -> PrivateKey {
    PrivateKey::from_pkcs8_der(der).expect("a key in PKCS#8")
}

const KEYS: [&[u8]; 6] = [
    include_bytes!("testing/p256-0.pk8"),
    include_bytes!("testing/p256-1.pk8"),
    include_bytes!("testing/p256-2.pk8"),
    include_bytes!("testing/p256-3.pk8"),
    include_bytes!("testing/p256-4.pk8"),
    include_bytes!("testing/p256-5.pk8"),
];

/// A key manager whose next operations fail as often as it is told; keys are kept in memory.
#[derive(Debug, Default)]
pub struct FailingKeyManager {
    inner: MemoryKeyManager,
    failures: Arc<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    generate: AtomicUsize,
    sign: AtomicUsize,
}

impl FailingKeyManager {
    /// One that does not fail yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next `times` calls of [`KeyManager::generate_key`] fail.
    pub fn fail_to_generate(&self, times: usize) {
        self.failures.generate.store(times, Ordering::SeqCst);
    }

    /// Lets the next `times` signatures fail, whichever key they are of.
    pub fn fail_to_sign(&self, times: usize) {
        self.failures.sign.store(times, Ordering::SeqCst);
    }

    fn wrap(&self, key: Arc<dyn Signer>) -> Arc<dyn Signer> {
        Arc::new(FailingSigner { key, failures: Arc::clone(&self.failures) })
    }
}

fn next_fails(counter: &AtomicUsize) -> Result<(), Error> {
    match counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => Err(Error::Unavailable { reason: "told to fail".to_owned() }),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl KeyManager for FailingKeyManager {
    async fn generate_key(&self, id: &KeyId, key_type: KeyType) -> Result<Arc<dyn Signer>, Error> {
        next_fails(&self.failures.generate)?;
        Ok(self.wrap(self.inner.generate_key(id, key_type).await?))
    }

    async fn get_key(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, Error> {
        Ok(self.inner.get_key(id).await?.map(|key| self.wrap(key)))
    }

    async fn keys(&self) -> Result<Vec<(KeyId, Arc<dyn Signer>)>, Error> {
        Ok(self.inner.keys().await?.into_iter().map(|(id, key)| (id, self.wrap(key))).collect())
    }
}

#[derive(Debug)]
struct FailingSigner {
    key: Arc<dyn Signer>,
    failures: Arc<Failures>,
}

#[async_trait]
impl Signer for FailingSigner {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        next_fails(&self.failures.sign)?;
        self.key.sign(message).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_fails_as_often_as_it_is_told() {
        let manager = FailingKeyManager::new();
        suite(&manager).await;
        manager.fail_to_generate(2);
        assert!(manager.generate_key(&id("a"), KeyType::EcP256).await.is_err());
        assert!(manager.generate_key(&id("a"), KeyType::EcP256).await.is_err());
        let signer = manager.generate_key(&id("a"), KeyType::EcP256).await.unwrap();
        manager.fail_to_sign(1);
        assert!(signer.sign(b"a").await.is_err());
        assert!(signer.sign(b"a").await.is_ok());
    }

    #[tokio::test]
    async fn ready_made_keys_sign() {
        for key in keys().into_iter().chain([p384(), rsa2048()]) {
            proves_possession(&key).await;
        }
    }
}
