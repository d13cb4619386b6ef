//! What is done with join tokens.

use async_trait::async_trait;
use ring::digest;
use rusqlite::{OptionalExtension as _, params};
use spiffe_core::Timestamp;
use spire_types::JoinToken;

use super::SqliteStore;
use super::fail::unique;
use crate::{Error, JoinTokens};

fn digest_of(value: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, value.as_bytes()).as_ref().to_vec()
}

#[async_trait]
impl JoinTokens for SqliteStore {
    async fn create_join_token(&self, token: JoinToken) -> Result<(), Error> {
        let (digest, expires_at) = (digest_of(&token.value), token.expires_at.as_unix());
        self.write("create join token", move |connection| {
            connection
                .prepare_cached("INSERT INTO join_tokens (digest, expires_at) VALUES (?1, ?2)")?
                .execute(params![digest, expires_at])
                .map_err(unique("join_tokens.token"))?;
            Ok(())
        })
        .await
    }

    async fn redeem_join_token(&self, value: &str) -> Result<Option<JoinToken>, Error> {
        let value = value.to_owned();
        // What it is redeemed for is written next, and on disk only together with it.
        self.write_ahead("redeem join token", move |connection| {
            let mut statement =
                connection.prepare_cached("DELETE FROM join_tokens WHERE digest = ?1 RETURNING expires_at")?;
            let expires_at: Option<i64> = statement.query_one([digest_of(&value)], |row| row.get(0)).optional()?;
            Ok(expires_at.map(|time| JoinToken { value, expires_at: Timestamp::from_unix(time) }))
        })
        .await
    }

    async fn prune_join_tokens(&self, now: Timestamp) -> Result<(), Error> {
        self.write("prune join tokens", move |connection| {
            connection.prepare_cached("DELETE FROM join_tokens WHERE expires_at < ?1")?.execute([now.as_unix()])?;
            Ok(())
        })
        .await
    }
}
