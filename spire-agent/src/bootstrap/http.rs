//! One GET, for a bundle: over TLS with the machine's roots, or over a Unix socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use spire_runtime::{Clock, rustls_time};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Longest answer, in bytes.
const MAX_LENGTH: usize = 4 << 20;
/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Fetches `url`; over `socket` where there is one, whatever host the URL names.
pub(super) async fn get(url: &str, socket: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Vec<u8>, String> {
    let failed = |reason: String| format!("unable to fetch trust bundle URL {url}: {reason}");
    let fetched = tokio::time::timeout(TIMEOUT, fetch(url, socket, clock)).await;
    fetched.map_err(|_| failed(format!("no answer within {TIMEOUT:?}")))?.map_err(failed)
}

async fn fetch(url: &str, socket: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Vec<u8>, String> {
    let uri: Uri = url.parse().map_err(|err| format!("{err}"))?;
    let host = uri.host().ok_or("it names no host")?.to_owned();
    if let Some(path) = socket {
        let stream = UnixStream::connect(path).await.map_err(|err| format!("{path:?}: {err}"))?;
        return exchange(stream, &uri, &host).await;
    }
    if uri.scheme_str() != Some("https") {
        return Err("it must start with https://".to_owned());
    }
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream =
        TcpStream::connect((name.as_str(), uri.port_u16().unwrap_or(443))).await.map_err(|err| err.to_string())?;
    let server_name = ServerName::try_from(name).map_err(|err| err.to_string())?;
    let tls = TlsConnector::from(Arc::new(config(clock)?)).connect(server_name, stream).await;
    exchange(tls.map_err(|err| err.to_string())?, &uri, &host).await
}

fn config(clock: Arc<dyn Clock>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_details(provider, rustls_time(clock)).with_safe_default_protocol_versions();
    Ok(builder.map_err(|err| err.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange<S>(stream: S, uri: &Uri, host: &str) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|err| err.to_string())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request =
        Request::get(target).header("host", host).body(Empty::<Bytes>::new()).map_err(|err| err.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|err| err.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("unexpected HTTP status {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_LENGTH).collect().await.map_err(|err| err.to_string())?;
        Ok(body.to_bytes().to_vec())
    };
    // The connection is driven beside the answer, and dropped with it.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(err) => Err(err.to_string()),
        },
    }
}
