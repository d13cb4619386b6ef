//! A Workload API endpoint in your own program, with your own idea of who gets what: here, every process of the user
//! who runs it gets the SVID that lies in three PEM files.
//!
//! ```sh
//! cargo run --example embed-workload-api -- svid.pem key.pem bundle.pem /tmp/own.sock
//! ```

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use spiffe_core::x509::{Certificate, X509Svid};
use spiffe_core::{Bundle, PrivateKey, X509Authority};
use workload_api::server::{Caller, Endpoint, Identities, IdentityError, Updates, constant};
use workload_api::{Identity, X509Context};

struct OneUser {
    uid: u32,
    context: Arc<X509Context>,
}

#[async_trait]
impl Identities for OneUser {
    async fn watch_x509(&self, caller: &Caller) -> Result<Updates<X509Context>, IdentityError> {
        match caller.process() {
            Some(process) if process.uid() == self.uid => Ok(constant(Arc::clone(&self.context))),
            _ => Err(IdentityError::NoIdentity),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [svid, key, bundle, socket] = arguments.as_slice() else {
        return Err("usage: embed-workload-api SVID KEY BUNDLE SOCKET".into());
    };
    let read = |path: &String| std::fs::read_to_string(path);
    let context = context(&read(svid)?, &read(key)?, &read(bundle)?)?;
    let identities = OneUser { uid: std::fs::metadata("/proc/self")?.uid(), context: Arc::new(context) };
    Endpoint::new(identities).serve_unix(Path::new(socket), async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

fn context(svid: &str, key: &str, bundle: &str) -> Result<X509Context, Box<dyn Error>> {
    let svid = X509Svid::new(Certificate::from_pem_many(svid)?, PrivateKey::from_pem(key)?)?;
    let roots = Certificate::from_pem_many(bundle)?;
    let mut bundle = Bundle::new(svid.id().trust_domain());
    bundle.x509_authorities.extend(roots.into_iter().map(|certificate| X509Authority { certificate, tainted: false }));
    Ok(X509Context {
        identities: vec![Identity::new(Arc::new(svid))],
        bundles: Arc::new(std::iter::once(bundle).collect()),
    })
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;
    use workload_api::{Address, Client, X509Source};

    use super::*;

    #[tokio::test]
    async fn processes_of_the_user_get_the_svid_of_the_files() {
        let authority = TestAuthority::new("example.org");
        let svid = authority.svid("/from-files");
        let key = svid.private_key().to_pkcs8_pem();
        let context = context(&svid.leaf().to_pem(), &key, &authority.bundle().x509_roots_pem()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let uid = std::fs::metadata("/proc/self").unwrap().uid();
        let serve = |uid: u32| {
            let (identities, socket) = (OneUser { uid, context: Arc::new(context.clone()) }, socket.clone());
            tokio::spawn(async move { Endpoint::new(identities).serve_unix(&socket, std::future::pending()).await })
        };

        let serving = serve(uid);
        let source = X509Source::new(Address::unix(&socket)).await.unwrap();
        assert_eq!(source.svid().unwrap().leaf(), svid.leaf());
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());

        let _serving = serve(uid + 1);
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let denied = Client::new(Address::unix(&socket)).fetch_x509_context().await.unwrap_err();
        assert!(matches!(denied, workload_api::Error::NoIdentity { .. }), "{denied}");
    }
}
