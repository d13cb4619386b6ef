use spiffe_core::{KeyType, PrivateKey, Ttl, X509Authority};
use spire_keymanager::testing;

use super::*;
use crate::{AuthorityId, Composers, DistinguishedName, SelfSignedCaParams, mint_self_signed_ca};

const START: Timestamp = Timestamp::from_unix(1_790_000_000);

struct NoKeys;

impl std::fmt::Debug for NoKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoKeys")
    }
}

impl KeyLookup for NoKeys {
    fn public_key(&self, _: Kind, _: SlotId) -> Option<PublicKey> {
        None
    }
}

#[derive(Debug)]
struct Keys([PrivateKey; 4]);

impl KeyLookup for Keys {
    fn public_key(&self, kind: Kind, slot: SlotId) -> Option<PublicKey> {
        let index = match (kind, slot) {
            (Kind::X509, SlotId::A) => 0,
            (Kind::X509, SlotId::B) => 1,
            (Kind::Jwt, SlotId::A) => 2,
            (Kind::Jwt, SlotId::B) => 3,
        };
        Some(self.0[index].public_key().clone())
    }
}

fn keys() -> Keys {
    Keys([testing::key(0), testing::key(1), testing::key(2), testing::key(3)])
}

fn ca(key: &PrivateKey, now: Timestamp) -> X509Record {
    use rand_chacha::rand_core::SeedableRng as _;
    let trust_domain = spiffe_core::TrustDomain::parse("example.org").unwrap();
    let subject = DistinguishedName::default_ca();
    let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::from_hours(24) };
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let composers = Composers::default();
    let made = mint_self_signed_ca(&params, &composers, key, now, &mut rng);
    let certificate = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(made).unwrap();
    X509Record::new(certificate, Vec::new(), now)
}

fn jwt(key: &PrivateKey, name: &str, now: Timestamp) -> JwtRecord {
    JwtRecord {
        authority_id: AuthorityId::new(name),
        issued_at: now,
        not_after: now + Ttl::from_hours(24),
        public_key: key.public_key().clone(),
    }
}

/// Does every step that is due at `now`, with the keys of [`keys`].
fn run(rotation: &mut Rotation, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(step) = rotation.next_step(now) {
        let keys = keys();
        let done = match step.clone() {
            Step::Prepare { kind: Kind::X509, slot } => {
                Done::PreparedX509 { slot, record: ca(&keys.0[usize::from(slot == SlotId::B)], now) }
            }
            Step::Prepare { kind: Kind::Jwt, slot } => {
                let record = jwt(&keys.0[2 + usize::from(slot == SlotId::B)], &format!("{now}"), now);
                Done::PreparedJwt { slot, record }
            }
            Step::Activate { kind, authority_id } => Done::Activated { kind, authority_id },
            Step::SaveJournal => Done::SavedJournal { generation: rotation.generation() },
            Step::PruneBundle => Done::PrunedBundle,
            Step::PruneJournals => Done::PrunedJournals,
            Step::Taint { .. } | Step::Revoke { .. } | Step::FollowUpstream => panic!("not asked for"),
        };
        rotation.completed(now, done);
        steps.push(step);
        assert!(steps.len() < 100, "{steps:?}");
    }
    steps
}

fn started() -> Rotation {
    let mut rotation = Rotation::new(Policy::default(), START);
    run(&mut rotation, START);
    rotation
}

#[test]
fn at_the_start_both_kinds_are_made_and_used_and_the_journal_is_stored() {
    let mut rotation = Rotation::new(Policy::default(), START);
    let steps = run(&mut rotation, START);
    assert!(matches!(
        steps.as_slice(),
        [
            Step::Prepare { kind: Kind::X509, slot: SlotId::A },
            Step::Activate { kind: Kind::X509, .. },
            Step::Prepare { kind: Kind::Jwt, slot: SlotId::A },
            Step::Activate { kind: Kind::Jwt, .. },
            Step::SaveJournal,
        ]
    ));
    assert_eq!(rotation.next_wakeup(), START + policy::PRUNE_BUNDLE_EVERY);
}

#[test]
fn a_successor_is_prepared_at_half_of_the_life_and_activated_at_five_sixths() {
    let mut rotation = started();
    assert_eq!(run(&mut rotation, START + Ttl::from_secs(12 * 3600 - 1)), [Step::PruneBundle, Step::PruneJournals]);
    let steps = run(&mut rotation, START + Ttl::from_hours(12));
    assert!(matches!(
        steps.as_slice(),
        [
            Step::Prepare { kind: Kind::X509, slot: SlotId::B },
            Step::Prepare { kind: Kind::Jwt, slot: SlotId::B },
            Step::SaveJournal
        ]
    ));
    let first = rotation.x509().active().unwrap().record.authority_id.clone();
    run(&mut rotation, START + Ttl::from_secs(20 * 3600 - 1));
    assert_eq!(rotation.x509().active().unwrap().record.authority_id, first);
    run(&mut rotation, START + Ttl::from_hours(20));
    assert_ne!(rotation.x509().active().unwrap().record.authority_id, first);
    let old = rotation.x509().other().unwrap();
    assert_eq!((&old.record.authority_id, old.status), (&first, Status::Old));
}

#[test]
fn what_fails_is_offered_again_and_the_rest_goes_on() {
    let mut rotation = started();
    let now = START + Ttl::from_hours(12);
    let step = rotation.next_step(now).unwrap();
    assert_eq!(step, Step::Prepare { kind: Kind::X509, slot: SlotId::B });
    rotation.failed(now, &step);
    assert!(matches!(rotation.next_step(now), Some(Step::Prepare { kind: Kind::Jwt, .. })));
    run(&mut rotation, now);
    assert_eq!(rotation.next_wakeup(), now + policy::RETRY_AFTER);
    assert_eq!(rotation.next_step(now + policy::RETRY_AFTER), Some(step));
}

#[test]
fn no_jwt_key_is_made_without_a_ca_or_when_disabled() {
    let mut rotation = Rotation::new(Policy::default(), START);
    let step = rotation.next_step(START).unwrap();
    rotation.failed(START, &step);
    assert_eq!(rotation.next_step(START), None);
    assert_eq!(rotation.next_wakeup(), START + policy::RETRY_AFTER);

    let mut rotation = Rotation::new(Policy { jwt_svids: false, ..Policy::default() }, START);
    run(&mut rotation, START);
    assert!(rotation.x509().active().is_some());
    assert!(rotation.jwt().active().is_none());
}

#[test]
fn a_journal_that_could_not_be_stored_is_stored_later() {
    let mut rotation = started();
    let now = START + Ttl::from_hours(12);
    run(&mut rotation, now - Ttl::from_secs(1));
    let (slot, generation) = (SlotId::B, rotation.generation());
    rotation.completed(now, Done::PreparedX509 { slot, record: ca(&testing::key(1), now) });
    rotation.completed(now, Done::SavedJournal { generation });
    rotation.completed(now, Done::PreparedJwt { slot, record: jwt(&testing::key(3), "b", now) });
    assert_eq!(rotation.next_step(now), Some(Step::SaveJournal), "what was stored is what was before");
    rotation.failed(now, &Step::SaveJournal);
    assert_eq!(rotation.next_step(now), None);
    assert_eq!(rotation.next_wakeup(), now + policy::RETRY_AFTER);
}

fn bundle_of(rotation: &Rotation) -> Bundle {
    let mut bundle = Bundle::new(spiffe_core::TrustDomain::parse("example.org").unwrap());
    for held in rotation.journal().x509() {
        bundle.x509_authorities.push(X509Authority { certificate: held.record.certificate, tainted: false });
    }
    for held in rotation.journal().jwt() {
        bundle.jwt_authorities.push(spiffe_core::JwtAuthority {
            key_id: held.record.authority_id.as_str().to_owned(),
            public_key: held.record.public_key,
            expires_at: None,
            tainted: false,
        });
    }
    bundle
}

#[test]
fn a_restart_takes_up_what_the_journal_tells() {
    let mut rotation = started();
    run(&mut rotation, START + Ttl::from_hours(12));
    let (bundle, keys) = (bundle_of(&rotation), keys());
    let stored = Journal::decode(&rotation.journal().encode()).unwrap();
    assert_eq!(stored, *rotation.journal());
    let inventory = Inventory { key: &keys, bundle: Some(&bundle), upstream: false };
    let now = START + Ttl::from_hours(13);
    let restored = Rotation::restore(Policy::default(), stored, inventory, now);
    assert_eq!(restored.x509().active(), rotation.x509().active());
    assert_eq!(restored.x509().other(), rotation.x509().other());
    assert_eq!(restored.jwt().active(), rotation.jwt().active());
    assert_eq!(restored.next_step(now), None);
}

#[test]
fn an_entry_is_unusable_without_its_key_its_publication_or_its_time() {
    let rotation = started();
    let (bundle, keys) = (bundle_of(&rotation), keys());
    let other = Bundle::new(bundle.trust_domain.clone());
    let restore = |inventory: Inventory<'_>, hours| {
        let now = START + Ttl::from_hours(hours);
        Rotation::restore(Policy::default(), rotation.journal().clone(), inventory, now)
    };
    let found = |restored: Rotation| (restored.x509().active().is_some(), restored.jwt().active().is_some());
    let inventory = Inventory { key: &keys, bundle: Some(&bundle), upstream: false };
    assert_eq!(found(restore(inventory, 1)), (true, true));
    assert_eq!(found(restore(inventory, 24)), (false, false), "expired");
    assert_eq!(found(restore(Inventory { key: &NoKeys, ..inventory }, 1)), (false, false));
    assert_eq!(found(restore(Inventory { bundle: Some(&other), ..inventory }, 1)), (false, false));
    assert_eq!(found(restore(Inventory { bundle: None, ..inventory }, 1)), (false, false));
    let signed_upstream = Inventory { bundle: Some(&other), upstream: true, ..inventory };
    assert_eq!(found(restore(signed_upstream, 1)), (true, false), "its root is another one");
}

#[test]
fn a_prepared_authority_is_activated_after_a_long_rest() {
    let mut rotation = started();
    run(&mut rotation, START + Ttl::from_hours(12));
    let (bundle, keys) = (bundle_of(&rotation), keys());
    let inventory = Inventory { key: &keys, bundle: Some(&bundle), upstream: false };
    let now = START + Ttl::from_hours(25);
    let mut restored = Rotation::restore(Policy::default(), rotation.journal().clone(), inventory, now);
    assert!(restored.x509().active().is_none());
    let prepared = rotation.x509().other().unwrap().record.authority_id.clone();
    assert_eq!(restored.next_step(now), Some(Step::Activate { kind: Kind::X509, authority_id: prepared.clone() }));
    run(&mut restored, now);
    assert_eq!(restored.x509().active().unwrap().record.authority_id, prepared);
}

#[test]
fn the_journal_keeps_the_newest_ten_and_reads_no_nonsense() {
    let mut rotation = started();
    for day in 1..20 {
        run(&mut rotation, START + Ttl::from_hours(day * 24));
    }
    assert_eq!(rotation.journal().x509().len(), Journal::MAX_ENTRIES);
    assert!(Journal::decode(&[0xff; 9]).is_err());
    assert_eq!(Journal::decode(&[]).unwrap().last_not_after(), Timestamp::MIN);
}

#[test]
fn operators_prepare_activate_taint_and_revoke_in_this_order() {
    let mut rotation = Rotation::new(Policy::default(), START);
    assert_eq!(rotation.prepare(Kind::X509), Err(CommandError::NotReady));
    run(&mut rotation, START);
    let first = rotation.x509().active().unwrap().record.authority_id.clone();
    let now = START + Ttl::from_hours(1);
    assert_eq!(rotation.activate(Kind::X509, &first), Err(CommandError::UnexpectedAuthority));
    assert_eq!(rotation.taint(Kind::X509, &first), Err(CommandError::Current { verb: "taint" }));

    let slot = SlotId::B;
    assert_eq!(rotation.prepare(Kind::X509), Ok(Step::Prepare { kind: Kind::X509, slot }));
    rotation.completed(now, Done::PreparedX509 { slot, record: ca(&testing::key(1), now) });
    let second = rotation.x509().other().unwrap().record.authority_id.clone();
    assert_eq!(rotation.taint(Kind::X509, &second), Err(CommandError::NotOld { verb: "tainted" }));

    let Ok(Step::Activate { kind, authority_id }) = rotation.activate(Kind::X509, &second) else { panic!() };
    rotation.completed(now, Done::Activated { kind, authority_id });
    assert_eq!(rotation.activate(Kind::X509, &first), Err(CommandError::NotPrepared));
    assert!(rotation.taint(Kind::X509, &first).is_ok());
    assert!(rotation.revoke(Kind::X509, &first).is_ok());
    assert_eq!(rotation.revoke(Kind::X509, &AuthorityId::new("other")), Err(CommandError::UnexpectedAuthority));
    assert!(rotation.revoke(Kind::Jwt, &AuthorityId::new("of another server")).is_ok());
}

#[test]
fn what_was_prepared_with_a_lost_key_is_prepared_anew() {
    let mut rotation = started();
    let now = START + Ttl::from_hours(12);
    run(&mut rotation, now);
    let slot = rotation.x509().other().unwrap().slot;
    rotation.key_lost(Kind::X509, SlotId::A);
    assert!(rotation.x509().active().is_some(), "the active one's key is in use");
    rotation.key_lost(Kind::X509, slot);
    assert_eq!(rotation.next_step(now), Some(Step::Prepare { kind: Kind::X509, slot }));
}

#[test]
fn every_key_type_fits_a_record() {
    for key_type in [KeyType::EcP256, KeyType::EcP384] {
        let key = PrivateKey::generate(key_type).unwrap();
        assert_eq!(ca(&key, START).authority_id.as_str().len(), 40);
    }
}

/// The journal of a SPIRE 1.15.3 server that had just been started, as its datastore holds it.
const OF_SPIRE: &str = "\
    CsEECgFBEMndldgGGoMEMIIB/zCCAaWgAwIBAgIQFlFQ669gGkJq4w1UHzgpmDAKBggqhkjOPQQDAjBPMQswCQYDVQQGEwJVUzEP\
    MA0GA1UEChMGU1BJRkZFMS8wLQYDVQQFEyYyOTY2NTIzMzIxODQ3MjAxMDgzMTY4MjA0NTEzNzY2NTkyNzU3NjAeFw0yNjExMjQx\
    MTAyMjNaFw0yNjExMjUxMTAyMzNaME8xCzAJBgNVBAYTAlVTMQ8wDQYDVQQKEwZTUElGRkUxLzAtBgNVBAUTJjI5NjY1MjMzMjE4\
    NDcyMDEwODMxNjgyMDQ1MTM3NjY1OTI3NTc2MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2S2z5uWv9ZpNN0mDYRZHuCaN8TmP\
    9XN6qWMI8p9uSIQ1l+811gUpn1/1IX9ZWVIrqGSSyQBimgNij4lbaFyEQ6NjMGEwDgYDVR0PAQH/BAQDAgEGMA8GA1UdEwEB/wQF\
    MAMBAf8wHQYDVR0OBBYEFJET2bonuR1s+h24SVXsC+KN47lmMB8GA1UdEQQYMBaGFHNwaWZmZTovL2V4YW1wbGUub3JnMAoGCCqG\
    SM49BAMCA0gAMEUCIQDnDtrPI3X6FlHzNrNTBhWJBSoX1H2TWHqc85lhVFRwvgIgHIDd3sMfo6dNs039iq/xxEZ1LMoYmJw5c8HG\
    uSpD6ygoAzIoOTExM2Q5YmEyN2I5MWQ2Y2ZhMWRiODQ5NTVlYzBiZTI4ZGUzYjk2NjjJgJvYBhKyAQoBQRDJ3ZXYBhjJgJvYBiIg\
    eExlcGNScGJzamdvcDgxMEw2YWtvTmg0WG1xTU9hZXQqWzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNzB5uNkkrgAZExsMMSR\
    giMO4Y2mKayaaEaPSf+VS1N5uy29jQYbjPTvpzAIOuoo45rfJxtqtW/JYgwrOOMccqwwAzogeExlcGNScGJzamdvcDgxMEw2YWtv\
    Tmg0WG1xTU9hZXQ=\
    ";

#[test]
fn a_journal_of_spire_is_read_and_written_back_to_the_byte() {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.decode(OF_SPIRE).unwrap();
    let journal = Journal::decode(&data).unwrap();
    let (x509, jwt) = (journal.x509(), journal.jwt());
    let [x509] = x509.as_slice() else { panic!("{x509:?}") };
    let [jwt] = jwt.as_slice() else { panic!("{jwt:?}") };
    assert_eq!((x509.slot, x509.status), (SlotId::A, Status::Active));
    assert_eq!((jwt.slot, jwt.status), (SlotId::A, Status::Active));
    assert_eq!(x509.record.authority_id.as_str(), "9113d9ba27b91d6cfa1db84955ec0be28de3b966");
    assert_eq!(x509.record.authority_id, AuthorityId::of_certificate(&x509.record.certificate));
    assert_eq!(jwt.record.authority_id.as_str(), "xLepcRpbsjgop810L6akoNh4XmqMOaet");
    assert_eq!(x509.record.upstream_authority_id, "");
    assert_eq!(journal.encode(), data);

    // What we make of the same authorities is the same journal.
    let mut own = Journal::default();
    own.push_x509(x509.slot, &x509.record);
    own.push_jwt(jwt.slot, &jwt.record);
    own.set_status(Kind::X509, &x509.record.authority_id, Status::Active);
    own.set_status(Kind::Jwt, &jwt.record.authority_id, Status::Active);
    assert_eq!(own, journal);
}
