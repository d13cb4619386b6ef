//! What connected agents cost a server when nothing changes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::ext_registry::registry_client::RegistryClient;
use spire_api::proto::ext_registry::{FollowRequest, FollowResponse};
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};

use crate::Failure;
use crate::deployment::Deployment;
use crate::node::{self, Dialer};
use crate::rows::sync_once;

/// SPIRE's agents ask that often.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before a stream is opened anew.
const REOPEN: Duration = Duration::from_millis(100);

/// What a server does while so many agents are connected and up to date.
pub(crate) struct Idle {
    /// CPU time, in per cent of one core.
    pub(crate) cpu: f64,
    /// Calls of its database a second, if it tells its metrics.
    pub(crate) database_calls: Option<f64>,
}

pub(crate) async fn connected_agents(deployment: &Deployment, count: usize, length: Duration) -> Result<Idle, Failure> {
    let mut agents = JoinSet::new();
    for number in 0..count {
        let dialer = node::join(deployment, &format!("/idle-{number}")).await?;
        agents.spawn(agent(dialer, SYNC_INTERVAL.mul_f64(fraction(number, count))));
    }
    tokio::time::sleep(SYNC_INTERVAL * 2).await;
    let calls = || deployment.metrics.map(database_calls).transpose();
    let calls_before = calls()?;
    let (start, before) = (Instant::now(), deployment.server.cpu()?);
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        Some(ended) = agents.join_next() => return Err(format!("an agent stopped: {ended:?}").into()),
    }
    let used = deployment.server.cpu()?.saturating_sub(before);
    let seconds = start.elapsed().as_secs_f64();
    let database_calls = calls_before.zip(calls()?).map(|(before, after)| (after - before) / seconds);
    Ok(Idle { cpu: 100.0 * used.as_secs_f64() / seconds, database_calls })
}

/// How many calls of its database a server has counted.
fn database_calls(metrics: SocketAddr) -> Result<f64, Failure> {
    let mut connection = TcpStream::connect(metrics)?;
    connection.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut page = String::new();
    connection.read_to_string(&mut page)?;
    let counters = page
        .lines()
        .filter(|line| line.starts_with("spire_server_datastore_") && !line.contains("_elapsed_time"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counters.sum())
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred agents")]
fn fraction(number: usize, count: usize) -> f64 {
    number as f64 / count as f64
}

/// Stays up to date as the server's own agents do: ours are told, SPIRE's ask.
async fn agent(dialer: Dialer, phase: Duration) -> Result<(), Failure> {
    tokio::time::sleep(phase).await;
    loop {
        match follow(&dialer).await {
            Ok(mut told) => while told.message().await.is_ok_and(|step| step.is_some()) {},
            Err(status) if status.code() == Code::Unimplemented => return poll(dialer).await,
            Err(status) => return Err(status.into()),
        }
        tokio::time::sleep(REOPEN).await;
    }
}

async fn follow(dialer: &Dialer) -> Result<Streaming<FollowResponse>, Status> {
    let client = RegistryClient::new(dialer.channel());
    let mut client = client.max_decoding_message_size(spire_api::channel::MAX_RESPONSE_LENGTH);
    Ok(client.follow(FollowRequest::default()).await?.into_inner())
}

async fn poll(dialer: Dialer) -> Result<(), Failure> {
    let channel = dialer.channel();
    loop {
        BundleClient::new(channel.clone()).get_bundle(GetBundleRequest::default()).await?;
        sync_once(channel.clone()).await?;
        tokio::time::sleep(SYNC_INTERVAL).await;
    }
}
