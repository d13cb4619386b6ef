//! The two programs of the scenario, as processes, with Workload APIs of two federated trust domains.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use spiffe_core::testing::TestAuthority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use workload_api::Address;
use workload_api::testing::FakeEndpoint;

const SERVICE: &str = env!("CARGO_BIN_EXE_stock-quotes-service");
const WEBAPP: &str = env!("CARGO_BIN_EXE_broker-webapp");
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    broker: FakeEndpoint,
    stockmarket: FakeEndpoint,
    broker_api: Address,
    stockmarket_api: Address,
    quotes: SocketAddr,
    page: SocketAddr,
    /// Flags that both programs get.
    form: &'static [&'static str],
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listen = |endpoint: &FakeEndpoint, name: &str| endpoint.listen(&directory.path().join(name)).unwrap();
        let (broker, stockmarket) = (FakeEndpoint::new("broker.example"), FakeEndpoint::new("stockmarket.example"));
        Self {
            broker_api: listen(&broker, "broker.sock"),
            stockmarket_api: listen(&stockmarket, "stockmarket.sock"),
            broker,
            stockmarket,
            quotes: free_address(),
            page: free_address(),
            form: &[],
            _directory: directory,
        }
    }

    fn grpc() -> Self {
        Self { form: &["--grpc"], ..Self::new() }
    }

    fn register(&self) {
        self.broker.set_identities(&["/webapp"]);
        self.stockmarket.set_identities(&["/quotes-service"]);
        self.broker.federate(self.stockmarket.authority());
        self.stockmarket.federate(self.broker.authority());
    }

    fn service(&self) -> Child {
        let quotes = self.quotes.to_string();
        start(SERVICE, &self.stockmarket_api, &[&["--listen", &quotes], self.form].concat())
    }

    fn webapp(&self) -> Child {
        let (page, quotes) = (self.page.to_string(), self.quotes.to_string());
        start(WEBAPP, &self.broker_api, &[&["--listen", &page, "--quotes", &quotes], self.form].concat())
    }

    /// What the page shows once `wanted` holds.
    async fn page_where(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        let showing = async {
            loop {
                last = get(self.page, "/quotes.json").await.unwrap_or_default();
                match serde_json::from_str(&last) {
                    Ok(page) if wanted(&page) => return page,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, showing).await.unwrap_or_else(|_| panic!("the page still shows {last:?}"))
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn start(program: &str, api: &Address, arguments: &[&str]) -> Child {
    Command::new(program)
        .args(arguments)
        .env("SPIFFE_ENDPOINT_SOCKET", api.to_string())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The body of the answer, `None` while nothing listens there.
async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn available(page: &Value) -> bool {
    page["available"] == true
}

#[tokio::test]
async fn the_page_follows_the_quotes_of_another_trust_domain_and_keeps_the_last_ones() {
    quotes_arrive(World::new()).await;
}

#[tokio::test]
async fn only_the_exact_ids_are_accepted() {
    impostors_are_refused(World::new()).await;
}

#[tokio::test]
async fn by_grpc_quotes_arrive_and_only_the_exact_ids_are_accepted_and_rotation_is_followed() {
    quotes_arrive(World::grpc()).await;
    impostors_are_refused(World::grpc()).await;
    rotation_is_followed(World::grpc()).await;
}

#[tokio::test]
async fn a_service_of_the_other_form_is_as_one_that_is_away() {
    let forms: [&[&str]; 2] = [&[], &["--grpc"]];
    for (form, other) in [(forms[0], forms[1]), (forms[1], forms[0])] {
        let mut world = World { form: other, ..World::new() };
        world.register();
        let mut service = world.service();
        world.form = form;
        let _webapp = world.webapp();
        world.page_where(|_| true).await;
        // Two questions that the service has heard.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let page = world.page_where(|_| true).await;
        assert!(!available(&page) && page["at"].is_null(), "{page}");

        service.kill().await.unwrap();
        let _service = world.service();
        world.page_where(available).await;
    }
}

async fn quotes_arrive(world: World) {
    world.register();
    let (mut service, _webapp) = (world.service(), world.webapp());

    let first = world.page_where(available).await;
    assert_eq!(first["self"], "spiffe://broker.example/webapp");
    assert_eq!(first["peer"], "spiffe://stockmarket.example/quotes-service");
    assert_eq!(first["quotes"].as_array().unwrap().len(), 10);
    world.page_where(|page| page["quotes"] != first["quotes"]).await;
    assert!(get(world.page, "/quotes").await.unwrap().contains("Quotes service unavailable"));

    service.kill().await.unwrap();
    let kept = world.page_where(|page| !available(page)).await;
    assert_eq!(kept["quotes"].as_array().unwrap().len(), 10);
    assert!(kept["at"].is_number());

    let _service = world.service();
    world.page_where(available).await;
}

#[tokio::test]
async fn programs_may_be_started_before_they_are_registered_and_follow_rotation() {
    rotation_is_followed(World::new()).await;
}

async fn rotation_is_followed(world: World) {
    let (_service, _webapp) = (world.service(), world.webapp());
    world.register();
    world.page_where(available).await;

    // A new authority for the stock market, first unknown to the broker's trust domain, then known there.
    let successor = FakeEndpoint::new("stockmarket.example");
    successor.set_identities(&["/quotes-service"]);
    successor.federate(world.broker.authority());
    let context = successor.client().fetch_x509_context().await.unwrap();
    world.stockmarket.set(Ok(context));
    world.page_where(|page| !available(page)).await;
    world.broker.federate(successor.authority());
    world.page_where(available).await;
}

async fn impostors_are_refused(world: World) {
    world.register();
    let (_service, webapp) = (world.service(), world.webapp());
    world.page_where(available).await;

    // Another client of the right trust domain.
    world.broker.set_identities(&["/another"]);
    world.page_where(|page| !available(page)).await;
    world.broker.set_identities(&["/webapp"]);
    world.page_where(available).await;

    // Another server of the right trust domain, then one that calls itself right but is of a foreign authority.
    world.stockmarket.set_identities(&["/another"]);
    world.page_where(|page| !available(page)).await;
    world.stockmarket.set_identities(&["/quotes-service"]);
    world.page_where(available).await;
    let impostor = TestAuthority::new("stockmarket.example");
    world.broker.federate(&impostor);
    world.page_where(|page| !available(page)).await;
    drop(webapp);
}

async fn fails(program: &str, arguments: &[&str], api: Option<&str>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("SPIFFE_ENDPOINT_SOCKET").kill_on_drop(true);
    if let Some(api) = api {
        command.env("SPIFFE_ENDPOINT_SOCKET", api);
    }
    let Output { status, stderr, .. } = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let free = free_address().to_string();
    let message = fails(WEBAPP, &["--listen", &free], None).await;
    assert!(message.contains("set SPIFFE_ENDPOINT_SOCKET or --workload-api"), "{message}");
    let message = fails(SERVICE, &["--listen", &free], Some("unix://relative")).await;
    assert!(message.starts_with("stock-quotes-service: "), "{message}");
    let message = fails(SERVICE, &["--client", "http://broker.example"], None).await;
    assert!(message.contains("--client <SPIFFE ID>"), "{message}");
    let message = fails(WEBAPP, &["--listen", "8080"], None).await;
    assert!(message.contains("--listen <IP:PORT>"), "{message}");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let message = fails(WEBAPP, &["--listen", &taken], Some("unix:///nowhere")).await;
    assert!(message.contains(&taken) && message.contains("--listen takes another address"), "{message}");
}
