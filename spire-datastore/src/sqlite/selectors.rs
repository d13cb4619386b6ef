//! Sets of selectors: who has which. Those of nodes are rows; those of entries stand in the entry, and rows are for searches.

use std::collections::{BTreeSet, HashMap};

use ring::digest;
use rusqlite::{Connection, params};
use spire_types::{MatchBehavior, Selector, SelectorMatch};

use super::fail::Fail;
use super::page::Conditions;
use crate::Error;

/// Who has which selectors: statements for one of the two tables.
#[derive(Debug)]
pub(super) struct Table {
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

/// Notes that the entry in that row has these.
pub(super) fn insert_of_entry(connection: &Connection, number: i64, selectors: &[Selector]) -> Result<(), Fail> {
    let mut statement = connection.prepare_cached("INSERT INTO selectors (type, value, owner) VALUES (?1, ?2, ?3)")?;
    for selector in selectors {
        statement.execute(params![selector.kind, selector.value, number])?;
    }
    Ok(())
}

/// Notes that the entry in that row, which had these, has none.
pub(super) fn remove_of_entry(connection: &Connection, number: i64, selectors: &[Selector]) -> Result<(), Fail> {
    let mut statement =
        connection.prepare_cached("DELETE FROM selectors WHERE type = ?1 AND value = ?2 AND owner = ?3")?;
    for selector in selectors {
        statement.execute(params![selector.kind, selector.value, number])?;
    }
    Ok(())
}

/// Gives the node in that row these, in place of what it has.
pub(super) fn replace_of_node(connection: &Connection, number: i64, selectors: &[Selector]) -> Result<(), Fail> {
    connection.prepare_cached("DELETE FROM node_selectors WHERE owner = ?1")?.execute([number])?;
    insert_of_node(connection, number, selectors)
}

/// Gives these to the node in that row, which has none.
pub(super) fn insert_of_node(connection: &Connection, number: i64, selectors: &[Selector]) -> Result<(), Fail> {
    let mut statement = connection
        .prepare_cached("INSERT INTO node_selectors (owner, position, type, value) VALUES (?1, ?2, ?3, ?4)")?;
    for (position, selector) in (0_i64..).zip(selectors) {
        statement.execute(params![number, position, selector.kind, selector.value])?;
    }
    Ok(())
}

/// Those of the node in that row, in the order given.
pub(super) fn of_node(connection: &Connection, number: i64) -> Result<Vec<Selector>, Fail> {
    let mut statement =
        connection.prepare_cached("SELECT type, value FROM node_selectors WHERE owner = ?1 ORDER BY position")?;
    let rows = statement.query_map([number], |row| Ok(Selector { kind: row.get(0)?, value: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of all nodes, by row.
pub(super) fn of_nodes(connection: &Connection) -> Result<HashMap<i64, Vec<Selector>>, Fail> {
    let mut groups: HashMap<i64, Vec<Selector>> = HashMap::new();
    let mut statement =
        connection.prepare_cached("SELECT owner, type, value FROM node_selectors ORDER BY owner, position")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        groups.entry(row.get(0)?).or_default().push(Selector { kind: row.get(1)?, value: row.get(2)? });
    }
    Ok(groups)
}

/// Whether two lists without doubles have the same members.
pub(super) fn is_same_set(one: &[Selector], other: &[Selector]) -> bool {
    one == other || one.len() == other.len() && BTreeSet::from_iter(one) == BTreeSet::from_iter(other)
}

/// A digest of the set, whatever its order: short, so that sets of the same digest are compared. Lengths go in, so that
/// no two sets run together.
pub(super) fn digest_of(selectors: &[Selector]) -> i64 {
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
    let first = context.finish().as_ref().first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(first)
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
