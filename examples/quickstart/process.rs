//! The processes that were started: watched, and ended together.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::Result;

/// How long a process may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(5);
/// How much of a log is told.
const TAIL: usize = 15;

/// In the order in which they were started.
#[derive(Default)]
pub(crate) struct Processes(Vec<Process>);

struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

/// A process that has ended by itself.
pub(crate) struct Ended {
    name: String,
    status: ExitStatus,
    tail: String,
}

impl Processes {
    /// Starts it, with its output in `log`. It gets a process group of its own: a Ctrl-C in the terminal reaches this
    /// program alone, which ends the others in order.
    pub(crate) fn start(&mut self, name: String, mut command: Command, log: PathBuf) -> Result<u32> {
        let output = File::create(&log).map_err(|err| format!("{}: {err}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|err| format!("failed to start {name}: {err}"))?;
        let pid = child.id().ok_or_else(|| format!("{name} ended at once"))?;
        self.0.push(Process { name, log, child });
        Ok(pid)
    }

    /// Those that have ended since this was last asked; they are forgotten.
    pub(crate) fn ended(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.0.retain_mut(|process| match process.child.try_wait() {
            Ok(Some(status)) => {
                ended.push(Ended { name: process.name.clone(), status, tail: process.tail() });
                false
            }
            _ => true,
        });
        ended
    }

    /// # Errors
    /// When one has ended.
    pub(crate) fn all_alive(&mut self) -> Result<()> {
        match self.ended().first() {
            None => Ok(()),
            Some(ended) => Err(ended.to_string().into()),
        }
    }

    /// What each has written last.
    pub(crate) fn tails(&self) -> String {
        self.0.iter().map(|process| format!("\n{}:\n{}", process.name, process.tail())).collect()
    }

    /// Ends all, the last one that was started first.
    pub(crate) async fn shutdown(&mut self) {
        while let Some(mut process) = self.0.pop() {
            let pid = process.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
            // Neither fails but for a process that has ended by itself.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            if tokio::time::timeout(FAREWELL, process.child.wait()).await.is_err() {
                let _ = process.child.kill().await;
            }
        }
    }
}

impl Process {
    fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(TAIL)).map(|line| format!("    {line}\n")).collect()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has ended ({}); the end of its log:\n{}", self.name, self.status, self.tail)
    }
}
