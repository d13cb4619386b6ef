//! What every backend must do, as tests: feature `testing`.
//!
//! Each check is given an empty store. [`conformance_suite!`](crate::conformance_suite) makes a test of each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a check that fails should fail the test at once"
)]

pub mod bundles;
pub mod changes;
pub mod entries;
pub mod federation;
pub mod join_tokens;
pub mod journals;
pub mod nodes;

use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_types::{AttestedNode, EntryId, RegistrationEntry, Selector};

use crate::{Created, DataStore, Revision};

/// The time at which the checks happen.
pub const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

/// Makes a `#[tokio::test]` of each check; `$store` makes an empty store and what must outlive it, and may `.await`.
#[macro_export]
macro_rules! conformance_suite {
    ($store:expr) => {
        $crate::conformance_suite! { @checks $store;
            entries: an_entry_is_created_with_an_id_a_time_and_revision_number_0,
            entries: a_similar_entry_is_answered_and_not_created,
            entries: an_id_that_is_taken_is_refused,
            entries: of_many_entries_each_that_can_be_is_created_in_the_order_given,
            entries: unsound_entries_are_refused,
            entries: every_field_reads_back,
            entries: an_update_takes_the_masked_fields_and_raises_the_revision_number,
            entries: an_update_may_make_twins_and_replaces_whole_sets,
            entries: an_update_of_an_unknown_entry_is_refused,
            entries: a_deleted_entry_is_gone_and_answered,
            entries: expired_entries_are_pruned,
            entries: an_entry_federates_only_with_bundles_that_are_there,
            entries: lists_are_paged_in_the_order_of_creation,
            entries: filters_mean_what_set_theory_says,
            nodes: an_attested_node_reads_back_and_attests_again,
            nodes: serials_live_from_renewal_to_promotion,
            nodes: a_banned_node_is_neither_attested_nor_renewed_nor_promoted,
            nodes: deleting_a_node_that_joined_by_token_deletes_its_alias,
            nodes: expired_nodes_are_pruned_but_for_banned_and_tofu_ones,
            nodes: node_lists_are_filtered_and_paged,
            nodes: a_version_is_no_matter_of_identities,
            bundles: a_bundle_is_created_once_and_reads_back,
            bundles: setting_the_same_changes_nothing,
            bundles: a_bundle_is_replaced_only_if_it_is_still_the_same,
            bundles: an_update_takes_the_masked_parts,
            bundles: appending_adds_what_is_new_and_raises_the_sequence_number,
            bundles: pruning_never_takes_the_last_authority,
            bundles: authorities_are_tainted_before_they_are_revoked,
            bundles: the_three_ways_to_delete_a_bundle,
            bundles: bundles_are_listed_in_pages,
            join_tokens: of_a_thousand_redemptions_one_wins,
            join_tokens: a_token_keeps_its_end_and_expired_ones_are_pruned,
            join_tokens: a_token_is_created_once,
            join_tokens: a_token_stays_where_its_node_is_refused,
            federation: a_relationship_lives_from_creation_to_deletion,
            federation: an_update_changes_what_the_mask_names,
            federation: a_relationship_and_its_bundle_are_stored_together_or_not_at_all,
            journals: a_journal_is_saved_replaced_and_deleted,
            changes: each_change_gets_the_next_revision_without_holes,
            changes: what_fails_or_is_bookkeeping_gets_no_revision,
            changes: changes_show_each_thing_once_as_it_is_now,
            changes: a_revision_that_is_still_to_come_calls_for_a_snapshot,
            changes: a_commit_wakes_whoever_waits,
            changes: concurrent_writes_are_all_there_in_one_order,
            changes: a_log_replayed_is_the_snapshot,
        }
    };
    (@checks $store:expr; $($module:ident : $check:ident,)*) => {
        $(
            #[tokio::test]
            async fn $check() {
                let (store, _outlives) = $store;
                $crate::conformance::$module::$check(&store).await;
            }
        )*
    };
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
}

fn other() -> TrustDomain {
    TrustDomain::parse("other.org").unwrap()
}

fn selectors(texts: &[&str]) -> Vec<Selector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn entry(name: &str) -> RegistrationEntry {
    RegistrationEntry::new(id(&format!("/{name}")), id("/node"), selectors(&["unix:uid:1", "unix:gid:1"]))
}

fn entry_id(name: &str) -> EntryId {
    EntryId::parse(name).unwrap()
}

/// Creates an entry that must be new, under an ID made of its path.
async fn create(store: &dyn DataStore, entry: RegistrationEntry) -> (RegistrationEntry, Revision) {
    let fallback = entry_id(&entry.spiffe_id.path().replace('/', "-"));
    match store.create_entry(entry, fallback, NOW).await.unwrap() {
        Created::New(entry, revision) => (entry, revision),
        Created::Similar(entry) => panic!("similar to {entry:?}"),
    }
}

fn node(name: &str) -> AttestedNode {
    AttestedNode {
        spiffe_id: id(&format!("/spire/agent/{name}")),
        attestation_type: "x509pop".into(),
        serial: Some("1".into()),
        not_after: NOW + Ttl::from_hours(1),
        new_serial: None,
        new_not_after: None,
        can_reattest: true,
        selectors: selectors(&["x509pop:cn:a", "x509pop:cn:b"]),
        agent_version: "1.15.3".into(),
    }
}
