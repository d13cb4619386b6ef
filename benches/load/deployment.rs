//! One server, and agents of its kind, in a folder of their own.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spiffe_core::Bundle;
use spire_api::proto::agent::CreateJoinTokenRequest;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::types;
use tonic::transport::Channel;
use workload_api::{Address, Client};

use crate::process::Process;
use crate::{Failure, TRUST_DOMAIN};

/// How long a start may take; 1,000,000 entries are read in it.
const START: Duration = Duration::from_secs(300);

/// Whose binaries.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) binaries: PathBuf,
}

impl Subject {
    pub(crate) fn server_binary(&self) -> PathBuf {
        self.binaries.join("spire-server")
    }

    pub(crate) fn agent_binary(&self) -> PathBuf {
        self.binaries.join("spire-agent")
    }
}

/// A running server.
pub(crate) struct Deployment {
    pub(crate) subject: Subject,
    pub(crate) folder: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) server: Process,
    /// Where it tells its metrics, if it does.
    pub(crate) metrics: Option<SocketAddr>,
    /// From the start of the process to its first answer.
    pub(crate) ready_after: Duration,
}

/// A running agent.
pub(crate) struct RunningAgent {
    pub(crate) process: Process,
    pub(crate) socket: PathBuf,
    /// From the start of the process to its socket.
    pub(crate) ready_after: Duration,
}

impl Deployment {
    /// Starts a server on `folder`, with whatever its database holds already.
    pub(crate) async fn start(subject: &Subject, folder: &Path) -> Result<Self, Failure> {
        Self::start_with(subject, folder, None).await
    }

    /// The same, with metrics to read.
    pub(crate) async fn start_metered(subject: &Subject, folder: &Path) -> Result<Self, Failure> {
        Self::start_with(subject, folder, Some(free_port()?)).await
    }

    async fn start_with(subject: &Subject, folder: &Path, metrics: Option<SocketAddr>) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder.join("data"))?;
        let address = free_port()?;
        let configuration = folder.join("server.conf");
        std::fs::write(&configuration, server_configuration(folder, address, metrics))?;
        let started = Instant::now();
        let words = ["run", "-config", &configuration.display().to_string()];
        let server = Process::start(&subject.server_binary(), &words, &folder.join("server.log"))?;
        let mut deployment = Self {
            subject: subject.clone(),
            folder: folder.to_owned(),
            address,
            server,
            metrics,
            ready_after: Duration::ZERO,
        };
        loop {
            deployment.server.check()?;
            if UnixStream::connect(deployment.admin_socket()).is_ok() && deployment.bundle().await.is_ok() {
                break;
            }
            if started.elapsed() > START {
                return Err("server does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        deployment.ready_after = started.elapsed();
        Ok(deployment)
    }

    fn admin_socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    /// A new connection to the administrators' socket.
    pub(crate) fn admin(&self) -> Channel {
        spire_api::channel::unix(self.admin_socket())
    }

    /// The trust domain's bundle.
    pub(crate) async fn bundle(&self) -> Result<Bundle, Failure> {
        let bundle = BundleClient::new(self.admin()).get_bundle(GetBundleRequest::default()).await?.into_inner();
        Ok(spire_api::convert::bundle::from_proto(&bundle)?)
    }

    /// A join token for a node; with an ID, the agent gets what is registered below it.
    pub(crate) async fn token(&self, node: Option<&str>) -> Result<String, Failure> {
        let agent_id =
            node.map(|path| types::Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: path.to_owned() });
        let request = CreateJoinTokenRequest { ttl: 3600, token: String::new(), agent_id };
        Ok(AgentClient::new(self.admin()).create_join_token(request).await?.into_inner().value)
    }

    /// Starts an agent of the same kind below the node ID of that path.
    pub(crate) async fn agent(&self, name: &str, node: &str) -> Result<RunningAgent, Failure> {
        let folder = self.folder.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let bundle: String = self.bundle().await?.x509_roots().map(spiffe_core::x509::Certificate::to_pem).collect();
        std::fs::write(folder.join("bundle.pem"), bundle)?;
        let token = self.token(Some(node)).await?;
        let configuration = folder.join("agent.conf");
        std::fs::write(&configuration, agent_configuration(&folder, self.address))?;
        let socket = folder.join("agent.sock");
        let started = Instant::now();
        let words = ["run", "-config", &configuration.display().to_string(), "-joinToken", &token];
        let mut process = Process::start(&self.subject.agent_binary(), &words, &folder.join("agent.log"))?;
        while UnixStream::connect(&socket).is_err() {
            process.check()?;
            if started.elapsed() > START {
                return Err("agent does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(RunningAgent { process, socket, ready_after: started.elapsed() })
    }
}

impl RunningAgent {
    /// A client that connects anew.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(Address::unix(&self.socket)))
    }
}

fn free_port() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn server_configuration(folder: &Path, address: SocketAddr, metrics: Option<SocketAddr>) -> String {
    let folder = folder.display();
    let telemetry = metrics.map_or_else(String::new, |address| {
        format!("telemetry {{ Prometheus {{ host = \"127.0.0.1\" port = {} }} }}\n", address.port())
    });
    format!(
        r#"server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  trust_domain = "{TRUST_DOMAIN}"
  data_dir = "{folder}/data"
  socket_path = "{folder}/server.sock"
  log_level = "WARN"
  ratelimit {{
    attestation = false
    signing = false
  }}
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{folder}/data/datastore.sqlite3"
    }}
  }}
  KeyManager "disk" {{
    plugin_data {{ keys_path = "{folder}/data/keys.json" }}
  }}
  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
}}
{telemetry}"#,
        port = address.port()
    )
}

fn agent_configuration(folder: &Path, server: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        r#"agent {{
  server_address = "127.0.0.1"
  server_port = "{port}"
  trust_domain = "{TRUST_DOMAIN}"
  data_dir = "{folder}"
  socket_path = "{folder}/agent.sock"
  trust_bundle_path = "{folder}/bundle.pem"
  log_level = "WARN"
}}
plugins {{
  KeyManager "memory" {{
    plugin_data {{}}
  }}
  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
  WorkloadAttestor "unix" {{
    plugin_data {{}}
  }}
}}
"#,
        port = server.port()
    )
}
