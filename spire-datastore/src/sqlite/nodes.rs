//! What is done with attested nodes.

use async_trait::async_trait;
use rusqlite::Connection;
use spiffe_core::{SpiffeId, Timestamp};
use spire_types::{AttestedNode, MatchBehavior, NodeFilter, Page, PageRequest};

use super::fail::Fail;
use super::log::{Kind, Op, record};
use super::node_rows::{self, SELECT};
use super::page::{Conditions, page};
use super::selectors::OF_NODES;
use super::{SqliteStore, entries, entry_rows};
use crate::{Change, Error, Nodes, Revision};

/// The method whose agents get an entry of their own with each token.
const JOIN_TOKEN: &str = "join_token";

const NOT_FOUND: Error = Error::NotFound { what: "agent" };

fn changed(connection: &Connection, id: &SpiffeId) -> Result<Revision, Fail> {
    record(connection, Kind::Node, id.as_str(), Op::Put)
}

/// A node that may be recorded as attested, and the row that it has already.
pub(super) struct Attestable {
    node: AttestedNode,
    number: Option<i64>,
}

impl Attestable {
    /// Writes nothing yet.
    pub(super) fn check(connection: &Connection, mut node: AttestedNode) -> Result<Self, Fail> {
        if node.is_banned() {
            return Err(Error::Invalid { cause: "attested node without a serial number".to_owned() }.into());
        }
        node.selectors.sort();
        node.selectors.dedup();
        node.new_serial = None;
        node.new_not_after = None;
        let known = node_rows::fetch(connection, &node.spiffe_id)?;
        if known.as_ref().is_some_and(|(_, known)| known.is_banned()) {
            return Err(Error::Banned.into());
        }
        let number = known.map(|(number, known)| {
            if node.agent_version.is_empty() {
                node.agent_version = known.agent_version;
            }
            number
        });
        Ok(Self { node, number })
    }

    pub(super) fn record(self, connection: &Connection) -> Result<(AttestedNode, Revision), Fail> {
        node_rows::put(connection, self.number, &self.node)?;
        let revision = changed(connection, &self.node.spiffe_id)?;
        Ok((self.node, revision))
    }
}

/// What those who follow the log are told of an attestation.
pub(super) fn change((node, revision): &(AttestedNode, Revision)) -> (Revision, Change) {
    (*revision, Change::Node(node.spiffe_id.clone(), Some(node.clone())))
}

fn renew(connection: &Connection, id: &SpiffeId, serial: String, not_after: Timestamp) -> Result<Revision, Fail> {
    let (number, mut node) = node_rows::fetch(connection, id)?.ok_or(NOT_FOUND)?;
    if node.is_banned() {
        return Err(Error::Banned.into());
    }
    node.new_serial = Some(serial);
    node.new_not_after = Some(not_after);
    node_rows::put(connection, Some(number), &node)?;
    changed(connection, id)
}

fn promote(connection: &Connection, id: &SpiffeId, serial: &str) -> Result<Option<Revision>, Fail> {
    let Some((number, mut node)) = node_rows::fetch(connection, id)? else { return Ok(None) };
    if node.new_serial.as_deref() != Some(serial) {
        return Ok(None);
    }
    node.serial = node.new_serial.take();
    node.not_after = node.new_not_after.take().unwrap_or(node.not_after);
    node_rows::put(connection, Some(number), &node)?;
    changed(connection, id).map(Some)
}

fn ban(connection: &Connection, id: &SpiffeId) -> Result<Revision, Fail> {
    let (number, mut node) = node_rows::fetch(connection, id)?.ok_or(NOT_FOUND)?;
    node.serial = None;
    node.new_serial = None;
    node.new_not_after = None;
    node_rows::put(connection, Some(number), &node)?;
    changed(connection, id)
}

fn delete(connection: &Connection, id: &SpiffeId) -> Result<Revision, Fail> {
    let (number, node) = node_rows::fetch(connection, id)?.ok_or(NOT_FOUND)?;
    node_rows::delete(connection, number)?;
    if node.attestation_type == JOIN_TOKEN {
        delete_alias(connection, id)?;
    }
    record(connection, Kind::Node, id.as_str(), Op::Delete)
}

/// Deletes the entry that was made for the token: its only selector names the agent.
fn delete_alias(connection: &Connection, id: &SpiffeId) -> Result<(), Fail> {
    let sql = "SELECT id, entry_id FROM registered_entries WHERE parent_id = ?1";
    for (_, entry_id) in entry_rows::find(connection, sql, id.as_str())? {
        let selectors = entry_rows::fetch(connection, &entry_id)?.map(|(_, entry)| entry.selectors).unwrap_or_default();
        if matches!(selectors.as_slice(), [only] if only.kind == "spiffe_id" && only.value == id.as_str()) {
            entries::delete(connection, &entry_id)?;
        }
    }
    Ok(())
}

fn prune(connection: &Connection, expired_before: Timestamp, include_tofu: bool) -> Result<Vec<SpiffeId>, Fail> {
    let filter = NodeFilter {
        banned: Some(false),
        can_reattest: (!include_tofu).then_some(true),
        expires_before: Some(expired_before),
        ..NodeFilter::default()
    };
    let expired = list(connection, &filter, &PageRequest::default())?.items;
    let mut pruned = Vec::with_capacity(expired.len());
    for node in expired {
        // A renewed SVID that has not been used yet keeps the node alive.
        if node.new_not_after.is_none_or(|time| time < expired_before) {
            delete(connection, &node.spiffe_id)?;
            pruned.push(node.spiffe_id);
        }
    }
    Ok(pruned)
}

fn set_version(connection: &Connection, id: &SpiffeId, version: &str) -> Result<(), Fail> {
    let mut statement =
        connection.prepare_cached("UPDATE attested_node_entries SET agent_version = ?2 WHERE spiffe_id = ?1")?;
    if statement.execute([id.as_str(), version])? == 0 { Err(NOT_FOUND.into()) } else { Ok(()) }
}

/// The filter as conditions, and whether they say all of it.
fn conditions(connection: &Connection, filter: &NodeFilter) -> Result<(Conditions, bool), Fail> {
    let mut conditions = Conditions::default();
    let mut complete = true;
    if let Some(kind) = &filter.attestation_type {
        conditions.add("attestation_type = ?", kind.clone());
    }
    if let Some(banned) = filter.banned {
        conditions.add_plain(if banned { "serial_number IS NULL" } else { "serial_number IS NOT NULL" });
    }
    if let Some(can) = filter.can_reattest {
        conditions.add_plain(if can { "can_reattest = 1" } else { "can_reattest = 0" });
    }
    if let Some(time) = filter.expires_before {
        conditions.add("expires_at < ?", time.as_unix());
    }
    if let Some(asked) = &filter.selectors {
        OF_NODES.narrow(connection, &mut conditions, asked)?;
        complete = asked.behavior == MatchBehavior::Any;
    }
    Ok((conditions, complete))
}

fn list(connection: &Connection, filter: &NodeFilter, request: &PageRequest) -> Result<Page<AttestedNode>, Fail> {
    let (conditions, _) = conditions(connection, filter)?;
    page(connection, request, SELECT, conditions, |row| {
        let node = node_rows::whole(connection, row)?;
        Ok(filter.matches(&node).then_some(node))
    })
}

fn count(connection: &Connection, filter: &NodeFilter) -> Result<usize, Fail> {
    match conditions(connection, filter)? {
        (conditions, true) => conditions.count(connection, "attested_node_entries"),
        (_, false) => Ok(list(connection, filter, &PageRequest::default())?.items.len()),
    }
}

#[async_trait]
impl Nodes for SqliteStore {
    async fn attest_node(&self, node: AttestedNode) -> Result<Revision, Error> {
        let attest = move |connection: &Connection| Attestable::check(connection, node)?.record(connection);
        Ok(self.write_whole("attest node", attest, |attested| vec![change(attested)]).await?.1)
    }

    async fn renew_node(&self, id: &SpiffeId, serial: String, not_after: Timestamp) -> Result<Revision, Error> {
        let id = id.clone();
        self.write("renew node", move |connection| renew(connection, &id, serial, not_after)).await
    }

    async fn promote_node(&self, id: &SpiffeId, serial: &str) -> Result<Option<Revision>, Error> {
        let (id, serial) = (id.clone(), serial.to_owned());
        self.write("promote node", move |connection| promote(connection, &id, &serial)).await
    }

    async fn ban_node(&self, id: &SpiffeId) -> Result<Revision, Error> {
        let id = id.clone();
        self.write("ban node", move |connection| ban(connection, &id)).await
    }

    async fn delete_node(&self, id: &SpiffeId) -> Result<Revision, Error> {
        let id = id.clone();
        self.write("delete node", move |connection| delete(connection, &id)).await
    }

    async fn prune_nodes(&self, expired_before: Timestamp, include_tofu: bool) -> Result<Vec<SpiffeId>, Error> {
        self.write("prune nodes", move |connection| prune(connection, expired_before, include_tofu)).await
    }

    async fn set_agent_version(&self, id: &SpiffeId, version: &str) -> Result<(), Error> {
        let (id, version) = (id.clone(), version.to_owned());
        self.write("set agent version", move |connection| set_version(connection, &id, &version)).await
    }

    async fn fetch_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, Error> {
        let id = id.clone();
        let fetch = move |connection: &Connection| Ok(node_rows::fetch(connection, &id)?.map(|(_, node)| node));
        self.read("fetch node", fetch).await
    }

    async fn list_nodes(&self, filter: NodeFilter, page: PageRequest) -> Result<Page<AttestedNode>, Error> {
        self.read("list nodes", move |connection| list(connection, &filter, &page)).await
    }

    async fn count_nodes(&self, filter: NodeFilter) -> Result<usize, Error> {
        self.read("count nodes", move |connection| count(connection, &filter)).await
    }
}
