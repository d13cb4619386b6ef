//! Names of users and groups, from `/etc/passwd` and `/etc/group` as the agent sees them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// The names that `ids` (third field) have in `file`: the first line wins. An id without a name is left out, all are when
/// the file cannot be read. May block for a moment.
pub(super) fn names_of(file: &Path, ids: &BTreeSet<u32>) -> BTreeMap<u32, String> {
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
    fn a_last_line_without_a_line_break_counts() {
        assert_eq!(parse_line(b"adm:x:4:ada,bob"), Some(("adm", 4)));
    }
}
