//! Turns: many callers for a while, and what they cost the process under test.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use crate::Failure;
use crate::process::Process;

/// What one turn showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// CPU time of the process under test per operation, in µs.
    pub(crate) cpu_us: f64,
    /// Operations a second, as long as nothing else disturbs.
    pub(crate) per_second: f64,
    /// How many were done.
    pub(crate) operations: u64,
}

/// One turn of a row: does the same each time it is called.
pub(crate) type Turn<'a> = Box<dyn FnMut(Duration) -> BoxFuture<'a, Result<Figure, Failure>> + 'a>;

/// Lets every caller call until the turn is over; each call is worth `worth` operations.
pub(crate) async fn turn<C, F>(
    process: &Process,
    length: Duration,
    worth: u64,
    callers: impl IntoIterator<Item = C>,
) -> Result<Figure, Failure>
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send,
{
    let before = process.cpu()?;
    let start = Instant::now();
    let mut running = JoinSet::new();
    for mut caller in callers {
        running.spawn(async move {
            let mut calls = 0;
            while start.elapsed() < length {
                caller().await?;
                calls += 1;
            }
            Ok::<u64, Failure>(calls)
        });
    }
    let operations = worth * join(running).await?;
    figure(process, before, start, operations)
}

/// Does each job once, `callers` of them at a time.
pub(crate) async fn jobs<J, F>(
    process: &Process,
    callers: usize,
    jobs: Vec<J>,
    call: impl Fn(J) -> F + Clone + Send + 'static,
) -> Result<Figure, Failure>
where
    J: Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send,
{
    let operations = jobs.len();
    let jobs = std::sync::Arc::new(std::sync::Mutex::new(jobs));
    let before = process.cpu()?;
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (jobs, call) = (std::sync::Arc::clone(&jobs), call.clone());
        running.spawn(async move {
            loop {
                let job = jobs.lock().map_err(|_| "a caller panicked")?.pop();
                match job {
                    Some(job) => call(job).await?,
                    None => return Ok::<u64, Failure>(0),
                }
            }
        });
    }
    join(running).await?;
    figure(process, before, start, u64::try_from(operations)?)
}

async fn join(mut running: JoinSet<Result<u64, Failure>>) -> Result<u64, Failure> {
    let mut sum = 0;
    while let Some(calls) = running.join_next().await {
        sum += calls??;
    }
    Ok(sum)
}

#[expect(clippy::cast_precision_loss, reason = "far fewer operations than 2^52")]
fn figure(process: &Process, before: Duration, start: Instant, operations: u64) -> Result<Figure, Failure> {
    let seconds = start.elapsed().as_secs_f64();
    let cpu = process.cpu()?.saturating_sub(before);
    let count = operations.max(1) as f64;
    Ok(Figure { cpu_us: cpu.as_secs_f64() * 1e6 / count, per_second: count / seconds, operations })
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The value that so many per cent do not exceed; zero without values.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
