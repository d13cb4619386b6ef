//! The tasks of one server or agent: started together, ended together, the first failure ends all.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of tasks with one switch. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    shutdown: CancellationToken,
    tracker: TaskTracker,
    failure: Arc<Mutex<Option<String>>>,
}

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the set is to end; tasks watch it.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task that ends by itself once the shutdown token is cancelled. Its failure ends the set, and so does a
    /// panic in it.
    pub fn spawn<E: Display>(&self, name: &'static str, task: impl Future<Output = Result<(), E>> + Send + 'static) {
        let ending = Ending { set: self.clone(), name, failure: None };
        // Tasks are large: whoever starts them would move them about on its stack, and never give that back.
        let task = Box::pin(task);
        self.tracker.spawn(async move {
            let mut ending = ending;
            ending.failure = task.await.err().map(|err| err.to_string());
        });
    }

    /// Starts a task that is simply dropped when the set ends: it must not hold anything that needs an orderly end.
    pub fn spawn_until_shutdown(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (shutdown, task) = (self.shutdown.clone(), Box::pin(task));
        self.tracker.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Waits until the set is told to end, by [`Self::shutdown`] or by a task's failure.
    pub async fn ended(&self) {
        self.shutdown.cancelled().await;
    }

    /// Ends all tasks and waits for them, at most `deadline`.
    ///
    /// # Errors
    /// The first failure of a task, or that some did not end in time.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), String> {
        self.shutdown.cancel();
        self.tracker.close();
        let in_time = tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok();
        if let Some(failure) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        if in_time { Ok(()) } else { Err(format!("{} tasks did not end within {deadline:?}", self.tracker.len())) }
    }
}

/// Tells the set how a task ended, when it is dropped.
struct Ending {
    set: Tasks,
    name: &'static str,
    failure: Option<String>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let panicked = || std::thread::panicking().then(|| "panicked".to_owned());
        if let Some(err) = self.failure.take().or_else(panicked) {
            let name = self.name;
            tracing::error!(%err, task = name, "task failed");
            let mut failure = self.set.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| format!("{name}: {err}"));
            self.set.shutdown.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_the_set_and_is_told() {
        let tasks = Tasks::new();
        tasks.spawn("driver", async {
            let nothing: Option<()> = None;
            nothing.map(Ok::<(), String>).expect("a fault")
        });
        tasks.ended().await;
        assert_eq!(tasks.shutdown(Duration::from_secs(1)).await.unwrap_err(), "driver: panicked");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_ends_every_task() {
        let tasks = Tasks::new();
        let token = tasks.shutdown_token();
        tasks.spawn("watcher", async move {
            token.cancelled().await;
            Ok::<(), String>(())
        });
        tasks.spawn_until_shutdown(std::future::pending());
        tasks.shutdown(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_the_set_and_is_told() {
        let tasks = Tasks::new();
        tasks.spawn("listener", async { Err("port taken") });
        tasks.ended().await;
        assert_eq!(tasks.shutdown(Duration::from_secs(1)).await.unwrap_err(), "listener: port taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_does_not_hold_up_the_end() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", async {
            std::future::pending::<()>().await;
            Ok::<(), String>(())
        });
        assert!(tasks.shutdown(Duration::from_secs(1)).await.is_err());
    }
}
