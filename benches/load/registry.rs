//! Registration entries, as many as a row needs.

use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::entry::{BatchCreateEntryRequest, BatchDeleteEntryRequest};
use spire_api::proto::types;
use tonic::transport::Channel;

use crate::{Failure, TRUST_DOMAIN};

/// Entries in one call: as many as the goals speak of.
pub(crate) const BATCH: usize = 50;
/// Nodes that the many entries are spread over.
const FILLER_NODES: usize = 1000;
/// Namespaces among the selectors of the many entries: with 100,000 of them, 10,000 share a selector.
const NAMESPACES: usize = 10;

fn id(path: String) -> types::Spiffeid {
    types::Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path }
}

fn selector(kind: &str, value: String) -> types::Selector {
    types::Selector { r#type: kind.to_owned(), value }
}

/// A workload of this process's user, below a node.
pub(crate) fn own_workload(node: &str, name: &str) -> types::Entry {
    types::Entry {
        spiffe_id: Some(id(format!("/{name}"))),
        parent_id: Some(id(node.to_owned())),
        selectors: vec![selector("unix", "uid:0".to_owned())],
        ..types::Entry::default()
    }
}

/// The entry of that number below a node: nobody's workload.
pub(crate) fn below(node: &str, number: usize) -> types::Entry {
    types::Entry {
        spiffe_id: Some(id(format!("{node}/workload-{number}"))),
        parent_id: Some(id(node.to_owned())),
        selectors: vec![
            selector("k8s", format!("ns:ns-{}", number % NAMESPACES)),
            selector("k8s", format!("sa:sa-{number}")),
        ],
        ..types::Entry::default()
    }
}

/// The entry of that number among the many.
pub(crate) fn filler(number: usize) -> types::Entry {
    below(&format!("/filler-{}", number % FILLER_NODES), number)
}

/// Creates entries in one call and returns their IDs.
pub(crate) async fn create(channel: Channel, entries: Vec<types::Entry>) -> Result<Vec<String>, Failure> {
    let request = BatchCreateEntryRequest { entries, output_mask: Some(types::EntryMask::default()) };
    let mut client = EntryClient::new(channel).max_decoding_message_size(spire_api::channel::MAX_RESPONSE_LENGTH);
    let results = client.batch_create_entry(request).await?.into_inner().results;
    results
        .into_iter()
        .map(|result| match (result.status.unwrap_or_default(), result.entry) {
            (status, Some(entry)) if status.code == 0 => Ok(entry.id),
            (status, _) => Err(format!("entry refused: {}", status.message).into()),
        })
        .collect()
}

/// Deletes entries.
pub(crate) async fn delete(channel: Channel, ids: Vec<String>) -> Result<(), Failure> {
    EntryClient::new(channel).batch_delete_entry(BatchDeleteEntryRequest { ids }).await?;
    Ok(())
}
