//! Keys that die with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use spiffe_core::{KeyType, PrivateKey};

use crate::{Error, KeyId, KeyManager, Signer};

/// Keeps keys in memory: a server makes a new CA at every start, an agent attests anew.
#[derive(Debug, Default)]
pub struct MemoryKeyManager {
    keys: Keys,
}

impl MemoryKeyManager {
    /// Without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl KeyManager for MemoryKeyManager {
    async fn generate_key(&self, id: &KeyId, key_type: KeyType) -> Result<Arc<dyn Signer>, Error> {
        let key = PrivateKey::generate(key_type)?;
        self.keys.insert(id, &key);
        Ok(Arc::new(key))
    }

    async fn get_key(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, Error> {
        Ok(self.keys.get(id))
    }

    async fn keys(&self) -> Result<Vec<(KeyId, Arc<dyn Signer>)>, Error> {
        Ok(self.keys.all())
    }
}

/// Keys by name; locked for the length of a look-up only.
#[derive(Debug, Default)]
pub(crate) struct Keys(RwLock<BTreeMap<KeyId, PrivateKey>>);

impl Keys {
    pub(crate) fn insert(&self, id: &KeyId, key: &PrivateKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), key.clone());
    }

    pub(crate) fn replace(&self, keys: BTreeMap<KeyId, PrivateKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn copy(&self) -> BTreeMap<KeyId, PrivateKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn get(&self, id: &KeyId) -> Option<Arc<dyn Signer>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(id).map(|key| Arc::new(key.clone()) as Arc<dyn Signer>)
    }

    pub(crate) fn all(&self) -> Vec<(KeyId, Arc<dyn Signer>)> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|(id, key)| (id.clone(), Arc::new(key.clone()) as Arc<dyn Signer>)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn it_passes_the_suite() {
        testing::suite(&MemoryKeyManager::new()).await;
    }
}
