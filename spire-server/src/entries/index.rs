//! The registry at one revision.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use spiffe_core::{Bundle, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_datastore::{Change, Snapshot};
use spire_types::{AttestedNode, EntryId, FederationRelationship, RegistrationEntry, Revision};

use super::aliases::Aliases;
use super::packed::Packed;
use super::trie::{Gathered, Hashing, TrieMap};

type Group = TrieMap<EntryId, Arc<Packed>>;

/// Path of the parent of node aliases.
const SERVER_PATH: &str = "/spire/server";

/// The registry at one revision; clones share their contents.
///
/// Entries of other trust domains are left out. One that has ended is not given any more, even before it is deleted.
#[derive(Clone, Debug)]
pub struct EntryIndex {
    trust_domain: TrustDomain,
    revision: Revision,
    entries: Group,
    by_parent: TrieMap<SpiffeId, Group>,
    by_spiffe_id: TrieMap<SpiffeId, Few>,
    aliases: Aliases,
    nodes: TrieMap<SpiffeId, Arc<AttestedNode>>,
    bundles: TrieMap<TrustDomain, Arc<Bundle>>,
    relationships: TrieMap<TrustDomain, Arc<FederationRelationship>>,
}

impl EntryIndex {
    /// An index without anything, at revision 0.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            revision: Revision(0),
            entries: TrieMap::default(),
            by_parent: TrieMap::default(),
            by_spiffe_id: TrieMap::default(),
            aliases: Aliases::default(),
            nodes: TrieMap::default(),
            bundles: TrieMap::default(),
            relationships: TrieMap::default(),
        }
    }

    /// The index of everything that a store holds.
    #[must_use]
    pub fn from_snapshot(trust_domain: TrustDomain, mut snapshot: Snapshot) -> Self {
        let mut builder = Builder::new(trust_domain);
        for entry in std::mem::take(&mut snapshot.entries) {
            builder.push(entry);
        }
        builder.build().completed(snapshot)
    }

    /// With what belongs beside entries, at the snapshot's revision.
    pub(super) fn completed(mut self, snapshot: Snapshot) -> Self {
        for node in snapshot.nodes {
            self.nodes.insert(node.spiffe_id.clone(), Arc::new(node));
        }
        for bundle in snapshot.bundles {
            self.bundles.insert(bundle.trust_domain.clone(), Arc::new(bundle));
        }
        for relationship in snapshot.relationships {
            self.relationships.insert(relationship.trust_domain.clone(), Arc::new(relationship));
        }
        self.revision = snapshot.revision;
        self
    }

    /// The index after `changes`, at `revision`. Costs what the changes cost, however large the registry.
    #[must_use]
    pub fn after(&self, revision: Revision, changes: Vec<Change>) -> Self {
        let mut index = self.clone();
        for change in changes {
            match change {
                Change::Entry(id, entry) => {
                    index.remove_entry(&id);
                    if let Some(entry) = entry {
                        index.insert_entry(entry);
                    }
                }
                Change::Node(id, node) => put(&mut index.nodes, id, node),
                Change::Bundle(name, bundle) => put(&mut index.bundles, name, bundle),
                Change::Relationship(name, relationship) => put(&mut index.relationships, name, relationship),
            }
        }
        index.revision = revision;
        index
    }

    fn insert_entry(&mut self, entry: RegistrationEntry) {
        let Some(mut entry) = self.pack(entry) else { return };
        // Siblings share their parent's name.
        if let Some(parent) = self.by_parent.key(&entry.parent_id) {
            entry.parent_id = parent.clone();
        }
        let entry = Arc::new(entry);
        self.by_parent.alter(&entry.parent_id, |group| add_child(group, Arc::clone(&entry)), TrieMap::is_empty);
        self.by_spiffe_id.alter(&entry.spiffe_id, |few| few.add(Arc::clone(&entry)), Few::is_empty);
        self.entries.insert(entry.id.clone(), entry);
    }

    /// The entry as it is held, if it is this trust domain's. An alias is noted on the way.
    fn pack(&mut self, entry: RegistrationEntry) -> Option<Packed> {
        if !entry.spiffe_id.is_member_of(&self.trust_domain) || !entry.parent_id.is_member_of(&self.trust_domain) {
            return None;
        }
        if self.is_server(&entry.parent_id)
            && let Some(id) = &entry.id
        {
            self.aliases.insert(id, &Arc::new(entry.clone()));
        }
        Packed::new(entry)
    }

    fn remove_entry(&mut self, id: &EntryId) {
        let Some(entry) = self.entries.remove(id) else { return };
        let take = |group: &mut Group| drop(group.remove(id));
        self.by_parent.alter(&entry.parent_id, take, TrieMap::is_empty);
        self.by_spiffe_id.alter(&entry.spiffe_id, |few| few.take(id), Few::is_empty);
        if self.is_alias(&entry)
            && let Some(whole) = entry.unpack()
        {
            self.aliases.remove(id, &whole);
        }
    }

    fn is_alias(&self, entry: &Packed) -> bool {
        self.is_server(&entry.parent_id)
    }

    fn is_server(&self, id: &SpiffeId) -> bool {
        id.path() == SERVER_PATH && id.is_member_of(&self.trust_domain)
    }

    /// How many agents there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Whether other entries may be given because of the entry of that ID: an alias, or one that has children.
    pub(super) fn gives_others(&self, id: &EntryId) -> bool {
        self.entries.get(id).is_some_and(|entry| self.is_alias(entry) || self.by_parent.get(&entry.spiffe_id).is_some())
    }

    /// The revision that this index shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries that an agent may get, in no order: its own, those of its aliases, and, down from there, those whose
    /// parent is the identity of one found.
    #[must_use]
    pub fn authorized(&self, agent: &SpiffeId, now: Timestamp) -> Vec<Arc<RegistrationEntry>> {
        self.authorized_until(agent, now).0
    }

    /// [`Self::authorized`], and from when on it says something else by time alone; `None` where it never does.
    #[must_use]
    pub fn authorized_until(
        &self,
        agent: &SpiffeId,
        now: Timestamp,
    ) -> (Vec<Arc<RegistrationEntry>>, Option<Timestamp>) {
        let (found, until) = self.find_authorized(agent, now);
        (found.into_iter().filter_map(|entry| entry.unpack().map(Arc::new)).collect(), until)
    }

    /// [`Self::authorized_until`], packed.
    pub(super) fn find_authorized(&self, agent: &SpiffeId, now: Timestamp) -> (Vec<&Arc<Packed>>, Option<Timestamp>) {
        let (mut parents, mut until) = self.names(agent, now);
        // Each entry has one parent, so it is found once if no parent is asked twice.
        let mut asked = HashSet::new();
        let mut found = Vec::new();
        while let Some(parent) = parents.pop() {
            // The server's children are aliases, which are never given themselves.
            if self.is_server(parent) || !asked.insert(parent) {
                continue;
            }
            for entry in self.by_parent.get(parent).into_iter().flat_map(TrieMap::values) {
                if !entry.has_ended(now) {
                    until = earlier(until, entry.gone_from());
                    parents.push(&entry.spiffe_id);
                    found.push(entry);
                }
            }
        }
        (found, until)
    }

    /// The entry of that ID, if the agent may get it: what [`Self::authorized`] says, without going through all.
    #[must_use]
    pub fn authorized_entry(&self, agent: &SpiffeId, id: &EntryId, now: Timestamp) -> Option<Arc<RegistrationEntry>> {
        self.find_authorized_entry(agent, id, now).and_then(|entry| entry.unpack().map(Arc::new))
    }

    /// [`Self::authorized_entry`], packed.
    pub(super) fn find_authorized_entry(&self, agent: &SpiffeId, id: &EntryId, now: Timestamp) -> Option<&Arc<Packed>> {
        let entry = self.entries.get(id)?;
        let names: HashSet<&SpiffeId> = self.names(agent, now).0.into_iter().collect();
        let mut asked = HashSet::new();
        let mut ancestors = vec![entry];
        while let Some(ancestor) = ancestors.pop() {
            let parent = &ancestor.parent_id;
            if ancestor.has_ended(now) || self.is_server(parent) {
                continue;
            }
            if names.contains(parent) {
                return Some(entry);
            }
            if asked.insert(parent) {
                ancestors.extend(self.by_spiffe_id.get(parent).map(Few::as_slice).unwrap_or_default());
            }
        }
        None
    }

    /// The agent's ID and those that its aliases give it, and from when on time alone makes them others.
    fn names<'a>(&'a self, agent: &'a SpiffeId, now: Timestamp) -> (Vec<&'a SpiffeId>, Option<Timestamp>) {
        let (mut names, mut until) = (vec![agent], None);
        let node = self.nodes.get(agent).filter(|node| !node.is_banned() && node.not_after > now);
        if let Some(node) = node {
            until = Some(node.not_after);
            for alias in self.aliases.of(&node.selectors) {
                if alias.expires_at.is_none_or(|end| end >= now) {
                    until = earlier(until, alias.expires_at.map(|end| end + Ttl::from_secs(1)));
                    names.push(&alias.spiffe_id);
                }
            }
        }
        (names, until)
    }

    /// The entries that give that identity and have not ended, in no order: they say whether it administers the server
    /// or is a downstream one.
    pub fn entries_of(&self, id: &SpiffeId, now: Timestamp) -> impl Iterator<Item = RegistrationEntry> {
        let group = self.by_spiffe_id.get(id).map(Few::as_slice).unwrap_or_default().iter();
        group.filter(move |entry| !entry.has_ended(now)).filter_map(|entry| entry.unpack())
    }

    /// The agent on record under that ID.
    #[must_use]
    pub fn node(&self, id: &SpiffeId) -> Option<&Arc<AttestedNode>> {
        self.nodes.get(id)
    }

    /// The bundle of that trust domain.
    #[must_use]
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Arc<Bundle>> {
        self.bundles.get(trust_domain)
    }

    /// All bundles, in no order.
    pub fn bundles(&self) -> impl Iterator<Item = &Arc<Bundle>> {
        self.bundles.values()
    }

    /// Whether no relationship is different in `other`.
    #[must_use]
    pub fn has_relationships_of(&self, other: &Self) -> bool {
        let is_same = |theirs: &Arc<FederationRelationship>| {
            self.relationships.get(&theirs.trust_domain).is_some_and(|ours| Arc::ptr_eq(ours, theirs))
        };
        self.relationships.len() == other.relationships.len() && other.relationships.values().all(is_same)
    }

    /// All stored relationships, in no order.
    pub fn relationships(&self) -> impl Iterator<Item = &Arc<FederationRelationship>> {
        self.relationships.values()
    }
}

/// An index on its way: takes all entries, then makes its maps at once.
#[derive(Debug)]
pub(super) struct Builder {
    index: EntryIndex,
    entries: Gathered<EntryId, Arc<Packed>>,
    by_parent: HashMap<SpiffeId, Gathered<EntryId, Arc<Packed>>, Hashing>,
    by_spiffe_id: Gathered<SpiffeId, Arc<Packed>>,
}

impl Builder {
    pub(super) fn new(trust_domain: TrustDomain) -> Self {
        Self {
            index: EntryIndex::new(trust_domain),
            entries: Gathered::default(),
            by_parent: HashMap::default(),
            by_spiffe_id: Gathered::default(),
        }
    }

    /// Takes an entry that has not been taken yet.
    pub(super) fn push(&mut self, entry: RegistrationEntry) {
        let Some(mut entry) = self.index.pack(entry) else { return };
        // Siblings share their parent's name.
        if let Some((parent, _)) = self.by_parent.get_key_value(&entry.parent_id) {
            entry.parent_id = parent.clone();
        }
        let entry = Arc::new(entry);
        let siblings = self.by_parent.entry(entry.parent_id.clone()).or_default();
        siblings.push(entry.id.clone(), Arc::clone(&entry));
        self.by_spiffe_id.push(entry.spiffe_id.clone(), Arc::clone(&entry));
        self.entries.push(entry.id.clone(), entry);
    }

    /// The index of these entries, without what belongs beside them.
    pub(super) fn build(self) -> EntryIndex {
        let by_id = |entries| TrieMap::gather(entries, |entry| entry, |held, entry| *held = entry);
        let (entries, by_spiffe_id) = (self.entries, self.by_spiffe_id);
        // What takes longest is done beside the rest.
        let (entries, by_parent, by_spiffe_id) = std::thread::scope(|scope| {
            let by_spiffe_id = scope.spawn(|| TrieMap::gather(by_spiffe_id, Few::One, Few::add));
            let mut by_parent = Gathered::default();
            for (parent, siblings) in self.by_parent {
                by_parent.push(parent, by_id(siblings));
            }
            let by_parent = TrieMap::gather(by_parent, |group| group, |held, group| *held = group);
            (by_id(entries), by_parent, by_spiffe_id.join())
        });
        let by_spiffe_id = by_spiffe_id.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        EntryIndex { entries, by_parent, by_spiffe_id, ..self.index }
    }
}

fn add_child(group: &mut Group, entry: Arc<Packed>) {
    group.insert(entry.id.clone(), entry);
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

fn put<K: std::hash::Hash + Eq + Clone, V>(map: &mut TrieMap<K, Arc<V>>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, Arc::new(value))),
        None => drop(map.remove(&key)),
    }
}

/// Entries with one identity: nearly always one.
#[derive(Clone, Debug, Default)]
enum Few {
    #[default]
    None,
    One(Arc<Packed>),
    Many(Arc<Vec<Arc<Packed>>>),
}

impl Few {
    fn add(&mut self, entry: Arc<Packed>) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(entry),
            Self::One(first) => Self::Many(Arc::new(vec![first, entry])),
            Self::Many(mut entries) => {
                Arc::make_mut(&mut entries).push(entry);
                Self::Many(entries)
            }
        };
    }

    fn take(&mut self, id: &EntryId) {
        match self {
            Self::One(entry) if entry.id == *id => *self = Self::None,
            Self::Many(entries) => {
                let entries = Arc::make_mut(entries);
                entries.retain(|entry| entry.id != *id);
                if let [only] = entries.as_slice() {
                    *self = Self::One(Arc::clone(only));
                }
            }
            _ => {}
        }
    }

    fn as_slice(&self) -> &[Arc<Packed>] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}
