//! `bundle count`, `delete`, `list`, `set`, `show`.

use std::io::Write as _;
use std::path::Path;

use clap::Args;
use spiffe_core::{Bundle, TrustDomain, X509Authority, x509};
use spire_api::convert;
use spire_api::proto::bundle::batch_delete_federated_bundle_request::Mode;
use spire_api::proto::bundle::{
    BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest, CountBundlesRequest, GetBundleRequest,
    GetFederatedBundleRequest, ListFederatedBundlesRequest,
};
use spire_api::proto::types;

use super::client::{Api, counted, succeeded};
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::files;
use crate::terminal::Terminal;

/// How a bundle is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Pem,
    Spiffe,
}

impl Format {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "" | "pem" => Ok(Self::Pem),
            "spiffe" => Ok(Self::Spiffe),
            other => Err(Error::Refused(format!("invalid format: {other:?}"))),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct Count {
    #[command(flatten)]
    api: Api,
}

impl Action for Count {
    const NAME: &'static str = "bundle count";
    const SYNOPSIS: &'static str = "Counts bundles";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let counted_bundles = self.api.bundles(terminal)?.count_bundles(CountBundlesRequest {}).await?.into_inner();
        self.api.output.print(terminal, &counted_bundles, |terminal, answer| {
            let count = usize::try_from(answer.count).unwrap_or_default();
            writeln!(terminal.stdout, "{}", counted(count, "bundle", "bundles"))?;
            Ok(())
        })
    }
}

#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) api: Api,
    /// Format of the bundle in pretty output: "pem" or "spiffe"
    #[arg(long = "format", value_name = "string", default_value = "pem")]
    pub(super) format: String,
}

impl Action for Show {
    const NAME: &'static str = "bundle show";
    const SYNOPSIS: &'static str = "Prints the bundle of the server's own trust domain";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let bundle = self.api.bundles(terminal)?.get_bundle(GetBundleRequest::default()).await?.into_inner();
        self.api.output.print(terminal, &bundle, |terminal, bundle| print(terminal, bundle, &self.format))
    }
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) api: Api,
    /// Trust domain whose bundle to print; all when it is left out
    #[arg(long = "id", value_name = "string", default_value = "")]
    pub(super) id: String,
    /// Format of the bundles in pretty output: "pem" or "spiffe"
    #[arg(long = "format", value_name = "string", default_value = "pem")]
    pub(super) format: String,
}

impl Action for List {
    const NAME: &'static str = "bundle list";
    const SYNOPSIS: &'static str = "Prints bundles of other trust domains";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let mut client = self.api.bundles(terminal)?;
        if !self.id.is_empty() {
            let request = GetFederatedBundleRequest { trust_domain: self.id, output_mask: None };
            let bundle = client.get_federated_bundle(request).await?.into_inner();
            return self.api.output.print(terminal, &bundle, |terminal, bundle| print(terminal, bundle, &self.format));
        }
        let list = client.list_federated_bundles(ListFederatedBundlesRequest::default()).await?.into_inner();
        self.api.output.print(terminal, &list, |terminal, list| {
            for (i, bundle) in list.bundles.iter().enumerate() {
                if i > 0 {
                    writeln!(terminal.stdout)?;
                }
                Format::parse(&self.format)?;
                let line = "*".repeat(BANNER_WIDTH);
                writeln!(terminal.stdout, "{line}\n* {}\n{line}", bundle.trust_domain)?;
                print(terminal, bundle, &self.format)?;
            }
            Ok(())
        })
    }
}

const BANNER_WIDTH: usize = 40;

#[derive(Args, Debug)]
pub(super) struct Set {
    #[command(flatten)]
    pub(super) api: Api,
    /// Trust domain that the bundle belongs to
    #[arg(long = "id", value_name = "string", default_value = "")]
    pub(super) id: String,
    /// File with the bundle; standard input when it is left out
    #[arg(long = "path", value_name = "string", default_value = "")]
    pub(super) path: String,
    /// Format of the bundle that is read: "pem" or "spiffe"
    #[arg(long = "format", value_name = "string", default_value = "pem")]
    pub(super) format: String,
}

impl Action for Set {
    const NAME: &'static str = "bundle set";
    const SYNOPSIS: &'static str = "Stores the bundle of another trust domain";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.id.is_empty() {
            return Err(Error::refused("id flag is required"));
        }
        let format = Format::parse(&self.format)?;
        let data = if self.path.is_empty() {
            terminal.read_stdin().map_err(Error::from)
        } else {
            files::read(Path::new(&self.path))
        };
        let bundle = parse(&data.during("unable to load bundle data")?, format, &self.id)?;
        let request = BatchSetFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
        let answer = self.api.bundles(terminal)?.batch_set_federated_bundle(request).await;
        let answer = answer.during("failed to set federated bundle")?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            if let Some(status) = answer.results.iter().map(|result| result.status.as_ref()).find(|s| !succeeded(*s)) {
                let message = status.map_or("", |status| &status.message);
                return Err(Error::Refused(format!("failed to set federated bundle: {message}")));
            }
            writeln!(terminal.stdout, "bundle set.")?;
            Ok(())
        })
    }
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    #[command(flatten)]
    pub(super) api: Api,
    /// Trust domain whose bundle to delete
    #[arg(long = "id", value_name = "string", default_value = "")]
    pub(super) id: String,
    /// What becomes of entries that federate with it: restrict (refuse), delete, or dissociate
    #[arg(long = "mode", value_name = "string", default_value = "restrict")]
    mode: String,
}

impl Action for Delete {
    const NAME: &'static str = "bundle delete";
    const SYNOPSIS: &'static str = "Deletes the bundle of another trust domain";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.id.is_empty() {
            return Err(Error::refused("id is required"));
        }
        let mode = match self.mode.as_str() {
            "" | "restrict" => Mode::Restrict,
            "dissociate" => Mode::Dissociate,
            "delete" => Mode::Delete,
            other => return Err(Error::Refused(format!("unsupported mode {other:?}"))),
        };
        let request = BatchDeleteFederatedBundleRequest { mode: mode.into(), trust_domains: vec![self.id] };
        let answer = self.api.bundles(terminal)?.batch_delete_federated_bundle(request).await;
        let answer = answer.during("failed to delete federated bundle")?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            if let Some(failed) = answer.results.iter().find(|result| !succeeded(result.status.as_ref())) {
                let message = failed.status.as_ref().map_or("", |status| &status.message);
                let trust_domain = &failed.trust_domain;
                let text = format!("failed to delete federated bundle {trust_domain:?}: {message}");
                return Err(Error::Refused(text));
            }
            writeln!(terminal.stdout, "bundle deleted.")?;
            Ok(())
        })
    }
}

/// Reads a bundle of the trust domain `id`.
pub(super) fn parse(data: &[u8], format: Format, id: &str) -> Result<types::Bundle, Error> {
    let trust_domain = TrustDomain::parse_name_or_id(id).map_err(|err| Error::refused(err.to_string()))?;
    let bundle = match format {
        Format::Pem => {
            let certificates = x509::Certificate::from_pem_many(&String::from_utf8_lossy(data))
                .map_err(|err| Error::Refused(format!("unable to parse bundle data: {err}")))?;
            let mut bundle = Bundle::new(trust_domain);
            let authority = |certificate| X509Authority { certificate, tainted: false };
            bundle.x509_authorities = certificates.into_iter().map(authority).collect();
            bundle
        }
        Format::Spiffe => {
            let refused =
                |err: &dyn std::fmt::Display| Error::Refused(format!("unable to parse to spiffe bundle: {err}"));
            let parsed = Bundle::parse_document(trust_domain, data).map_err(|err| refused(&err))?;
            // A reader ignores what it cannot use; whoever sets a bundle should learn of it.
            match parsed.problems.first() {
                Some(problem) => return Err(refused(problem)),
                None => parsed.bundle,
            }
        }
    };
    Ok(convert::bundle::to_proto(&bundle, None))
}

fn print(terminal: &mut Terminal, bundle: &types::Bundle, format: &str) -> Result<(), Error> {
    let format = Format::parse(format)?;
    let bundle = convert::bundle::from_proto(bundle).map_err(|err| Error::refused(err.to_string()))?;
    match format {
        Format::Pem => {
            for authority in &bundle.x509_authorities {
                write!(terminal.stdout, "{}", authority.certificate.to_pem())?;
            }
        }
        Format::Spiffe => writeln!(terminal.stdout, "{}", bundle.to_document().trim_end())?,
    }
    Ok(())
}
