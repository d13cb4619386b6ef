//! What is done with join tokens.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ring::digest;
use rusqlite::{Connection, OptionalExtension as _};
use spiffe_core::Timestamp;
use spire_types::{AttestedNode, JoinToken};

use super::SqliteStore;
use super::fail::unique;
use super::nodes::{Attestable, change};
use crate::{Error, JoinTokens, Revision};

type Digest = Vec<u8>;

fn digest_of(value: &str) -> Digest {
    digest::digest(&digest::SHA256, value.as_bytes()).as_ref().to_vec()
}

/// Tokens that were made lately and not redeemed since, with their ends: they are found without a read. Redeeming them is
/// up to the database.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<HashMap<Digest, Timestamp>>);

/// How many tokens are remembered.
const MAX_FRESH: usize = 4096;

impl Fresh {
    fn tokens(&self) -> MutexGuard<'_, HashMap<Digest, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, digest: Digest, expires_at: Timestamp) {
        let mut tokens = self.tokens();
        if tokens.len() < MAX_FRESH {
            tokens.insert(digest, expires_at);
        }
    }
}

#[async_trait]
impl JoinTokens for SqliteStore {
    async fn create_join_token(&self, token: JoinToken) -> Result<(), Error> {
        let digest = digest_of(&token.value);
        let values = (digest.clone(), token.expires_at.as_unix());
        self.write("create join token", move |connection| {
            connection
                .prepare_cached("INSERT INTO join_tokens (digest, expires_at) VALUES (?1, ?2)")?
                .execute(values)
                .map_err(unique("join_tokens.token"))?;
            Ok(())
        })
        .await?;
        self.fresh_tokens.remember(digest, token.expires_at);
        Ok(())
    }

    async fn find_join_token(&self, value: &str) -> Result<Option<JoinToken>, Error> {
        let (value, digest) = (value.to_owned(), digest_of(value));
        let fresh = self.fresh_tokens.tokens().get(&digest).copied();
        if let Some(expires_at) = fresh {
            return Ok(Some(JoinToken { value, expires_at }));
        }
        self.read("find join token", move |connection| {
            let mut statement = connection.prepare_cached("SELECT expires_at FROM join_tokens WHERE digest = ?1")?;
            let expires_at: Option<i64> = statement.query_one([digest], |row| row.get(0)).optional()?;
            Ok(expires_at.map(|time| JoinToken { value, expires_at: Timestamp::from_unix(time) }))
        })
        .await
    }

    async fn redeem_join_token(&self, value: &str, node: AttestedNode) -> Result<Option<Revision>, Error> {
        let digest = digest_of(value);
        let fresh = digest.clone();
        let redeem = move |connection: &Connection| {
            // First, so that a node that is refused leaves the token alone.
            let attestable = Attestable::check(connection, node)?;
            let taken = connection.prepare_cached("DELETE FROM join_tokens WHERE digest = ?1")?.execute([digest])?;
            if taken == 0 { Ok(None) } else { attestable.record(connection).map(Some) }
        };
        let redeemed =
            self.write_whole("redeem join token", redeem, |attested| attested.iter().map(change).collect()).await?;
        self.fresh_tokens.tokens().remove(&fresh);
        Ok(redeemed.map(|(_, revision)| revision))
    }

    async fn prune_join_tokens(&self, now: Timestamp) -> Result<(), Error> {
        self.write("prune join tokens", move |connection| {
            connection.prepare_cached("DELETE FROM join_tokens WHERE expires_at < ?1")?.execute([now.as_unix()])?;
            Ok(())
        })
        .await?;
        self.fresh_tokens.tokens().retain(|_, expires_at| *expires_at >= now);
        Ok(())
    }
}
