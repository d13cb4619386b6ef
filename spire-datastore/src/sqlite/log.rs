//! The ordered log: a counter in one row, and what each of its numbers changed.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use spiffe_core::{SpiffeId, TrustDomain};
use spire_types::{EntryId, RegistrationEntry};
use tokio::sync::watch;

use super::fail::Fail;
use super::{SqliteStore, bundles, entry_rows, federation, node_rows};
use crate::{Change, Changes, Error, Log, Revision, Snapshot, TakeEntry};

/// How many changes the log holds at least. A reader that is further behind takes a snapshot.
const KEPT_CHANGES: i64 = 50_000;
/// How many more may pile up before the oldest are deleted.
const SLACK: i64 = 5_000;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entry = 1,
    Node = 2,
    Bundle = 3,
    Relationship = 4,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put = 1,
    Delete = 2,
}

/// Gives the next revision to a change, in the transaction that makes the change.
pub(super) fn record(connection: &Connection, kind: Kind, key: &str, op: Op) -> Result<Revision, Fail> {
    let mut recorder = Recorder::begin(connection)?;
    let revision = recorder.record(kind, key, op)?;
    recorder.finish()?;
    Ok(revision)
}

/// Numbers many changes of one transaction, and notes the newest number once at its end.
#[derive(Debug)]
pub(super) struct Recorder<'c> {
    connection: &'c Connection,
    newest: i64,
}

impl<'c> Recorder<'c> {
    pub(super) fn begin(connection: &'c Connection) -> Result<Self, Fail> {
        Ok(Self { connection, newest: bounds(connection)?.0 })
    }

    /// The revision that the next change gets.
    pub(super) fn next(&self) -> i64 {
        self.newest + 1
    }

    /// Gives the next revision to a change.
    pub(super) fn record(&mut self, kind: Kind, key: &str, op: Op) -> Result<Revision, Fail> {
        self.newest = self.next();
        insert(self.connection, self.newest, kind, key, op)?;
        revision(self.newest)
    }

    pub(super) fn finish(self) -> Result<(), Fail> {
        self.connection.prepare_cached("UPDATE revision SET value = ?1")?.execute([self.newest])?;
        Ok(())
    }
}

fn insert(connection: &Connection, revision: i64, kind: Kind, key: &str, op: Op) -> Result<(), Fail> {
    connection
        .prepare_cached("INSERT INTO changes (revision, kind, key, op) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![revision, kind as i64, key, op as i64])?;
    Ok(())
}

fn revision(value: i64) -> Result<Revision, Fail> {
    u64::try_from(value).map(Revision).map_err(|_| Fail::damaged("revision"))
}

fn bounds(connection: &Connection) -> Result<(i64, i64), Fail> {
    let mut statement = connection.prepare_cached("SELECT value, horizon FROM revision")?;
    Ok(statement.query_one([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// The newest revision.
pub(super) fn newest(connection: &Connection) -> Result<Revision, Fail> {
    revision(bounds(connection)?.0)
}

/// Deletes the oldest changes once there are too many.
pub(super) fn trim(connection: &Connection) -> Result<(), Fail> {
    let (value, horizon) = bounds(connection)?;
    if value - horizon > KEPT_CHANGES + SLACK {
        let horizon = value - KEPT_CHANGES;
        connection.prepare_cached("DELETE FROM changes WHERE revision <= ?1")?.execute([horizon])?;
        connection.prepare_cached("UPDATE revision SET horizon = ?1")?.execute([horizon])?;
    }
    Ok(())
}

fn changes_since(connection: &Connection, since: Revision) -> Result<Changes, Fail> {
    let (value, horizon) = bounds(connection)?;
    // A revision that is still to come was read from a database that has been put back since.
    let since = match i64::try_from(since.0) {
        Ok(since) if (horizon..=value).contains(&since) => since,
        _ => return Ok(Changes::TooOld),
    };
    let mut statement = connection.prepare_cached(
        "SELECT kind, key FROM changes WHERE revision > ?1 GROUP BY kind, key ORDER BY max(revision)",
    )?;
    let mut rows = statement.query([since])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        changes.push(change(connection, row.get(0)?, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(Changes::Since(revision(value)?, changes))
}

/// The thing as it is now.
fn change(connection: &Connection, kind: i64, key: &str) -> Result<Change, Fail> {
    let damaged = |_| Fail::damaged("key in the change log");
    let trust_domain = || TrustDomain::parse(key).map_err(damaged);
    Ok(match kind {
        1 => {
            let id = EntryId::parse(key).map_err(|_| Fail::damaged("key in the change log"))?;
            let entry = entry_rows::fetch(connection, &id)?.map(|(_, entry)| entry);
            Change::Entry(id, entry)
        }
        2 => {
            let id = SpiffeId::parse(key).map_err(damaged)?;
            let node = node_rows::fetch(connection, &id)?.map(|(_, node)| node);
            Change::Node(id, node)
        }
        3 => Change::Bundle(trust_domain()?, bundles::fetch(connection, &trust_domain()?)?),
        4 => Change::Relationship(trust_domain()?, federation::fetch(connection, &trust_domain()?)?),
        _ => return Err(Fail::damaged("kind in the change log")),
    })
}

fn read_all(connection: &Connection, take: &mut dyn FnMut(RegistrationEntry)) -> Result<Snapshot, Fail> {
    entry_rows::all(connection, take)?;
    Ok(Snapshot {
        revision: newest(connection)?,
        entries: Vec::new(),
        nodes: node_rows::all(connection)?,
        bundles: bundles::all(connection)?,
        relationships: federation::all(connection)?,
    })
}

#[async_trait]
impl Log for SqliteStore {
    async fn read_all(&self, mut take: TakeEntry) -> Result<Snapshot, Error> {
        self.read("read snapshot", move |connection| read_all(connection, &mut *take)).await
    }

    async fn changes_since(&self, revision: Revision) -> Result<Changes, Error> {
        self.read("read changes", move |connection| changes_since(connection, revision)).await
    }

    fn recent_changes(&self, revision: Revision) -> Option<Changes> {
        self.writer.take_changes_since(revision)
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.writer.revisions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::migrate::migrate;

    #[test]
    fn the_log_keeps_the_newest_changes_and_says_what_it_no_longer_holds() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let last = KEPT_CHANGES + SLACK + 1;
        for number in 1..=last {
            record(&connection, Kind::Entry, &format!("e{}", number % 10), Op::Delete).unwrap();
        }
        trim(&connection).unwrap();
        let kept: i64 = connection.query_row("SELECT count(*) FROM changes", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, KEPT_CHANGES);
        let since = |revision: i64| changes_since(&connection, Revision(revision.unsigned_abs())).unwrap();
        assert_eq!(since(last - KEPT_CHANGES - 1), Changes::TooOld);
        let Changes::Since(newest, changes) = since(last - KEPT_CHANGES) else { panic!("too old") };
        assert_eq!((newest, changes.len()), (Revision(last.unsigned_abs()), 10));
    }
}
