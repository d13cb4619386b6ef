//! What is done with entries.

use async_trait::async_trait;
use rusqlite::Connection;
use spiffe_core::{Timestamp, TrustDomain};
use spire_types::{EntryFilter, EntryId, EntryMask, InvalidEntry, MatchBehavior, Page, PageRequest, RegistrationEntry};

use super::SqliteStore;
use super::entry_rows::{self, SELECT};
use super::fail::Fail;
use super::log::{Kind, Op, Recorder, record};
use super::page::{Conditions, page};
use super::selectors::OF_ENTRIES;
use crate::{Change, Created, Entries, Error, Revision};

fn check(entry: &RegistrationEntry) -> Result<(), Error> {
    entry.check().map_err(|err| match err {
        InvalidEntry::DuplicateSelector => {
            Error::AlreadyExists { constraint: "selectors.registered_entry_id, selectors.type, selectors.value" }
        }
        InvalidEntry::DuplicateDnsName => {
            Error::AlreadyExists { constraint: "dns_names.registered_entry_id, dns_names.value" }
        }
        InvalidEntry::StoreWithoutPrefetch => Error::Invalid { cause: err.to_string() },
        other => Error::Invalid { cause: format!("invalid registration entry: {other}") },
    })
}

/// Drops trust domains that stand twice; the bundles of the others must be stored.
fn settle_federation(connection: &Connection, names: &mut Vec<TrustDomain>) -> Result<(), Fail> {
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    for name in names {
        if !entry_rows::has_bundle(connection, name)? {
            return Err(Error::NoFederatedBundle { trust_domain: name.id().to_string() }.into());
        }
    }
    Ok(())
}

/// Creates each of these entries that can be, in the order given.
fn create_all(
    connection: &Connection,
    entries: Vec<(RegistrationEntry, EntryId)>,
    now: Timestamp,
) -> Result<Vec<Result<Created, Error>>, Fail> {
    let mut recorder = Recorder::begin(connection)?;
    let mut outcomes = Vec::with_capacity(entries.len());
    for (entry, fallback_id) in entries {
        outcomes.push(match create(connection, &mut recorder, entry, fallback_id, now) {
            Ok(created) => Ok(created),
            // What breaks a rule is found before anything is written of it.
            Err(Fail::Rule(err)) => Err(err),
            Err(fail) => return Err(fail),
        });
    }
    recorder.finish()?;
    Ok(outcomes)
}

fn create(
    connection: &Connection,
    recorder: &mut Recorder<'_>,
    mut entry: RegistrationEntry,
    fallback_id: EntryId,
    now: Timestamp,
) -> Result<Created, Fail> {
    check(&entry)?;
    if let Some(existing) = entry_rows::similar(connection, &entry)? {
        return Ok(Created::Similar(existing));
    }
    settle_federation(connection, &mut entry.federates_with)?;
    let id = entry.id.take().unwrap_or(fallback_id);
    entry.revision_number = 0;
    entry.created_at = now;
    entry_rows::insert(connection, recorder.next(), &id, &entry)?;
    let revision = recorder.record(Kind::Entry, id.as_str(), Op::Put)?;
    entry.id = Some(id);
    Ok(Created::New(entry, revision))
}

fn update(
    connection: &Connection,
    changed: &RegistrationEntry,
    mask: &EntryMask,
) -> Result<(RegistrationEntry, Revision), Fail> {
    let id = changed.id.as_ref().ok_or(Error::NotFound { what: "entry" })?;
    let (number, former) = entry_rows::fetch(connection, id)?.ok_or(Error::NotFound { what: "entry" })?;
    let mut entry = former.clone();
    entry.update_from(changed, mask);
    check(&entry)?;
    settle_federation(connection, &mut entry.federates_with)?;
    let revision = replace(connection, number, id, &former, &mut entry)?;
    Ok((entry, revision))
}

/// Stores a changed entry under the next revision number.
fn replace(
    connection: &Connection,
    number: i64,
    id: &EntryId,
    former: &RegistrationEntry,
    entry: &mut RegistrationEntry,
) -> Result<Revision, Fail> {
    entry.revision_number += 1;
    entry_rows::update(connection, number, former, entry)?;
    record(connection, Kind::Entry, id.as_str(), Op::Put)
}

/// Deletes the entry of that ID, if there is one.
pub(super) fn delete(connection: &Connection, id: &EntryId) -> Result<Option<(RegistrationEntry, Revision)>, Fail> {
    let Some((number, entry)) = entry_rows::fetch(connection, id)? else { return Ok(None) };
    entry_rows::delete(connection, number, &entry)?;
    let revision = record(connection, Kind::Entry, id.as_str(), Op::Delete)?;
    Ok(Some((entry, revision)))
}

/// Makes the entry of that ID federate with `name` no longer.
pub(super) fn dissociate(connection: &Connection, id: &EntryId, name: &TrustDomain) -> Result<(), Fail> {
    if let Some((number, former)) = entry_rows::fetch(connection, id)? {
        let mut entry = former.clone();
        entry.federates_with.retain(|other| other != name);
        replace(connection, number, id, &former, &mut entry)?;
    }
    Ok(())
}

fn prune(connection: &Connection, now: Timestamp) -> Result<Vec<RegistrationEntry>, Fail> {
    // Left to itself, SQLite walks through all entries to have them in order.
    let sql = "SELECT id, entry_id FROM registered_entries INDEXED BY registered_entries_by_expiry \
               WHERE expires_at < ?1 ORDER BY id";
    let mut pruned = Vec::new();
    for (_, id) in entry_rows::find(connection, sql, now.as_unix())? {
        pruned.extend(delete(connection, &id)?.map(|(entry, _)| entry));
    }
    Ok(pruned)
}

/// The filter as conditions, and whether they say all of it.
fn conditions(connection: &Connection, filter: &EntryFilter) -> Result<(Conditions, bool), Fail> {
    let mut conditions = Conditions::default();
    let mut complete = filter.federates_with.is_none();
    if let Some(id) = &filter.spiffe_id {
        conditions.add("spiffe_id = ?", id.as_str().to_owned());
    }
    if let Some(id) = &filter.parent_id {
        conditions.add("parent_id = ?", id.as_str().to_owned());
    }
    if let Some(hint) = &filter.hint {
        conditions.add("hint = ?", hint.clone());
        if !hint.is_empty() {
            // What the index leaves out must be seen to be left out whatever the value.
            conditions.add_plain("hint <> ''");
        }
    }
    if let Some(downstream) = filter.downstream {
        conditions.add_plain(if downstream { "downstream = 1" } else { "downstream = 0" });
    }
    if let Some(asked) = &filter.selectors {
        OF_ENTRIES.narrow(connection, &mut conditions, asked)?;
        complete = complete && asked.behavior == MatchBehavior::Any;
    }
    Ok((conditions, complete))
}

fn list(connection: &Connection, filter: &EntryFilter, request: &PageRequest) -> Result<Page<RegistrationEntry>, Fail> {
    let (conditions, _) = conditions(connection, filter)?;
    page(connection, request, SELECT, conditions, |row| {
        let entry = entry_rows::whole(connection, row)?;
        Ok(filter.matches(&entry).then_some(entry))
    })
}

fn count(connection: &Connection, filter: &EntryFilter) -> Result<usize, Fail> {
    match conditions(connection, filter)? {
        (conditions, true) => conditions.count(connection, "registered_entries"),
        (_, false) => Ok(list(connection, filter, &PageRequest::default())?.items.len()),
    }
}

fn changed(entry: &RegistrationEntry, revision: Revision) -> Option<(Revision, Change)> {
    Some((revision, Change::Entry(entry.id.clone()?, Some(entry.clone()))))
}

fn created(outcome: &Result<Created, Error>) -> Option<(Revision, Change)> {
    match outcome {
        Ok(Created::New(entry, revision)) => changed(entry, *revision),
        _ => None,
    }
}

#[async_trait]
impl Entries for SqliteStore {
    async fn create_entries(
        &self,
        entries: Vec<(RegistrationEntry, EntryId)>,
        now: Timestamp,
    ) -> Result<Vec<Result<Created, Error>>, Error> {
        let create = move |connection: &Connection| create_all(connection, entries, now);
        self.write_changing("create entry", create, |outcomes| outcomes.iter().filter_map(created).collect()).await
    }

    async fn update_entry(
        &self,
        entry: RegistrationEntry,
        mask: EntryMask,
    ) -> Result<(RegistrationEntry, Revision), Error> {
        let update = move |connection: &Connection| update(connection, &entry, &mask);
        self.write_changing("update entry", update, |(entry, revision)| Vec::from_iter(changed(entry, *revision))).await
    }

    async fn delete_entry(&self, id: &EntryId) -> Result<(RegistrationEntry, Revision), Error> {
        let id = id.clone();
        let delete = move |connection: &Connection| {
            delete(connection, &id)?.ok_or_else(|| Error::NotFound { what: "entry" }.into())
        };
        self.write("delete entry", delete).await
    }

    async fn prune_entries(&self, now: Timestamp) -> Result<Vec<RegistrationEntry>, Error> {
        self.write("prune entries", move |connection| prune(connection, now)).await
    }

    async fn fetch_entry(&self, id: &EntryId) -> Result<Option<RegistrationEntry>, Error> {
        let id = id.clone();
        let fetch = move |connection: &Connection| Ok(entry_rows::fetch(connection, &id)?.map(|(_, entry)| entry));
        self.read("fetch entry", fetch).await
    }

    async fn list_entries(&self, filter: EntryFilter, page: PageRequest) -> Result<Page<RegistrationEntry>, Error> {
        self.read("list entries", move |connection| list(connection, &filter, &page)).await
    }

    async fn count_entries(&self, filter: EntryFilter) -> Result<usize, Error> {
        self.read("count entries", move |connection| count(connection, &filter)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::connection::{BUSY_TIMEOUT, Place, open_writer};
    use crate::sqlite::migrate::migrate;

    /// What is looked up while entries are created, deleted or asked for must not walk through all of them.
    #[test]
    fn every_search_has_its_index() {
        let mut connection = open_writer(&Place::Memory, BUSY_TIMEOUT).unwrap();
        migrate(&mut connection).unwrap();
        let plan = |sql: &str| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = statement.raw_query();
            std::iter::from_fn(|| rows.next().unwrap().map(|row| row.get::<_, String>(3).unwrap())).collect::<String>()
        };
        for (condition, index) in [
            ("entry_id = ?", "sqlite_autoindex_registered_entries_1"),
            ("spiffe_id = ? ORDER BY id", "registered_entries_by_spiffe_id"),
            ("spiffe_id = ? AND parent_id = ? AND selectors_digest = ? ORDER BY id", "registered_entries_by_spiffe_id"),
            ("parent_id = ? ORDER BY id", "registered_entries_by_parent_id"),
            ("hint = ? AND hint <> '' ORDER BY id", "registered_entries_by_hint"),
            ("downstream = 1 ORDER BY id", "registered_entries_downstream"),
        ] {
            let plan = plan(&format!("{SELECT} WHERE {condition}"));
            assert!(plan.contains(index), "{condition}: {plan}");
        }
        let of_selector = plan("SELECT owner FROM selectors WHERE type = ? AND value = ?");
        assert!(of_selector.contains("SEARCH selectors USING PRIMARY KEY"), "{of_selector}");
    }
}
