//! Who is at the other end of a connection.
//!
//! A process is known by its number, and numbers are used again. So the process is taken hold of when it connects: by a
//! pidfd, or where there is none by the time it started, and by its directory below `/proc`. Whoever has looked at it by its
//! number asks [`Process::check`] afterwards.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

/// The other end of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Peer {
    /// A process of this machine, over a Unix socket.
    Process(Arc<Process>),
    /// Somebody over the network: nothing more is known.
    Address(SocketAddr),
    /// Somebody in this process, over a pipe in memory.
    InMemory,
}

impl Peer {
    /// Takes hold of the process at the other end of a Unix socket.
    ///
    /// # Errors
    /// [`PeerError`] when the process is not visible from here or has gone.
    pub fn of_unix(stream: &UnixStream) -> Result<Self, PeerError> {
        let credentials = stream.peer_cred().map_err(|err| PeerError::Credentials { reason: err.to_string() })?;
        let pid = credentials.pid().and_then(Pid::from_raw).ok_or(PeerError::NotVisible)?;
        Process::hold(pid, credentials.uid(), credentials.gid()).map(|process| Self::Process(Arc::new(process)))
    }

    /// The process, where there is one.
    #[must_use]
    pub fn process(&self) -> Option<&Arc<Process>> {
        match self {
            Self::Process(process) => Some(process),
            _ => None,
        }
    }

    /// Checks that a process is still the one that connected; others always are.
    ///
    /// # Errors
    /// As [`Process::check`].
    pub fn check(&self) -> Result<(), PeerError> {
        self.process().map_or(Ok(()), |process| process.check())
    }
}

/// A process that has connected, held for as long as this value lives.
pub struct Process {
    pid: Pid,
    uid: u32,
    gid: u32,
    hold: Hold,
    directory: OwnedFd,
}

/// What tells a process from others that get its number later.
enum Hold {
    /// As long as the process that it holds lives, nobody else gets its number.
    Pidfd(OwnedFd),
    /// On kernels or in sandboxes without pidfds: whoever has the number now must have started then, in clock ticks since
    /// boot.
    Started(u64),
}

impl Process {
    /// Takes hold of the process that has the number `pid` now, for somebody who names others by their numbers.
    ///
    /// # Errors
    /// [`PeerError::Gone`] where there is none.
    pub fn of_pid(pid: i32) -> Result<Self, PeerError> {
        let gone = || PeerError::Gone { pid };
        let number = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or_else(gone)?;
        let owner = std::fs::metadata(format!("/proc/{pid}")).map_err(|_| gone())?;
        Self::hold(number, owner.uid(), owner.gid())
    }

    /// Takes hold of `pid`, which had these credentials when it connected.
    fn hold(pid: Pid, uid: u32, gid: u32) -> Result<Self, PeerError> {
        let gone = || PeerError::Gone { pid: pid.as_raw_pid() };
        let hold = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Hold::Pidfd(pidfd),
            Err(rustix::io::Errno::SRCH) => return Err(gone()),
            Err(_) => Hold::Started(start_time(pid).map_err(|_| gone())?),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, format!("/proc/{}", pid.as_raw_pid()), flags, Mode::empty()).map_err(|_| gone())?;
        let process = Self { pid, uid, gid, hold, directory };
        // That it lives still says that the directory is its own.
        process.check()?;
        Ok(process)
    }

    /// The process number, as seen from here.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// The effective user at the time it connected.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective group at the time it connected.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Its directory below `/proc`, which belongs to it alone, whoever gets its number later.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Checks that the process lives, is the one that connected, and has still the same effective user and group.
    /// Quick and without waiting.
    ///
    /// # Errors
    /// [`PeerError::Gone`], [`PeerError::ChangedUser`].
    pub fn check(&self) -> Result<(), PeerError> {
        let gone = || PeerError::Gone { pid: self.pid() };
        let is_gone = match &self.hold {
            Hold::Pidfd(pidfd) => has_exited(pidfd),
            Hold::Started(started) => start_time(self.pid).map_err(|_| gone())? != *started,
        };
        if is_gone {
            return Err(gone());
        }
        // Of a process that has gone this would say root, which is why that comes first.
        let owner = fstat(&self.directory).map_err(|_| gone())?;
        if (owner.st_uid, owner.st_gid) != (self.uid, self.gid) {
            return Err(PeerError::ChangedUser { pid: self.pid() });
        }
        Ok(())
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("pid", &self.pid()).field("uid", &self.uid).field("gid", &self.gid).finish()
    }
}

/// A pidfd is readable from the exit of its process on.
fn has_exited(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

/// Field 22 of `/proc/<pid>/stat`: when the process started, in clock ticks since boot.
fn start_time(pid: Pid) -> io::Result<u64> {
    parse_start_time(&std::fs::read(format!("/proc/{}/stat", pid.as_raw_pid()))?)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The name, field 2, may contain blanks and parentheses: what counts comes after the last of them.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(START_TIME_AFTER_NAME)?.parse().ok()
}

/// Fields are counted from 1, and the one after the name is number 3.
const START_TIME_AFTER_NAME: usize = 22 - 3;

/// Why a peer is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It runs under other credentials now than when it connected.
    #[error("process {pid} has changed its user or group since it connected")]
    ChangedUser {
        /// The process.
        pid: i32,
    },
    /// The socket does not tell.
    #[error("peer credentials of the connection are not available: {reason}")]
    Credentials {
        /// What the operating system said.
        reason: String,
    },
    /// It has ended; its number may be used by another already.
    #[error("process {pid} is no longer the one that connected")]
    Gone {
        /// The process.
        pid: i32,
    },
    /// The process lives in a PID namespace that cannot be seen from here.
    #[error("peer process is not visible in this PID namespace")]
    NotVisible,
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
    }

    fn hold(pid: u32) -> Result<Process, PeerError> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Process::hold(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), uid, gid)
    }

    #[test]
    fn a_name_with_parentheses_does_not_move_the_start_time() {
        let stat = b"4711 (a) b (c) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1";
        assert_eq!(parse_start_time(stat), Some(987_654));
        assert_eq!(parse_start_time(b"4711 (a) S 1 4711"), None);
        assert_eq!(parse_start_time(b"garbage"), None);
    }

    #[tokio::test]
    async fn the_peer_of_a_socket_pair_is_this_process() {
        let (one, _two) = UnixStream::pair().unwrap();
        let peer = Peer::of_unix(&one).unwrap();
        assert_eq!(peer.process().unwrap().pid(), i32::try_from(std::process::id()).unwrap());
        peer.check().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_is_gone() {
        let mut child = sleeper();
        let process = hold(child.id()).unwrap();
        process.check().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process.check(), Err(PeerError::Gone { pid: process.pid() }));
        assert!(openat(process.directory(), "status", OFlags::CLOEXEC, Mode::empty()).is_err());
        assert!(matches!(hold(child.id()), Err(PeerError::Gone { .. })));
    }

    #[test]
    fn a_number_that_is_used_again_is_seen_by_the_pidfd_and_by_the_start_time() {
        let mut child = sleeper();
        let process = hold(std::process::id()).unwrap();
        // As if the child had ended and this process had got its number.
        let started = Hold::Started(start_time(process.pid).unwrap());
        Process { hold: started, ..hold(std::process::id()).unwrap() }.check().unwrap();
        let another = Hold::Started(start_time(process.pid).unwrap() + 1);
        let reused = Process { hold: another, ..hold(std::process::id()).unwrap() };
        assert!(matches!(reused.check(), Err(PeerError::Gone { .. })));
        let ended = hold(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let reused = Process { hold: ended.hold, ..process };
        assert!(matches!(reused.check(), Err(PeerError::Gone { .. })));
    }

    #[test]
    fn a_process_is_held_by_its_number_alone() {
        let mut child = sleeper();
        let process = Process::of_pid(i32::try_from(child.id()).unwrap()).unwrap();
        process.check().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process.check(), Err(PeerError::Gone { pid: process.pid() }));
        for pid in [process.pid(), 0, -1] {
            assert!(matches!(Process::of_pid(pid), Err(PeerError::Gone { .. })));
        }
    }

    #[test]
    fn other_credentials_than_at_the_connection_are_refused() {
        let process = hold(std::process::id()).unwrap();
        let other = Process { uid: process.uid + 1, ..process };
        assert!(matches!(other.check(), Err(PeerError::ChangedUser { .. })));
    }
}
