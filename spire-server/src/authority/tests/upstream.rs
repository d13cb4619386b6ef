//! Below an upstream whose bundle is followed.

use spire_ca::upstream::fake::{FakeUpstream, Mood};
use spire_ca::upstream::{UpstreamCa, follow};

use super::*;

async fn below(world: &mut World, ttl: Ttl) -> Arc<FakeUpstream> {
    let rng = &mut ChaCha20Rng::seed_from_u64(99);
    let upstream = Arc::new(FakeUpstream::new(trust_domain(), testing::key(4), ttl, START, rng).await.unwrap());
    world.upstream = Some(upstream.clone());
    upstream
}

async fn rotate(upstream: &FakeUpstream, world: &World) {
    let (rng, now) = (&mut ChaCha20Rng::seed_from_u64(98), world.clock.now());
    upstream.rotate(testing::key(3), YEAR, now, rng).await.unwrap();
}

async fn pass(world: &World, ttl: Ttl) {
    world.clock.sleep(ttl.into()).await;
}

/// Until the first JWT key signs.
async fn settle(world: &World) {
    pass(world, policy::FIRST_PUBLICATION_DELAY).await;
    pass(world, Ttl::from_secs(1)).await;
}

fn taint_first(bundle: &mut Bundle) {
    bundle.x509_authorities[0].tainted = true;
}

/// The key ID of what signed the active CA.
async fn issuer(handle: &AuthorityHandle) -> String {
    handle.states(Kind::X509).await.unwrap().active.unwrap().upstream_authority_id
}

const YEAR: Ttl = Ttl::from_hours(365 * 24);
const SOON: Ttl = Ttl::from_secs(2 * follow::EVERY.as_secs());

#[tokio::test(start_paused = true)]
async fn a_first_jwt_key_signs_once_siblings_had_time_to_see_it_and_the_ca_at_once() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    let prepared = handle.states(Kind::Jwt).await.unwrap().prepared.unwrap();
    assert!(upstream.bundle().jwt_authority(prepared.id.as_str()).is_some(), "published upstream");
    assert!(handle.current().jwt().is_none(), "and signs nothing yet");
    assert!(handle.with_jwt_key().await.jwt().is_some(), "who asks for a token waits for it");
    assert_eq!(world.clock.now(), START + policy::FIRST_PUBLICATION_DELAY);
    assert_eq!(handle.current().jwt().unwrap().id(), &prepared.id);
    world.prove(&handle).await;
    stop(tasks).await;
    let (again, tasks) = world.start().await.unwrap();
    assert_eq!(again.current().jwt().unwrap().id(), &prepared.id, "a restart does not wait again");
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn what_siblings_publish_is_followed_and_what_an_upstream_forgets_stays() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (_handle, tasks) = world.start().await.unwrap();
    let public_key = testing::key(5).public_key().clone();
    let sibling = JwtAuthority { key_id: "sibling".into(), public_key, expires_at: None, tainted: false };
    upstream.change_bundle(|bundle| bundle.jwt_authorities.push(sibling));
    rotate(&upstream, &world).await;
    pass(&world, SOON).await;
    let own = world.bundle().await;
    assert!(own.jwt_authority("sibling").is_some());
    assert_eq!(own.x509_authorities, upstream.bundle().x509_authorities);
    upstream.change_bundle(|bundle| *bundle = Bundle::new(trust_domain()));
    pass(&world, SOON).await;
    assert!(world.bundle().await.same_contents(&own));
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_root_tainted_upstream_is_tainted_here_and_the_ca_below_it_replaced_before_it_is_revoked() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    settle(&world).await;
    let before = issuer(&handle).await;
    rotate(&upstream, &world).await;
    pass(&world, SOON).await;
    assert_eq!(issuer(&handle).await, before, "a new root is no reason to hurry");

    let mut watch = handle.watch();
    watch.mark_unchanged();
    upstream.change_bundle(taint_first);
    while issuer(&handle).await == before {
        assert!(!world.bundle().await.x509_authorities[0].tainted, "agents would ask for what is below it again");
        pass(&world, Ttl::from_secs(1)).await;
    }
    pass(&world, SOON).await;
    assert!(watch.has_changed().unwrap());
    assert!(world.bundle().await.x509_authorities[0].tainted);
    assert_ne!(issuer(&handle).await, before);
    upstream.change_bundle(|bundle| drop(bundle.x509_authorities.remove(0)));
    pass(&world, SOON).await;
    assert_eq!(world.bundle().await.x509_authorities.len(), 1);
    world.prove(&handle).await;
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_revoked_right_after_its_taint_is_forgotten_here_too() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    settle(&world).await;
    let before = issuer(&handle).await;
    rotate(&upstream, &world).await;
    upstream.change_bundle(taint_first);
    while issuer(&handle).await == before {
        pass(&world, Ttl::from_secs(1)).await;
    }
    upstream.change_bundle(|bundle| drop(bundle.x509_authorities.remove(0)));
    pass(&world, SOON).await;
    assert_eq!(world.bundle().await.x509_authorities.len(), 1);
    world.prove(&handle).await;
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_taint_that_came_while_the_server_was_down_is_acted_upon_at_the_start() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    let before = issuer(&handle).await;
    stop(tasks).await;
    rotate(&upstream, &world).await;
    upstream.change_bundle(taint_first);
    let (handle, tasks) = world.start().await.unwrap();
    assert_ne!(issuer(&handle).await, before);
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_signs_with_what_it_has_tainted_is_asked_until_it_does_not() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    settle(&world).await;
    let before = issuer(&handle).await;
    upstream.change_bundle(taint_first);
    pass(&world, Ttl::from_minutes(5)).await;
    assert_eq!(issuer(&handle).await, before, "what it has goes on");
    assert!(!handle.is_healthy());
    world.prove(&handle).await;
    rotate(&upstream, &world).await;
    pass(&world, Ttl::from_minutes(1)).await;
    assert_ne!(issuer(&handle).await, before);
    assert!(handle.is_healthy());
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_down_for_longer_than_half_the_cas_life_is_survived() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    world.clock.sleep_until(START + Ttl::from_hours(9)).await;
    upstream.set_mood(Mood::Down);
    world.clock.sleep_until(START + Ttl::from_hours(23)).await;
    world.prove(&handle).await;
    upstream.set_mood(Mood::FailsEvery(3));
    let (mut watch, first) = (handle.watch(), names(&handle));
    while names(&handle).0 == first.0 || names(&handle).1 == first.1 {
        watch.changed().await.unwrap();
        world.prove(&handle).await;
    }
    let now = world.clock.now();
    assert!(now >= START + Ttl::from_hours(23) + policy::PUBLICATION_DELAY, "seen before it signs");
    assert!(now < START + Ttl::from_hours(24), "{now}");
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_not_taken_for_a_ca() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    let (handle, tasks) = world.start().await.unwrap();
    settle(&world).await;
    let (first, roots) = (names(&handle), upstream.bundle().x509_authorities);
    let of_another = vec![handle.current().x509().certificate().clone()];
    let root = vec![roots[0].certificate.clone()];
    for chain in [Vec::new(), of_another, root] {
        upstream.set_mood(Mood::Answers(UpstreamCa { chain, roots: roots.clone() }));
        handle.prepare(Kind::X509).await.unwrap_err();
    }
    assert_eq!(names(&handle), first);
    world.prove(&handle).await;
    upstream.set_mood(Mood::Well);
    handle.prepare(Kind::X509).await.unwrap();
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_starts_only_below_an_upstream_that_answers_but_restarts_without_one() {
    let mut world = World::new().await;
    let upstream = below(&mut world, YEAR).await;
    upstream.set_mood(Mood::Down);
    world.start().await.unwrap_err();
    upstream.set_mood(Mood::Well);
    let (handle, tasks) = world.start().await.unwrap();
    let first = handle.current().x509().id().clone();
    stop(tasks).await;
    upstream.set_mood(Mood::Down);
    for hours in [0, 13] {
        // Then a successor is due.
        world.clock.sleep_until(START + Ttl::from_hours(hours)).await;
        let (handle, tasks) = world.start().await.unwrap();
        assert_eq!(handle.current().x509().id(), &first);
        stop(tasks).await;
    }
}
