//! What is done with bundles.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row};
use spiffe_core::{Bundle, JwtAuthority, Timestamp, TrustDomain, X509Authority};
use spire_types::{BundleMask, DeleteMode, Page, PageRequest};

use super::bundle_data::{decode, encode};
use super::fail::{Fail, unique};
use super::log::{Kind, Op, record};
use super::page::{Conditions, page};
use super::{SqliteStore, entries, entry_rows};
use crate::{Bundles, Error, Revision};

const SELECT: &str = "SELECT id, trust_domain, data FROM bundles";
const NOT_FOUND: Error = Error::NotFound { what: "bundle" };

/// The bundle of that trust domain.
pub(super) fn fetch(connection: &Connection, trust_domain: &TrustDomain) -> Result<Option<Bundle>, Fail> {
    let mut statement = connection.prepare_cached("SELECT data FROM bundles WHERE trust_domain = ?1")?;
    let data: Option<String> = statement.query_one([trust_domain.as_str()], |row| row.get(0)).optional()?;
    data.map(|data| decode(trust_domain, &data)).transpose()
}

fn fetch_or_fail(connection: &Connection, trust_domain: &TrustDomain) -> Result<Bundle, Fail> {
    fetch(connection, trust_domain)?.ok_or_else(|| NOT_FOUND.into())
}

/// All bundles.
pub(super) fn all(connection: &Connection) -> Result<Vec<Bundle>, Fail> {
    Ok(list(connection, &PageRequest::default())?.items)
}

fn list(connection: &Connection, request: &PageRequest) -> Result<Page<Bundle>, Fail> {
    page(connection, request, SELECT, Conditions::default(), |row| whole(row).map(Some))
}

fn whole(row: &Row<'_>) -> Result<Bundle, Fail> {
    let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let trust_domain = TrustDomain::parse(text(1)?).map_err(|err| Fail::damaged(format!("trust domain: {err}")))?;
    decode(&trust_domain, text(2)?)
}

fn insert(connection: &Connection, bundle: &Bundle) -> Result<Revision, Fail> {
    connection
        .prepare_cached("INSERT INTO bundles (trust_domain, data) VALUES (?1, ?2)")?
        .execute([bundle.trust_domain.as_str(), &encode(bundle)?])
        .map_err(unique("bundles.trust_domain"))?;
    record(connection, Kind::Bundle, bundle.trust_domain.as_str(), Op::Put)
}

fn replace(connection: &Connection, bundle: &Bundle) -> Result<Revision, Fail> {
    connection
        .prepare_cached("UPDATE bundles SET data = ?2 WHERE trust_domain = ?1")?
        .execute([bundle.trust_domain.as_str(), &encode(bundle)?])?;
    record(connection, Kind::Bundle, bundle.trust_domain.as_str(), Op::Put)
}

/// Stores a bundle under the next sequence number.
fn succeed(connection: &Connection, mut bundle: Bundle) -> Result<(Bundle, Revision), Fail> {
    bundle.sequence_number = bundle.sequence_number.saturating_add(1);
    let revision = replace(connection, &bundle)?;
    Ok((bundle, revision))
}

/// Stores a bundle in place of the one that is there, if any.
pub(super) fn set(connection: &Connection, bundle: Bundle) -> Result<(Bundle, Option<Revision>), Fail> {
    let revision = match fetch(connection, &bundle.trust_domain)? {
        None => insert(connection, &bundle)?,
        Some(stored) if stored == bundle => return Ok((bundle, None)),
        Some(_) => replace(connection, &bundle)?,
    };
    Ok((bundle, Some(revision)))
}

fn set_in_place_of(connection: &Connection, bundle: Bundle, replaced: Option<&Bundle>) -> Result<bool, Fail> {
    if fetch(connection, &bundle.trust_domain)?.as_ref() != replaced {
        return Ok(false);
    }
    set(connection, bundle).map(|_| true)
}

fn update(connection: &Connection, changed: Bundle, mask: BundleMask) -> Result<(Bundle, Option<Revision>), Fail> {
    let stored = fetch_or_fail(connection, &changed.trust_domain)?;
    let mut bundle = stored.clone();
    if mask.x509_authorities {
        bundle.x509_authorities = changed.x509_authorities;
    }
    if mask.jwt_authorities {
        bundle.jwt_authorities = changed.jwt_authorities;
    }
    if mask.refresh_hint {
        bundle.refresh_hint = changed.refresh_hint;
    }
    if mask.sequence_number {
        bundle.sequence_number = changed.sequence_number;
    }
    if bundle == stored {
        return Ok((bundle, None));
    }
    let revision = replace(connection, &bundle)?;
    Ok((bundle, Some(revision)))
}

fn append(
    connection: &Connection,
    trust_domain: &TrustDomain,
    x509: Vec<X509Authority>,
    jwt: Vec<JwtAuthority>,
) -> Result<(Bundle, Option<Revision>), Fail> {
    let Some(mut bundle) = fetch(connection, trust_domain)? else {
        let mut bundle = Bundle::new(trust_domain.clone());
        bundle.merge(x509, jwt);
        let revision = insert(connection, &bundle)?;
        return Ok((bundle, Some(revision)));
    };
    if !bundle.merge(x509, jwt) {
        return Ok((bundle, None));
    }
    let (bundle, revision) = succeed(connection, bundle)?;
    Ok((bundle, Some(revision)))
}

fn delete(connection: &Connection, trust_domain: &TrustDomain, mode: DeleteMode) -> Result<Revision, Fail> {
    fetch_or_fail(connection, trust_domain)?;
    let sql = "SELECT e.id, e.entry_id FROM federated_registration_entries AS f JOIN registered_entries AS e \
               ON e.id = f.owner WHERE f.trust_domain = ?1 ORDER BY e.id";
    let federated = entry_rows::find(connection, sql, trust_domain.as_str())?;
    match mode {
        DeleteMode::Restrict if !federated.is_empty() => {
            return Err(Error::InUse { count: federated.len() }.into());
        }
        DeleteMode::Restrict => {}
        DeleteMode::Delete => {
            for (_, id) in &federated {
                entries::delete(connection, id)?;
            }
        }
        DeleteMode::Dissociate => {
            for (_, id) in &federated {
                entries::dissociate(connection, id, trust_domain)?;
            }
        }
    }
    connection.prepare_cached("DELETE FROM bundles WHERE trust_domain = ?1")?.execute([trust_domain.as_str()])?;
    record(connection, Kind::Bundle, trust_domain.as_str(), Op::Delete)
}

fn prune(
    connection: &Connection,
    trust_domain: &TrustDomain,
    expired_before: Timestamp,
) -> Result<Option<Revision>, Fail> {
    let Some(mut bundle) = fetch(connection, trust_domain)? else { return Ok(None) };
    let (roots, keys) = (bundle.x509_authorities.len(), bundle.jwt_authorities.len());
    bundle.x509_authorities.retain(|authority| authority.certificate.not_after() > expired_before);
    bundle.jwt_authorities.retain(|authority| authority.expires_at.is_none_or(|time| time > expired_before));
    if bundle.x509_authorities.is_empty() && roots > 0 {
        return Err(Error::LastAuthority { what: "certificates" }.into());
    }
    if bundle.jwt_authorities.is_empty() && keys > 0 {
        return Err(Error::LastAuthority { what: "JWT signing keys" }.into());
    }
    if (bundle.x509_authorities.len(), bundle.jwt_authorities.len()) == (roots, keys) {
        return Ok(None);
    }
    succeed(connection, bundle).map(|(_, revision)| Some(revision))
}

fn taint_x509(connection: &Connection, trust_domain: &TrustDomain, key_id: &[u8]) -> Result<Revision, Fail> {
    let mut bundle = fetch_or_fail(connection, trust_domain)?;
    let mut found = false;
    for authority in &mut bundle.x509_authorities {
        if authority.certificate.subject_key_id() == Some(key_id) {
            if authority.tainted {
                return Err(Error::Taint { cause: "root CA is already tainted" }.into());
            }
            authority.tainted = true;
            found = true;
        }
    }
    succeed_if(connection, bundle, found, "no ca found with provided subject key ID")
}

fn revoke_x509(connection: &Connection, trust_domain: &TrustDomain, key_id: &[u8]) -> Result<Revision, Fail> {
    let mut bundle = fetch_or_fail(connection, trust_domain)?;
    let meant = |authority: &X509Authority| authority.certificate.subject_key_id() == Some(key_id);
    if bundle.x509_authorities.iter().any(|authority| meant(authority) && !authority.tainted) {
        return Err(Error::Taint { cause: "it is not possible to revoke an untainted root CA" }.into());
    }
    let before = bundle.x509_authorities.len();
    bundle.x509_authorities.retain(|authority| !meant(authority));
    let found = bundle.x509_authorities.len() < before;
    succeed_if(connection, bundle, found, "no root CA found with provided subject key ID")
}

fn taint_jwt(connection: &Connection, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Fail> {
    let mut bundle = fetch_or_fail(connection, trust_domain)?;
    let mut found = false;
    for authority in &mut bundle.jwt_authorities {
        if authority.key_id == key_id {
            if authority.tainted {
                return Err(Error::Taint { cause: "key is already tainted" }.into());
            }
            authority.tainted = true;
            found = true;
        }
    }
    succeed_if(connection, bundle, found, "no JWT Key found with provided key ID")
}

fn revoke_jwt(connection: &Connection, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Fail> {
    let mut bundle = fetch_or_fail(connection, trust_domain)?;
    if bundle.jwt_authority(key_id).is_some_and(|authority| !authority.tainted) {
        return Err(Error::Taint { cause: "it is not possible to revoke an untainted key" }.into());
    }
    let before = bundle.jwt_authorities.len();
    bundle.jwt_authorities.retain(|authority| authority.key_id != key_id);
    let found = bundle.jwt_authorities.len() < before;
    succeed_if(connection, bundle, found, "no JWT Key found with provided key ID")
}

fn succeed_if(connection: &Connection, bundle: Bundle, found: bool, missing: &'static str) -> Result<Revision, Fail> {
    if !found {
        return Err(Error::NoAuthority { cause: missing }.into());
    }
    succeed(connection, bundle).map(|(_, revision)| revision)
}

#[async_trait]
impl Bundles for SqliteStore {
    async fn create_bundle(&self, bundle: Bundle) -> Result<(Bundle, Revision), Error> {
        let create = move |connection: &Connection| insert(connection, &bundle).map(|revision| (bundle, revision));
        self.write("create bundle", create).await
    }

    async fn set_bundle(&self, bundle: Bundle) -> Result<(Bundle, Option<Revision>), Error> {
        self.write("set bundle", move |connection| set(connection, bundle)).await
    }

    async fn replace_bundle(&self, bundle: Bundle, replaced: Option<Bundle>) -> Result<bool, Error> {
        self.write("replace bundle", move |connection| set_in_place_of(connection, bundle, replaced.as_ref())).await
    }

    async fn update_bundle(&self, bundle: Bundle, mask: BundleMask) -> Result<(Bundle, Option<Revision>), Error> {
        self.write("update bundle", move |connection| update(connection, bundle, mask)).await
    }

    async fn append_bundle(
        &self,
        trust_domain: &TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<(Bundle, Option<Revision>), Error> {
        let name = trust_domain.clone();
        self.write("append to bundle", move |connection| append(connection, &name, x509, jwt)).await
    }

    async fn delete_bundle(&self, trust_domain: &TrustDomain, mode: DeleteMode) -> Result<Revision, Error> {
        let name = trust_domain.clone();
        self.write("delete bundle", move |connection| delete(connection, &name, mode)).await
    }

    async fn prune_bundle(
        &self,
        trust_domain: &TrustDomain,
        expired_before: Timestamp,
    ) -> Result<Option<Revision>, Error> {
        let name = trust_domain.clone();
        self.write("prune bundle", move |connection| prune(connection, &name, expired_before)).await
    }

    async fn taint_x509_authority(&self, trust_domain: &TrustDomain, subject_key_id: &[u8]) -> Result<Revision, Error> {
        let (name, key_id) = (trust_domain.clone(), subject_key_id.to_vec());
        self.write("taint X.509 authority", move |connection| taint_x509(connection, &name, &key_id)).await
    }

    async fn revoke_x509_authority(
        &self,
        trust_domain: &TrustDomain,
        subject_key_id: &[u8],
    ) -> Result<Revision, Error> {
        let (name, key_id) = (trust_domain.clone(), subject_key_id.to_vec());
        self.write("revoke X.509 authority", move |connection| revoke_x509(connection, &name, &key_id)).await
    }

    async fn taint_jwt_authority(&self, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Error> {
        let (name, key_id) = (trust_domain.clone(), key_id.to_owned());
        self.write("taint JWT authority", move |connection| taint_jwt(connection, &name, &key_id)).await
    }

    async fn revoke_jwt_authority(&self, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Error> {
        let (name, key_id) = (trust_domain.clone(), key_id.to_owned());
        self.write("revoke JWT authority", move |connection| revoke_jwt(connection, &name, &key_id)).await
    }

    async fn fetch_bundle(&self, trust_domain: &TrustDomain) -> Result<Option<Bundle>, Error> {
        let name = trust_domain.clone();
        self.read("fetch bundle", move |connection| fetch(connection, &name)).await
    }

    async fn list_bundles(&self, page: PageRequest) -> Result<Page<Bundle>, Error> {
        self.read("list bundles", move |connection| list(connection, &page)).await
    }

    async fn count_bundles(&self) -> Result<usize, Error> {
        self.read("count bundles", |connection| Conditions::default().count(connection, "bundles")).await
    }
}
