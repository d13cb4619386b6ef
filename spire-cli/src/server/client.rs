//! What every command of the server starts with: the socket, and what its answers have in common.

use clap::Args;
use spiffe_core::SpiffeId;
use spire_api::channel::MAX_RESPONSE_LENGTH;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::debug::debug_client::DebugClient;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::localauthority::local_authority_client::LocalAuthorityClient;
use spire_api::proto::logger::logger_client::LoggerClient;
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::trustdomain::trust_domain_client::TrustDomainClient;
use spire_api::proto::types;
use tonic::Code;
use tonic::transport::Channel;

use crate::error::{self, Error};
use crate::print::Output;
use crate::socket::ServerSocket;
use crate::terminal::Terminal;

/// Flags of every command that calls the server's API.
#[derive(Args, Debug)]
pub(crate) struct Api {
    #[command(flatten)]
    socket: ServerSocket,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Api {
    pub(crate) fn channel(&self, terminal: &Terminal) -> Result<Channel, Error> {
        self.socket.open(terminal)
    }

    pub(crate) fn agents(&self, terminal: &Terminal) -> Result<AgentClient<Channel>, Error> {
        Ok(AgentClient::new(self.channel(terminal)?).max_decoding_message_size(MAX_RESPONSE_LENGTH))
    }

    pub(crate) fn bundles(&self, terminal: &Terminal) -> Result<BundleClient<Channel>, Error> {
        Ok(BundleClient::new(self.channel(terminal)?).max_decoding_message_size(MAX_RESPONSE_LENGTH))
    }

    pub(crate) fn entries(&self, terminal: &Terminal) -> Result<EntryClient<Channel>, Error> {
        Ok(EntryClient::new(self.channel(terminal)?).max_decoding_message_size(MAX_RESPONSE_LENGTH))
    }

    pub(crate) fn trust_domains(&self, terminal: &Terminal) -> Result<TrustDomainClient<Channel>, Error> {
        Ok(TrustDomainClient::new(self.channel(terminal)?).max_decoding_message_size(MAX_RESPONSE_LENGTH))
    }

    pub(crate) fn svids(&self, terminal: &Terminal) -> Result<SvidClient<Channel>, Error> {
        Ok(SvidClient::new(self.channel(terminal)?))
    }

    pub(crate) fn local_authority(&self, terminal: &Terminal) -> Result<LocalAuthorityClient<Channel>, Error> {
        Ok(LocalAuthorityClient::new(self.channel(terminal)?))
    }

    pub(crate) fn logger(&self, terminal: &Terminal) -> Result<LoggerClient<Channel>, Error> {
        Ok(LoggerClient::new(self.channel(terminal)?))
    }

    pub(crate) fn debug(&self, terminal: &Terminal) -> Result<DebugClient<Channel>, Error> {
        Ok(DebugClient::new(self.channel(terminal)?))
    }
}

/// Whether an item of a batch succeeded; one without a status did.
pub(crate) fn succeeded(status: Option<&types::Status>) -> bool {
    status.is_none_or(|status| status.code == 0)
}

/// The name of a status' code, and its message.
pub(crate) fn code_and_message(status: Option<&types::Status>) -> (String, &str) {
    let code = status.map_or(0, |status| status.code);
    (error::code_name(Code::from_i32(code)), status.map_or("", |status| &status.message))
}

/// A SPIFFE ID of a flag.
pub(crate) fn parse_id(text: &str) -> Result<types::Spiffeid, Error> {
    let id = SpiffeId::parse(text).map_err(|err| Error::refused(err.to_string()))?;
    Ok(types::Spiffeid { trust_domain: id.trust_domain().to_string(), path: id.path().to_owned() })
}

/// A SPIFFE ID of an answer; nothing when there is none.
pub(crate) fn id_text(id: Option<&types::Spiffeid>) -> String {
    id.map_or_else(String::new, |id| format!("spiffe://{}{}", id.trust_domain, id.path))
}

/// A selector of a flag: everything after the first colon is its value.
pub(crate) fn parse_selector(text: &str) -> Result<types::Selector, Error> {
    let (kind, value) = text
        .split_once(':')
        .ok_or_else(|| Error::Refused(format!("selector {text:?} must be formatted as type:value")))?;
    Ok(types::Selector { r#type: kind.to_owned(), value: value.to_owned() })
}

/// `1 agent`, `2 agents`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
