//! `experimental bundle delete`, `list`, `set`, `show`: the commands of SPIRE 0.8 to 0.11, which exchanged bundles in the
//! format of SPIFFE before `bundle` had a format to choose. They warn, and do what `bundle` does.

use std::io::{self, Write as _};

use clap::Args;

use super::bundle;
use super::client::Api;
use crate::command::Action;
use crate::error::Error;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    api: Api,
    /// Format of the bundle: "pem" or "spiffe"
    #[arg(long = "format", value_name = "string", default_value = "spiffe")]
    format: String,
}

impl Action for Show {
    const NAME: &'static str = "experimental bundle show";
    const SYNOPSIS: &'static str = "Deprecated: use bundle show -format spiffe";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        warn(terminal, Self::NAME, "bundle show -format spiffe")?;
        bundle::Show { api: self.api, format: self.format }.run(terminal).await
    }
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    api: Api,
    /// Trust domain whose bundle to print; all when it is left out
    #[arg(long = "id", value_name = "string", default_value = "")]
    id: String,
    /// Format of the bundles: "pem" or "spiffe"
    #[arg(long = "format", value_name = "string", default_value = "spiffe")]
    format: String,
}

impl Action for List {
    const NAME: &'static str = "experimental bundle list";
    const SYNOPSIS: &'static str = "Deprecated: use bundle list -format spiffe";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        warn(terminal, Self::NAME, "bundle list -format spiffe")?;
        bundle::List { api: self.api, id: self.id, format: self.format }.run(terminal).await
    }
}

#[derive(Args, Debug)]
pub(super) struct Set {
    #[command(flatten)]
    api: Api,
    /// Trust domain that the bundle belongs to
    #[arg(long = "id", value_name = "string", default_value = "")]
    id: String,
    /// File with the bundle; standard input when it is left out
    #[arg(long = "path", value_name = "string", default_value = "")]
    path: String,
    /// Format of the bundle that is read: "pem" or "spiffe"
    #[arg(long = "format", value_name = "string", default_value = "spiffe")]
    format: String,
}

impl Action for Set {
    const NAME: &'static str = "experimental bundle set";
    const SYNOPSIS: &'static str = "Deprecated: use bundle set -format spiffe";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        warn(terminal, Self::NAME, "bundle set -format spiffe")?;
        bundle::Set { api: self.api, id: self.id, path: self.path, format: self.format }.run(terminal).await
    }
}

/// Wraps what it does: the flags are the same.
#[derive(Args, Debug)]
#[group(id = "experimental bundle delete")]
pub(super) struct Delete {
    #[command(flatten)]
    delete: bundle::Delete,
}

impl Action for Delete {
    const NAME: &'static str = "experimental bundle delete";
    const SYNOPSIS: &'static str = "Deprecated: use bundle delete";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        warn(terminal, Self::NAME, "bundle delete")?;
        self.delete.run(terminal).await
    }
}

fn warn(terminal: &mut Terminal, command: &str, instead: &str) -> io::Result<()> {
    writeln!(terminal.stderr, "Warning: {command} is deprecated, use {instead}")
}
