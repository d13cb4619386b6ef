//! Sets of selectors in a table of their own, for entries and nodes alike.

use std::collections::HashMap;
use std::hash::Hash;

use ring::digest;
use rusqlite::{Connection, params};
use spire_types::{MatchBehavior, Selector, SelectorMatch};

use super::fail::Fail;
use super::page::Conditions;
use crate::Error;

/// Whose selectors: statements for one of the two tables.
#[derive(Debug)]
pub(super) struct Table {
    insert: &'static str,
    delete: &'static str,
    of_one: &'static str,
    of_all: &'static str,
    /// Rows with one selector, given as JSON.
    holds_one: &'static str,
    /// How many rows have one selector, at most [`ENOUGH`].
    count: &'static str,
    /// Rows with any of some selectors, given as JSON.
    holds_any: &'static str,
}

macro_rules! table {
    ($table:literal) => {
        Table {
            insert: concat!("INSERT INTO ", $table, " (owner, position, type, value) VALUES (?1, ?2, ?3, ?4)"),
            delete: concat!("DELETE FROM ", $table, " WHERE owner = ?1"),
            of_one: concat!("SELECT type, value FROM ", $table, " WHERE owner = ?1 ORDER BY position"),
            of_all: concat!("SELECT owner, type, value FROM ", $table, " ORDER BY owner, position"),
            holds_one: concat!(
                "id IN (SELECT owner FROM ",
                $table,
                " WHERE (type, value) = ((SELECT value ->> 0, value ->> 1 FROM json_each(?))))"
            ),
            count: concat!("SELECT count(*) FROM (SELECT 1 FROM ", $table, " WHERE type = ?1 AND value = ?2 LIMIT ?3)"),
            holds_any: concat!(
                "id IN (SELECT s.owner FROM json_each(?) AS asked CROSS JOIN ",
                $table,
                " AS s ON s.type = asked.value ->> 0 AND s.value = asked.value ->> 1)"
            ),
        }
    };
}

/// From how many holders on a selector is as good as any other to begin with.
const ENOUGH: i64 = 1000;

pub(super) const OF_ENTRIES: Table = table!("selectors");
pub(super) const OF_NODES: Table = table!("node_selectors");

impl Table {
    /// Gives `owner` these, in place of what it has.
    pub(super) fn replace(&self, connection: &Connection, owner: i64, selectors: &[Selector]) -> Result<(), Fail> {
        connection.prepare_cached(self.delete)?.execute([owner])?;
        self.insert(connection, owner, selectors)
    }

    /// Gives these to `owner`, which has none.
    pub(super) fn insert(&self, connection: &Connection, owner: i64, selectors: &[Selector]) -> Result<(), Fail> {
        let mut statement = connection.prepare_cached(self.insert)?;
        for (position, selector) in (0_i64..).zip(selectors) {
            statement.execute(params![owner, position, selector.kind, selector.value])?;
        }
        Ok(())
    }

    /// Those of `owner`, in the order given.
    pub(super) fn of(&self, connection: &Connection, owner: i64) -> Result<Vec<Selector>, Fail> {
        let mut statement = connection.prepare_cached(self.of_one)?;
        let rows = statement.query_map([owner], |row| Ok(Selector { kind: row.get(0)?, value: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Reads those of all, by owner: owner, type and value.
    pub(super) fn of_all(&self) -> &'static str {
        self.of_all
    }

    /// Those of all, by owner.
    pub(super) fn by_owner(&self, connection: &Connection) -> Result<HashMap<i64, Vec<Selector>>, Fail> {
        grouped(connection, self.of_all, |row| Ok(Selector { kind: row.get(1)?, value: row.get(2)? }))
    }

    /// Narrows a query to rows that may match: a condition by index, to be judged exactly afterwards.
    pub(super) fn narrow(
        &self,
        connection: &Connection,
        conditions: &mut Conditions,
        asked: &SelectorMatch,
    ) -> Result<(), Fail> {
        let pairs: Vec<_> = asked.selectors.iter().map(|selector| (&selector.kind, &selector.value)).collect();
        let json = |pairs: &[_]| serde_json::to_string(pairs).map_err(Fail::damaged);
        match asked.behavior {
            MatchBehavior::Any | MatchBehavior::Subset if !pairs.is_empty() => {
                conditions.add(self.holds_any, json(&pairs)?);
            }
            _ => {
                let rarest = self.rarest(connection, &asked.selectors)?.ok_or(Error::EmptySelectors)?;
                conditions.add(self.holds_one, json(&[(&rarest.kind, &rarest.value)])?);
            }
        }
        Ok(())
    }

    /// Of these selectors the one that fewest rows have.
    fn rarest<'a>(&self, connection: &Connection, selectors: &'a [Selector]) -> Result<Option<&'a Selector>, Fail> {
        let mut statement = connection.prepare_cached(self.count)?;
        let mut rarest = None;
        for selector in selectors {
            let count: i64 = statement.query_one(params![selector.kind, selector.value, ENOUGH], |row| row.get(0))?;
            if rarest.is_none_or(|(fewest, _)| count < fewest) {
                rarest = Some((count, selector));
            }
        }
        Ok(rarest.map(|(_, selector)| selector))
    }
}

/// Reads child rows, the owner in column 0.
pub(super) fn grouped<K: Hash + Eq + rusqlite::types::FromSql, T>(
    connection: &Connection,
    sql: &str,
    convert: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<HashMap<K, Vec<T>>, Fail> {
    let mut groups: HashMap<K, Vec<T>> = HashMap::new();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        groups.entry(row.get(0)?).or_default().push(convert(row)?);
    }
    Ok(groups)
}

/// A digest of the set, whatever its order. Lengths go in, so that no two sets run together.
pub(super) fn digest_of(selectors: &[Selector]) -> Vec<u8> {
    let mut sorted: Vec<_> = selectors.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut context = digest::Context::new(&digest::SHA256);
    for selector in sorted {
        for part in [&selector.kind, &selector.value] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(texts: &[&str]) -> Vec<Selector> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_digest_knows_the_set_and_not_its_order() {
        assert_eq!(digest_of(&selectors(&["a:1", "b:2"])), digest_of(&selectors(&["b:2", "a:1"])));
        assert_ne!(digest_of(&selectors(&["a:1", "b:2"])), digest_of(&selectors(&["a:1"])));
        assert_ne!(digest_of(&selectors(&["a:bc"])), digest_of(&selectors(&["ab:c"])));
    }
}
