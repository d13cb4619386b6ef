//! `entry create` and `entry update`.

use std::io::Write as _;

use clap::Args;
use spire_api::proto::entry::{BatchCreateEntryRequest, BatchUpdateEntryRequest, GetEntryRequest};
use spire_api::proto::types;
use spire_api::proto::types::entry::AdditionalAttributes;

use super::{block, file};
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::files;
use crate::server::client::{Api, code_and_message, parse_id, parse_selector, succeeded};
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(in crate::server) struct Create {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    entry: EntryFlags,
    /// ID for this entry (optional); a new one is made when it is left out
    #[arg(long = "entryID", value_name = "string", default_value = "")]
    entry_id: String,
    /// The entry is for matching nodes rather than for workloads
    #[arg(long = "node")]
    node: bool,
}

impl Action for Create {
    const NAME: &'static str = "entry create";
    const SYNOPSIS: &'static str = "Creates registration entries";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let entries = match self.entry.data.as_str() {
            "" => vec![self.entry()?],
            path => file::entries(&files::read_or_stdin(terminal, path)?)?,
        };
        let request = BatchCreateEntryRequest { entries: entries.clone(), output_mask: None };
        let mut answer = self.api.entries(terminal)?.batch_create_entry(request).await?.into_inner();
        // The server does not repeat what it has refused.
        for (result, entry) in answer.results.iter_mut().zip(entries) {
            if !succeeded(result.status.as_ref()) {
                result.entry = Some(entry);
            }
        }
        self.api.output.print(terminal, &answer, |terminal, answer| {
            let results = answer.results.iter().map(|result| (result.status.as_ref(), result.entry.as_ref()));
            report(terminal, "create", results)
        })
    }
}

impl Create {
    fn entry(&self) -> Result<types::Entry, Error> {
        let flags = &self.entry;
        let parent_missing = flags.parent_id.is_empty() && !self.node;
        first_of(&[
            (flags.selectors.is_empty(), "at least one selector is required"),
            (self.node && !flags.federates_with.is_empty(), "node entries can not federate"),
            (parent_missing, "a parent ID is required if the node flag is not set"),
        ])?;
        flags.check_rest()?;
        let spiffe_id = parse_id(&flags.spiffe_id)?;
        let parent_id = if self.node {
            types::Spiffeid { trust_domain: spiffe_id.trust_domain.clone(), path: SERVER_PATH.to_owned() }
        } else {
            parse_id(&flags.parent_id)?
        };
        let additional = AdditionalAttributes {
            disable_x509_svid_prefetch: flags.disable_x509_svid_prefetch,
            jwt_svid_include_jti: flags.jwt_svid_include_jti,
        };
        let additional = Some(additional).filter(|additional| *additional != AdditionalAttributes::default());
        flags.entry(self.entry_id.clone(), spiffe_id, parent_id, additional)
    }
}

/// The path of the server's own ID, which is the parent of entries for nodes.
const SERVER_PATH: &str = "/spire/server";

#[derive(Args, Debug)]
pub(in crate::server) struct Update {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    entry: EntryFlags,
    /// ID of the entry to update
    #[arg(long = "entryID", value_name = "string", default_value = "")]
    entry_id: String,
}

impl Action for Update {
    const NAME: &'static str = "entry update";
    const SYNOPSIS: &'static str = "Updates registration entries";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let mut client = self.api.entries(terminal)?;
        let flags = &self.entry;
        let entries = if flags.data.is_empty() {
            let mut entry = self.entry()?;
            if flags.disable_x509_svid_prefetch || flags.jwt_svid_include_jti {
                // Those that are not named by a flag keep their values.
                let request = GetEntryRequest { id: self.entry_id.clone(), output_mask: None };
                let existing = client.get_entry(request).await;
                let existing =
                    existing.during("failed to fetch existing entry to merge additional attributes")?.into_inner();
                let mut merged = existing.additional_attributes.unwrap_or_default();
                merged.disable_x509_svid_prefetch |= flags.disable_x509_svid_prefetch;
                merged.jwt_svid_include_jti |= flags.jwt_svid_include_jti;
                entry.additional_attributes = Some(merged);
            }
            vec![entry]
        } else {
            file::entries(&files::read_or_stdin(terminal, &flags.data)?)?
        };
        let request = BatchUpdateEntryRequest { entries: entries.clone(), input_mask: None, output_mask: None };
        let mut answer = client.batch_update_entry(request).await?.into_inner();
        for (result, entry) in answer.results.iter_mut().zip(entries) {
            if !succeeded(result.status.as_ref()) {
                result.entry = Some(entry);
            }
        }
        self.api.output.print(terminal, &answer, |terminal, answer| {
            let results = answer.results.iter().map(|result| (result.status.as_ref(), result.entry.as_ref()));
            report(terminal, "update", results)
        })
    }
}

impl Update {
    fn entry(&self) -> Result<types::Entry, Error> {
        let flags = &self.entry;
        first_of(&[
            (self.entry_id.is_empty(), "entry ID is required"),
            (flags.selectors.is_empty(), "at least one selector is required"),
            (flags.parent_id.is_empty(), "a parent ID is required"),
        ])?;
        flags.check_rest()?;
        let (parent_id, spiffe_id) = (parse_id(&flags.parent_id)?, parse_id(&flags.spiffe_id)?);
        flags.entry(self.entry_id.clone(), spiffe_id, parent_id, None)
    }
}

/// What an entry consists of.
#[derive(Args, Debug)]
struct EntryFlags {
    /// SPIFFE ID of the entry's parent
    #[arg(long = "parentID", value_name = "string", default_value = "")]
    parent_id: String,
    /// SPIFFE ID that the entry gives
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
    /// Lifetime of X509-SVIDs of this entry, in seconds
    #[arg(long = "x509SVIDTTL", value_name = "int", default_value = "0", value_parser = crate::go::parse_int)]
    x509_svid_ttl: i64,
    /// Lifetime of JWT-SVIDs of this entry, in seconds
    #[arg(long = "jwtSVIDTTL", value_name = "int", default_value = "0", value_parser = crate::go::parse_int)]
    jwt_svid_ttl: i64,
    /// File with entries in JSON (optional); - is standard input
    #[arg(long = "data", value_name = "string", default_value = "")]
    data: String,
    /// Selector as type:value; may be given more than once
    #[arg(long = "selector", value_name = "value")]
    selectors: Vec<String>,
    /// Trust domain to federate with; may be given more than once
    #[arg(long = "federatesWith", value_name = "value")]
    federates_with: Vec<String>,
    /// The SPIFFE ID may administer the server
    #[arg(long = "admin")]
    admin: bool,
    /// The SPIFFE ID is of a downstream server
    #[arg(long = "downstream")]
    downstream: bool,
    /// Agents store the SVID by an SVIDStore plugin
    #[arg(long = "storeSVID")]
    store_svid: bool,
    /// When the entry expires, in seconds since the epoch
    #[arg(long = "entryExpiry", value_name = "int", default_value = "0", value_parser = crate::go::parse_int)]
    entry_expiry: i64,
    /// DNS name for the SVIDs; may be given more than once
    #[arg(long = "dns", value_name = "value")]
    dns_names: Vec<String>,
    /// Hint that tells entries with the same SPIFFE ID apart
    #[arg(long = "hint", value_name = "string", default_value = "")]
    hint: String,
    /// Agents do not fetch the X509-SVID before a workload asks for it
    #[arg(long = "disableX509SVIDPrefetch")]
    disable_x509_svid_prefetch: bool,
    /// JWT-SVIDs have a unique jti claim, and agents do not cache them
    #[arg(long = "jwtSVIDIncludeJTI")]
    jwt_svid_include_jti: bool,
}

impl EntryFlags {
    fn check_rest(&self) -> Result<(), Error> {
        first_of(&[
            (self.spiffe_id.is_empty(), "a SPIFFE ID is required"),
            (self.x509_svid_ttl < 0, "a positive x509-SVID TTL is required"),
            (self.jwt_svid_ttl < 0, "a positive JWT-SVID TTL is required"),
        ])
    }

    fn entry(
        &self,
        id: String,
        spiffe_id: types::Spiffeid,
        parent_id: types::Spiffeid,
        additional_attributes: Option<AdditionalAttributes>,
    ) -> Result<types::Entry, Error> {
        let ttl = |of: &str, seconds: i64| {
            i32::try_from(seconds)
                .map_err(|_| Error::Refused(format!("invalid value for {of} SVID TTL: {seconds} is out of range")))
        };
        Ok(types::Entry {
            id,
            spiffe_id: Some(spiffe_id),
            parent_id: Some(parent_id),
            x509_svid_ttl: ttl("X509", self.x509_svid_ttl)?,
            jwt_svid_ttl: ttl("JWT", self.jwt_svid_ttl)?,
            selectors: self.selectors.iter().map(|text| parse_selector(text)).collect::<Result<_, _>>()?,
            federates_with: self.federates_with.clone(),
            admin: self.admin,
            downstream: self.downstream,
            store_svid: self.store_svid,
            expires_at: self.entry_expiry,
            dns_names: self.dns_names.clone(),
            hint: self.hint.clone(),
            additional_attributes,
            ..types::Entry::default()
        })
    }
}

fn first_of(faults: &[(bool, &str)]) -> Result<(), Error> {
    faults.iter().find(|(present, _)| *present).map_or(Ok(()), |(_, text)| Err(Error::refused(*text)))
}

/// Successes to standard output, failures to standard error and into the exit code.
fn report<'a>(
    terminal: &mut Terminal,
    verb: &str,
    results: impl Iterator<Item = (Option<&'a types::Status>, Option<&'a types::Entry>)>,
) -> Result<(), Error> {
    let (good, bad): (Vec<_>, Vec<_>) = results.partition(|(status, _)| succeeded(*status));
    for (_, entry) in good {
        write!(terminal.stdout, "{}", entry.map(block).unwrap_or_default())?;
    }
    for (status, entry) in &bad {
        let (code, message) = code_and_message(*status);
        writeln!(terminal.stderr, "Failed to {verb} the following entry (code: {code}, msg: {message:?}):")?;
        write!(terminal.stderr, "{}", entry.map(block).unwrap_or_default())?;
    }
    if bad.is_empty() { Ok(()) } else { Err(Error::Refused(format!("failed to {verb} one or more entries"))) }
}
