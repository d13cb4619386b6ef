//! The broker's bundle endpoint by Web PKI: with a certificate that pebble, an ACME authority for tests, issues where it is
//! installed, and one of a local root otherwise. The other server needs no bundle to begin with then, only roots to believe.

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::process::Processes;
use crate::site::{Site, free_ports};
use crate::steps::Steps;
use crate::{GLANCE, Result};

/// The name that the endpoint's certificate is for.
pub(crate) const NAME: &str = "localhost";
/// The root that certifies what is local.
const ROOT: &str = "web/root.pem";
/// The root of the endpoint's certificate, where pebble has issued it.
const ACME_ROOT: &str = "web/acme-root.pem";
/// How long pebble may take to start, and the broker's bundle to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 1 << 16;

/// How the broker's endpoint gets its certificate.
pub(crate) enum Web {
    /// From an ACME authority, whose directory this is.
    Acme(String),
    /// From files.
    Files,
}

impl Web {
    /// Makes a root, and starts pebble where it is installed.
    pub(crate) async fn prepare(steps: &Steps<'_>, processes: &mut Processes, broker: &Site) -> Result<Self> {
        fs::create_dir(steps.directory.join("web"))?;
        let root = Root::new(steps.directory)?;
        if ["pebble", "pebble-challtestsrv"].into_iter().all(is_installed) {
            return Self::start_pebble(steps, processes, broker, &root).await;
        }
        steps.title("pebble is not installed: a local root certifies the broker's bundle endpoint");
        root.certify(steps.directory, "web/endpoint")?;
        Ok(Self::Files)
    }

    async fn start_pebble(steps: &Steps<'_>, processes: &mut Processes, broker: &Site, root: &Root) -> Result<Self> {
        steps.title("Start pebble, an ACME authority for tests, and the name server that it asks");
        root.certify(steps.directory, "web/pebble")?;
        let [directory, management, dns, dns_management] = free_ports()?;
        fs::write(
            steps.directory.join("web/pebble.json"),
            serde_json::to_string_pretty(&serde_json::json!({ "pebble": {
                "listenAddress": format!("127.0.0.1:{directory}"),
                "managementListenAddress": format!("127.0.0.1:{management}"),
                "certificate": "web/pebble.pem",
                "privateKey": "web/pebble.key",
                "tlsPort": broker.bundle_port,
            }}))?,
        )?;
        let (resolver, resolver_management) = (format!("127.0.0.1:{dns}"), format!("127.0.0.1:{dns_management}"));
        let names =
            ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &resolver, "-management", &resolver_management];
        let nothing_else = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
        steps.start_tool(processes, "pebble-challtestsrv", &[&names[..], &nothing_else].concat())?;
        steps.start_tool(processes, "pebble", &["-config", "web/pebble.json", "-dnsserver", &resolver])?;
        let asking = async {
            loop {
                processes.all_alive()?;
                match root.get(management, "/roots/0").await {
                    Ok(pem) => return Ok(pem),
                    Err(_) => tokio::time::sleep(GLANCE).await,
                }
            }
        };
        let answer: std::result::Result<Result<Bytes>, _> = tokio::time::timeout(PATIENCE, asking).await;
        let pem = answer.map_err(|_| format!("pebble is not there after {PATIENCE:?}\n{}", processes.tails()))??;
        fs::write(steps.directory.join(ACME_ROOT), pem)?;
        Ok(Self::Acme(format!("https://{NAME}:{directory}/dir")))
    }

    /// The profile of the broker's endpoint, as `server.conf` has it.
    pub(crate) fn profile(&self) -> String {
        let certificate = match self {
            Self::Acme(directory) => format!(
                r#"acme {{
                    domain_name = "{NAME}"
                    email = "some@email.com"
                    tos_accepted = true
                    directory_url = "{directory}"
                }}"#
            ),
            Self::Files => r#"serving_cert_file {
                    cert_file_path = "web/endpoint.pem"
                    key_file_path = "web/endpoint.key"
                }"#
            .to_owned(),
        };
        format!(
            r#""https_web" {{
                {certificate}
            }}"#
        )
    }

    /// What a server is started with, so that it believes those that certify: for the broker pebble's own door, for the
    /// other the broker's endpoint.
    pub(crate) fn environment(&self, site: &Site) -> (&'static str, &'static str) {
        let roots = match self {
            Self::Acme(_) if !site.is_broker() => ACME_ROOT,
            _ => ROOT,
        };
        ("SSL_CERT_FILE", roots)
    }

    /// Has `site` fetch the bundle of `other`, until the endpoint's certificate is there.
    pub(crate) async fn fetch(steps: &Steps<'_>, processes: &mut Processes, site: &Site, other: &Site) -> Result<()> {
        let id = format!("spiffe://{}", other.trust_domain);
        let refresh = ["federation", "refresh", "-id", &id, "-socketPath", &site.server_socket()];
        steps.until_done(processes, site, "spire-server", &refresh, PATIENCE).await
    }
}

/// A root that certifies this machine.
struct Root {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Root {
    fn new(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        fs::write(directory.join(ROOT), &certificate)?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Writes a certificate for [`NAME`] and its key to `file.pem` and `file.key`.
    fn certify(&self, directory: &Path, file: &str) -> Result<()> {
        let params = CertificateParams::new([NAME.to_owned()])?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(directory.join(format!("{file}.pem")), certificate.pem())?;
        fs::write(directory.join(format!("{file}.key")), key.serialize_pem())?;
        Ok(())
    }

    /// Asks a server on this machine that this root has certified.
    async fn get(&self, port: u16, path: &str) -> Result<Bytes> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME)?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::get(path).header("host", NAME).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answered {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(|err| err.to_string())?.to_bytes())
    }
}

fn is_installed(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}
