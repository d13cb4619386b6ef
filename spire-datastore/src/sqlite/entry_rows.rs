//! Entries as rows, both ways.

use rusqlite::{Connection, OptionalExtension as _, Row, Rows, params};
use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_types::{AdditionalAttributes, EntryId, RegistrationEntry, Selector};

use super::fail::{Fail, unique};
use super::selectors::{OF_ENTRIES, digest_of};

/// Reads entries without what other tables hold; takes conditions.
pub(super) const SELECT: &str = "SELECT id, entry_id, spiffe_id, parent_id, x509_svid_ttl, jwt_svid_ttl, admin, \
     downstream, expires_at, revision_number, store_svid, hint, created_at, additional FROM registered_entries";

const DNS_NAMES_OF_ONE: &str = "SELECT value FROM dns_names WHERE owner = ?1 ORDER BY position";
const DNS_NAMES_OF_ALL: &str = "SELECT owner, value FROM dns_names ORDER BY owner, position";
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

/// The entry in that row of [`SELECT`], with what other tables hold.
pub(super) fn whole(connection: &Connection, row: &Row<'_>) -> Result<RegistrationEntry, Fail> {
    let number = row.get(0)?;
    let mut entry = bare(row)?;
    entry.selectors = OF_ENTRIES.of(connection, number)?;
    entry.dns_names = texts(connection, DNS_NAMES_OF_ONE, number)?;
    let names = texts(connection, FEDERATES_WITH_OF_ONE, number)?;
    entry.federates_with = names.iter().map(|name| trust_domain(name)).collect::<Result<_, _>>()?;
    Ok(entry)
}

/// Hands out all entries, in the order of their creation. What belongs to them is read alongside, in the same order.
pub(super) fn all(connection: &Connection, take: &mut dyn FnMut(RegistrationEntry)) -> Result<(), Fail> {
    let mut selectors = connection.prepare_cached(OF_ENTRIES.of_all())?;
    let mut selectors =
        Children::new(selectors.query([])?, |row| Ok(Selector { kind: row.get(1)?, value: row.get(2)? }))?;
    let mut dns_names = connection.prepare_cached(DNS_NAMES_OF_ALL)?;
    let mut dns_names = Children::new(dns_names.query([])?, |row| row.get::<_, String>(1))?;
    let mut names = connection.prepare_cached(FEDERATES_WITH_OF_ALL)?;
    let mut names = Children::new(names.query([])?, |row| row.get::<_, String>(1))?;
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let mut entry = bare(row)?;
        entry.selectors = selectors.of(number)?;
        entry.dns_names = dns_names.of(number)?;
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
    let mut entry = RegistrationEntry::new(id(2)?, id(3)?, Vec::new());
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
    Ok(entry)
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

/// Stores a new entry. Its lists must have no member twice, and its bundles be stored.
pub(super) fn insert(connection: &Connection, id: &EntryId, entry: &RegistrationEntry) -> Result<(), Fail> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO registered_entries (entry_id, spiffe_id, parent_id, selectors_digest, x509_svid_ttl, \
         jwt_svid_ttl, admin, downstream, expires_at, revision_number, store_svid, hint, created_at, additional) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let number = statement
        .insert(params![
            id.as_str(),
            entry.spiffe_id.as_str(),
            entry.parent_id.as_str(),
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
        ])
        .map_err(unique("registered_entries.entry_id"))?;
    OF_ENTRIES.insert(connection, number, &entry.selectors)?;
    insert_lists(connection, number, entry)
}

/// Stores an entry in place of the one in that row.
pub(super) fn update(connection: &Connection, number: i64, entry: &RegistrationEntry) -> Result<(), Fail> {
    let mut statement = connection.prepare_cached(
        "UPDATE registered_entries SET spiffe_id = ?2, parent_id = ?3, selectors_digest = ?4, x509_svid_ttl = ?5, \
         jwt_svid_ttl = ?6, admin = ?7, downstream = ?8, expires_at = ?9, revision_number = ?10, store_svid = ?11, \
         hint = ?12, additional = ?13 WHERE id = ?1",
    )?;
    statement.execute(params![
        number,
        entry.spiffe_id.as_str(),
        entry.parent_id.as_str(),
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
    ])?;
    OF_ENTRIES.replace(connection, number, &entry.selectors)?;
    connection.prepare_cached("DELETE FROM dns_names WHERE owner = ?1")?.execute([number])?;
    connection.prepare_cached("DELETE FROM federated_registration_entries WHERE owner = ?1")?.execute([number])?;
    insert_lists(connection, number, entry)
}

fn insert_lists(connection: &Connection, number: i64, entry: &RegistrationEntry) -> Result<(), Fail> {
    let mut statement =
        connection.prepare_cached("INSERT INTO dns_names (owner, position, value) VALUES (?1, ?2, ?3)")?;
    for (position, name) in (0_i64..).zip(&entry.dns_names) {
        statement.execute(params![number, position, name])?;
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
pub(super) fn delete(connection: &Connection, number: i64) -> Result<(), Fail> {
    connection.prepare_cached("DELETE FROM registered_entries WHERE id = ?1")?.execute([number])?;
    Ok(())
}

/// The entry that says the same of the same workload.
pub(super) fn similar(connection: &Connection, entry: &RegistrationEntry) -> Result<Option<RegistrationEntry>, Fail> {
    let sql = format!("{SELECT} WHERE selectors_digest = ?1 AND spiffe_id = ?2 AND parent_id = ?3 ORDER BY id LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    let digest = digest_of(&entry.selectors);
    let mut rows = statement.query(params![digest, entry.spiffe_id.as_str(), entry.parent_id.as_str()])?;
    rows.next()?.map(|row| whole(connection, row)).transpose()
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
