//! A whole trust domain in one process: a server, an agent of it, and a workload that is this process itself.
//!
//! ```sh
//! cargo run --example trust-domain-in-process
//! ```

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use spiffe_core::TrustDomain;
use spire_agent::Agent;
use spire_agent::config::{Bootstrap, Config as AgentConfig, JoinToken, NodeAttestor};
use spire_api::proto::agent::CreateJoinTokenRequest;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::entry::BatchCreateEntryRequest;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::types;
use spire_server::Server;
use spire_server::config::Config as ServerConfig;
use workload_api::{Address, X509Source};

const DOMAIN: &str = "example.org";

async fn server(directory: &Path) -> Result<Server, Box<dyn Error>> {
    let mut config = ServerConfig::new(TrustDomain::parse(DOMAIN)?, directory.join("server"));
    config.bind_address = "127.0.0.1".to_owned();
    config.bind_port = 0;
    config.socket_path = directory.join("server.sock");
    Ok(Server::builder(config).start().await?)
}

/// It trusts whoever answers, since the server is in the same process, and has a name beside its own: `/host`.
async fn agent(directory: &Path, server: &Server) -> Result<Agent, Box<dyn Error>> {
    let mut administrator = AgentClient::new(spire_api::channel::unix(server.socket_path().to_owned()));
    let request = CreateJoinTokenRequest { ttl: 60, agent_id: Some(id("/host")), ..Default::default() };
    let token = administrator.create_join_token(request).await?.into_inner().value;
    let address = ("127.0.0.1", server.tcp_address().port());
    let mut config =
        AgentConfig::new(TrustDomain::parse(DOMAIN)?, address, directory.join("agent"), Bootstrap::Insecure);
    config.workload_api.socket_path = directory.join("agent.sock");
    config.plugins.node_attestor = NodeAttestor::JoinToken { token: Some(JoinToken(token)) };
    Ok(Agent::builder(config).start().await?)
}

/// Processes of this user are `/workload`.
async fn register(server: &Server) -> Result<(), Box<dyn Error>> {
    let user = std::fs::metadata("/proc/self")?.uid();
    let entry = types::Entry {
        spiffe_id: Some(id("/workload")),
        parent_id: Some(id("/host")),
        selectors: vec![types::Selector { r#type: "unix".to_owned(), value: format!("uid:{user}") }],
        ..Default::default()
    };
    let mut administrator = EntryClient::new(spire_api::channel::unix(server.socket_path().to_owned()));
    administrator.batch_create_entry(BatchCreateEntryRequest { entries: vec![entry], ..Default::default() }).await?;
    Ok(())
}

fn id(path: &str) -> types::Spiffeid {
    types::Spiffeid { trust_domain: DOMAIN.to_owned(), path: path.to_owned() }
}

async fn trust_domain(directory: &Path) -> Result<(Server, Agent, X509Source), Box<dyn Error>> {
    let server = server(directory).await?;
    register(&server).await?;
    let agent = agent(directory, &server).await?;
    let workload = X509Source::new(Address::unix(agent.socket_path())).await?;
    Ok((server, agent, workload))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (_server, agent, workload) = trust_domain(directory.path()).await?;
    say(&format!("{} gave this process {}", agent.agent_id(), workload.svid()?.id()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_workload_is_given_its_identity_by_an_agent_of_the_same_process() {
        let directory = tempfile::tempdir().unwrap();
        let (server, agent, workload) = trust_domain(directory.path()).await.unwrap();
        assert_eq!(workload.svid().unwrap().id().to_string(), "spiffe://example.org/workload");
        agent.shutdown(Duration::from_secs(5)).await.unwrap();
        server.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}
