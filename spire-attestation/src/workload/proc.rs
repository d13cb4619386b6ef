//! One process as `/proc` shows it, through a directory that is opened once: when the process ends, what is read through
//! it fails, and never tells about a later process of the same number.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags};

use super::Workload;
use crate::ProcessError;

/// An opened `/proc/<pid>`. Every call may block for a moment.
pub(super) struct ProcDir<'a> {
    pid: u32,
    dir: Dir<'a>,
}

enum Dir<'a> {
    Opened(OwnedFd),
    Held(BorrowedFd<'a>),
}

impl AsFd for Dir<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Opened(dir) => dir.as_fd(),
            Self::Held(dir) => *dir,
        }
    }
}

/// What `/proc/<pid>/status` says about the owner.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The effective user.
    pub(super) uid: u32,
    /// The effective group.
    pub(super) gid: u32,
    /// The supplementary groups, in the kernel's order.
    pub(super) groups: Vec<u32>,
}

impl<'a> ProcDir<'a> {
    /// The directory of a process that has called: the one that is held, or the one of its number.
    pub(super) fn of(root: &Path, workload: &'a Workload) -> Result<Self, ProcessError> {
        match workload.directory().filter(|_| root == Path::new("/proc")) {
            Some(dir) => Ok(Self { pid: workload.pid(), dir: Dir::Held(dir) }),
            None => Self::open(root, workload.pid()),
        }
    }

    pub(super) fn open(root: &Path, pid: u32) -> Result<Self, ProcessError> {
        let path = root.join(pid.to_string());
        match rustix::fs::openat(CWD, &path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty()) {
            Ok(dir) => Ok(Self { pid, dir: Dir::Opened(dir) }),
            Err(rustix::io::Errno::NOENT) => Err(ProcessError::Gone { pid }),
            Err(errno) => Err(ProcessError::Io { pid, what: "directory", source: errno.into() }),
        }
    }

    #[cfg(feature = "docker")]
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// A small file as text; `None` where there is none.
    #[cfg(feature = "docker")]
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, ProcessError> {
        let mut text = String::new();
        match self.open_file(name).and_then(|file| file.take(MAX_TEXT_BYTES).read_to_string(&mut text)) {
            Ok(read) if read as u64 == MAX_TEXT_BYTES => {
                Err(ProcessError::Malformed { pid: self.pid, what: name, reason: "too long" })
            }
            Ok(_) => Ok(Some(text)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(self.io(name, err)),
        }
    }

    pub(super) fn owner(&self) -> Result<Owner, ProcessError> {
        // Room for all of it at once; each read is a call of the kernel.
        let mut status = String::with_capacity(STATUS_BYTES);
        self.open_file("status")
            .and_then(|file| file.take(MAX_STATUS_BYTES).read_to_string(&mut status))
            .map_err(|source| self.io("status", source))?;
        parse_status(&status).map_err(|reason| ProcessError::Malformed { pid: self.pid, what: "status", reason })
    }

    /// The path of the executable, as seen where the process runs; the kernel appends ` (deleted)` to one that has gone.
    pub(super) fn exe_path(&self) -> Result<String, ProcessError> {
        let target = rustix::fs::readlinkat(&self.dir, "exe", Vec::new())
            .map_err(|errno| self.io("path", errno.into()))?
            .into_string();
        target.map_err(|_| ProcessError::Malformed { pid: self.pid, what: "path", reason: "not UTF-8" })
    }

    /// The executable itself, also where its path leads nowhere in this process's file system.
    pub(super) fn exe_file(&self) -> Result<File, ProcessError> {
        self.open_file("exe").map_err(|source| self.io("executable", source))
    }

    pub(super) fn io(&self, what: &'static str, source: io::Error) -> ProcessError {
        // ESRCH: the process ended after its directory was opened.
        if source.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) {
            return ProcessError::Gone { pid: self.pid };
        }
        ProcessError::Io { pid: self.pid, what, source }
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
    }
}

fn parse_status(status: &str) -> Result<Owner, &'static str> {
    let (mut uids, mut gids, mut groups) = (None, None, None);
    for (key, text) in status.lines().filter_map(|line| line.split_once(':')) {
        match key {
            "Uid" => uids = Some(numbers(text)?),
            "Gid" => gids = Some(numbers(text)?),
            "Groups" => groups = Some(numbers(text)?),
            _ => continue,
        }
        if uids.is_some() && gids.is_some() && groups.is_some() {
            break;
        }
    }
    Ok(Owner {
        uid: effective(&uids.ok_or("no line Uid")?).ok_or("no user in line Uid")?,
        gid: effective(&gids.ok_or("no line Gid")?).ok_or("no group in line Gid")?,
        groups: groups.unwrap_or_default(),
    })
}

/// Of real, effective, saved and file-system number the second; the only one where there is one.
fn effective(numbers: &[u32]) -> Option<u32> {
    numbers.get(1).or(numbers.first()).copied()
}

fn numbers(text: &str) -> Result<Vec<u32>, &'static str> {
    text.split_ascii_whitespace().map(|number| number.parse().map_err(|_| "not a number")).collect()
}

/// A process may be in 65,536 groups of up to ten digits each.
const MAX_STATUS_BYTES: u64 = 1024 * 1024;

/// Of a process in few groups, with room to spare.
const STATUS_BYTES: usize = 4096;

/// A machine has a few thousand mounts at most.
#[cfg(feature = "docker")]
const MAX_TEXT_BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_ids_are_taken() {
        let owner =
            parse_status("Name:\tx\nUid:\t1000\t2000\t3000\t4000\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n").unwrap();
        assert_eq!(owner, Owner { uid: 2000, gid: 6, groups: vec![10, 20] });
    }

    #[test]
    fn a_single_id_is_taken_as_it_is() {
        let owner = parse_status("Uid:\t7\nGid:\t8\n").unwrap();
        assert_eq!(owner, Owner { uid: 7, gid: 8, groups: vec![] });
    }

    #[test]
    fn a_process_cannot_add_lines_by_its_name() {
        // The kernel escapes line breaks in names; a name that looks like another line stays behind `Name:`.
        let owner = parse_status("Name:\tUid:\t0\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\n").unwrap();
        assert_eq!(owner.uid, 7);
    }

    #[test]
    fn a_status_without_owner_is_refused() {
        for status in ["", "Uid:\n", "Uid:\t1\n", "Uid:\t1\nGid:\n", "Uid:\tx\nGid:\t1\n", "Uid:\t-1\nGid:\t1\n"] {
            assert!(parse_status(status).is_err(), "{status:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_status_is_read_without_panic(status in "(Uid|Gid|Groups|x)?:?[ \t0-9a\n-]{0,40}") {
            let _ = parse_status(&status);
        }
    }
}
