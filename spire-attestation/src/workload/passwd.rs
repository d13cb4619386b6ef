//! Names of users and groups, from `/etc/passwd` and `/etc/group` as the agent sees them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The names in one file, read again when the file is another.
#[derive(Debug)]
pub(super) struct Names {
    file: PathBuf,
    known: Mutex<Known>,
}

/// What has been found out, and of which state of the file: `None` is no name.
#[derive(Debug, Default)]
struct Known {
    of: Option<Stamp>,
    names: BTreeMap<u32, Option<String>>,
}

/// What differs when a file is replaced or written: device, inode, length, and the time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

impl Names {
    pub(super) fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), known: Mutex::default() }
    }

    /// The names that `ids` have, as [`names_of`] finds them. Reads the file only when it, or an ID, is new.
    pub(super) fn of(&self, ids: &BTreeSet<u32>) -> BTreeMap<u32, String> {
        let stamp = std::fs::metadata(&self.file)
            .ok()
            .map(|file| (file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The state is taken before the file is read: a change in between is seen the next time.
        if known.of != stamp || known.names.len() > MAX_KNOWN {
            *known = Known { of: stamp, names: BTreeMap::new() };
        }
        let new: BTreeSet<u32> = ids.iter().copied().filter(|id| !known.names.contains_key(id)).collect();
        if !new.is_empty() {
            let mut found = names_of(&self.file, &new);
            known.names.extend(new.into_iter().map(|id| (id, found.remove(&id))));
        }
        ids.iter().filter_map(|id| Some((*id, known.names.get(id)?.clone()?))).collect()
    }
}

/// IDs that are remembered; a process may have 65,536 groups.
const MAX_KNOWN: usize = 4096;

/// The names that `ids` (third field) have in `file`: the first line wins. An id without a name is left out, all are when
/// the file cannot be read. May block for a moment.
fn names_of(file: &Path, ids: &BTreeSet<u32>) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let Ok(file) = File::open(file) else { return names };
    let mut lines = BufReader::new(file.take(MAX_FILE_BYTES));
    let mut line = Vec::new();
    while names.len() < ids.len() && lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if let Some((name, id)) = parse_line(&line).filter(|(_, id)| ids.contains(id)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
        line.clear();
    }
    names
}

fn parse_line(line: &[u8]) -> Option<(&str, u32)> {
    let line = std::str::from_utf8(line).ok()?.trim();
    let mut fields = line.split(':');
    let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
    // `+` and `-` lead lines of NIS, `#` comments.
    let is_name = !name.is_empty() && !name.starts_with(['+', '-', '#']);
    is_name.then_some((name, number.parse().ok()?))
}

/// What lies behind this many bytes is not seen.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        fs::write(&file, "root:x:0:0:root:/root:/bin/sh\n# note:x:7:\n+nis:x:7::\n\nbad\nada:x:7:7\nbob:x:7:7:last")
            .unwrap();
        let names = names_of(&file, &BTreeSet::from([0, 7, 8]));
        assert_eq!(names, BTreeMap::from([(0, "root".to_owned()), (7, "ada".to_owned())]));
        assert!(names_of(&dir.path().join("absent"), &BTreeSet::from([0])).is_empty());
    }

    #[test]
    fn a_file_that_has_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::new(dir.path().join("passwd"));
        let ids = BTreeSet::from([7, 8]);
        assert!(names.of(&ids).is_empty());
        fs::write(&names.file, "ada:x:7:7\n").unwrap();
        assert_eq!(names.of(&ids), BTreeMap::from([(7, "ada".to_owned())]));
        assert_eq!(names.of(&ids), BTreeMap::from([(7, "ada".to_owned())]));
        // As tools do it: written beside, and renamed.
        fs::write(dir.path().join("new"), "eve:x:7:7\nbob:x:8:8\n").unwrap();
        fs::rename(dir.path().join("new"), &names.file).unwrap();
        assert_eq!(names.of(&ids), BTreeMap::from([(7, "eve".to_owned()), (8, "bob".to_owned())]));
    }

    #[test]
    fn a_last_line_without_a_line_break_counts() {
        assert_eq!(parse_line(b"adm:x:4:ada,bob"), Some(("adm", 4)));
    }
}
