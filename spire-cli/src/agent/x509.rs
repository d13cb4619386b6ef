//! X.509-SVIDs as they come from the Workload API: read, checked, printed, written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use spiffe_core::key::PrivateKey;
use spiffe_core::x509::{self, Certificate};
use spiffe_core::{Bundle, BundleSet, SpiffeId, Timestamp, X509Authority};
use workload_api::proto;

use crate::error::Error;
use crate::terminal::Terminal;
use crate::{files, go};

pub(super) struct Svid {
    pub(super) id: String,
    pub(super) hint: String,
    chain: Vec<Certificate>,
    key: PrivateKey,
    roots: Vec<Certificate>,
}

/// What an answer holds.
pub(super) struct Svids {
    svids: Vec<Svid>,
    /// By the ID of the trust domain.
    federated: BTreeMap<String, Vec<Certificate>>,
}

impl Svids {
    /// Reads an answer, and verifies each SVID by its bundle.
    pub(super) fn of(answer: &proto::X509svidResponse, now: Timestamp) -> Result<Self, Error> {
        if answer.svids.is_empty() {
            return Err(Error::refused("workload response contains no svids"));
        }
        let mut federated = BTreeMap::new();
        for (trust_domain, bundle) in &answer.federated_bundles {
            let roots = Certificate::from_der_many(bundle).map_err(|err| {
                Error::Refused(format!("failed to parse bundle for federated domain {trust_domain:?}: {err}"))
            })?;
            if roots.is_empty() {
                let text = format!("no certificates in bundle for federated domain {trust_domain:?}");
                return Err(Error::Refused(text));
            }
            federated.insert(trust_domain.clone(), roots);
        }
        let read = |(i, svid): (usize, &proto::X509svid)| {
            let id = &svid.spiffe_id;
            Svid::of(svid)
                .map_err(|why| Error::Refused(format!("failed to parse svid entry {i} for spiffe id {id:?}: {why}")))
        };
        let svids = answer.svids.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        svids.iter().try_for_each(|svid| svid.verify(now))?;
        Ok(Self { svids, federated })
    }

    /// In words; `after` is how long they took to come.
    pub(super) fn text(&self, after: Duration, federated_label: impl Fn(&str) -> String, hints: bool) -> String {
        let count = self.svids.len();
        let plural = if count == 1 { "" } else { "s" };
        let mut text = format!("Received {count} svid{plural} after {}\n", go::duration(after));
        for svid in &self.svids {
            let _ = write!(text, "\nSPIFFE ID:\t\t{}\n", svid.id);
            if hints && !svid.hint.is_empty() {
                let _ = writeln!(text, "Hint:\t\t\t{}", svid.hint);
            }
            for (i, certificate) in svid.chain.iter().enumerate() {
                let label = if i == 0 { "SVID".to_owned() } else { format!("Intermediate #{i}") };
                validity(&mut text, &label, certificate);
            }
            for (i, root) in svid.roots.iter().enumerate() {
                validity(&mut text, &format!("CA #{}", i + 1), root);
            }
            for (trust_domain, roots) in &self.federated {
                for (i, root) in roots.iter().enumerate() {
                    validity(&mut text, &format!("[{}] CA #{}", federated_label(trust_domain), i + 1), root);
                }
            }
        }
        text.push('\n');
        text
    }

    /// Writes them into a directory, and says so.
    pub(super) fn write(&self, terminal: &mut Terminal, directory: &Path) -> Result<(), Error> {
        for (i, svid) in self.svids.iter().enumerate() {
            let path = directory.join(format!("svid.{i}.pem"));
            writeln!(terminal.stdout, "Writing SVID #{i} to file {}.", path.display())?;
            files::write(&path, pem(&svid.chain).as_bytes(), files::PUBLIC)?;
            let path = directory.join(format!("svid.{i}.key"));
            writeln!(terminal.stdout, "Writing key #{i} to file {}.", path.display())?;
            files::write(&path, svid.key.to_pkcs8_pem().as_bytes(), files::PRIVATE)?;
            let path = directory.join(format!("bundle.{i}.pem"));
            writeln!(terminal.stdout, "Writing bundle #{i} to file {}.", path.display())?;
            files::write(&path, pem(&svid.roots).as_bytes(), files::PUBLIC)?;
            for (j, (trust_domain, roots)) in self.federated.iter().enumerate() {
                let path = directory.join(format!("federated_bundle.{i}.{j}.pem"));
                let shown = path.display();
                writeln!(
                    terminal.stdout,
                    "Writing federated bundle #{j} for trust domain {trust_domain} to file {shown}."
                )?;
                files::write(&path, pem(roots).as_bytes(), files::PUBLIC)?;
            }
        }
        Ok(())
    }
}

impl Svid {
    fn of(svid: &proto::X509svid) -> Result<Self, String> {
        let chain = Certificate::from_der_many(&svid.x509_svid).map_err(|err| err.to_string())?;
        if chain.is_empty() {
            return Err("no certificates found".to_owned());
        }
        let key = PrivateKey::from_pkcs8_der(&svid.x509_svid_key)
            .map_err(|err| format!("failed to parse private key: {err}"))?;
        let roots =
            Certificate::from_der_many(&svid.bundle).map_err(|err| format!("failed to parse trust bundle: {err}"))?;
        if roots.is_empty() {
            return Err("no certificates in trust bundle".to_owned());
        }
        Ok(Self { id: svid.spiffe_id.clone(), hint: svid.hint.clone(), chain, key, roots })
    }

    fn verify(&self, now: Timestamp) -> Result<(), Error> {
        let claimed = SpiffeId::parse(&self.id).map_err(|err| Error::refused(err.to_string()))?;
        let mut bundle = Bundle::new(claimed.trust_domain());
        let authority = |certificate: &Certificate| X509Authority { certificate: certificate.clone(), tainted: false };
        bundle.x509_authorities = self.roots.iter().map(authority).collect();
        let mut bundles = BundleSet::default();
        bundles.insert(bundle);
        let fail =
            |why: String| Error::Refused(format!("{:?} SVID failed verification against bundle: {why}", self.id));
        let id = x509::verify_svid(&self.chain, &bundles, now).map_err(|err| fail(err.to_string()))?;
        if id != claimed {
            return Err(fail(format!("the certificate is of {id}")));
        }
        Ok(())
    }
}

fn validity(text: &mut String, label: &str, certificate: &Certificate) {
    let (after, until) = (go::time(certificate.not_before().as_unix()), go::time(certificate.not_after().as_unix()));
    let _ = write!(text, "{label} Valid After:\t{after}\n{label} Valid Until:\t{until}\n");
}

fn pem(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}
