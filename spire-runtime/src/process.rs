//! What a binary does around its server or agent: threads, signals, the mask for new files.

use std::io;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::log::Logging;

/// Threads for a process that serves: as many workers as processors, and few for what blocks.
///
/// # Errors
/// When threads cannot be made.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_THREADS_WAIT)
        .enable_all()
        .build()
}

/// Files, datastore and processes are looked into by this many threads at most.
const MAX_BLOCKING_THREADS: usize = 64;
/// How long they wait for more to do.
const BLOCKING_THREADS_WAIT: Duration = Duration::from_secs(1);

/// Takes from the mode of new files and directories what others could do with them, and what the group could write; more
/// than that where it was so before.
pub fn restrict_new_files() {
    let before = rustix::process::umask(LEAST_MASK);
    let mask = before | LEAST_MASK;
    rustix::process::umask(mask);
    if before != mask {
        tracing::warn!(
            current = format!("{:04o}", before.bits()),
            new = format!("{:04o}", mask.bits()),
            "umask raised, so that nobody else reads what is written"
        );
    }
}

/// Lets the process hold as many files and sockets open as the system grants it: what it has at first is meant for programs
/// that cannot bear more, which are none of ours.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(err) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%err, "limit of open files cannot be raised");
    }
}

/// A `part`th of the files and sockets that the process may hold open, for a limit of connections.
#[must_use]
pub fn share_of_descriptors(part: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.unwrap_or(usize::MAX) / part.max(1)
}

const LEAST_MASK: Mode = Mode::WGRP.union(Mode::RWXO);

/// The signals that end a process, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches SIGINT and SIGTERM from now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Opens the log's file anew at each SIGUSR2, until `shutdown`. SIGUSR1, by which SPIRE's operators have plugins read
/// their `plugin_data_file` again, is noted, and ends nothing. Needs a tokio runtime.
///
/// # Errors
/// When a signal cannot be caught.
pub fn answer_signals(logging: Logging, shutdown: CancellationToken) -> io::Result<()> {
    let (mut reconfigure, mut reopen) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        loop {
            tokio::select! {
                Some(()) = reconfigure.recv() => {
                    tracing::warn!("Reconfigure signal received: plugins read their configuration at the start alone");
                }
                Some(()) = reopen.recv() => match logging.reopen() {
                    Ok(()) => tracing::info!("log file reopened"),
                    Err(err) => tracing::error!(%err, "log file could not be reopened, the old one is used"),
                },
                else => return,
            }
        }
    }));
    Ok(())
}
