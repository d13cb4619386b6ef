//! Join tokens.
#![expect(missing_docs, reason = "the names are sentences")]

use futures_util::future::join_all;
use spiffe_core::Ttl;
use spire_types::{JoinToken, NodeFilter};

use super::{NOW, node};
use crate::{DataStore, Error, Revision};

fn token(value: &str) -> JoinToken {
    JoinToken { value: value.into(), expires_at: NOW }
}

pub async fn of_a_thousand_redemptions_one_wins(store: &dyn DataStore) {
    store.create_join_token(token("t")).await.unwrap();
    let agents = (0..1000).map(|number| node(&format!("join_token/{number}")));
    let answers = join_all(agents.map(|agent| store.redeem_join_token("t", agent))).await;
    let winners: Vec<_> = answers.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(winners, [Revision(1)]);
    assert_eq!(store.count_nodes(NodeFilter::default()).await.unwrap(), 1, "only the winner is recorded");
    assert_eq!(store.find_join_token("t").await.unwrap(), None);
}

pub async fn a_token_stays_where_its_node_is_refused(store: &dyn DataStore) {
    store.create_join_token(token("t")).await.unwrap();
    store.attest_node(node("a")).await.unwrap();
    store.ban_node(&node("a").spiffe_id).await.unwrap();
    assert_eq!(store.redeem_join_token("t", node("a")).await, Err(Error::Banned));
    assert_eq!(store.find_join_token("t").await.unwrap(), Some(token("t")));
}

pub async fn a_token_keeps_its_end_and_expired_ones_are_pruned(store: &dyn DataStore) {
    store.create_join_token(JoinToken { expires_at: NOW - Ttl::from_secs(1), ..token("past") }).await.unwrap();
    store.create_join_token(token("now")).await.unwrap();
    store.prune_join_tokens(NOW).await.unwrap();
    assert_eq!(store.find_join_token("past").await.unwrap(), None);
    assert_eq!(store.find_join_token("now").await.unwrap(), Some(token("now")));
    assert_eq!(store.find_join_token("never made").await.unwrap(), None);
    assert_eq!(store.redeem_join_token("never made", node("a")).await.unwrap(), None);
    assert_eq!(store.fetch_node(&node("a").spiffe_id).await.unwrap(), None);
}

pub async fn a_token_is_created_once(store: &dyn DataStore) {
    store.create_join_token(token("t")).await.unwrap();
    let refused = store.create_join_token(token("t")).await;
    assert_eq!(refused, Err(Error::AlreadyExists { constraint: "join_tokens.token" }));
}
