//! Lists in pages. A token is the row number of the last member, in decimal.

use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use spire_types::{Page, PageRequest};

use super::fail::Fail;
use crate::Error;

/// Conditions of a query, all of which must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    sql: Vec<&'static str>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds one with a `?` for its value.
    pub(super) fn add(&mut self, sql: &'static str, value: impl Into<Value>) {
        self.sql.push(sql);
        self.values.push(value.into());
    }

    /// Adds one without a value.
    pub(super) fn add_plain(&mut self, sql: &'static str) {
        self.sql.push(sql);
    }

    fn clause(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!(" WHERE {}", self.sql.join(" AND ")) }
    }

    /// How many rows of `table` meet them.
    pub(super) fn count(&self, connection: &Connection, table: &str) -> Result<usize, Fail> {
        let sql = format!("SELECT count(*) FROM {table}{}", self.clause());
        let count: i64 =
            connection.prepare_cached(&sql)?.query_one(rusqlite::params_from_iter(&self.values), |row| row.get(0))?;
        usize::try_from(count).map_err(|_| Fail::damaged("count"))
    }
}

/// The page that is asked for. `select` reads from one table without conditions and has its row number in column 0;
/// `convert` makes a member of a row, or `None` of one that is not meant after all.
pub(super) fn page<T>(
    connection: &Connection,
    request: &PageRequest,
    select: &str,
    mut conditions: Conditions,
    convert: impl Fn(&Row<'_>) -> Result<Option<T>, Fail>,
) -> Result<Page<T>, Fail> {
    let size = request.size.unwrap_or(usize::MAX);
    if request.size.is_some() && !request.token.is_empty() {
        let after: i64 = request.token.parse().map_err(|_| Error::PageToken { token: request.token.clone() })?;
        conditions.add("id > ?", after);
    }
    let sql = format!("{select}{} ORDER BY id", conditions.clause());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(&conditions.values))?;
    let mut page = Page { items: Vec::new(), next_token: String::new() };
    while page.items.len() < size {
        let Some(row) = rows.next()? else { break };
        if let Some(item) = convert(row)? {
            page.items.push(item);
            if request.size.is_some() {
                page.next_token = row.get::<_, i64>(0)?.to_string();
            }
        }
    }
    Ok(page)
}
