//! `jwt mint` and `x509 mint`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Serialize;
use spiffe_core::key::{KeyType, PrivateKey};
use spiffe_core::{Timestamp, jwt, pem, x509};
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::svid::{MintJwtsvidRequest, MintX509svidRequest};

use super::client::{Api, parse_id};
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::print::json;
use crate::terminal::Terminal;
use crate::{files, go};

#[derive(Args, Debug)]
pub(super) struct Jwt {
    #[command(flatten)]
    api: Api,
    /// SPIFFE ID of the JWT-SVID
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
    /// Lifetime of the JWT-SVID; the server's default when it is left out
    #[arg(long = "ttl", value_name = "duration", default_value = "0s", value_parser = go::parse_duration)]
    ttl: Duration,
    /// Audience of the JWT-SVID; may be given more than once
    #[arg(long = "audience", value_name = "value")]
    audience: Vec<String>,
    /// File to write the token to
    #[arg(long = "write", value_name = "string", default_value = "")]
    write: String,
}

impl Action for Jwt {
    const NAME: &'static str = "jwt mint";
    const SYNOPSIS: &'static str = "Mints a JWT-SVID";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.spiffe_id.is_empty() {
            return Err(Error::refused("spiffeID must be specified"));
        }
        if self.audience.is_empty() {
            return Err(Error::refused("at least one audience must be specified"));
        }
        let id = Some(parse_id(&self.spiffe_id)?);
        let request = MintJwtsvidRequest { id, audience: self.audience.clone(), ttl: whole_seconds(self.ttl)? };
        let answer = self.api.svids(terminal)?.mint_jwtsvid(request).await.during("unable to mint SVID")?.into_inner();
        let token = answer.svid.as_ref().map(|svid| svid.token.clone()).unwrap_or_default();
        if token.is_empty() {
            return Err(Error::refused("server response missing token"));
        }
        match jwt::parse_unverified(&token) {
            Ok(claims) => note_if_capped(terminal, "JWT-SVID", claims.expires_at, self.ttl)?,
            Err(err) => writeln!(terminal.stderr, "Unable to determine JWT-SVID lifetime: {err}")?,
        }
        if self.write.is_empty() {
            return self.api.output.print(terminal, &answer, |terminal, _| {
                writeln!(terminal.stdout, "{token}")?;
                Ok(())
            });
        }
        let path = PathBuf::from(&self.write);
        files::write(&path, token.as_bytes(), files::PRIVATE).during("unable to write token")?;
        writeln!(terminal.stdout, "JWT-SVID written to {}", path.display())?;
        Ok(())
    }
}

#[derive(Args, Debug)]
pub(super) struct X509 {
    #[command(flatten)]
    api: Api,
    /// SPIFFE ID of the X509-SVID
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
    /// Lifetime of the X509-SVID; the server's default when it is left out
    #[arg(long = "ttl", value_name = "duration", default_value = "0s", value_parser = go::parse_duration)]
    ttl: Duration,
    /// DNS name for the X509-SVID; may be given more than once
    #[arg(long = "dns", value_name = "value")]
    dns_names: Vec<String>,
    /// Directory to write svid.pem, key.pem and bundle.pem to
    #[arg(long = "write", value_name = "string", default_value = "")]
    write: String,
}

impl Action for X509 {
    const NAME: &'static str = "x509 mint";
    const SYNOPSIS: &'static str = "Mints an X509-SVID";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.spiffe_id.is_empty() {
            return Err(Error::refused("spiffeID must be specified"));
        }
        parse_id(&self.spiffe_id)?;
        let ttl = whole_seconds(self.ttl)?;
        let key = PrivateKey::generate(KeyType::EcP256)
            .map_err(|err| Error::Refused(format!("unable to generate key: {err}")))?;
        let template = x509::CsrTemplate {
            uri_sans: vec![self.spiffe_id.clone()],
            dns_sans: self.dns_names.clone(),
            ..x509::CsrTemplate::default()
        };
        let csr = template.sign(&key).map_err(|err| Error::Refused(format!("unable to generate CSR: {err}")))?;
        let request = MintX509svidRequest { csr: csr.into(), ttl };
        let answer = self.api.svids(terminal)?.mint_x509svid(request).await.during("unable to mint SVID")?;
        let svid = answer.into_inner().svid.unwrap_or_default();
        if svid.cert_chain.is_empty() {
            return Err(Error::refused("server response missing SVID chain"));
        }
        let bundle = self.api.bundles(terminal)?.get_bundle(GetBundleRequest::default()).await;
        let authorities = bundle.during("unable to get bundle")?.into_inner().x509_authorities;
        if authorities.is_empty() {
            return Err(Error::refused("server response missing X509 Authorities"));
        }
        note_if_capped(terminal, "X509-SVID", Timestamp::from_unix(svid.expires_at), self.ttl)?;
        let certificates = |ders: &mut dyn Iterator<Item = &[u8]>| -> String {
            ders.map(|der| pem::encode("CERTIFICATE", der)).collect()
        };
        let chain = certificates(&mut svid.cert_chain.iter().map(AsRef::as_ref));
        let roots = certificates(&mut authorities.iter().map(|authority| authority.asn1.as_ref()));
        let key_pem = key.to_pkcs8_pem();
        if !self.write.is_empty() {
            let directory = Path::new(&self.write);
            let files = [
                ("svid.pem", "SVID", "X509-SVID", chain.as_str(), files::PUBLIC),
                ("key.pem", "key", "Private key", key_pem.as_str(), files::PRIVATE),
                ("bundle.pem", "bundle", "Root CAs", roots.as_str(), files::PUBLIC),
            ];
            for (name, what, label, contents, mode) in files {
                let path = directory.join(name);
                files::write(&path, contents.as_bytes(), mode).during(format!("unable to write {what}"))?;
                writeln!(terminal.stdout, "{label} written to {}", path.display())?;
            }
            return Ok(());
        }
        if self.api.output.is_json() {
            let minted = Minted {
                x509_svid: svid.cert_chain.iter().map(|der| STANDARD.encode(der)).collect(),
                private_key: STANDARD.encode(&*key.to_pkcs8_der()),
                root_cas: authorities.iter().map(|authority| STANDARD.encode(&authority.asn1)).collect(),
            };
            writeln!(terminal.stdout, "{}", json::text(&minted))?;
            return Ok(());
        }
        let key_pem = key_pem.as_str();
        write!(terminal.stdout, "X509-SVID:\n{chain}\nPrivate key:\n{key_pem}\nRoot CAs:\n{roots}\n")?;
        Ok(())
    }
}

#[derive(Serialize)]
struct Minted {
    x509_svid: Vec<String>,
    private_key: String,
    root_cas: Vec<String>,
}

/// Says so when the server has given less than was asked for.
fn note_if_capped(terminal: &mut Terminal, what: &str, expires_at: Timestamp, asked: Duration) -> Result<(), Error> {
    // The clock of a command has whole seconds: one that has begun counts.
    let left = Duration::from(expires_at.since(terminal.now));
    if left + Duration::from_secs(1) < asked {
        let expires_at = go::rfc3339(expires_at.as_unix());
        writeln!(terminal.stderr, "{what} lifetime was capped shorter than specified ttl; expires {expires_at:?}")?;
    }
    Ok(())
}

/// Rounded up.
fn whole_seconds(ttl: Duration) -> Result<i32, Error> {
    let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    i32::try_from(seconds).map_err(|_| Error::Refused(format!("invalid value for TTL: {seconds} is out of range")))
}
