//! Attested nodes as rows, both ways.

use rusqlite::{Connection, Row, params};
use spiffe_core::{SpiffeId, Timestamp};
use spire_types::AttestedNode;

use super::fail::Fail;
use super::selectors::{insert_of_node, of_node, of_nodes, replace_of_node};

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
    let sql = match number {
        Some(_) => {
            "UPDATE attested_node_entries SET attestation_type = ?3, serial_number = ?4, \
             expires_at = ?5, new_serial_number = ?6, new_expires_at = ?7, can_reattest = ?8, agent_version = ?9 \
             WHERE id = ?1"
        }
        None => {
            "INSERT INTO attested_node_entries (id, spiffe_id, attestation_type, serial_number, expires_at, \
             new_serial_number, new_expires_at, can_reattest, agent_version) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        }
    };
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
    connection.prepare_cached(sql)?.execute(values)?;
    match number {
        Some(number) => replace_of_node(connection, number, &node.selectors),
        None => insert_of_node(connection, connection.last_insert_rowid(), &node.selectors),
    }
}

/// Deletes the node in that row.
pub(super) fn delete(connection: &Connection, number: i64) -> Result<(), Fail> {
    connection.prepare_cached("DELETE FROM attested_node_entries WHERE id = ?1")?.execute([number])?;
    Ok(())
}
