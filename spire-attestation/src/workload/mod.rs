//! Workload attestation: finds out what a calling process is, as selectors.
//!
//! A process is named by its number, and numbers are used again. So a [`Workload`] carries the means to ask whether the
//! process is still the one that called: an attestor asks after it has taken hold of the process and before it reports.

use std::{
    fmt::{self, Debug},
    os::fd::BorrowedFd,
    sync::Arc,
};

use async_trait::async_trait;
use spire_types::Selector;

use crate::{Error, ProcessError};

#[cfg(feature = "docker")]
mod cgroup;
#[cfg(feature = "docker")]
pub mod docker;
mod passwd;
mod proc;
#[cfg(feature = "systemd")]
pub mod systemd;
pub mod unix;

/// One way to attest workloads. One value serves all callers of the process; attestations run at the same time.
#[async_trait]
pub trait WorkloadAttestor: Debug + Send + Sync {
    /// The method's name in the configuration; also the type of its selectors: `unix`.
    fn name(&self) -> &str;

    /// Finds the selectors of `workload`; an empty list says that this method has nothing to say about it. Never blocks
    /// the runtime. May be dropped at any time, when the caller has gone or waited too long.
    ///
    /// # Errors
    /// When the workload could not be looked at; other methods may still know it.
    async fn attest(&self, workload: &Workload) -> Result<Vec<Selector>, Error>;
}

/// A process that has called, kept hold of for as long as this value lives.
#[derive(Clone)]
pub struct Workload {
    pid: u32,
    hold: Arc<dyn Hold>,
}

/// The hold of one process: what the one who accepted the connection keeps (a pidfd, a start time).
pub trait Hold: Send + Sync {
    /// Whether the process still runs and is the one that called. Called off the runtime and on it: quick, and without
    /// waiting.
    fn is_same_process(&self) -> bool;

    /// The process's directory below `/proc`, where it is held open: what is read through it is of this process alone.
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Workload {
    /// The process `pid`, as numbered where this process runs, watched by `hold`.
    pub fn new(pid: u32, hold: Arc<dyn Hold>) -> Self {
        Self { pid, hold }
    }

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process's directory below `/proc`, where whoever holds the process holds that too.
    #[must_use]
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.hold.directory()
    }

    /// Checks that the process is still the one that called.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] when it is not.
    pub fn check(&self) -> Result<(), ProcessError> {
        if self.hold.is_same_process() { Ok(()) } else { Err(ProcessError::Gone { pid: self.pid }) }
    }
}

impl Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl<F: Fn() -> bool + Send + Sync> Hold for F {
    fn is_same_process(&self) -> bool {
        self()
    }
}
