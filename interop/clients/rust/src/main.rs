//! What the Workload API offers to Rust's `spiffe`, before and after a rotation, and mTLS with ADDRESS by
//! `spiffe-rustls`. Takes ID and ADDRESS; exits with 1 when anything is wrong.

use std::sync::Arc;
use std::time::Duration;

use spiffe::{WorkloadApiClient, X509Source};
use spiffe_rustls::{authorizer, mtls_client};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const AUDIENCE: &str = "interop";

#[tokio::main]
async fn main() {
    if let Err(err) = run().await {
        eprintln!("rust spiffe: {err}");
        std::process::exit(1);
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, expected, address] = arguments.as_slice() else { return Err("usage: interop-rust ID ADDRESS".into()) };
    let client = WorkloadApiClient::connect_env().await?;
    let source = X509Source::new().await?;
    let first = source.svid()?;
    check(first.spiffe_id().to_string() == *expected, "another ID")?;
    tokens(&client, expected).await?;
    greeting(&source, expected, address).await?;
    tokio::time::timeout(Duration::from_secs(120), rotation(&source)).await??;
    greeting(&source, expected, address).await?;
    println!("x509-svid, jwt-svid, mtls, rotation {expected}");
    source.shutdown().await;
    Ok(())
}

async fn tokens(client: &WorkloadApiClient, expected: &str) -> Result<()> {
    let token = client.fetch_jwt_token([AUDIENCE], None).await?;
    let validated = client.validate_jwt_token(AUDIENCE, &token).await?;
    check(validated.spiffe_id().to_string() == expected, "validation gave another ID")?;
    check(client.validate_jwt_token("other", &token).await.is_err(), "a token for another audience was accepted")?;
    client.fetch_jwt_bundles().await?;
    Ok(())
}

async fn greeting(source: &X509Source, expected: &str, address: &str) -> Result<()> {
    let config = mtls_client(source.clone()).authorize(authorizer::exact([expected])?).build()?;
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    let stream = TcpStream::connect(address).await?;
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let mut greeting = [0; 5];
    tls.read_exact(&mut greeting).await?;
    check(&greeting == b"hello", "mTLS carried something else")
}

/// Returns when the SVID is another one.
async fn rotation(source: &X509Source) -> Result<()> {
    let mut updates = source.updated();
    let first = source.svid()?.leaf().as_bytes().to_vec();
    while source.svid()?.leaf().as_bytes() == first {
        updates.changed().await?;
    }
    Ok(())
}

fn check(wanted: bool, what: &str) -> Result<()> {
    if wanted { Ok(()) } else { Err(what.into()) }
}
