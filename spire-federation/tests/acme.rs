//! The endpoint's certificate by ACME, against pebble. `tests/acme.sh` installs pebble and runs these with its old and
//! its new version; where there is none, they say so and pass. `PEBBLE` names another binary than the one in `PATH`.
#![cfg(feature = "acme")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener as StdListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use spiffe_core::{
    Bundle, BundleSet, Timestamp, TrustDomain, Ttl, testing::TestAuthority, tls::Settings, x509::Certificate,
};
use spire_federation::{
    Error,
    fetch::{Connection, Connector, Fetcher, TcpConnector, WebRoots},
    serve::{
        BundleEndpoint, OwnBundle,
        acme::{self, AcmeCertificate, AcmeSettings},
    },
};
use spire_runtime::{Clock, SystemClock, rustls_time};
use spire_types::{EndpointProfile, FederationRelationship};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use common::{believes_all, provider};

mod common;

const NAME: &str = "bundle.example";
const BLOCKED: &str = "blocked.example";

#[tokio::test]
async fn a_certificate_is_ordered_used_renewed_and_taken_up_again_while_the_server_comes_and_goes() {
    let Some(world) = World::new() else { return };
    let endpoint = world.endpoint(NAME, true).await;
    sleep(Duration::from_secs(2)).await;
    assert!(endpoint.shown().await.is_none(), "nobody has certified anything");

    // The directory comes up, and no restart is needed.
    let pebble = world.pebble();
    let first = endpoint.shown_after(None).await;
    assert_eq!(first.dns_sans(), [NAME]);
    let fetched = world.client_of(&pebble).await.fetch(&world.relationship(), &BundleSet::default()).await.unwrap();
    assert_eq!(fetched.bundle.x509_authorities, world.authority.bundle().x509_authorities);
    for file in ["acme_account+key", NAME] {
        let mode = fs::metadata(world.cache_dir().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }

    let second = endpoint.shown_after(Some(&first)).await;
    assert!(second.not_after() > first.not_after());

    // A directory that is down takes nothing away, and one that has forgotten everybody certifies again.
    drop(pebble);
    sleep(Duration::from_secs(4)).await;
    let last = endpoint.shown().await.unwrap();
    let _pebble = world.pebble();
    let third = endpoint.shown_after(Some(&last)).await;
    assert_ne!(third.issuer_der(), last.issuer_der(), "a new root");

    let latest = endpoint.stop().await;
    let again = world.idle_endpoint(NAME, true).await;
    assert_eq!(again.shown().await, latest, "as stored");
    again.stop().await;
}

#[tokio::test]
async fn a_refusal_says_why_and_the_next_order_may_succeed() {
    let Some(world) = World::new() else { return };
    let _pebble = world.pebble();

    let (deaf, _) = world.certificate(NAME, true).await;
    let error = refused(&deaf, "prove the name").await;
    assert!(error.contains("refused") || error.contains("onnect"), "nobody listens: {error}");

    let (blocked, _) = world.certificate(BLOCKED, true).await;
    let error = refused(&blocked, "place an order").await;
    assert!(error.contains("rejectedIdentifier") || error.contains("policy"), "{error}");

    let (strict, _) = world.certificate(NAME, false).await;
    let error = refused(&strict, "register").await;
    assert!(error.contains("terms") && error.contains("tos_accepted"), "{error}");

    let endpoint = world.idle_endpoint(NAME, true).await;
    endpoint.certificate.order(SystemClock.now()).await.unwrap();
    assert!(endpoint.shown().await.is_some());
    assert!(endpoint.shown_for("other.example").await.is_none(), "one name only");
    endpoint.stop().await;
}

#[tokio::test]
async fn a_stored_certificate_that_cannot_be_used_is_ordered_anew() {
    let Some(world) = World::new() else { return };
    let _pebble = world.pebble();
    for broken in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::create_dir_all(world.cache_dir()).unwrap();
        fs::write(world.cache_dir().join(NAME), broken).unwrap();
        let endpoint = world.endpoint(NAME, true).await;
        endpoint.shown_after(None).await;
        endpoint.stop().await;
    }
    let key = world.cache_dir().join("acme_account+key");
    fs::write(&key, "no key").unwrap();
    let (certificate, _) = world.certificate(NAME, true).await;
    let error = certificate.order(SystemClock.now()).await.unwrap_err().to_string();
    assert!(error.contains("acme_account+key") && error.contains("remove it"), "{error}");
}

async fn refused(certificate: &AcmeCertificate, at: &str) -> String {
    let error = certificate.order(SystemClock.now()).await.unwrap_err();
    assert!(matches!(error, Error::Acme { attempt, .. } if attempt == at), "{error}");
    error.to_string()
}

/// The machine's clock, for somebody in a hurry: waits are a twentieth as long.
#[derive(Debug)]
struct Hasty;

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        sleep(Duration::from(deadline.since(self.now())) / 20).await;
    }
}

/// Ports, files and the name server of one test.
struct World {
    dir: TempDir,
    authority: TestAuthority,
    binary: String,
    _names: Process,
    names_port: u16,
    directory_port: u16,
    management_port: u16,
    endpoint_port: u16,
}

impl World {
    fn new() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "which pebble is chosen from outside")]
        let binary = env::var("PEBBLE").unwrap_or_else(|_| "pebble".to_owned());
        if Command::new(&binary).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            eprintln!("skipped: there is no pebble; tests/acme.sh installs it");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        let [names_port, names_management_port, directory_port, management_port, endpoint_port] = free_ports();
        let names = Process::start(Command::new("pebble-challtestsrv").args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-dns01",
            &format!("127.0.0.1:{names_port}"),
            "-management",
            &format!("127.0.0.1:{names_management_port}"),
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]));
        let world = Self {
            authority: TestAuthority::new("far.example"),
            dir,
            binary,
            _names: names,
            names_port,
            directory_port,
            management_port,
            endpoint_port,
        };
        world.configure();
        Some(world)
    }

    /// Certificates live for a minute.
    fn configure(&self) {
        let path = |file: &str| self.dir.path().join(file).display().to_string();
        let config = format!(
            r#"{{"pebble": {{
                "listenAddress": "127.0.0.1:{}", "managementListenAddress": "127.0.0.1:{}",
                "certificate": {:?}, "privateKey": {:?}, "httpPort": 1, "tlsPort": {},
                "domainBlocklist": ["{BLOCKED}"], "certificateValidityPeriod": 60,
                "profiles": {{"shortlived": {{"description": "a minute", "validityPeriod": 60}}}}
            }}}}"#,
            self.directory_port,
            self.management_port,
            path("cert.pem"),
            path("key.pem"),
            self.endpoint_port
        );
        fs::write(self.dir.path().join("pebble.json"), config).unwrap();
    }

    fn pebble(&self) -> Process {
        Process::start(
            Command::new(&self.binary)
                .args(["-config", &self.dir.path().join("pebble.json").display().to_string()])
                .args(["-dnsserver", &format!("127.0.0.1:{}", self.names_port)])
                .env("PEBBLE_VA_NOSLEEP", "1"),
        )
        .listening_on(self.directory_port)
    }

    fn cache_dir(&self) -> PathBuf {
        self.dir.path().join("bundle-acme")
    }

    /// Believes pebble's listener.
    fn directory_client(&self) -> Fetcher {
        Fetcher::new(provider(), rustls_time(Arc::new(SystemClock)))
            .with_web_roots(WebRoots::file(self.dir.path().join("cert.pem")))
    }

    /// Believes what pebble issues, and finds every name on this machine.
    async fn client_of(&self, _running: &Process) -> Fetcher {
        let pem = self.issuing_root().await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        Fetcher::new(provider(), rustls_time(Arc::new(SystemClock)))
            .with_web_roots(WebRoots::of(roots))
            .with_connector(Arc::new(ThisMachine))
    }

    async fn issuing_root(&self) -> String {
        let stream = TcpConnector.connect("127.0.0.1", self.management_port).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(believes_all())).connect(name, stream).await.unwrap();
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        // The end may come without a close_notify.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    fn relationship(&self) -> FederationRelationship {
        FederationRelationship {
            trust_domain: TrustDomain::parse("far.example").unwrap(),
            bundle_endpoint_url: format!("https://{NAME}:{}/", self.endpoint_port),
            profile: EndpointProfile::HttpsWeb,
        }
    }

    async fn certificate(&self, domain_name: &str, tos_accepted: bool) -> (AcmeCertificate, acme::Renewal) {
        let settings = AcmeSettings {
            directory_url: format!("https://localhost:{}/dir", self.directory_port),
            domain_name: domain_name.to_owned(),
            email: "admin@bundle.example".to_owned(),
            tos_accepted,
            cache_dir: self.cache_dir(),
        };
        AcmeCertificate::open(settings, self.directory_client(), provider()).await
    }

    async fn endpoint(&self, domain_name: &str, tos_accepted: bool) -> Endpoint {
        let (certificate, renewal) = self.certificate(domain_name, tos_accepted).await;
        let endpoint = self.serve(certificate).await;
        let (certificate, shutdown) = (endpoint.certificate.clone(), endpoint.shutdown.clone());
        tokio::spawn(async move {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            certificate.follow(renewal, Arc::new(Hasty), &mut rng, shutdown).await;
        });
        endpoint
    }

    /// One that orders nothing by itself.
    async fn idle_endpoint(&self, domain_name: &str, tos_accepted: bool) -> Endpoint {
        self.serve(self.certificate(domain_name, tos_accepted).await.0).await
    }

    async fn serve(&self, certificate: AcmeCertificate) -> Endpoint {
        let settings = Settings::new(provider(), rustls_time(Arc::new(SystemClock)));
        let tls = acme::server_config(&certificate, &settings).unwrap();
        let served = Arc::new(Served(self.authority.bundle()));
        let endpoint = BundleEndpoint::new(served, tls, Ttl::from_minutes(5));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.endpoint_port)).await.unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { endpoint.serve(listener, shutdown).await }
        });
        Endpoint { certificate, port: self.endpoint_port, shutdown, serving }
    }
}

struct Endpoint {
    certificate: AcmeCertificate,
    port: u16,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// What it shows, as soon as that is another than `before`.
    async fn shown_after(&self, before: Option<&Certificate>) -> Certificate {
        for _ in 0..300 {
            match self.shown().await {
                Some(shown) if Some(&shown) != before => return shown,
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
        unreachable!("no other certificate in half a minute");
    }

    async fn shown(&self) -> Option<Certificate> {
        self.shown_for(NAME).await
    }

    async fn shown_for(&self, name: &'static str) -> Option<Certificate> {
        let stream = TcpConnector.connect("127.0.0.1", self.port).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = TlsConnector::from(Arc::new(believes_all())).connect(name, stream).await.ok()?;
        let leaf = stream.get_ref().1.peer_certificates()?.first()?.clone();
        Some(Certificate::from_der(&leaf).unwrap())
    }

    async fn stop(self) -> Option<Certificate> {
        let shown = self.shown().await;
        self.shutdown.cancel();
        self.serving.await.unwrap();
        shown
    }
}

#[derive(Debug)]
struct Served(Bundle);

#[async_trait]
impl OwnBundle for Served {
    async fn own_bundle(&self) -> Result<Arc<Bundle>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Arc::new(self.0.clone()))
    }
}

#[derive(Debug)]
struct ThisMachine;

#[async_trait]
impl Connector for ThisMachine {
    async fn connect(&self, _: &str, port: u16) -> io::Result<Box<dyn Connection>> {
        TcpConnector.connect("127.0.0.1", port).await
    }
}

/// A child that ends with the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn listening_on(self, port: u16) -> Self {
        for _ in 0..100 {
            if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return self;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        unreachable!("pebble does not listen");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [StdListener; N] = std::array::from_fn(|_| StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
