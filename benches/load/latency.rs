//! From a change of the registry to the SVID in a workload's hands, and what held streams cost.

use std::time::{Duration, Instant};

use tokio_stream::StreamExt as _;
use workload_api::client::X509;

use crate::deployment::{Deployment, RunningAgent};
use crate::{Failure, registry};

/// SPIRE's agents need up to two polls of five seconds; whoever takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause of a workload that has no identity yet and asks again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Milliseconds from each `entry create` to its SVID on a stream that was open before.
pub(crate) async fn on_open_stream(
    deployment: &Deployment,
    agent: &RunningAgent,
    node: &str,
    samples: usize,
) -> Result<Vec<f64>, Failure> {
    let client = agent.client()?;
    let mut stream = client.stream::<X509>().await?;
    let mut milliseconds = Vec::with_capacity(samples);
    let mut created = Vec::new();
    for number in 0..samples {
        let name = format!("latency-{number}");
        let start = Instant::now();
        let ids = registry::create(deployment.admin(), vec![registry::own_workload(node, &name)]).await?;
        created.extend(ids);
        let path = format!("/{name}");
        loop {
            let context = tokio::time::timeout(PATIENCE, stream.next()).await?.ok_or("the stream ended")??;
            if context.identities.iter().any(|identity| identity.svid.id().path() == path) {
                break;
            }
        }
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        // Out of step with the polls of an agent that polls.
        tokio::time::sleep(Duration::from_millis(37 * (u64::try_from(number)? % 29))).await;
    }
    registry::delete(deployment.admin(), created).await?;
    Ok(milliseconds)
}

/// The same for a workload that has no other identity: one entry is made first, so that the stream can be opened.
pub(crate) async fn on_open_stream_from_nothing(
    deployment: &Deployment,
    agent: &RunningAgent,
    node: &str,
    samples: usize,
) -> Result<Vec<f64>, Failure> {
    let ids = registry::create(deployment.admin(), vec![registry::own_workload(node, "latency")]).await?;
    let client = agent.client()?;
    wait(PATIENCE, || async { Ok(client.fetch_x509_context().await.is_ok()) }).await?;
    let milliseconds = on_open_stream(deployment, agent, node, samples).await?;
    registry::delete(deployment.admin(), ids).await?;
    Ok(milliseconds)
}

/// Milliseconds from the first entry of a workload, which asks all the while, to its SVID.
pub(crate) async fn first_entry(
    deployment: &Deployment,
    agent: &RunningAgent,
    node: &str,
    samples: usize,
) -> Result<Vec<f64>, Failure> {
    let mut milliseconds = Vec::with_capacity(samples);
    for number in 0..samples {
        let client = agent.client()?;
        wait(PATIENCE, || async { Ok(client.fetch_x509_context().await.is_err()) }).await?;
        let start = Instant::now();
        let name = format!("first-{number}");
        let ids = registry::create(deployment.admin(), vec![registry::own_workload(node, &name)]).await?;
        wait(PATIENCE, || async { Ok(client.fetch_x509_context().await.is_ok()) }).await?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        registry::delete(deployment.admin(), ids).await?;
    }
    // What was deleted is gone before others count on what they have.
    let client = agent.client()?;
    wait(PATIENCE, || async { Ok(client.fetch_x509_context().await.is_err()) }).await?;
    Ok(milliseconds)
}

/// Asks until it is so.
pub(crate) async fn wait<F>(patience: Duration, is_so: impl Fn() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<bool, Failure>>,
{
    let start = Instant::now();
    while !is_so().await? {
        if start.elapsed() > patience {
            return Err(format!("waited {patience:?} in vain").into());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
}

/// Resident memory of an agent, in MiB, that holds so many streams of X.509-SVIDs, each over its own connection.
pub(crate) async fn held_streams(agent: &RunningAgent, count: usize) -> Result<f64, Failure> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let client = agent.client()?;
        let mut stream = client.stream::<X509>().await?;
        stream.next().await.ok_or("the stream ended")??;
        streams.push((client, stream));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    agent.process.resident_mib()
}
