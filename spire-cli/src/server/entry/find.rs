//! `entry count` and `entry show`.

use std::io::Write as _;

use clap::Args;
use spire_api::proto::entry::{
    CountEntriesRequest, GetEntryRequest, ListEntriesRequest, ListEntriesResponse, count_entries_request,
    list_entries_request,
};
use spire_api::proto::types;
use spire_api::proto::types::{federates_with_match, selector_match};

use super::block;
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::server::client::{Api, counted, parse_id, parse_selector};
use crate::terminal::Terminal;

/// Entries that are asked for at once.
const PAGE_SIZE: i32 = 500;

#[derive(Args, Debug)]
pub(in crate::server) struct Show {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    filter: FilterFlags,
    /// ID of the entry to show
    #[arg(long = "entryID", value_name = "string", default_value = "")]
    entry_id: String,
}

impl Action for Show {
    const NAME: &'static str = "entry show";
    const SYNOPSIS: &'static str = "Shows registration entries";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let flags = &self.filter;
        let filtered = !flags.parent_id.is_empty() || !flags.spiffe_id.is_empty() || !flags.selectors.is_empty();
        if !self.entry_id.is_empty() && filtered {
            return Err(Error::refused("the -entryID flag can't be combined with others"));
        }
        let mut client = self.api.entries(terminal)?;
        let mut list = ListEntriesResponse::default();
        if self.entry_id.is_empty() {
            let filter = flags.filter()?;
            let mut page_token = String::new();
            loop {
                let request = ListEntriesRequest {
                    filter: Some(filter.clone()),
                    output_mask: None,
                    page_size: PAGE_SIZE,
                    page_token,
                };
                let page = client.list_entries(request).await.during("error fetching entries")?.into_inner();
                list.entries.extend(page.entries);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
        } else {
            let request = GetEntryRequest { id: self.entry_id.clone(), output_mask: None };
            let entry = client.get_entry(request).await;
            list.entries.push(entry.during(format!("error fetching entry ID {}", self.entry_id))?.into_inner());
        }
        sort(&mut list.entries);
        self.api.output.print(terminal, &list, |terminal, list| {
            writeln!(terminal.stdout, "Found {}", counted(list.entries.len(), "entry", "entries"))?;
            for entry in &list.entries {
                write!(terminal.stdout, "{}", block(entry))?;
            }
            Ok(())
        })
    }
}

#[derive(Args, Debug)]
pub(in crate::server) struct Count {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    filter: FilterFlags,
}

impl Action for Count {
    const NAME: &'static str = "entry count";
    const SYNOPSIS: &'static str = "Counts registration entries";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let filter = self.filter.filter()?;
        let filter = count_entries_request::Filter {
            by_spiffe_id: filter.by_spiffe_id,
            by_parent_id: filter.by_parent_id,
            by_selectors: filter.by_selectors,
            by_federates_with: filter.by_federates_with,
            by_hint: filter.by_hint,
            by_downstream: filter.by_downstream,
        };
        let request = CountEntriesRequest { filter: Some(filter) };
        let answer = self.api.entries(terminal)?.count_entries(request).await?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            let count = usize::try_from(answer.count).unwrap_or_default();
            writeln!(terminal.stdout, "{}", counted(count, "registration entry", "registration entries"))?;
            Ok(())
        })
    }
}

/// Which entries are meant.
#[derive(Args, Debug)]
struct FilterFlags {
    /// SPIFFE ID of the entries' parent
    #[arg(long = "parentID", value_name = "string", default_value = "")]
    parent_id: String,
    /// SPIFFE ID of the entries
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
    /// Only entries of downstream servers
    #[arg(long = "downstream")]
    downstream: bool,
    /// Selector as type:value; may be given more than once
    #[arg(long = "selector", value_name = "value")]
    selectors: Vec<String>,
    /// Trust domain that the entries federate with; may be given more than once
    #[arg(long = "federatesWith", value_name = "value")]
    federates_with: Vec<String>,
    /// How trust domains are compared: exact, any, superset or subset
    #[arg(long = "matchFederatesWithOn", value_name = "string", default_value = "superset")]
    match_federates_with_on: String,
    /// How selectors are compared: exact, any, superset or subset
    #[arg(long = "matchSelectorsOn", value_name = "string", default_value = "superset")]
    match_selectors_on: String,
    /// Hint of the entries
    #[arg(long = "hint", value_name = "string", default_value = "")]
    hint: String,
}

impl FilterFlags {
    fn filter(&self) -> Result<list_entries_request::Filter, Error> {
        let id = |what: &str, text: &str| {
            if text.is_empty() {
                return Ok(None);
            }
            parse_id(text).during(format!("error parsing {what} ID {text:?}")).map(Some)
        };
        Ok(list_entries_request::Filter {
            by_parent_id: id("parent", &self.parent_id)?,
            by_spiffe_id: id("SPIFFE", &self.spiffe_id)?,
            by_selectors: self.selector_match()?,
            by_federates_with: self.federates_with_match()?,
            by_hint: Some(self.hint.clone()).filter(|hint| !hint.is_empty()),
            // False means no filter; the server is told in any case.
            by_downstream: Some(self.downstream),
        })
    }

    fn selector_match(&self) -> Result<Option<types::SelectorMatch>, Error> {
        use selector_match::MatchBehavior as Match;
        if self.selectors.is_empty() {
            return Ok(None);
        }
        let r#match = behavior(
            &self.match_selectors_on,
            [Match::MatchExact, Match::MatchAny, Match::MatchSuperset, Match::MatchSubset],
        )?;
        let selectors = self.selectors.iter().map(|text| parse_selector(text)).collect::<Result<_, _>>();
        let selectors = selectors.during("error parsing selectors")?;
        Ok(Some(types::SelectorMatch { selectors, r#match: r#match.into() }))
    }

    fn federates_with_match(&self) -> Result<Option<types::FederatesWithMatch>, Error> {
        use federates_with_match::MatchBehavior as Match;
        if self.federates_with.is_empty() {
            return Ok(None);
        }
        let r#match = behavior(
            &self.match_federates_with_on,
            [Match::MatchExact, Match::MatchAny, Match::MatchSuperset, Match::MatchSubset],
        )?;
        let trust_domains = self.federates_with.clone();
        Ok(Some(types::FederatesWithMatch { trust_domains, r#match: r#match.into() }))
    }
}

fn behavior<T>(name: &str, [exact, any, superset, subset]: [T; 4]) -> Result<T, Error> {
    match name {
        "exact" => Ok(exact),
        "any" => Ok(any),
        "superset" => Ok(superset),
        "subset" => Ok(subset),
        other => Err(Error::Refused(format!("match behavior {other:?} unknown"))),
    }
}

/// Selectors within each entry, then entries by ID, parent, lifetimes and selectors.
fn sort(entries: &mut [types::Entry]) {
    let id = |id: Option<&types::Spiffeid>| id.map(|id| (id.trust_domain.clone(), id.path.clone()));
    let selector = |selector: &types::Selector| (selector.r#type.clone(), selector.value.clone());
    for entry in entries.iter_mut() {
        entry.selectors.sort_by_cached_key(selector);
    }
    entries.sort_by_cached_key(|entry| {
        let selectors: Vec<_> = entry.selectors.iter().map(selector).collect();
        let ids = (id(entry.spiffe_id.as_ref()), id(entry.parent_id.as_ref()));
        (ids, entry.x509_svid_ttl, entry.jwt_svid_ttl, selectors.len(), selectors)
    });
}
