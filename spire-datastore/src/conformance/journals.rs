//! CA journals.
#![expect(missing_docs, reason = "the names are sentences")]

use crate::{CaJournal, DataStore, Error};

pub async fn a_journal_is_saved_replaced_and_deleted(store: &dyn DataStore) {
    let new = CaJournal { id: 0, active_x509_authority_id: "aa".into(), data: vec![1] };
    let number = store.save_ca_journal(new.clone()).await.unwrap();
    let saved = CaJournal { id: number, ..new };
    assert!(number > 0);
    assert_eq!(store.list_ca_journals().await.unwrap(), std::slice::from_ref(&saved));
    let changed = CaJournal { data: vec![2], active_x509_authority_id: "bb".into(), ..saved };
    assert_eq!(store.save_ca_journal(changed.clone()).await.unwrap(), number);
    assert_eq!(store.list_ca_journals().await.unwrap(), std::slice::from_ref(&changed));
    let unknown = CaJournal { id: number + 1, ..changed };
    assert_eq!(store.save_ca_journal(unknown).await, Err(Error::NotFound { what: "CA journal" }));
    store.delete_ca_journal(number).await.unwrap();
    store.delete_ca_journal(number).await.unwrap();
    assert_eq!(store.list_ca_journals().await.unwrap(), []);
}
