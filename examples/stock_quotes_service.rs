//! Quotes over mutual TLS, by HTTPS or gRPC: who asks is known by SPIFFE ID, and only the one client that is named gets
//! an answer.
//!
//! ```sh
//! SPIFFE_ENDPOINT_SOCKET=unix:///tmp/spire-agent/public/api.sock \
//!     cargo run --bin stock-quotes-service -- --client spiffe://broker.example/webapp
//! ```

mod quotes;
mod workload;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rand_core::{OsRng, TryRngCore as _};
use serde::Serialize;
use spiffe_core::SpiffeId;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use workload_api::{Address, tls};

use crate::quotes::stock_quotes_server::{StockQuotes, StockQuotesServer};
use crate::quotes::{ListQuotesRequest, ListQuotesResponse};
use crate::workload::{Narrator, complain, identity, say, stop, tls_settings};

/// Serves phony stock quotes over mutual TLS with SPIFFE identities.
#[derive(Parser)]
struct Flags {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// The only client that gets an answer
    #[arg(long, default_value = "spiffe://broker.example/webapp", value_name = "SPIFFE ID")]
    client: SpiffeId,
    /// Serve gRPC, not HTTPS
    #[arg(long)]
    grpc: bool,
    /// The Workload API's address, instead of SPIFFE_ENDPOINT_SOCKET
    #[arg(long, value_name = "ADDRESS")]
    workload_api: Option<Address>,
}

/// How often prices move: more than once between two questions of the web application.
const PACE: Duration = Duration::from_millis(400);
/// How long a client may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            complain("stock-quotes-service", &*err);
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
    let protocols: &[&[u8]] = if flags.grpc { &[tls::ALPN_H2] } else { &[tls::ALPN_H2, tls::ALPN_HTTP_1_1] };
    let settings = tls_settings().with_alpn(protocols);
    let config = tls::server_config(&source, tls::authorize_id(flags.client.clone()), &settings)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let market = Arc::new(Mutex::new(Market::default()));
    tokio::spawn(trade(Arc::clone(&market)));
    let application = if flags.grpc {
        say(&format!("quotes for {} by gRPC at {}", flags.client, flags.listen));
        grpc(market)
    } else {
        say(&format!("quotes for {} at https://{}/quotes", flags.client, flags.listen));
        https(market)
    };
    let narrator = Arc::new(Narrator::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(acceptor.clone(), stream, application.clone(), Arc::clone(&narrator)));
            }
            // Too many open files, or a client that left already: the next one may fare better.
            Err(err) => {
                narrator.tell(format!("failed to accept a connection: {err}"));
                tokio::time::sleep(PACE).await;
            }
        }
    }
}

fn https(market: Arc<Mutex<Market>>) -> Router {
    let quotes = move || {
        let market = market.lock().unwrap_or_else(PoisonError::into_inner);
        std::future::ready(Json(market.quotes()))
    };
    Router::new().route("/quotes", get(quotes))
}

fn grpc(market: Arc<Mutex<Market>>) -> Router {
    Routes::new(StockQuotesServer::new(Quotes(market))).into_axum_router()
}

/// The gRPC service.
struct Quotes(Arc<Mutex<Market>>);

#[tonic::async_trait]
impl StockQuotes for Quotes {
    async fn list_quotes(
        &self,
        _: tonic::Request<ListQuotesRequest>,
    ) -> Result<tonic::Response<ListQuotesResponse>, tonic::Status> {
        let quotes = self.0.lock().unwrap_or_else(PoisonError::into_inner).quotes();
        Ok(tonic::Response::new(ListQuotesResponse { quotes: quotes.into_iter().map(Into::into).collect() }))
    }
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, application: Router, narrator: Arc<Narrator>) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => return narrator.tell(format!("refused a client: {err}")),
        Err(_) => return narrator.tell("refused a client: no handshake in time".to_owned()),
    };
    if let Ok(client) = tls::peer_id(stream.get_ref().1.peer_certificates().unwrap_or_default()) {
        narrator.tell(format!("answering {client}"));
    }
    let service = TowerToHyperService::new(application);
    // A connection that breaks is the client's affair.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn trade(market: Arc<Mutex<Market>>) {
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        market.lock().unwrap_or_else(PoisonError::into_inner).trade(|| OsRng.try_next_u32().unwrap_or_default());
    }
}

/// Prices that wander.
struct Market(Vec<Stock>);

struct Stock {
    symbol: &'static str,
    name: &'static str,
    /// Cents.
    open: u32,
    price: u32,
}

/// A quote as clients read it.
#[derive(Serialize)]
struct Quote {
    symbol: &'static str,
    name: &'static str,
    open: f64,
    price: f64,
}

impl From<Quote> for quotes::Quote {
    fn from(Quote { symbol, name, open, price }: Quote) -> Self {
        Self { symbol: symbol.to_owned(), name: name.to_owned(), open, price }
    }
}

impl Default for Market {
    fn default() -> Self {
        let listed = [
            ("ANVL", "Anvil Foundries", 18_420),
            ("BRCH", "Birch Timber", 4_315),
            ("CLVR", "Clover Dairies", 7_260),
            ("DLTA", "Delta Shipping", 31_105),
            ("ELMS", "Elm Street Books", 2_240),
            ("FRNL", "Fresnel Optics", 12_875),
            ("GRNT", "Granite Works", 9_930),
            ("HLCN", "Halcyon Airways", 5_580),
            ("ISLE", "Isle Breweries", 3_765),
            ("JNPR", "Juniper Pharma", 22_410),
        ];
        Self(listed.into_iter().map(|(symbol, name, open)| Stock { symbol, name, open, price: open }).collect())
    }
}

impl Market {
    /// Moves about two prices of three, each by at most half a percent and never below ten cents.
    fn trade(&mut self, mut random: impl FnMut() -> u32) {
        for stock in &mut self.0 {
            let random = random();
            if random.is_multiple_of(3) {
                continue;
            }
            // Hundredths of a percent, from -50 to 50.
            let step = i64::from(random / 3 % 101) - 50;
            let price = i64::from(stock.price) + i64::from(stock.price) * step / 10_000;
            stock.price = u32::try_from(price.max(10)).unwrap_or(stock.price);
        }
    }

    fn quotes(&self) -> Vec<Quote> {
        let units = |cents| f64::from(cents) / 100.0;
        self.0
            .iter()
            .map(|stock| Quote {
                symbol: stock.symbol,
                name: stock.name,
                open: units(stock.open),
                price: units(stock.price),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_move_by_half_a_percent_at_most() {
        let mut market = Market::default();
        let mut random = (0u32..).map(|step| step.wrapping_mul(2_654_435_761) >> 7);
        let mut moved = 0;
        for _ in 0..1000 {
            let before: Vec<u32> = market.0.iter().map(|stock| stock.price).collect();
            market.trade(|| random.next().unwrap());
            for (stock, before) in market.0.iter().zip(before) {
                assert!(stock.price >= 10 && stock.price.abs_diff(before) * 200 <= before, "{before}: {}", stock.price);
                moved += usize::from(stock.price != before);
            }
        }
        assert!(moved > 5000, "{moved}");
    }
}
