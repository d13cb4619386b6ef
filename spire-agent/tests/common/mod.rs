//! A server to be an agent of.

use std::path::Path;

use spiffe_core::TrustDomain;
use spire_server::Server;

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// A server whose data and socket are in `directory`; on port 0 the system chooses one.
pub(crate) async fn serve(directory: &Path, port: u16) -> Server {
    let mut config = spire_server::config::Config::new(trust_domain(), directory.join("server"));
    config.bind_address = "127.0.0.1".into();
    config.bind_port = port;
    config.socket_path = directory.join("server.sock");
    Server::builder(config).start().await.unwrap()
}
