//! Join tokens.
#![expect(missing_docs, reason = "the names are sentences")]

use futures_util::future::join_all;
use spiffe_core::Ttl;
use spire_types::JoinToken;

use super::NOW;
use crate::{DataStore, Error};

fn token(value: &str) -> JoinToken {
    JoinToken { value: value.into(), expires_at: NOW }
}

pub async fn of_a_thousand_redemptions_one_wins(store: &dyn DataStore) {
    store.create_join_token(token("t")).await.unwrap();
    let answers = join_all((0..1000).map(|_| store.redeem_join_token("t"))).await;
    let winners: Vec<_> = answers.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(winners, [token("t")]);
}

pub async fn a_token_keeps_its_end_and_expired_ones_are_pruned(store: &dyn DataStore) {
    store.create_join_token(JoinToken { expires_at: NOW - Ttl::from_secs(1), ..token("past") }).await.unwrap();
    store.create_join_token(token("now")).await.unwrap();
    store.prune_join_tokens(NOW).await.unwrap();
    assert_eq!(store.redeem_join_token("past").await.unwrap(), None);
    assert_eq!(store.redeem_join_token("now").await.unwrap(), Some(token("now")));
    assert_eq!(store.redeem_join_token("never made").await.unwrap(), None);
}

pub async fn a_token_is_created_once(store: &dyn DataStore) {
    store.create_join_token(token("t")).await.unwrap();
    let refused = store.create_join_token(token("t")).await;
    assert_eq!(refused, Err(Error::AlreadyExists { constraint: "join_tokens.token" }));
}
