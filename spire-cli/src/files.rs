//! Files that commands read and write.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::Error;
use crate::terminal::Terminal;

/// A certificate or a bundle: for everybody to read.
pub(crate) const PUBLIC: u32 = 0o644;
/// A key or a token: for its owner.
pub(crate) const PRIVATE: u32 = 0o600;

/// The contents of a file; `-` is standard input.
pub(crate) fn read_or_stdin(terminal: &mut Terminal, path: &str) -> Result<Vec<u8>, Error> {
    if path == "-" { Ok(terminal.read_stdin()?) } else { read(Path::new(path)) }
}

/// The contents of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::open(path, source))
}

/// Replaces a file. One that is private is so from the moment it exists, and an old one is made so.
pub(crate) fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Error> {
    let fail = |source| Error::open(path, source);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path).map_err(fail)?;
    if mode == PRIVATE {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(fail)?;
    }
    file.write_all(contents).map_err(fail)
}
