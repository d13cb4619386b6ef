//! Attested nodes as rows, both ways.

use rusqlite::{Connection, Row, params};
use spiffe_core::{SpiffeId, Timestamp};
use spire_types::AttestedNode;

use super::fail::Fail;
use super::selectors::{of_node, of_nodes, replace_of_node};

/// Reads nodes without their selectors; takes conditions.
pub(super) const SELECT: &str = "SELECT id, spiffe_id, attestation_type, serial_number, expires_at, \
     new_serial_number, new_expires_at, can_reattest, agent_version FROM attested_node_entries";

/// The node of that ID and its row number.
pub(super) fn fetch(connection: &Connection, id: &SpiffeId) -> Result<Option<(i64, AttestedNode)>, Fail> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE spiffe_id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    match rows.next()? {
        Some(row) => Ok(Some((row.get(0)?, whole(connection, row)?))),
        None => Ok(None),
    }
}

/// The node in that row of [`SELECT`], with its selectors.
pub(super) fn whole(connection: &Connection, row: &Row<'_>) -> Result<AttestedNode, Fail> {
    let mut node = bare(row)?;
    node.selectors = of_node(connection, row.get(0)?)?;
    Ok(node)
}

/// All nodes, in the order of their first attestation.
pub(super) fn all(connection: &Connection) -> Result<Vec<AttestedNode>, Fail> {
    let mut selectors = of_nodes(connection)?;
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        let mut node = bare(row)?;
        node.selectors = selectors.remove(&row.get(0)?).unwrap_or_default();
        nodes.push(node);
    }
    Ok(nodes)
}

fn bare(row: &Row<'_>) -> Result<AttestedNode, Fail> {
    let id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(AttestedNode {
        spiffe_id: SpiffeId::parse(id).map_err(|err| Fail::damaged(format!("agent ID: {err}")))?,
        attestation_type: row.get(2)?,
        serial: row.get(3)?,
        not_after: Timestamp::from_unix(row.get(4)?),
        new_serial: row.get(5)?,
        new_not_after: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_unix),
        can_reattest: row.get(7)?,
        selectors: Vec::new(),
        agent_version: row.get(8)?,
    })
}

/// Stores a node, in place of the one in row `number` if there is one.
pub(super) fn put(connection: &Connection, number: Option<i64>, node: &AttestedNode) -> Result<(), Fail> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO attested_node_entries (id, spiffe_id, attestation_type, serial_number, expires_at, \
         new_serial_number, new_expires_at, can_reattest, agent_version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (id) DO UPDATE SET attestation_type = excluded.attestation_type, \
         serial_number = excluded.serial_number, expires_at = excluded.expires_at, \
         new_serial_number = excluded.new_serial_number, new_expires_at = excluded.new_expires_at, \
         can_reattest = excluded.can_reattest, agent_version = excluded.agent_version RETURNING id",
    )?;
    let values = params![
        number,
        node.spiffe_id.as_str(),
        node.attestation_type,
        node.serial,
        node.not_after.as_unix(),
        node.new_serial,
        node.new_not_after.map(Timestamp::as_unix),
        node.can_reattest,
        node.agent_version,
    ];
    let number = statement.query_one(values, |row| row.get(0))?;
    replace_of_node(connection, number, &node.selectors)
}

/// Deletes the node in that row.
pub(super) fn delete(connection: &Connection, number: i64) -> Result<(), Fail> {
    connection.prepare_cached("DELETE FROM attested_node_entries WHERE id = ?1")?.execute([number])?;
    Ok(())
}
