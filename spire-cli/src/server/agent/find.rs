//! `agent count` and `agent list`.

use std::io::Write as _;

use clap::Args;
use spire_api::convert;
use spire_api::proto::agent::{
    CountAgentsRequest, ListAgentsRequest, ListAgentsResponse, count_agents_request, list_agents_request,
};
use spire_api::proto::types;
use spire_api::proto::types::selector_match::MatchBehavior;

use super::block;
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::server::client::{Api, counted, parse_selector};
use crate::terminal::Terminal;

/// Agents that are asked for at once.
const PAGE_SIZE: i32 = 1000;

#[derive(Args, Debug)]
pub(in crate::server) struct List {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    filter: FilterFlags,
}

impl Action for List {
    const NAME: &'static str = "agent list";
    const SYNOPSIS: &'static str = "Lists agents";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let filter = self.filter.filter()?;
        let mut client = self.api.agents(terminal)?;
        let mut list = ListAgentsResponse::default();
        let mut page_token = String::new();
        loop {
            let filter = Some(filter.clone());
            let request = ListAgentsRequest { filter, output_mask: None, page_size: PAGE_SIZE, page_token };
            let page = client.list_agents(request).await?.into_inner();
            list.agents.extend(page.agents);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        self.api.output.print(terminal, &list, |terminal, list| {
            if list.agents.is_empty() {
                writeln!(terminal.stdout, "No attested agents found")?;
                return Ok(());
            }
            let found = counted(list.agents.len(), "attested agent", "attested agents");
            write!(terminal.stdout, "Found {found}:\n\n")?;
            for agent in &list.agents {
                write!(terminal.stdout, "{}", block(agent))?;
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
    const NAME: &'static str = "agent count";
    const SYNOPSIS: &'static str = "Counts agents";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let filter = self.filter.filter()?;
        let filter = count_agents_request::Filter {
            by_attestation_type: filter.by_attestation_type,
            by_selector_match: filter.by_selector_match,
            by_banned: filter.by_banned,
            by_can_reattest: filter.by_can_reattest,
            by_expires_before: filter.by_expires_before,
        };
        let request = CountAgentsRequest { filter: Some(filter) };
        let answer = self.api.agents(terminal)?.count_agents(request).await?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            let count = usize::try_from(answer.count).unwrap_or_default();
            writeln!(terminal.stdout, "{}", counted(count, "attested agent", "attested agents"))?;
            Ok(())
        })
    }
}

/// Which agents are meant.
#[derive(Args, Debug)]
struct FilterFlags {
    /// Selector as type:value; may be given more than once
    #[arg(long = "selector", value_name = "value")]
    selectors: Vec<String>,
    /// How the agents have attested, as join_token or x509pop
    #[arg(long = "attestationType", value_name = "string", default_value = "")]
    attestation_type: String,
    /// true: agents that can attest again, false: those that cannot, anything else: all
    #[arg(long = "canReattest", value_name = "value", default_value = "")]
    can_reattest: String,
    /// true: banned agents, false: those that are not banned, anything else: all
    #[arg(long = "banned", value_name = "value", default_value = "")]
    banned: String,
    /// Agents that expire before a time (format: "2006-01-02 15:04:05 -0700 -07")
    #[arg(long = "expiresBefore", value_name = "string", default_value = "")]
    expires_before: String,
    /// How selectors are compared: exact, any, superset or subset
    #[arg(long = "matchSelectorsOn", value_name = "string", default_value = "superset")]
    match_selectors_on: String,
}

impl FilterFlags {
    fn filter(&self) -> Result<list_agents_request::Filter, Error> {
        let by_selector_match = self.selector_match()?;
        if !self.expires_before.is_empty() && convert::agent::expires_before(&self.expires_before).is_none() {
            let text = format!("date is not valid: {:?} is not in the form {TIME_FORM:?}", self.expires_before);
            return Err(Error::Refused(text));
        }
        Ok(list_agents_request::Filter {
            by_attestation_type: self.attestation_type.clone(),
            by_selector_match,
            by_banned: yes_or_no(&self.banned),
            by_can_reattest: yes_or_no(&self.can_reattest),
            by_expires_before: self.expires_before.clone(),
        })
    }

    fn selector_match(&self) -> Result<Option<types::SelectorMatch>, Error> {
        if self.selectors.is_empty() {
            return Ok(None);
        }
        let behavior = match self.match_selectors_on.as_str() {
            "exact" => MatchBehavior::MatchExact,
            "any" => MatchBehavior::MatchAny,
            "superset" => MatchBehavior::MatchSuperset,
            "subset" => MatchBehavior::MatchSubset,
            _ => return Err(Error::refused("unsupported match behavior")),
        };
        let parse = |text: &String| parse_selector(text).during(format!("error parsing selector {text:?}"));
        let selectors = self.selectors.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Some(types::SelectorMatch { selectors, r#match: behavior.into() }))
    }
}

const TIME_FORM: &str = "2006-01-02 15:04:05 -0700 -07";

fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}
