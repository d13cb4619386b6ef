//! `entry delete`.

use std::io::Write as _;

use clap::Args;
use spire_api::proto::entry::{BatchDeleteEntryRequest, BatchDeleteEntryResponse};

use super::file;
use crate::command::Action;
use crate::error::Error;
use crate::files;
use crate::server::client::{Api, code_and_message, succeeded};
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(in crate::server) struct Delete {
    #[command(flatten)]
    api: Api,
    /// ID of the entry to delete
    #[arg(long = "entryID", value_name = "string", default_value = "")]
    entry_id: String,
    /// File with the IDs of entries in JSON (optional); - is standard input
    #[arg(long = "file", value_name = "string", default_value = "")]
    file: String,
}

impl Action for Delete {
    const NAME: &'static str = "entry delete";
    const SYNOPSIS: &'static str = "Deletes registration entries";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let ids = match (self.file.as_str(), self.entry_id.as_str()) {
            ("", "") => return Err(Error::refused("an entry ID is required")),
            ("", id) => vec![id.to_owned()],
            (path, _) => file::ids(&files::read_or_stdin(terminal, path)?)?,
        };
        let request = BatchDeleteEntryRequest { ids };
        let answer = self.api.entries(terminal)?.batch_delete_entry(request).await?.into_inner();
        self.api.output.print(terminal, &answer, report)
    }
}

fn report(terminal: &mut Terminal, answer: &BatchDeleteEntryResponse) -> Result<(), Error> {
    let (good, bad): (Vec<_>, Vec<_>) = answer.results.iter().partition(|result| succeeded(result.status.as_ref()));
    for result in &good {
        writeln!(terminal.stdout, "Deleted entry with ID: {}", result.id)?;
    }
    if !good.is_empty() {
        write!(terminal.stdout, "\n\n")?;
    }
    for result in &bad {
        let (code, message) = code_and_message(result.status.as_ref());
        let id = &result.id;
        writeln!(terminal.stderr, "Failed to delete entry with ID {id} (code: {code}, msg: {message:?})")?;
    }
    let (good, bad) = (good.len(), bad.len());
    // As in SPIRE, the last line has no end.
    match (good, bad) {
        (_, 0) => write!(terminal.stdout, "Deleted {good} entries successfully")?,
        (0, _) => write!(terminal.stdout, "\n\nFailed to delete {bad} entries")?,
        _ => write!(terminal.stdout, "\n\nDeleted {good} entries successfully, but failed to delete {bad} entries")?,
    }
    if bad > 0 { Err(Error::refused("failed to delete one or more entries")) } else { Ok(()) }
}
