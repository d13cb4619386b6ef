//! The client of bundle endpoints against our own endpoint and against hostile ones, in memory, on paused time.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fmt, fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::{RootCertStore, time_provider::TimeProvider};
use rustls_pki_types::UnixTime;
use spiffe_core::{
    Bundle, BundleSet, SpiffeId, Timestamp, TrustDomain, Ttl,
    bundle::{BundleError, MAX_DOCUMENT_LENGTH},
    testing::TestAuthority,
    tls::{Live, Settings, TlsIdentity},
};
use spire_federation::{
    Error, Stage,
    fetch::{Connection, Connector, Fetched, Fetcher, WebRoots},
    serve::{BundleEndpoint, OwnBundle, ServingCertificate, https_spiffe, https_web},
};
use spire_runtime::SystemClock;
use spire_types::{EndpointProfile, FederationRelationship};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use common::{believes_all, provider};

mod common;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const NEVER: Duration = Duration::from_secs(1_000_000);

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.as_unix().try_into().unwrap())))
    }
}

fn settings() -> Settings {
    Settings::new(provider(), Arc::new(At(NOW)))
}

/// Connects to a task that does `behaviour` with the other end.
struct Wire<F>(F);

impl<F> fmt::Debug for Wire<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[async_trait]
impl<F, R> Connector for Wire<F>
where
    F: Fn(DuplexStream) -> R + Send + Sync,
    R: Future<Output = ()> + Send + 'static,
{
    async fn connect(&self, _: &str, _: u16) -> io::Result<Box<dyn Connection>> {
        let (near, far) = tokio::io::duplex(16 * 1024);
        tokio::spawn((self.0)(far));
        Ok(Box::new(near))
    }
}

fn fetcher<F, R>(behaviour: F) -> Fetcher
where
    F: Fn(DuplexStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Fetcher::new(provider(), Arc::new(At(NOW))).with_connector(Arc::new(Wire(behaviour)))
}

#[derive(Debug)]
struct Served(Result<Bundle, &'static str>);

#[async_trait]
impl OwnBundle for Served {
    async fn own_bundle(&self) -> Result<Arc<Bundle>, Box<dyn std::error::Error + Send + Sync>> {
        self.0.clone().map(Arc::new).map_err(Into::into)
    }
}

fn showing(authority: &TestAuthority, path: &str) -> Live {
    Live::new(Some(TlsIdentity::from(&*authority.svid(path))), BundleSet::default())
}

fn endpoint(identity: &Live, bundle: Result<Bundle, &'static str>) -> BundleEndpoint {
    let tls = https_spiffe::server_config(identity.clone(), &settings()).unwrap();
    BundleEndpoint::new(Arc::new(Served(bundle)), tls, Ttl::from_minutes(10))
}

/// Reaches our own endpoint.
fn fetcher_of(endpoint: BundleEndpoint) -> Fetcher {
    fetcher(move |stream| {
        let endpoint = endpoint.clone();
        async move { endpoint.serve_connection(stream, "test").await }
    })
}

/// Reaches an endpoint that is authentic and does `behaviour` after the handshake.
fn hostile<F, R>(identity: Live, behaviour: F) -> Fetcher
where
    F: Fn(TlsStream<DuplexStream>) -> R + Send + Sync + Clone + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let tls = TlsAcceptor::from(Arc::new(https_spiffe::server_config(identity, &settings()).unwrap()));
    fetcher(move |stream| {
        let (tls, behaviour) = (tls.clone(), behaviour.clone());
        async move {
            if let Ok(stream) = tls.accept(stream).await {
                behaviour(stream).await;
            }
        }
    })
}

/// An authentic endpoint that answers with these bytes and then stays silent.
fn answering(identity: Live, answer: impl Into<Vec<u8>>) -> Fetcher {
    let answer = Arc::new(answer.into());
    hostile(identity, move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            read_head(&mut stream).await;
            // A client that has heard enough hangs up.
            let _ = stream.write_all(&answer).await;
            let _ = stream.flush().await;
            sleep(NEVER).await;
        }
    })
}

async fn read_head(stream: &mut (impl Connection + ?Sized)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn ok(document: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}", document.len())
}

fn relationship(trust_domain: &str, endpoint_id: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        bundle_endpoint_url: "https://bundle.example:8443/".to_owned(),
        profile: EndpointProfile::HttpsSpiffe { endpoint_id: SpiffeId::parse(endpoint_id).unwrap() },
    }
}

/// One trust domain that serves its own bundle.
struct Domain {
    authority: TestAuthority,
    identity: Live,
}

impl Domain {
    fn new() -> Self {
        let authority = TestAuthority::new("far.example");
        let identity = showing(&authority, "/spire/server");
        Self { authority, identity }
    }

    fn relationship() -> FederationRelationship {
        relationship("far.example", "spiffe://far.example/spire/server")
    }

    async fn fetch(&self, fetcher: &Fetcher) -> Result<Fetched, Error> {
        fetcher.fetch(&Self::relationship(), &self.authority.bundles()).await
    }

    async fn fetch_answer(&self, answer: impl Into<Vec<u8>>) -> Result<Fetched, Error> {
        self.fetch(&answering(self.identity.clone(), answer)).await
    }
}

mod our_endpoint {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gives_its_bundle_by_https_spiffe() {
        let far = Domain::new();
        let served = Bundle { sequence_number: 7, ..far.authority.bundle() };
        let fetched = far.fetch(&fetcher_of(endpoint(&far.identity, Ok(served.clone())))).await.unwrap();
        let expected = Bundle { refresh_hint: Some(Ttl::from_minutes(10)), ..served };
        assert_eq!(fetched, Fetched { bundle: expected, changed: true });
    }

    #[tokio::test(start_paused = true)]
    async fn fed_23_may_be_that_of_another_trust_domain() {
        let (host, far) = (TestAuthority::new("host.example"), TestAuthority::new("far.example"));
        let fetcher = fetcher_of(endpoint(&showing(&host, "/bundles"), Ok(far.bundle())));
        let relationship = relationship("far.example", "spiffe://host.example/bundles");
        let fetched = fetcher.fetch(&relationship, &host.bundles()).await.unwrap();
        assert_eq!(fetched.bundle.x509_authorities, far.bundle().x509_authorities);
        let error = fetcher.fetch(&relationship, &far.bundles()).await.unwrap_err();
        assert!(matches!(error, Error::NoEndpointBundle { .. }), "{error}");
        assert!(error.to_string().contains("bundle set -id spiffe://host.example"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn fed_26_may_rotate_its_root_in_two_steps() {
        let (old, new) = (TestAuthority::new("far.example"), TestAuthority::new("far.example"));
        let mut both = old.bundle();
        both.x509_authorities.extend(new.bundle().x509_authorities);
        let relationship = Domain::relationship();
        let first = fetcher_of(endpoint(&showing(&old, "/spire/server"), Ok(both)));
        let latest = first.fetch(&relationship, &old.bundles()).await.unwrap().bundle;
        let second = fetcher_of(endpoint(&showing(&new, "/spire/server"), Ok(new.bundle())));
        let known: BundleSet = std::iter::once(latest).collect();
        let latest = second.fetch(&relationship, &known).await.unwrap().bundle;
        let known: BundleSet = std::iter::once(latest).collect();
        let error = first.fetch(&relationship, &known).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "the old root is gone: {error}");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_as_spire_does() {
        let far = Domain::new();
        let cases = [
            ("GET / HTTP/1.1", Ok(far.authority.bundle()), "200 OK", "application/json", "{\n    \"keys\": ["),
            ("GET /?x=1 HTTP/1.1", Ok(far.authority.bundle()), "200 OK", "application/json", "{\n    \"keys\": ["),
            ("GET /other HTTP/1.1", Ok(far.authority.bundle()), "404 Not Found", "text/plain", "404 page not found\n"),
            ("POST / HTTP/1.1", Ok(far.authority.bundle()), "405 Method", "text/plain", "405 method not allowed\n"),
            ("PUT /a HTTP/1.1", Ok(far.authority.bundle()), "405 Method", "text/plain", "405 method not allowed\n"),
            ("GET / HTTP/1.1", Err("gone"), "500 Internal", "text/plain", "500 unable to retrieve local bundle\n"),
        ];
        for (request, bundle, status, content_type, body) in cases {
            let answer = ask(&endpoint(&far.identity, bundle), &format!("{request}\r\nHost: a\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.contains(&format!("content-type: {content_type}")), "{request}: {answer}");
            assert!(answer.split_once("\r\n\r\n").unwrap().1.starts_with(body), "{request}: {answer}");
        }
        let answer =
            ask(&endpoint(&far.identity, Ok(far.authority.bundle())), "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }

    /// What the endpoint answers before it hangs up, asked by a client that believes everything.
    async fn ask(endpoint: &BundleEndpoint, request: &str) -> String {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let endpoint = endpoint.clone();
        tokio::spawn(async move { endpoint.serve_connection(far, "test").await });
        // The certificate does not matter: what is tested comes after the handshake.
        let connector = tokio_rustls::TlsConnector::from(Arc::new(believes_all()));
        let mut stream = connector.connect(spiffe_core::tls::server_name(), near).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A missing close_notify is an error, after all has been read.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn hangs_up_on_clients_that_stall() {
        let far = Domain::new();
        let endpoint = endpoint(&far.identity, Ok(far.authority.bundle()));
        let (near, stream) = tokio::io::duplex(16 * 1024);
        let start = Instant::now();
        endpoint.serve_connection(stream, "test").await;
        assert!(start.elapsed() <= Duration::from_secs(31));
        drop(near);
    }

    #[tokio::test]
    async fn serves_over_tcp_until_it_is_told_to_end() {
        let far = Domain::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let (endpoint, shutdown) = (endpoint(&far.identity, Ok(far.authority.bundle())), CancellationToken::new());
        let serving = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { endpoint.serve(listener, shutdown).await }
        });
        let fetcher = Fetcher::new(provider(), Arc::new(At(NOW)));
        let relationship = FederationRelationship { bundle_endpoint_url: url, ..Domain::relationship() };
        for _ in 0..3 {
            fetcher.fetch(&relationship, &far.authority.bundles()).await.unwrap();
        }
        shutdown.cancel();
        serving.await.unwrap();
        let error = fetcher.fetch(&relationship, &far.authority.bundles()).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
    }
}

mod the_client_asks {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn for_the_configured_url_and_nothing_compressed() {
        let far = Domain::new();
        let heard = Arc::new(Mutex::new(String::new()));
        let document = far.authority.bundle().to_document();
        let fetcher = hostile(far.identity.clone(), {
            let heard = Arc::clone(&heard);
            move |mut stream| {
                let (heard, document) = (Arc::clone(&heard), document.clone());
                async move {
                    let head = read_head(&mut stream).await;
                    *heard.lock().unwrap() = head;
                    stream.write_all(ok(&document).as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        let url = "https://bundle.example:8443/a/b?c=d".to_owned();
        let relationship = FederationRelationship { bundle_endpoint_url: url, ..Domain::relationship() };
        fetcher.fetch(&relationship, &far.authority.bundles()).await.unwrap();
        let heard = heard.lock().unwrap().to_lowercase();
        assert!(heard.starts_with("get /a/b?c=d http/1.1\r\nhost: bundle.example:8443\r\n"), "{heard}");
        assert!(!heard.contains("accept-encoding"), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn and_tells_what_has_changed() {
        let far = Domain::new();
        let at_hand = |bundle: Bundle| -> BundleSet { std::iter::once(bundle).collect() };
        let served = Bundle { sequence_number: 7, ..far.authority.bundle() };
        let stored = Bundle { refresh_hint: Some(Ttl::from_minutes(10)), ..served.clone() };
        let fetcher = fetcher_of(endpoint(&far.identity, Ok(served)));
        let changed = |known: Bundle| {
            let fetcher = fetcher.clone();
            async move { fetcher.fetch(&Domain::relationship(), &at_hand(known)).await.map(|fetched| fetched.changed) }
        };
        assert!(!changed(stored.clone()).await.unwrap());
        assert!(changed(Bundle { sequence_number: 6, ..stored.clone() }).await.unwrap());
        assert!(changed(Bundle { jwt_authorities: vec![], ..stored.clone() }).await.unwrap());
        let error = changed(Bundle { sequence_number: 8, ..stored }).await.unwrap_err();
        assert!(matches!(error, Error::Older { received: 7, current: 8, .. }), "fed_04: {error}");
    }

    #[tokio::test(start_paused = true)]
    async fn and_takes_a_document_without_sequence_number() {
        let far = Domain::new();
        let known: BundleSet = std::iter::once(Bundle { sequence_number: 8, ..far.authority.bundle() }).collect();
        let fetcher = fetcher_of(endpoint(&far.identity, Ok(far.authority.bundle())));
        assert!(fetcher.fetch(&Domain::relationship(), &known).await.unwrap().changed);
    }

    #[tokio::test(start_paused = true)]
    async fn bundle_12_and_takes_an_empty_key_set_as_it_is() {
        let far = Domain::new();
        let fetched = far.fetch_answer(ok(r#"{"keys":[]}"#)).await.unwrap();
        assert!(fetched.changed);
        assert!(fetched.bundle.x509_authorities.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn and_believes_no_trust_domain_in_the_document() {
        let far = Domain::new();
        let fetched = far.fetch_answer(ok(r#"{"trust_domain":"other.example","keys":[]}"#)).await.unwrap();
        assert_eq!(fetched.bundle.trust_domain.as_str(), "far.example");
    }

    #[tokio::test(start_paused = true)]
    async fn and_reads_chunks() {
        let far = Domain::new();
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"key\r\n6\r\ns\":[]}\r\n0\r\n\r\n";
        far.fetch_answer(answer).await.unwrap();
    }
}

mod an_impostor {
    use super::*;

    async fn refused(identity: &Live, served: &Domain) {
        let fetcher = fetcher_of(endpoint(identity, Ok(served.authority.bundle())));
        let error = served.fetch(&fetcher).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
        assert!(!error.to_string().contains("Other"), "told in words: {error}");
    }

    #[tokio::test(start_paused = true)]
    async fn fed_25_of_another_id_in_the_same_trust_domain_is_refused() {
        let far = Domain::new();
        for path in ["/spire/agent", "/spire/server/", "/spire/server2", "/spire"] {
            if far.authority.trust_domain().join(path).is_ok() {
                refused(&showing(&far.authority, path), &far).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_another_trust_domain_is_refused() {
        let far = Domain::new();
        refused(&showing(&TestAuthority::new("other.example"), "/spire/server"), &far).await;
    }

    #[tokio::test(start_paused = true)]
    async fn whose_authority_only_has_the_same_name_is_refused() {
        let far = Domain::new();
        refused(&showing(&TestAuthority::new("far.example"), "/spire/server"), &far).await;
    }

    #[tokio::test(start_paused = true)]
    async fn known_through_a_third_trust_domain_is_refused() {
        let far = Domain::new();
        let third = TestAuthority::new("third.example");
        let fetcher = fetcher_of(endpoint(&showing(&third, "/spire/server"), Ok(far.authority.bundle())));
        let known: BundleSet = [far.authority.bundle(), third.bundle()].into_iter().collect();
        let error = fetcher.fetch(&Domain::relationship(), &known).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn with_an_expired_or_early_svid_is_refused() {
        let far = Domain::new();
        let seconds = |ttl| Ttl::from_secs(ttl);
        for (from, to) in [(NOW - seconds(100), NOW - seconds(1)), (NOW + seconds(1), NOW + seconds(100))] {
            let svid = far.authority.svid_valid("/spire/server", from, to);
            refused(&Live::new(Some(TlsIdentity::from(&*svid)), BundleSet::default()), &far).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_has_no_certificate_or_speaks_no_tls_is_refused() {
        let far = Domain::new();
        refused(&Live::default(), &far).await;
        let plain = fetcher(|mut stream: DuplexStream| async move {
            let _ = stream.write_all(ok("{\"keys\":[]}").as_bytes()).await;
            sleep(NEVER).await;
        });
        assert!(matches!(far.fetch(&plain).await.unwrap_err(), Error::Tls { .. }));
        let closed = fetcher(|stream: DuplexStream| async move { drop(stream) });
        assert!(matches!(far.fetch(&closed).await.unwrap_err(), Error::Tls { .. }));
    }
}

mod a_hostile_endpoint {
    use super::*;

    async fn times_out(far: &Domain, fetcher: &Fetcher, stage: Stage) {
        let start = Instant::now();
        let error = far.fetch(fetcher).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { stage: at, .. } if at == stage), "{stage}: {error}");
        assert!(start.elapsed() <= Duration::from_secs(50), "{stage}: {:?}", start.elapsed());
    }

    #[derive(Debug)]
    struct Unreachable;

    #[async_trait]
    impl Connector for Unreachable {
        async fn connect(&self, _: &str, _: u16) -> io::Result<Box<dyn Connection>> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_stalls_is_left_at_every_stage() {
        let far = Domain::new();
        let unreachable = Fetcher::new(provider(), Arc::new(At(NOW))).with_connector(Arc::new(Unreachable));
        times_out(&far, &unreachable, Stage::Connect).await;
        let silent = fetcher(|stream: DuplexStream| async move {
            sleep(NEVER).await;
            drop(stream);
        });
        times_out(&far, &silent, Stage::Handshake).await;
        let half_way = fetcher(|mut stream: DuplexStream| async move {
            // A record of 200 bytes begins, and does not go on.
            let _ = stream.write_all(&[22, 3, 3, 0, 200, 2, 0, 0, 196, 3, 3]).await;
            sleep(NEVER).await;
        });
        times_out(&far, &half_way, Stage::Handshake).await;
        times_out(&far, &answering(far.identity.clone(), ""), Stage::Answer).await;
        times_out(&far, &answering(far.identity.clone(), "HTTP/1.1 200 OK\r\nContent-"), Stage::Answer).await;
        times_out(&far, &answering(far.identity.clone(), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), Stage::Body)
            .await;
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"keys\":[]}\r\n";
        times_out(&far, &answering(far.identity.clone(), chunks), Stage::Body).await;
        times_out(&far, &answering(far.identity.clone(), "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{"), Stage::Body)
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn that_trickles_is_left() {
        let far = Domain::new();
        let trickling = hostile(far.identity.clone(), |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
            while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        times_out(&far, &trickling, Stage::Body).await;
    }

    #[tokio::test(start_paused = true)]
    async fn that_never_ends_or_sends_a_gigabyte_is_cut_off() {
        let far = Domain::new();
        for (head, most) in [
            ("HTTP/1.1 200 OK\r\n\r\n", MAX_DOCUMENT_LENGTH),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n", MAX_DOCUMENT_LENGTH),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", 0),
        ] {
            let sent = Arc::new(AtomicUsize::new(0));
            let endless = hostile(far.identity.clone(), {
                let sent = Arc::clone(&sent);
                move |mut stream| {
                    let sent = Arc::clone(&sent);
                    async move {
                        read_head(&mut stream).await;
                        let _ = stream.write_all(head.as_bytes()).await;
                        let spaces = vec![b' '; 64 * 1024];
                        while stream.write_all(&spaces).await.is_ok() {
                            sent.fetch_add(spaces.len(), Ordering::Relaxed);
                        }
                    }
                }
            });
            let error = far.fetch(&endless).await.unwrap_err();
            assert!(matches!(error, Error::TooLong { limit: MAX_DOCUMENT_LENGTH }), "{head}: {error}");
            let sent = sent.load(Ordering::Relaxed);
            assert!(sent <= most + 512 * 1024, "{head}: {sent} bytes were taken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_an_endless_head_is_cut_off() {
        let far = Domain::new();
        for line in ["a: b\r\n".repeat(1000), format!("a: {}\r\n", "b".repeat(1_000_000))] {
            let error = far.fetch_answer(format!("HTTP/1.1 200 OK\r\n{line}")).await.unwrap_err();
            assert!(matches!(error, Error::Http { .. }), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_redirects_is_not_followed_not_even_to_itself() {
        let far = Domain::new();
        let home = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
        let error = far.fetch_answer(home).await.unwrap_err();
        assert!(matches!(&error, Error::Redirect { location, .. } if location == "/"), "{error}");
        for status in ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"] {
            let answer = format!("HTTP/1.1 {status}\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n");
            let error = far.fetch_answer(answer).await.unwrap_err();
            assert!(matches!(&error, Error::Redirect { location, .. } if location == "http://10.0.0.1/"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_refuses_is_quoted_briefly_and_fit_for_a_log() {
        let far = Domain::new();
        let message = format!("line\nbreak \u{1b}[31m {}", "x".repeat(5000));
        let answer = format!("HTTP/1.1 503 No\r\nContent-Length: {}\r\n\r\n{message}", message.len());
        let error = far.fetch_answer(answer).await.unwrap_err();
        let shown = match &error {
            Error::Status { status: 503, body } => body.as_str(),
            _ => "",
        };
        assert!(shown.starts_with("line break  [31m xxx"), "{error}");
        assert!(shown.len() <= 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn that_compresses_is_refused_before_anything_is_unpacked() {
        let far = Domain::new();
        for encoding in ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip"] {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n", GZIP.len());
            let error = far.fetch_answer([head.as_bytes(), GZIP].concat()).await.unwrap_err();
            assert!(matches!(&error, Error::Encoding(told) if told == encoding), "{error}");
        }
        let untold = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", GZIP.len());
        let error = far.fetch_answer([untold.as_bytes(), GZIP].concat()).await.unwrap_err();
        assert!(matches!(error, Error::Document(BundleError::Json { .. })), "{error}");
        let transfer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{:x}\r\n", GZIP.len());
        let error = far.fetch_answer([transfer.as_bytes(), GZIP, b"\r\n0\r\n\r\n"].concat()).await.unwrap_err();
        assert!(matches!(error, Error::Document(BundleError::Json { .. })), "{error}");
    }

    /// The beginning of a gigabyte of spaces.
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xed\xc1\x01\r\0\0\0\xc2\xa0\xf7Om\x0e7\xa0";

    #[tokio::test(start_paused = true)]
    async fn with_a_hundred_thousand_keys_is_refused() {
        let far = Domain::new();
        let keys = |key: &str| format!("{{\"keys\":[{}]}}", vec![key; 100_000].join(","));
        let error = far.fetch_answer(ok(&keys(r#"{"kty":"EC"}"#))).await.unwrap_err();
        assert!(matches!(error, Error::Document(BundleError::TooManyKeys { count: 100_000 })), "{error}");
        let whole = format!(r#"{{"use":"jwt-svid","kty":"EC","kid":"{}"}}"#, "k".repeat(40));
        let error = far.fetch_answer(ok(&keys(&whole))).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
    }

    /// SPIFFE Trust Domain and Bundle §4.1.3, §4.2: one key of tomorrow does not blind today's readers.
    #[tokio::test(start_paused = true)]
    async fn with_keys_that_cannot_be_used_gives_the_others() {
        let far = Domain::new();
        let good = far.authority.bundle().to_document();
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for key in [&deep, "null", "{}", r#"{"kty":"EC"}"#, r#"{"use":"x509-svid","kty":"EC","x5c":["AAAA"]}"#] {
            let document = good.replacen("\"keys\": [", &format!("\"keys\": [{key},"), 1);
            let fetched = far.fetch_answer(ok(&document)).await.unwrap();
            assert!(fetched.bundle.same_contents(&far.authority.bundle()), "{key}");
        }
        let fetched = far.fetch_answer(ok(r#"{"keys":[],"spiffe_sequence":-1}"#)).await.unwrap();
        assert_eq!(fetched.bundle.sequence_number, 0, "no number is as none");
    }

    #[tokio::test(start_paused = true)]
    async fn with_members_twice_is_refused_and_with_a_key_twice_says_the_same() {
        let far = Domain::new();
        let jwt = far.authority.bundle().jwt_authorities.first().unwrap().clone();
        let twice = Bundle { jwt_authorities: vec![jwt.clone(), jwt], ..far.authority.bundle() };
        let fetched = far.fetch_answer(ok(&twice.to_document())).await.unwrap();
        assert_eq!(fetched.bundle.jwt_authorities, far.authority.bundle().jwt_authorities, "it says the same");
        let error = far.fetch_answer(ok(r#"{"keys":[],"keys":[]}"#)).await.unwrap_err();
        assert!(matches!(error, Error::Document(BundleError::Json { .. })), "{error}");
        let root = far.authority.bundle().x509_authorities.first().unwrap().clone();
        let twice = Bundle { x509_authorities: vec![root.clone(), root], ..far.authority.bundle() };
        let fetched = far.fetch_answer(ok(&twice.to_document())).await.unwrap();
        assert_eq!(fetched.bundle.x509_authorities, far.authority.bundle().x509_authorities, "it says the same");
    }

    #[tokio::test(start_paused = true)]
    async fn that_gives_no_bundle_is_refused() {
        let far = Domain::new();
        for document in [
            "",
            "<html>",
            "null",
            "true",
            "1",
            "\"keys\"",
            "[]",
            "{}",
            r#"{"error":"no such bundle"}"#,
            r#"{"issuer":"https://far.example","jwks_uri":"https://far.example/keys"}"#,
            r#"{"keys":null}"#,
            r#"{"keys":{}}"#,
            r#"{"keys":[]} x"#,
        ] {
            let error = far.fetch_answer(ok(document)).await.unwrap_err();
            assert!(matches!(error, Error::Document(_)), "{document:.80}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_gives_another_trust_domains_bundle_gains_nothing_there() {
        let (far, third) = (Domain::new(), TestAuthority::new("third.example"));
        let fetched = far.fetch_answer(ok(&third.bundle().to_document())).await.unwrap();
        assert_eq!(fetched.bundle.trust_domain.as_str(), "far.example");
        let believed: BundleSet = std::iter::once(fetched.bundle).collect();
        let error = spiffe_core::x509::verify_svid(third.svid("/workload").chain(), &believed, NOW).unwrap_err();
        assert!(error.to_string().contains("third.example"), "a bundle speaks for its own trust domain only: {error}");
    }

    #[tokio::test(start_paused = true)]
    async fn that_goes_back_or_fails_leaves_what_is_at_hand() {
        let far = Domain::new();
        let at_hand = Bundle { sequence_number: 9, ..far.authority.bundle() };
        let known: BundleSet = std::iter::once(at_hand.clone()).collect();
        let older = Bundle { sequence_number: 8, ..far.authority.bundle() }.to_document();
        let fetcher = answering(far.identity.clone(), ok(&older));
        let error = fetcher.fetch(&Domain::relationship(), &known).await.unwrap_err();
        assert!(matches!(error, Error::Older { received: 8, current: 9, .. }), "{error}");
        assert_eq!(known.get(far.authority.trust_domain()).map(|bundle| &**bundle), Some(&at_hand));
    }

    #[tokio::test(start_paused = true)]
    async fn that_hangs_up_half_way_is_refused() {
        let far = Domain::new();
        let cut = hostile(far.identity.clone(), |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\"").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        assert!(matches!(far.fetch(&cut).await.unwrap_err(), Error::Http { .. }));
        // Without a length, only the end of TLS says that the document is whole.
        let truncated = hostile(far.identity.clone(), |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[]}").await.unwrap();
            stream.flush().await.unwrap();
        });
        assert!(matches!(far.fetch(&truncated).await.unwrap_err(), Error::Http { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn that_speaks_no_http_is_refused() {
        let far = Domain::new();
        for answer in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/2 200\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
            let error = far.fetch_answer(answer).await.unwrap_err();
            assert!(matches!(error, Error::Http { .. }), "{answer:?}: {error}");
        }
    }
}

mod https_web_profile {
    use super::*;

    struct WebPki {
        issuer: Issuer<'static, KeyPair>,
        roots: RootCertStore,
        root_pem: String,
    }

    impl WebPki {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).unwrap();
            Self { issuer: Issuer::new(params, key), roots, root_pem: certificate.pem() }
        }

        /// Writes a certificate for `name` and its key.
        fn issue(&self, dir: &tempfile::TempDir, name: &str, last_year: i32) {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(last_year, 1, 1));
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
            fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        }
    }

    async fn load(dir: &tempfile::TempDir) -> Result<ServingCertificate, Error> {
        ServingCertificate::load(dir.path().join("cert.pem"), dir.path().join("key.pem"), provider()).await
    }

    fn fetcher_by(certificate: &ServingCertificate, served: &Bundle, roots: WebRoots) -> Fetcher {
        let tls = https_web::server_config(Arc::new(certificate.clone()), &settings()).unwrap();
        let served = Arc::new(Served(Ok(served.clone())));
        fetcher_of(BundleEndpoint::new(served, tls, Ttl::from_minutes(5))).with_web_roots(roots)
    }

    fn web_relationship() -> FederationRelationship {
        FederationRelationship { profile: EndpointProfile::HttpsWeb, ..Domain::relationship() }
    }

    async fn fetch(fetcher: &Fetcher) -> Result<Fetched, Error> {
        fetcher.fetch(&web_relationship(), &BundleSet::default()).await
    }

    #[tokio::test]
    async fn needs_no_bundle_to_begin_with() {
        let (pki, dir, far) = (WebPki::new(), tempfile::tempdir().unwrap(), TestAuthority::new("far.example"));
        pki.issue(&dir, "bundle.example", 2100);
        let certificate = load(&dir).await.unwrap();
        let fetcher = fetcher_by(&certificate, &far.bundle(), WebRoots::of(pki.roots.clone()));
        assert_eq!(fetch(&fetcher).await.unwrap().bundle.x509_authorities, far.bundle().x509_authorities);

        let file = dir.path().join("roots.pem");
        fs::write(&file, &pki.root_pem).unwrap();
        fetch(&fetcher.clone().with_web_roots(WebRoots::file(&file))).await.unwrap();
        fs::write(&file, "").unwrap();
        let error = fetch(&fetcher.with_web_roots(WebRoots::file(&file))).await.unwrap_err();
        assert!(matches!(error, Error::WebRoots(_)), "{error}");
    }

    #[tokio::test]
    async fn fed_18_refuses_other_names_and_authorities_and_expired_certificates() {
        let (pki, dir, far) = (WebPki::new(), tempfile::tempdir().unwrap(), TestAuthority::new("far.example"));
        for (name, last_year) in [("other.example", 2100), ("bundle.example.org", 2100), ("bundle.example", 2021)] {
            pki.issue(&dir, name, last_year);
            let certificate = load(&dir).await.unwrap();
            let error =
                fetch(&fetcher_by(&certificate, &far.bundle(), WebRoots::of(pki.roots.clone()))).await.unwrap_err();
            assert!(matches!(error, Error::Tls { .. }), "{name}: {error}");
        }
        pki.issue(&dir, "bundle.example", 2100);
        let certificate = load(&dir).await.unwrap();
        let fetcher = fetcher_by(&certificate, &far.bundle(), WebRoots::of(WebPki::new().roots));
        assert!(matches!(fetch(&fetcher).await.unwrap_err(), Error::Tls { .. }));
    }

    #[tokio::test]
    async fn does_not_take_an_svid_for_a_web_certificate() {
        let far = Domain::new();
        let fetcher = fetcher_of(endpoint(&far.identity, Ok(far.authority.bundle())));
        let mut roots = RootCertStore::empty();
        roots.add(far.authority.root().as_pki_der().clone()).unwrap();
        let error = fetch(&fetcher.with_web_roots(WebRoots::of(roots))).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "it names no host: {error}");
    }

    #[tokio::test]
    async fn shows_a_renewed_certificate_and_keeps_the_old_one_while_files_are_half_replaced() {
        let (pki, dir) = (WebPki::new(), tempfile::tempdir().unwrap());
        pki.issue(&dir, "bundle.example", 2021);
        let certificate = load(&dir).await.unwrap();
        let far = TestAuthority::new("far.example");
        let fetcher = fetcher_by(&certificate, &far.bundle(), WebRoots::of(pki.roots.clone()));
        fetch(&fetcher).await.unwrap_err();
        assert!(!certificate.reload().await.unwrap(), "nothing has changed");

        let old_key = fs::read(dir.path().join("key.pem")).unwrap();
        pki.issue(&dir, "bundle.example", 2100);
        let new_key = fs::read(dir.path().join("key.pem")).unwrap();
        fs::write(dir.path().join("key.pem"), old_key).unwrap();
        let error = certificate.reload().await.unwrap_err();
        assert!(matches!(error, Error::ServingCertificate { .. }), "{error}");
        fetch(&fetcher).await.unwrap_err();

        fs::write(dir.path().join("key.pem"), new_key).unwrap();
        let follower = tokio::spawn({
            let (certificate, clock) = (certificate.clone(), Arc::new(SystemClock));
            async move { certificate.follow(Ttl::from_secs(1), clock, CancellationToken::new()).await }
        });
        while fetch(&fetcher).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        follower.abort();
    }

    #[tokio::test]
    async fn says_which_file_cannot_be_served() {
        let (pki, dir) = (WebPki::new(), tempfile::tempdir().unwrap());
        assert!(load(&dir).await.unwrap_err().to_string().contains("cert.pem"));
        pki.issue(&dir, "bundle.example", 2100);
        fs::write(dir.path().join("key.pem"), "no key").unwrap();
        assert!(load(&dir).await.unwrap_err().to_string().contains("key.pem"));
        fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
        assert!(load(&dir).await.unwrap_err().to_string().contains("cert.pem"));
    }
}
