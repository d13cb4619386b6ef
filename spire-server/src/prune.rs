//! Driver of forgetting: what has ended goes from the store in time.

use std::sync::Arc;
use std::time::Duration;

use spire_api::status::{code, code_name};
use spire_datastore::{DataStore, Error};
use spire_runtime::Clock;
use spire_runtime::telemetry::Metrics;
use spire_types::EntryId;

use crate::config::PruneNodes;

/// How often entries and join tokens that have ended are looked for.
const ENTRIES_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// After so many of these, nodes are looked for too: an hour.
const ROUNDS_UNTIL_NODES: u32 = 12;

/// The loop.
pub(crate) async fn run(store: Arc<dyn DataStore>, nodes: Option<PruneNodes>, clock: Arc<dyn Clock>, metrics: Metrics) {
    let status = |err: &Error| code_name(code(err.kind()));
    for round in (1..=ROUNDS_UNTIL_NODES).cycle() {
        clock.sleep(ENTRIES_INTERVAL).await;
        let pruning = prune_ended(store.as_ref(), clock.as_ref());
        let mut failure = metrics.timed(&["registration_entry", "manager", "prune"], &[], status, pruning).await.err();
        if round == ROUNDS_UNTIL_NODES
            && let Some(nodes) = nodes
        {
            let pruning = prune_nodes(store.as_ref(), nodes, clock.as_ref());
            failure = metrics.timed(&["node", "manager", "prune"], &[], status, pruning).await.err().or(failure);
        }
        if let Some(err) = failure {
            tracing::error!(%err, "Failed pruning, will be tried again");
        }
    }
}

async fn prune_ended(store: &dyn DataStore, clock: &dyn Clock) -> Result<(), Error> {
    let now = clock.now();
    for entry in store.prune_entries(now).await? {
        let entry_id = entry.id.as_ref().map(EntryId::as_str);
        tracing::info!(entry_id, spiffe_id = %entry.spiffe_id, "Pruned an expired registration");
    }
    store.prune_join_tokens(now).await
}

async fn prune_nodes(store: &dyn DataStore, nodes: PruneNodes, clock: &dyn Clock) -> Result<(), Error> {
    for agent_id in store.prune_nodes(clock.now() - nodes.expired_for, nodes.tofu).await? {
        tracing::info!(%agent_id, "Pruned an expired agent");
    }
    Ok(())
}
