//! A page of stock quotes, fetched from a service of another trust domain over mutual TLS, by HTTPS or gRPC: the server
//! is accepted for its exact SPIFFE ID, and shown this program's own.
//!
//! ```sh
//! SPIFFE_ENDPOINT_SOCKET=unix:///tmp/spire-agent/public/api.sock \
//!     cargo run --bin broker-webapp -- --quotes 127.0.0.1:8090 --service spiffe://stockmarket.example/quotes-service
//! ```

mod quotes;
mod workload;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Redirect;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use clap::Parser;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use spiffe_core::{SpiffeId, Timestamp};
use spire_runtime::{Clock, SystemClock};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use workload_api::{Address, tls};

use crate::quotes::ListQuotesRequest;
use crate::quotes::stock_quotes_client::StockQuotesClient;
use crate::workload::{Narrator, complain, identity, say, stop, tls_settings};

/// Shows the stock quotes of a service that it talks to over mutual TLS with SPIFFE identities.
#[derive(Parser)]
struct Flags {
    /// Where the page is served
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where the quotes service is
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "HOST:PORT")]
    quotes: String,
    /// The only server that quotes are taken from
    #[arg(long, default_value = "spiffe://stockmarket.example/quotes-service", value_name = "SPIFFE ID")]
    service: SpiffeId,
    /// Ask by gRPC, not HTTPS
    #[arg(long)]
    grpc: bool,
    /// The Workload API's address, instead of SPIFFE_ENDPOINT_SOCKET
    #[arg(long, value_name = "ADDRESS")]
    workload_api: Option<Address>,
}

/// How often quotes are fetched.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a fetch may take, handshake included.
const PATIENCE: Duration = Duration::from_secs(3);
/// A longer answer is refused.
const MAX_ANSWER: usize = 1 << 20;
/// The page loads nothing from elsewhere and runs no script but its own.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            complain("broker-webapp", &*err);
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    tokio::select! {
        outcome = serve(flags) => outcome,
        outcome = stop() => Ok(outcome?),
    }
}

async fn serve(flags: Flags) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(flags.listen)
        .await
        .map_err(|err| format!("{}: {err}; --listen takes another address", flags.listen))?;
    let source = identity(flags.workload_api).await?;
    let settings = if flags.grpc { tls_settings().with_alpn(&[tls::ALPN_H2]) } else { tls_settings() };
    let config = tls::client_config(&source, tls::authorize_id(flags.service.clone()), &settings)?;
    let connector = TlsConnector::from(Arc::new(config));
    let service = Service { address: flags.quotes, connector, grpc: flags.grpc };

    let page = Page {
        myself: source.svid()?.id().to_string(),
        peer: flags.service.to_string(),
        quotes: Vec::new(),
        at: None,
        available: false,
    };
    let page = Arc::new(Mutex::new(page));
    let _following = AbortOnDropHandle::new(tokio::spawn(follow(service, Arc::clone(&page))));
    say(&format!("the page is at http://{}/quotes", flags.listen));
    axum::serve(listener, routes(page)).await?;
    Ok(())
}

/// What the page's script reads once a second.
#[derive(Clone, Serialize)]
struct Page {
    #[serde(rename = "self")]
    myself: String,
    peer: String,
    /// The last good ones, also while the service is away.
    quotes: Vec<Quote>,
    /// When they were fetched, in Unix seconds.
    at: Option<i64>,
    /// Whether the last fetch went well.
    available: bool,
}

/// A quote as the service sends it.
#[derive(Clone, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    name: String,
    open: f64,
    price: f64,
}

impl From<quotes::Quote> for Quote {
    fn from(quotes::Quote { symbol, name, open, price }: quotes::Quote) -> Self {
        Self { symbol, name, open, price }
    }
}

fn routes(page: Arc<Mutex<Page>>) -> Router {
    let json = move || {
        let page = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
        std::future::ready(([(CACHE_CONTROL, "no-store")], Json(page)))
    };
    Router::new()
        .route("/", get(|| std::future::ready(Redirect::to("/quotes"))))
        .route("/quotes", file("text/html; charset=utf-8", include_str!("webapp/index.html")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("webapp/app.js")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("webapp/style.css")))
        .route("/icon.svg", file("image/svg+xml", include_str!("webapp/icon.svg")))
        .route("/quotes.json", get(json))
}

fn file(media_type: &'static str, contents: &'static str) -> MethodRouter {
    let headers = [(CONTENT_TYPE, media_type), (CONTENT_SECURITY_POLICY, POLICY), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    get(move || std::future::ready((headers, contents)))
}

async fn follow(service: Service, page: Arc<Mutex<Page>>) {
    let narrator = Narrator::default();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let fetched = tokio::time::timeout(PATIENCE, service.fetch()).await;
        let outcome = fetched.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}").into()));
        narrator.tell(match &outcome {
            Ok(quotes) => format!("{} quotes from {}", quotes.len(), service.address),
            Err(err) => format!("quotes service unavailable: {}: {err}", service.address),
        });
        page.lock().unwrap_or_else(PoisonError::into_inner).update(outcome.ok(), SystemClock.now());
    }
}

impl Page {
    fn update(&mut self, fetched: Option<Vec<Quote>>, now: Timestamp) {
        self.available = fetched.is_some();
        if let Some(quotes) = fetched {
            self.quotes = quotes;
            self.at = Some(now.as_unix());
        }
    }
}

/// The quotes service, and how its identity is checked.
struct Service {
    address: String,
    connector: TlsConnector,
    grpc: bool,
}

impl Service {
    /// Asks once, on a connection of its own: so both sides prove anew, each second, who they are.
    async fn fetch(&self) -> Result<Vec<Quote>, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.address).await?;
        let stream = self.connector.connect(tls::server_name(), stream).await?;
        if self.grpc { self.by_grpc(stream).await } else { self.by_https(stream).await }
    }

    async fn by_https(&self, stream: TlsStream<TcpStream>) -> Result<Vec<Quote>, Box<dyn Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::get("/quotes").header("host", &self.address).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answered {}", response.status()).into());
        }
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn by_grpc(&self, stream: TlsStream<TcpStream>) -> Result<Vec<Quote>, Box<dyn Error + Send + Sync>> {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let service = tower::service_fn(move |request: Request<tonic::body::Body>| sender.send_request(request));
        let mut client = StockQuotesClient::with_origin(service, format!("https://{}", self.address).parse()?)
            .max_decoding_message_size(MAX_ANSWER);
        let answer = client.list_quotes(ListQuotesRequest {}).await?.into_inner();
        Ok(answer.quotes.into_iter().map(Into::into).collect())
    }
}
