use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::{Bundle, Timestamp};
use spire_api::proto::entry::{count_entries_request, list_entries_request};
use spire_datastore::{Bundles as _, SqliteStore};
use spire_runtime::SimClock;
use tonic::Code;

use super::*;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

struct World {
    service: EntryService,
    cache: Arc<EntryCache>,
    datastore: Arc<SqliteStore>,
}

async fn world() -> World {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
    let cache = Arc::new(EntryCache::load(datastore.clone(), trust_domain.clone()).await.unwrap());
    let clock = Arc::new(SimClock::starting_at(NOW));
    let service = EntryService::new(
        trust_domain,
        datastore.clone(),
        cache.clone(),
        AuthorizedEntries::new(cache.clone(), clock.clone()),
        clock,
        Box::new(ChaCha20Rng::seed_from_u64(1)),
    );
    World { service, cache, datastore }
}

fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() })
}

fn selector(value: &str) -> types::Selector {
    types::Selector { r#type: "unix".into(), value: value.into() }
}

fn wire() -> types::Entry {
    types::Entry {
        id: "e-1".into(),
        spiffe_id: id("/a"),
        parent_id: id("/node"),
        selectors: vec![selector("uid:1")],
        ..types::Entry::default()
    }
}

impl World {
    async fn create(&self, entries: &[types::Entry]) -> Vec<batch_create_entry_response::Result> {
        let request = BatchCreateEntryRequest { entries: entries.to_vec(), output_mask: None };
        self.service.batch_create_entry(Request::new(request)).await.unwrap().into_inner().results
    }

    /// The code and message of one creation.
    async fn try_create(&self, entry: types::Entry) -> (i32, String) {
        said(self.create(&[entry]).await.remove(0).status)
    }

    async fn update(&self, entry: types::Entry, mask: Option<types::EntryMask>) -> batch_update_entry_response::Result {
        let request = BatchUpdateEntryRequest { entries: vec![entry], input_mask: mask, output_mask: None };
        self.service.batch_update_entry(Request::new(request)).await.unwrap().into_inner().results.remove(0)
    }

    async fn get(&self, id: &str) -> Result<types::Entry, Status> {
        let request = GetEntryRequest { id: id.into(), output_mask: None };
        self.service.get_entry(Request::new(request)).await.map(Response::into_inner)
    }
}

fn said(status: Option<types::Status>) -> (i32, String) {
    let status = status.unwrap();
    (status.code, status.message)
}

fn said_by(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test]
async fn a_created_entry_is_answered_and_is_in_the_index_at_once() {
    let world = world().await;
    let selectors = vec![selector("uid:2"), selector("uid:1")];
    let mut results = world.create(&[types::Entry { id: String::new(), selectors, ..wire() }]).await;
    let result = results.remove(0);
    assert_eq!(said(result.status), (0, "OK".into()));
    let entry = result.entry.unwrap();
    assert_eq!((entry.id.len(), entry.created_at, entry.revision_number), (36, NOW.as_unix(), 0));
    assert_eq!(entry.selectors, [selector("uid:1"), selector("uid:2")], "selectors are shown in order");
    assert_eq!(world.get(&entry.id).await.unwrap(), entry);
    assert_eq!(world.cache.current().revision(), *spire_datastore::Log::revisions(&*world.datastore).borrow());
}

#[tokio::test]
async fn a_similar_entry_is_answered_instead_and_an_id_that_is_taken_is_refused() {
    let world = world().await;
    let twin = types::Entry { id: "e-2".into(), hint: "another".into(), ..wire() };
    let same_id = types::Entry { spiffe_id: id("/b"), ..wire() };
    let results = world.create(&[wire(), twin, same_id]).await;
    assert_eq!(said(results[0].status.clone()), (0, "OK".into()));
    assert_eq!(said(results[1].status.clone()), (6, "similar entry already exists".into()));
    assert_eq!(results[1].entry, results[0].entry);
    let taken = "failed to create entry: datastore-sql: UNIQUE constraint failed: registered_entries.entry_id";
    assert_eq!(said(results[2].status.clone()), (6, taken.into()));
    assert_eq!(results[2].entry, None);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_in_spires_words() {
    type Change = fn(&mut types::Entry);
    let world = world().await;
    let table: &[(Change, i32, &str)] = &[
        (|e| e.parent_id = None, 3, "failed to convert entry: invalid parent ID: request must specify SPIFFE ID"),
        (
            |e| e.spiffe_id.as_mut().unwrap().trust_domain = "other.org".into(),
            3,
            "failed to convert entry: invalid spiffe ID: \"spiffe://other.org/a\" is not a member of trust domain \
             \"example.org\"",
        ),
        (
            |e| e.spiffe_id = id("/spire/server"),
            3,
            "failed to convert entry: invalid spiffe ID: \"spiffe://example.org/spire/server\" is not a workload in \
             trust domain \"example.org\"; path is in the reserved namespace",
        ),
        (|e| e.selectors.clear(), 3, "failed to convert entry: selector list is empty"),
        (|e| e.selectors[0].r#type.clear(), 3, "failed to convert entry: missing selector type"),
        (|e| e.selectors[0].r#type = "a:b".into(), 3, "failed to convert entry: selector type contains ':'"),
        (|e| e.dns_names = vec!["*.*.a".into()], 3, "failed to convert entry: invalid DNS name: too many wildcards"),
        (|e| e.dns_names = vec!["ü".into()], 3, "failed to convert entry: invalid DNS name: name must be ascii"),
        (|e| e.hint = "h".repeat(1025), 3, "failed to convert entry: hint is too long, max length is 1024 characters"),
        (
            |e| e.x509_svid_ttl = -1,
            3,
            "failed to create entry: datastore-validation: invalid registration entry: X509SvidTtl is not set",
        ),
        (
            |e| e.jwt_svid_ttl = -1,
            3,
            "failed to create entry: datastore-validation: invalid registration entry: JwtSvidTtl is not set",
        ),
        (
            |e| e.id = "no blanks".into(),
            3,
            "failed to create entry: datastore-validation: invalid registration entry: entry ID contains invalid \
             characters",
        ),
        (
            |e| e.id = "i".repeat(256),
            3,
            "failed to create entry: datastore-validation: invalid registration entry: entry ID too long",
        ),
        (
            |e| {
                e.store_svid = true;
                e.selectors.push(types::Selector { r#type: "k8s".into(), value: "ns:a".into() });
            },
            3,
            "failed to create entry: datastore-validation: invalid registration entry: selector types must be the \
             same when store SVID is enabled",
        ),
        (
            |e| {
                e.store_svid = true;
                e.additional_attributes = Some(types::entry::AdditionalAttributes {
                    disable_x509_svid_prefetch: true,
                    jwt_svid_include_jti: false,
                });
            },
            3,
            "failed to create entry: datastore-validation: specifying cache behaviour is incompatible with storable \
             SVIDs",
        ),
        (
            |e| e.selectors.push(e.selectors[0].clone()),
            6,
            "failed to create entry: datastore-sql: UNIQUE constraint failed: selectors.registered_entry_id, \
             selectors.type, selectors.value",
        ),
        (
            |e| e.dns_names = vec!["a".into(), "a".into()],
            6,
            "failed to create entry: datastore-sql: UNIQUE constraint failed: dns_names.registered_entry_id, \
             dns_names.value",
        ),
        (
            |e| e.federates_with = vec!["other.org".into()],
            13,
            "failed to create entry: unable to find federated bundle \"spiffe://other.org\"",
        ),
    ];
    for (change, code, message) in table {
        let mut entry = wire();
        change(&mut entry);
        assert_eq!(world.try_create(entry).await, (*code, (*message).to_owned()));
    }
    assert_eq!(said_by(&world.get("e-1").await.unwrap_err()), (Code::NotFound, "entry not found"));
}

#[tokio::test]
async fn an_update_takes_what_the_mask_names_and_counts_up_the_revision() {
    let world = world().await;
    world.create(&[wire()]).await;
    let mask = types::EntryMask { hint: true, ..types::EntryMask::default() };
    let only_hint = types::Entry { id: "e-1".into(), hint: "h".into(), admin: true, ..types::Entry::default() };
    let result = world.update(only_hint, Some(mask)).await;
    assert_eq!(said(result.status), (0, "OK".into()));
    let entry = result.entry.unwrap();
    assert_eq!((entry.hint.as_str(), entry.admin, entry.revision_number), ("h", false, 1));
    assert_eq!(entry.selectors, wire().selectors);

    let incomplete = types::Entry { selectors: Vec::new(), ..wire() };
    let refused = world.update(incomplete, None).await;
    assert_eq!(said(refused.status), (3, "failed to convert entry: selector list is empty".into()));
    for unknown in ["", "e-2", "no blanks"] {
        let refused = world.update(types::Entry { id: unknown.into(), ..wire() }, None).await;
        assert_eq!(said(refused.status), (5, "failed to update entry".into()), "{unknown}");
    }
}

#[tokio::test]
async fn a_deletion_tells_each_id_its_outcome() {
    let world = world().await;
    world.create(&[wire()]).await;
    let ids = vec!["e-1".into(), "e-1".into(), String::new(), "no blanks".into()];
    let answer = world.service.batch_delete_entry(Request::new(BatchDeleteEntryRequest { ids })).await.unwrap();
    let outcomes: Vec<_> =
        answer.into_inner().results.into_iter().map(|result| (result.id, said(result.status))).collect();
    let outcome = |id: &str, code, message: &str| (id.to_owned(), (code, message.to_owned()));
    assert_eq!(
        outcomes,
        [
            outcome("e-1", 0, "OK"),
            outcome("e-1", 5, "entry not found"),
            outcome("", 3, "missing entry ID"),
            outcome("no blanks", 5, "entry not found"),
        ]
    );
}

#[tokio::test]
async fn lists_are_filtered_masked_and_paged() {
    let world = world().await;
    world.datastore.set_bundle(Bundle::new(TrustDomain::parse("other.org").unwrap())).await.unwrap();
    let federated = types::Entry { id: "e-2".into(), spiffe_id: id("/b"), ..wire() };
    let federated = types::Entry { federates_with: vec!["other.org".into()], hint: "h".into(), ..federated };
    let down = types::Entry { id: "e-3".into(), spiffe_id: id("/c"), downstream: true, ..wire() };
    world.create(&[wire(), federated, down]).await;

    let ids_by = async |filter: list_entries_request::Filter| {
        let count = count_entries_request::Filter {
            by_spiffe_id: filter.by_spiffe_id.clone(),
            by_parent_id: filter.by_parent_id.clone(),
            by_selectors: filter.by_selectors.clone(),
            by_federates_with: filter.by_federates_with.clone(),
            by_hint: filter.by_hint.clone(),
            by_downstream: filter.by_downstream,
        };
        let counted = world.service.count_entries(Request::new(CountEntriesRequest { filter: Some(count) })).await;
        let request = ListEntriesRequest { filter: Some(filter), ..ListEntriesRequest::default() };
        let listed = world.service.list_entries(Request::new(request)).await;
        match (counted, listed) {
            (Ok(counted), Ok(listed)) => {
                let ids: Vec<_> = listed.into_inner().entries.into_iter().map(|entry| entry.id).collect();
                assert_eq!(counted.get_ref().count as usize, ids.len());
                Ok(ids)
            }
            (Err(counted), Err(listed)) => {
                assert_eq!(said_by(&counted), said_by(&listed));
                Err((listed.code(), listed.message().to_owned()))
            }
            (counted, listed) => panic!("{counted:?} {listed:?}"),
        }
    };
    type Filter = list_entries_request::Filter;
    let selectors = |values: &[&str], behavior: i32| {
        let selectors = values.iter().map(|value| selector(value)).collect();
        Filter { by_selectors: Some(types::SelectorMatch { selectors, r#match: behavior }), ..Filter::default() }
    };
    let federates = |names: &[&str]| {
        let trust_domains = names.iter().map(|name| (*name).to_owned()).collect();
        let by_federates_with = Some(types::FederatesWithMatch { trust_domains, r#match: 0 });
        Filter { by_federates_with, ..Filter::default() }
    };
    let found = |ids: &[&str]| Ok::<_, (Code, String)>(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
    let refused = |message: &str| Err((Code::InvalidArgument, message.to_owned()));
    assert_eq!(ids_by(Filter::default()).await, found(&["e-1", "e-2", "e-3"]));
    assert_eq!(ids_by(Filter { by_spiffe_id: id("/b"), ..Filter::default() }).await, found(&["e-2"]));
    assert_eq!(ids_by(Filter { by_parent_id: id("/b"), ..Filter::default() }).await, found(&[]));
    assert_eq!(ids_by(Filter { by_hint: Some("h".into()), ..Filter::default() }).await, found(&["e-2"]));
    assert_eq!(ids_by(Filter { by_hint: Some("".into()), ..Filter::default() }).await, found(&["e-1", "e-2", "e-3"]));
    assert_eq!(ids_by(Filter { by_downstream: Some(true), ..Filter::default() }).await, found(&["e-3"]));
    let all = found(&["e-1", "e-2", "e-3"]);
    assert_eq!(ids_by(Filter { by_downstream: Some(false), ..Filter::default() }).await, all);
    assert_eq!(ids_by(federates(&["other.org"])).await, found(&["e-2"]));
    assert_eq!(ids_by(selectors(&["uid:1", "uid:2"], 0)).await, found(&[]));
    assert_eq!(ids_by(selectors(&["uid:1", "uid:2"], 3)).await, found(&["e-1", "e-2", "e-3"]));
    assert_eq!(ids_by(selectors(&[], 0)).await, refused("malformed selectors filter: empty selector set"));
    assert_eq!(ids_by(federates(&[])).await, refused("malformed federates with filter: empty trust domain set"));
    let own = Some(types::Spiffeid { trust_domain: "example.org".into(), path: String::new() });
    let by_own = ids_by(Filter { by_spiffe_id: own, ..Filter::default() }).await;
    assert!(by_own.unwrap_err().1.starts_with("malformed SPIFFE ID filter: "));

    let page = async |page_token: String| {
        let request = ListEntriesRequest {
            filter: None,
            output_mask: Some(types::EntryMask::default()),
            page_size: 2,
            page_token,
        };
        world.service.list_entries(Request::new(request)).await.map(Response::into_inner)
    };
    let first = page(String::new()).await.unwrap();
    let only_id = |id: &str| types::Entry { id: id.into(), ..types::Entry::default() };
    assert_eq!(first.entries, [only_id("e-1"), only_id("e-2")]);
    let second = page(first.next_page_token).await.unwrap();
    assert_eq!(second.entries, [only_id("e-3")]);
    let last = page(second.next_page_token).await.unwrap();
    assert_eq!((last.entries.len(), last.next_page_token.as_str()), (0, ""));
    let refused = page("x".into()).await.unwrap_err();
    assert_eq!(said_by(&refused), (Code::Internal, "failed to list entries: could not parse token 'x'"));
}
