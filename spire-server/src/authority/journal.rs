//! The journal: which authorities this server has, and which of the journals is its own.

use spiffe_core::PublicKey;
use spire_ca::AuthorityId;
use spire_ca::rotation::{Done, Journal, KeyLookup, Kind, SlotId, policy};
use spire_datastore::{CaJournal, DataStore};
use spire_keymanager::{KeyId, KeyManager};
use spire_types::ErrorKind;

use super::{AuthorityError, Driver};

impl Driver {
    pub(super) async fn save_journal(&mut self) -> Result<Done, AuthorityError> {
        let generation = self.rotation.generation();
        let active = self.rotation.x509().active().map(|held| held.record.authority_id.as_str().to_owned());
        let mut journal = CaJournal {
            id: self.journal_id,
            active_x509_authority_id: active.unwrap_or_default(),
            data: self.rotation.journal().encode(),
        };
        let saved = self.parts.datastore.save_ca_journal(journal.clone()).await;
        self.journal_id = match saved {
            // Another server may have pruned it while this one was down.
            Err(err) if err.kind() == ErrorKind::NotFound && journal.id != 0 => {
                journal.id = 0;
                self.parts.datastore.save_ca_journal(journal).await?
            }
            saved => saved?,
        };
        Ok(Done::SavedJournal { generation })
    }

    pub(super) async fn prune_journals(&self) -> Result<Done, AuthorityError> {
        let expired_before = self.parts.clock.now() - policy::PRUNE_JOURNALS_AFTER;
        for stored in self.parts.datastore.list_ca_journals().await? {
            // One that cannot be read is not known to be over.
            let is_over = Journal::decode(&stored.data).is_ok_and(|journal| journal.last_not_after() < expired_before);
            if is_over && stored.id != self.journal_id {
                self.parts.datastore.delete_ca_journal(stored.id).await?;
            }
        }
        Ok(Done::PrunedJournals)
    }
}

/// The public keys that the key manager has for the slots.
#[derive(Debug, Default)]
pub(super) struct SlotKeys(Vec<(Kind, SlotId, PublicKey)>);

impl SlotKeys {
    pub(super) async fn of(key_manager: &dyn KeyManager) -> Result<Self, AuthorityError> {
        let mut keys = Self::default();
        for kind in [Kind::X509, Kind::Jwt] {
            for slot in [SlotId::A, SlotId::B] {
                if let Some(signer) = key_manager.get_key(&KeyId::new(kind.key_id(slot))?).await? {
                    keys.0.push((kind, slot, signer.public_key().clone()));
                }
            }
        }
        Ok(keys)
    }
}

impl KeyLookup for SlotKeys {
    fn public_key(&self, kind: Kind, slot: SlotId) -> Option<PublicKey> {
        self.0.iter().find(|(k, s, _)| (*k, *s) == (kind, slot)).map(|(.., key)| key.clone())
    }
}

/// A server's own journal is the one whose active CA has a key that is here.
pub(super) async fn find_journal(
    datastore: &dyn DataStore,
    keys: &SlotKeys,
) -> Result<Option<CaJournal>, AuthorityError> {
    let own: Vec<AuthorityId> = keys
        .0
        .iter()
        .filter(|(kind, ..)| *kind == Kind::X509)
        .map(|(.., key)| AuthorityId::of_public_key(key))
        .collect();
    let journals = datastore.list_ca_journals().await?;
    Ok(journals.into_iter().find(|journal| own.iter().any(|id| id.as_str() == journal.active_x509_authority_id)))
}
