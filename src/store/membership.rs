//! Rows of who belongs, who no longer does, and of tokens.
//!
//! Invariant: a key is enrolled or revoked, never both; a name belongs to one
//! enrolled key of a role. Absent: any judgement of them (the engine's).

use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::rows::{act_from, digest_from, int, name_from, node_from, role_from, run, time, time_from, uint};
use crate::model::limits::MAX_REVOKED;
use crate::model::records::{Act, EnrolledNode};
use crate::model::trust::Token;
use crate::model::{Digest, Millis, NodeId, NodeName, Role, Timestamp};

/// A key may act in a role under a name; whoever had that name in that role may not any more.
pub(super) fn enrolled(
    connection: &Connection,
    node: NodeId,
    role: Role,
    name: &NodeName,
    at: Timestamp,
) -> Result<(), StoreError> {
    if role != Role::Worker {
        run(
            connection,
            "INSERT INTO clients (client, node, name) VALUES (?1, ?2, ?3) ON CONFLICT (client) DO UPDATE SET name = ?3",
            params![int(node.key_no().0), node.0, name.as_str()],
        )?;
    }
    let role = role.to_string();
    run(
        connection,
        "DELETE FROM nodes WHERE role = ?2 AND name = ?3 AND node <> ?1",
        params![node.0, role, name.as_str()],
    )?;
    run(
        connection,
        "INSERT INTO nodes (node, role, name, enrolled_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (node) DO UPDATE SET role = ?2, name = ?3, enrolled_at = ?4",
        params![node.0, role, name.as_str(), time(at)],
    )
}

/// A worker is (or is no longer) to be given new work.
pub(super) fn draining(connection: &Connection, node: NodeId, draining: bool, act: &Act) -> Result<(), StoreError> {
    run(
        connection,
        "UPDATE nodes SET draining = ?2, drain_by = ?3, drain_at = ?4 WHERE node = ?1",
        params![node.0, draining, int(act.by.key.0), time(act.at)],
    )
}

/// A worker joined from a place.
pub(super) fn placed(connection: &Connection, node: NodeId, place: &Digest) -> Result<(), StoreError> {
    run(connection, "UPDATE nodes SET place = ?2 WHERE node = ?1", params![node.0, place.0])
}

/// A key stays out for good; the oldest beyond [`MAX_REVOKED`] are forgotten, as the engine forgets them.
pub(super) fn revoked(connection: &Connection, node: NodeId, at: Timestamp) -> Result<(), StoreError> {
    run(
        connection,
        "INSERT OR IGNORE INTO revoked (node, role, name, enrolled_at, revoked_at)
         SELECT node, role, name, enrolled_at, ?2 FROM nodes WHERE node = ?1",
        params![node.0, time(at)],
    )?;
    run(connection, "DELETE FROM nodes WHERE node = ?1", params![node.0])?;
    run(
        connection,
        "DELETE FROM revoked WHERE node IN
            (SELECT node FROM revoked ORDER BY revoked_at DESC, node DESC LIMIT -1 OFFSET ?1)",
        params![int(MAX_REVOKED as u64)],
    )
}

/// A token as it is now.
pub(super) fn token_changed(connection: &Connection, token: &Token) -> Result<(), StoreError> {
    run(
        connection,
        "INSERT INTO tokens (hash, role, uses, created_at, expires_at, revoked, expires_uptime, name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (hash) DO UPDATE SET role = ?2, uses = ?3, created_at = ?4, expires_at = ?5, revoked = ?6,
            expires_uptime = ?7, name = ?8",
        params![
            token.hash.0,
            token.role.to_string(),
            token.uses,
            time(token.created_at),
            time(token.expires_at),
            token.revoked,
            int(token.expires_uptime.0),
            token.name.as_ref().map(NodeName::as_str)
        ],
    )?;
    // Uses are only ever added, so what is there need not be written again.
    let known: i64 = connection
        .prepare_cached("SELECT count(*) FROM token_uses WHERE hash = ?1")?
        .query_row([token.hash.0], |row| row.get(0))?;
    let known = usize::try_from(known).unwrap_or(usize::MAX);
    for (place, node) in token.used_by.iter().enumerate().skip(known) {
        run(
            connection,
            "INSERT OR IGNORE INTO token_uses (hash, place, node) VALUES (?1, ?2, ?3)",
            params![token.hash.0, int(place as u64), node.0],
        )?;
    }
    Ok(())
}

/// A token is not worth keeping any more.
pub(super) fn token_forgotten(connection: &Connection, hash: &Digest) -> Result<(), StoreError> {
    run(connection, "DELETE FROM tokens WHERE hash = ?1", params![hash.0])?;
    run(connection, "DELETE FROM token_uses WHERE hash = ?1", params![hash.0])
}

/// All nodes: enrolled ones in the order in which they were enrolled, then revoked ones likewise.
pub(super) fn nodes(connection: &Connection) -> Result<Vec<EnrolledNode>, StoreError> {
    let mut all = connection.prepare(
        "SELECT node, role, name, draining, enrolled_at, NULL AS revoked_at, place, drain_by,
            (SELECT clients.name FROM clients WHERE client = drain_by), drain_at FROM nodes
         UNION ALL SELECT node, role, name, 0, enrolled_at, revoked_at, NULL, NULL, NULL, NULL FROM revoked
         ORDER BY revoked_at, enrolled_at, node",
    )?;
    let mut rows = all.query([])?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        nodes.push(node(row)?);
    }
    Ok(nodes)
}

fn node(row: &Row<'_>) -> Result<EnrolledNode, StoreError> {
    Ok(EnrolledNode {
        node: node_from(&row.get::<_, Vec<u8>>(0)?)?,
        role: role_from(&row.get::<_, String>(1)?)?,
        name: name_from(&row.get::<_, String>(2)?)?,
        draining: row.get(3)?,
        drain_act: act_from(row, 7)?,
        enrolled_at: time_from(row.get(4)?),
        revoked_at: row.get::<_, Option<i64>>(5)?.map(time_from),
        place: row.get::<_, Option<Vec<u8>>>(6)?.as_deref().map(digest_from).transpose()?,
    })
}

/// All tokens, oldest first.
pub(super) fn tokens(connection: &Connection) -> Result<Vec<Token>, StoreError> {
    let mut all = connection.prepare(
        "SELECT hash, role, uses, created_at, expires_at, revoked, expires_uptime, name FROM tokens
            ORDER BY created_at, hash",
    )?;
    let mut rows = all.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let hash = digest_from(&row.get::<_, Vec<u8>>(0)?)?;
        let uses = uint(row.get(2)?);
        tokens.push(Token {
            hash,
            role: role_from(&row.get::<_, String>(1)?)?,
            uses: u32::try_from(uses).map_err(|_| StoreError::BadValue { column: "uses" })?,
            used_by: used_by(connection, &hash)?,
            created_at: time_from(row.get(3)?),
            expires_at: time_from(row.get(4)?),
            revoked: row.get(5)?,
            expires_uptime: Millis(uint(row.get(6)?)),
            name: row.get::<_, Option<String>>(7)?.map(|name| name_from(&name)).transpose()?,
        });
    }
    Ok(tokens)
}

fn used_by(connection: &Connection, hash: &Digest) -> Result<Vec<NodeId>, StoreError> {
    let mut uses = connection.prepare_cached("SELECT node FROM token_uses WHERE hash = ?1 ORDER BY place")?;
    let mut rows = uses.query([hash.0])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(node_from(&row.get::<_, Vec<u8>>(0)?)?);
    }
    Ok(keys)
}
