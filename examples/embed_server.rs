//! A SPIRE server in your own program: state below a directory, agents on any free port of this machine.
//!
//! ```sh
//! cargo run --example embed-server -- /tmp/embedded
//! ```

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use spiffe_core::TrustDomain;
use spire_server::Server;
use spire_server::config::Config;

async fn start(directory: &Path) -> Result<Server, Box<dyn Error>> {
    let mut config = Config::new(TrustDomain::parse("example.org")?, directory.join("data"));
    config.bind_address = "127.0.0.1".to_owned();
    config.bind_port = 0;
    config.socket_path = directory.join("api.sock");
    Ok(Server::builder(config).start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: embed-server DIRECTORY")?;
    let server = start(Path::new(&directory)).await?;
    say(&format!("agents call {}, administrators {}", server.tcp_address(), server.socket_path().display()));
    tokio::select! {
        () = server.ended() => {}
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    Ok(server.shutdown(Duration::from_secs(5)).await?)
}

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use spire_api::proto::bundle::GetBundleRequest;
    use spire_api::proto::bundle::bundle_client::BundleClient;

    use super::*;

    async fn roots(server: &Server) -> Vec<Vec<u8>> {
        let channel = spire_api::channel::unix(server.socket_path().to_owned());
        let bundle = BundleClient::new(channel).get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
        assert_eq!(bundle.trust_domain, "example.org");
        bundle.x509_authorities.into_iter().map(|root| root.asn1.to_vec()).collect()
    }

    #[tokio::test]
    async fn two_servers_run_in_one_process_and_one_keeps_its_authority_over_a_restart() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, second) = (start(one.path()).await.unwrap(), start(other.path()).await.unwrap());
        assert_ne!(roots(&first).await, roots(&second).await);
        let before = roots(&first).await;
        first.shutdown(Duration::from_secs(5)).await.unwrap();
        let first = start(one.path()).await.unwrap();
        assert_eq!(roots(&first).await, before);
    }
}
