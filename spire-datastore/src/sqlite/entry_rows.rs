//! Entries as rows, both ways.

use rusqlite::{Connection, OptionalExtension as _, Row, Rows, params};
use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_types::{AdditionalAttributes, EntryId, RegistrationEntry, Selector};

use super::fail::{Fail, unique};
use super::selectors::{digest_of, insert_of_entry, is_same_set, remove_of_entry};

/// Reads entries without the trust domains that they federate with, which are rows of their own; takes conditions.
pub(super) const SELECT: &str = "SELECT id, entry_id, spiffe_id, parent_id, x509_svid_ttl, jwt_svid_ttl, admin, \
     downstream, expires_at, revision_number, store_svid, hint, created_at, additional, selectors, dns_names \
     FROM registered_entries";

const FEDERATES_WITH_OF_ONE: &str =
    "SELECT trust_domain FROM federated_registration_entries WHERE owner = ?1 ORDER BY position";
const FEDERATES_WITH_OF_ALL: &str =
    "SELECT owner, trust_domain FROM federated_registration_entries ORDER BY owner, position";

/// The entry of that ID and its row number.
pub(super) fn fetch(connection: &Connection, id: &EntryId) -> Result<Option<(i64, RegistrationEntry)>, Fail> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE entry_id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    match rows.next()? {
        Some(row) => Ok(Some((row.get(0)?, whole(connection, row)?))),
        None => Ok(None),
    }
}

/// The entry in that row of the table.
fn at(connection: &Connection, number: i64) -> Result<Option<RegistrationEntry>, Fail> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query([number])?;
    rows.next()?.map(|row| whole(connection, row)).transpose()
}

/// The entry in that row of [`SELECT`], with what other tables hold.
pub(super) fn whole(connection: &Connection, row: &Row<'_>) -> Result<RegistrationEntry, Fail> {
    let number = row.get(0)?;
    let mut entry = bare(row)?;
    let names = texts(connection, FEDERATES_WITH_OF_ONE, number)?;
    entry.federates_with = names.iter().map(|name| trust_domain(name)).collect::<Result<_, _>>()?;
    Ok(entry)
}

/// Hands out all entries, in the order of their creation. What they federate with is read alongside, in the same order.
pub(super) fn all(connection: &Connection, take: &mut dyn FnMut(RegistrationEntry)) -> Result<(), Fail> {
    let mut names = connection.prepare_cached(FEDERATES_WITH_OF_ALL)?;
    let mut names = Children::new(names.query([])?, |row| row.get::<_, String>(1))?;
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let mut entry = bare(row)?;
        entry.federates_with = names.of(number)?.iter().map(|name| trust_domain(name)).collect::<Result<_, _>>()?;
        take(entry);
    }
    Ok(())
}

/// Rows that belong to others, ordered by these; the owner is in column 0.
struct Children<'s, T> {
    rows: Rows<'s>,
    convert: fn(&Row<'_>) -> rusqlite::Result<T>,
    next: Option<(i64, T)>,
}

impl<'s, T> Children<'s, T> {
    fn new(rows: Rows<'s>, convert: fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Self, Fail> {
        let mut children = Self { rows, convert, next: None };
        children.advance()?;
        Ok(children)
    }

    fn advance(&mut self) -> Result<(), Fail> {
        self.next = match self.rows.next()? {
            Some(row) => Some((row.get(0)?, (self.convert)(row)?)),
            None => None,
        };
        Ok(())
    }

    /// Those of `owner`. Owners are asked for in their order.
    fn of(&mut self, owner: i64) -> Result<Vec<T>, Fail> {
        let mut children = Vec::new();
        while let Some((of, child)) = self.next.take_if(|(of, _)| *of <= owner) {
            if of == owner {
                children.push(child);
            }
            self.advance()?;
        }
        Ok(children)
    }
}

fn texts(connection: &Connection, sql: &str, owner: i64) -> Result<Vec<String>, Fail> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([owner], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn bare(row: &Row<'_>) -> Result<RegistrationEntry, Fail> {
    let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let id = |column| SpiffeId::parse(text(column)?).map_err(|err| Fail::damaged(format!("SPIFFE ID: {err}")));
    let ttl = |column| Ok::<_, Fail>(row.get::<_, Option<i64>>(column)?.map(|ttl| Ttl::from_secs(ttl.unsigned_abs())));
    let entry_id = EntryId::parse(text(1)?).map_err(|err| Fail::damaged(format!("entry ID: {err}")))?;
    let mut entry = RegistrationEntry::new(id(2)?, id(3)?, selectors(text(14)?)?);
    entry.id = Some(entry_id);
    entry.x509_svid_ttl = ttl(4)?;
    entry.jwt_svid_ttl = ttl(5)?;
    entry.admin = row.get(6)?;
    entry.downstream = row.get(7)?;
    entry.expires_at = row.get::<_, Option<i64>>(8)?.map(Timestamp::from_unix);
    entry.revision_number = row.get(9)?;
    entry.store_svid = row.get(10)?;
    entry.hint = row.get(11)?;
    entry.created_at = Timestamp::from_unix(row.get(12)?);
    entry.additional = row.get::<_, Option<i64>>(13)?.map(additional);
    if let Some(names) = row.get_ref(15)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        entry.dns_names = serde_json::from_str(names).map_err(|err| Fail::damaged(format!("DNS names: {err}")))?;
    }
    Ok(entry)
}

/// Selectors as an entry's row holds them: pairs of type and value, in the order given.
fn selectors(json: &str) -> Result<Vec<Selector>, Fail> {
    let pairs: Vec<(String, String)> =
        serde_json::from_str(json).map_err(|err| Fail::damaged(format!("selectors: {err}")))?;
    Ok(pairs.into_iter().map(|(kind, value)| Selector { kind, value }).collect())
}

fn selectors_to_json(selectors: &[Selector]) -> Result<String, Fail> {
    let pairs: Vec<_> = selectors.iter().map(|selector| (&selector.kind, &selector.value)).collect();
    serde_json::to_string(&pairs).map_err(Fail::damaged)
}

fn dns_names_to_json(names: &[String]) -> Result<Option<String>, Fail> {
    if names.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(names).map(Some).map_err(Fail::damaged)
}

fn additional(bits: i64) -> AdditionalAttributes {
    AdditionalAttributes { disable_x509_svid_prefetch: bits & 1 != 0, jwt_svid_include_jti: bits & 2 != 0 }
}

fn additional_bits(additional: AdditionalAttributes) -> i64 {
    i64::from(additional.disable_x509_svid_prefetch) | i64::from(additional.jwt_svid_include_jti) << 1
}

fn trust_domain(name: &str) -> Result<TrustDomain, Fail> {
    TrustDomain::parse(name).map_err(|err| Fail::damaged(format!("trust domain: {err}")))
}

fn seconds(ttl: Option<Ttl>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
}

/// Stores a new entry in that row. Its lists must have no member twice, and its bundles be stored. If the ID is taken,
/// nothing is written.
pub(super) fn insert(
    connection: &Connection,
    number: i64,
    id: &EntryId,
    entry: &RegistrationEntry,
) -> Result<(), Fail> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO registered_entries (id, entry_id, spiffe_id, parent_id, selectors, selectors_digest, \
         x509_svid_ttl, jwt_svid_ttl, admin, downstream, expires_at, revision_number, store_svid, hint, created_at, \
         additional, dns_names) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?;
    statement
        .execute(params![
            number,
            id.as_str(),
            entry.spiffe_id.as_str(),
            entry.parent_id.as_str(),
            selectors_to_json(&entry.selectors)?,
            digest_of(&entry.selectors),
            seconds(entry.x509_svid_ttl),
            seconds(entry.jwt_svid_ttl),
            entry.admin,
            entry.downstream,
            entry.expires_at.map(Timestamp::as_unix),
            entry.revision_number,
            entry.store_svid,
            entry.hint,
            entry.created_at.as_unix(),
            entry.additional.map(additional_bits),
            dns_names_to_json(&entry.dns_names)?,
        ])
        .map_err(unique("registered_entries.entry_id"))?;
    insert_of_entry(connection, number, &entry.selectors)?;
    insert_federation(connection, number, entry)
}

/// Stores an entry in place of `former` in that row.
pub(super) fn update(
    connection: &Connection,
    number: i64,
    former: &RegistrationEntry,
    entry: &RegistrationEntry,
) -> Result<(), Fail> {
    let mut statement = connection.prepare_cached(
        "UPDATE registered_entries SET spiffe_id = ?2, parent_id = ?3, selectors = ?4, selectors_digest = ?5, \
         x509_svid_ttl = ?6, jwt_svid_ttl = ?7, admin = ?8, downstream = ?9, expires_at = ?10, revision_number = ?11, \
         store_svid = ?12, hint = ?13, additional = ?14, dns_names = ?15 WHERE id = ?1",
    )?;
    statement.execute(params![
        number,
        entry.spiffe_id.as_str(),
        entry.parent_id.as_str(),
        selectors_to_json(&entry.selectors)?,
        digest_of(&entry.selectors),
        seconds(entry.x509_svid_ttl),
        seconds(entry.jwt_svid_ttl),
        entry.admin,
        entry.downstream,
        entry.expires_at.map(Timestamp::as_unix),
        entry.revision_number,
        entry.store_svid,
        entry.hint,
        entry.additional.map(additional_bits),
        dns_names_to_json(&entry.dns_names)?,
    ])?;
    remove_of_entry(connection, number, &former.selectors)?;
    insert_of_entry(connection, number, &entry.selectors)?;
    connection.prepare_cached("DELETE FROM federated_registration_entries WHERE owner = ?1")?.execute([number])?;
    insert_federation(connection, number, entry)
}

fn insert_federation(connection: &Connection, number: i64, entry: &RegistrationEntry) -> Result<(), Fail> {
    if entry.federates_with.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO federated_registration_entries (owner, position, trust_domain) VALUES (?1, ?2, ?3)",
    )?;
    for (position, trust_domain) in (0_i64..).zip(&entry.federates_with) {
        statement.execute(params![number, position, trust_domain.as_str()])?;
    }
    Ok(())
}

/// Deletes the entry in that row.
pub(super) fn delete(connection: &Connection, number: i64, entry: &RegistrationEntry) -> Result<(), Fail> {
    remove_of_entry(connection, number, &entry.selectors)?;
    connection.prepare_cached("DELETE FROM registered_entries WHERE id = ?1")?.execute([number])?;
    Ok(())
}

/// The entry that says the same of the same workload.
pub(super) fn similar(connection: &Connection, entry: &RegistrationEntry) -> Result<Option<RegistrationEntry>, Fail> {
    let mut statement = connection.prepare_cached(
        "SELECT id, selectors FROM registered_entries \
         WHERE spiffe_id = ?1 AND parent_id = ?2 AND selectors_digest = ?3 ORDER BY id",
    )?;
    let digest = digest_of(&entry.selectors);
    let mut rows = statement.query(params![entry.spiffe_id.as_str(), entry.parent_id.as_str(), digest])?;
    while let Some(row) = rows.next()? {
        let there = selectors(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
        if is_same_set(&there, &entry.selectors) {
            return at(connection, row.get(0)?);
        }
    }
    Ok(None)
}

/// Gives all entries the digests of their selectors.
pub(super) fn fill_in_digests(connection: &Connection) -> Result<(), Fail> {
    let mut statement = connection.prepare("SELECT id, selectors FROM registered_entries")?;
    let mut update = connection.prepare("UPDATE registered_entries SET selectors_digest = ?2 WHERE id = ?1")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let selectors = selectors(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
        update.execute(params![row.get::<_, i64>(0)?, digest_of(&selectors)])?;
    }
    Ok(())
}

/// Whether the bundle of that trust domain is stored.
pub(super) fn has_bundle(connection: &Connection, trust_domain: &TrustDomain) -> Result<bool, Fail> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM bundles WHERE trust_domain = ?1")?;
    Ok(statement.query_one([trust_domain.as_str()], |_| Ok(())).optional()?.is_some())
}

/// The row numbers and IDs of entries that `sql` finds, which has one parameter.
pub(super) fn find(
    connection: &Connection,
    sql: &str,
    value: impl rusqlite::ToSql,
) -> Result<Vec<(i64, EntryId)>, Fail> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![value])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        found.push((row.get(0)?, EntryId::parse(id).map_err(|err| Fail::damaged(format!("entry ID: {err}")))?));
    }
    Ok(found)
}
