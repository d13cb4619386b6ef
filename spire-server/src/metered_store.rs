//! The store, with each call counted under SPIRE's name for it.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use spiffe_core::{Bundle, JwtAuthority, SpiffeId, Timestamp, TrustDomain, X509Authority};
use spire_api::status::{code, code_name};
use spire_datastore::{
    Bundles, CaJournal, CaJournals, Changes, Created, DataStore, Entries, Error, FederationRelationships, JoinTokens,
    Log, Nodes, Revision, Snapshot, TakeEntry,
};
use spire_runtime::telemetry::Metrics;
use spire_types::{
    AttestedNode, BundleMask, DeleteMode, EntryFilter, EntryId, EntryMask, FederationRelationship, JoinToken,
    NodeFilter, Page, PageRequest, RegistrationEntry, RelationshipMask,
};
use tokio::sync::watch;

/// `store`, counted in `metrics` if anybody reads them.
pub(crate) fn metered(store: Arc<dyn DataStore>, metrics: &Metrics) -> Arc<dyn DataStore> {
    if metrics.is_enabled() { Arc::new(MeteredStore { store, metrics: metrics.clone() }) } else { store }
}

#[derive(Debug)]
struct MeteredStore {
    store: Arc<dyn DataStore>,
    metrics: Metrics,
}

impl MeteredStore {
    async fn call<T>(&self, key: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let key: Vec<&str> = std::iter::once("datastore").chain(key.split('.')).collect();
        self.metrics.timed(&key, &[], |err: &Error| code_name(code(err.kind())), call).await
    }
}

#[async_trait]
impl Entries for MeteredStore {
    /// SPIRE's calls are about one entry each: so many are counted.
    async fn create_entries(
        &self,
        entries: Vec<(RegistrationEntry, EntryId)>,
        now: Timestamp,
    ) -> Result<Vec<Result<Created, Error>>, Error> {
        let name = |err: &Error| code_name(code(err.kind()));
        let (key, count) = (["datastore", "registration_entry", "create"], entries.len());
        self.metrics.timed_together(&key, &[], name, count, self.store.create_entries(entries, now)).await
    }

    async fn update_entry(
        &self,
        entry: RegistrationEntry,
        mask: EntryMask,
    ) -> Result<(RegistrationEntry, Revision), Error> {
        self.call("registration_entry.update", self.store.update_entry(entry, mask)).await
    }

    async fn delete_entry(&self, id: &EntryId) -> Result<(RegistrationEntry, Revision), Error> {
        self.call("registration_entry.delete", self.store.delete_entry(id)).await
    }

    async fn prune_entries(&self, now: Timestamp) -> Result<Vec<RegistrationEntry>, Error> {
        self.call("registration_entry.prune", self.store.prune_entries(now)).await
    }

    async fn fetch_entry(&self, id: &EntryId) -> Result<Option<RegistrationEntry>, Error> {
        self.call("registration_entry.fetch", self.store.fetch_entry(id)).await
    }

    async fn list_entries(&self, filter: EntryFilter, page: PageRequest) -> Result<Page<RegistrationEntry>, Error> {
        self.call("registration_entry.list", self.store.list_entries(filter, page)).await
    }

    async fn count_entries(&self, filter: EntryFilter) -> Result<usize, Error> {
        self.call("registration_entry.count", self.store.count_entries(filter)).await
    }
}

#[async_trait]
impl Nodes for MeteredStore {
    async fn attest_node(&self, node: AttestedNode) -> Result<Revision, Error> {
        self.call("node.create", self.store.attest_node(node)).await
    }

    async fn renew_node(&self, id: &SpiffeId, serial: String, not_after: Timestamp) -> Result<Revision, Error> {
        self.call("node.update", self.store.renew_node(id, serial, not_after)).await
    }

    async fn promote_node(&self, id: &SpiffeId, serial: &str) -> Result<Option<Revision>, Error> {
        self.call("node.update", self.store.promote_node(id, serial)).await
    }

    async fn ban_node(&self, id: &SpiffeId) -> Result<Revision, Error> {
        self.call("node.update", self.store.ban_node(id)).await
    }

    async fn delete_node(&self, id: &SpiffeId) -> Result<Revision, Error> {
        self.call("node.delete", self.store.delete_node(id)).await
    }

    async fn prune_nodes(&self, expired_before: Timestamp, include_tofu: bool) -> Result<Vec<SpiffeId>, Error> {
        self.call("node.prune", self.store.prune_nodes(expired_before, include_tofu)).await
    }

    async fn set_agent_version(&self, id: &SpiffeId, version: &str) -> Result<(), Error> {
        self.call("node.update", self.store.set_agent_version(id, version)).await
    }

    async fn fetch_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, Error> {
        self.call("node.fetch", self.store.fetch_node(id)).await
    }

    async fn list_nodes(&self, filter: NodeFilter, page: PageRequest) -> Result<Page<AttestedNode>, Error> {
        self.call("node.list", self.store.list_nodes(filter, page)).await
    }

    async fn count_nodes(&self, filter: NodeFilter) -> Result<usize, Error> {
        self.call("node.count", self.store.count_nodes(filter)).await
    }
}

#[async_trait]
impl Bundles for MeteredStore {
    async fn create_bundle(&self, bundle: Bundle) -> Result<(Bundle, Revision), Error> {
        self.call("bundle.create", self.store.create_bundle(bundle)).await
    }

    async fn set_bundle(&self, bundle: Bundle) -> Result<(Bundle, Option<Revision>), Error> {
        self.call("bundle.set", self.store.set_bundle(bundle)).await
    }

    async fn replace_bundle(&self, bundle: Bundle, replaced: Option<Bundle>) -> Result<bool, Error> {
        self.call("bundle.set", self.store.replace_bundle(bundle, replaced)).await
    }

    async fn update_bundle(&self, bundle: Bundle, mask: BundleMask) -> Result<(Bundle, Option<Revision>), Error> {
        self.call("bundle.update", self.store.update_bundle(bundle, mask)).await
    }

    async fn append_bundle(
        &self,
        trust_domain: &TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<(Bundle, Option<Revision>), Error> {
        self.call("bundle.append", self.store.append_bundle(trust_domain, x509, jwt)).await
    }

    async fn delete_bundle(&self, trust_domain: &TrustDomain, mode: DeleteMode) -> Result<Revision, Error> {
        self.call("bundle.delete", self.store.delete_bundle(trust_domain, mode)).await
    }

    async fn prune_bundle(
        &self,
        trust_domain: &TrustDomain,
        expired_before: Timestamp,
    ) -> Result<Option<Revision>, Error> {
        self.call("bundle.prune", self.store.prune_bundle(trust_domain, expired_before)).await
    }

    async fn taint_x509_authority(&self, trust_domain: &TrustDomain, subject_key_id: &[u8]) -> Result<Revision, Error> {
        self.call("bundle.x509.taint", self.store.taint_x509_authority(trust_domain, subject_key_id)).await
    }

    async fn revoke_x509_authority(
        &self,
        trust_domain: &TrustDomain,
        subject_key_id: &[u8],
    ) -> Result<Revision, Error> {
        self.call("bundle.x509.revoke", self.store.revoke_x509_authority(trust_domain, subject_key_id)).await
    }

    async fn taint_jwt_authority(&self, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Error> {
        self.call("bundle.jwt.taint", self.store.taint_jwt_authority(trust_domain, key_id)).await
    }

    async fn revoke_jwt_authority(&self, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Error> {
        self.call("bundle.jwt.revoke", self.store.revoke_jwt_authority(trust_domain, key_id)).await
    }

    async fn fetch_bundle(&self, trust_domain: &TrustDomain) -> Result<Option<Bundle>, Error> {
        self.call("bundle.fetch", self.store.fetch_bundle(trust_domain)).await
    }

    async fn list_bundles(&self, page: PageRequest) -> Result<Page<Bundle>, Error> {
        self.call("bundle.list", self.store.list_bundles(page)).await
    }

    async fn count_bundles(&self) -> Result<usize, Error> {
        self.call("bundle.count", self.store.count_bundles()).await
    }
}

#[async_trait]
impl JoinTokens for MeteredStore {
    async fn create_join_token(&self, token: JoinToken) -> Result<(), Error> {
        self.call("join_token.create", self.store.create_join_token(token)).await
    }

    async fn find_join_token(&self, value: &str) -> Result<Option<JoinToken>, Error> {
        self.call("join_token.fetch", self.store.find_join_token(value)).await
    }

    /// One step here, two there.
    async fn redeem_join_token(&self, value: &str, node: AttestedNode) -> Result<Option<Revision>, Error> {
        let redeemed = self.call("node.create", self.store.redeem_join_token(value, node)).await;
        if let Ok(Some(_)) = &redeemed {
            self.call("join_token.delete", async { Ok(()) }).await?;
        }
        redeemed
    }

    async fn prune_join_tokens(&self, now: Timestamp) -> Result<(), Error> {
        self.call("join_token.prune", self.store.prune_join_tokens(now)).await
    }
}

#[async_trait]
impl FederationRelationships for MeteredStore {
    async fn create_relationship(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<Revision, Error> {
        self.call("federation_relationship.create", self.store.create_relationship(relationship, bundle)).await
    }

    async fn update_relationship(
        &self,
        relationship: FederationRelationship,
        mask: RelationshipMask,
        bundle: Option<Bundle>,
    ) -> Result<(FederationRelationship, Revision), Error> {
        self.call("federation_relationship.update", self.store.update_relationship(relationship, mask, bundle)).await
    }

    async fn delete_relationship(&self, trust_domain: &TrustDomain) -> Result<Revision, Error> {
        self.call("federation_relationship.delete", self.store.delete_relationship(trust_domain)).await
    }

    async fn fetch_relationship(&self, trust_domain: &TrustDomain) -> Result<Option<FederationRelationship>, Error> {
        self.call("federation_relationship.fetch", self.store.fetch_relationship(trust_domain)).await
    }

    async fn list_relationships(&self, page: PageRequest) -> Result<Page<FederationRelationship>, Error> {
        self.call("federation_relationship.list", self.store.list_relationships(page)).await
    }
}

#[async_trait]
impl CaJournals for MeteredStore {
    async fn save_ca_journal(&self, journal: CaJournal) -> Result<i64, Error> {
        self.call("ca_journal.set", self.store.save_ca_journal(journal)).await
    }

    async fn list_ca_journals(&self) -> Result<Vec<CaJournal>, Error> {
        self.call("ca_journal.fetch", self.store.list_ca_journals()).await
    }

    async fn delete_ca_journal(&self, id: i64) -> Result<(), Error> {
        self.call("ca_journal.prune", self.store.delete_ca_journal(id)).await
    }
}

#[async_trait]
impl Log for MeteredStore {
    async fn read_all(&self, take: TakeEntry) -> Result<Snapshot, Error> {
        self.call("registration_entry.list", self.store.read_all(take)).await
    }

    async fn changes_since(&self, revision: Revision) -> Result<Changes, Error> {
        self.call("registration_entry_event.list", self.store.changes_since(revision)).await
    }

    fn recent_changes(&self, revision: Revision) -> Option<Changes> {
        self.store.recent_changes(revision)
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.store.revisions()
    }
}
