//! What is done with federation relationships.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use spiffe_core::{Bundle, SpiffeId, TrustDomain};
use spire_types::{EndpointProfile, FederationRelationship, Page, PageRequest, RelationshipMask};

use super::SqliteStore;
use super::bundles;
use super::fail::{Fail, unique};
use super::log::{Kind, Op, record};
use super::page::{Conditions, page};
use crate::{Error, FederationRelationships, Revision};

const SELECT: &str = "SELECT id, trust_domain, bundle_endpoint_url, endpoint_spiffe_id FROM federated_trust_domains";
const NOT_FOUND: Error = Error::NotFound { what: "federation relationship" };

/// The relationship with that trust domain.
pub(super) fn fetch(
    connection: &Connection,
    trust_domain: &TrustDomain,
) -> Result<Option<FederationRelationship>, Fail> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE trust_domain = ?1"))?;
    let mut rows = statement.query([trust_domain.as_str()])?;
    rows.next()?.map(whole).transpose()
}

/// All relationships.
pub(super) fn all(connection: &Connection) -> Result<Vec<FederationRelationship>, Fail> {
    Ok(list(connection, &PageRequest::default())?.items)
}

fn list(connection: &Connection, request: &PageRequest) -> Result<Page<FederationRelationship>, Fail> {
    page(connection, request, SELECT, Conditions::default(), |row| whole(row).map(Some))
}

fn whole(row: &Row<'_>) -> Result<FederationRelationship, Fail> {
    let damaged = |err| Fail::damaged(format!("federation relationship: {err}"));
    let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    let profile = match row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        Some(id) => EndpointProfile::HttpsSpiffe { endpoint_id: SpiffeId::parse(id).map_err(damaged)? },
        None => EndpointProfile::HttpsWeb,
    };
    let trust_domain = TrustDomain::parse(name).map_err(damaged)?;
    Ok(FederationRelationship { trust_domain, bundle_endpoint_url: row.get(2)?, profile })
}

/// The column for a profile.
fn endpoint_id(profile: &EndpointProfile) -> Result<Option<&str>, Error> {
    match profile {
        EndpointProfile::HttpsWeb => Ok(None),
        EndpointProfile::HttpsSpiffe { endpoint_id } => Ok(Some(endpoint_id.as_str())),
        _ => Err(Error::Invalid { cause: "bundle endpoint profile that this store does not know".to_owned() }),
    }
}

fn create(
    connection: &Connection,
    relationship: &FederationRelationship,
    bundle: Option<Bundle>,
) -> Result<Revision, Fail> {
    let name = relationship.trust_domain.as_str();
    connection
        .prepare_cached(
            "INSERT INTO federated_trust_domains (trust_domain, bundle_endpoint_url, endpoint_spiffe_id) \
             VALUES (?1, ?2, ?3)",
        )?
        .execute(params![name, relationship.bundle_endpoint_url, endpoint_id(&relationship.profile)?])
        .map_err(unique("federated_trust_domains.trust_domain"))?;
    if let Some(bundle) = bundle {
        bundles::set(connection, bundle)?;
    }
    record(connection, Kind::Relationship, name, Op::Put)
}

fn update(
    connection: &Connection,
    changed: FederationRelationship,
    mask: RelationshipMask,
    bundle: Option<Bundle>,
) -> Result<(FederationRelationship, Revision), Fail> {
    let mut relationship = fetch(connection, &changed.trust_domain)?.ok_or(NOT_FOUND)?;
    if mask.bundle_endpoint_url {
        relationship.bundle_endpoint_url = changed.bundle_endpoint_url;
    }
    if mask.profile {
        relationship.profile = changed.profile;
    }
    let name = relationship.trust_domain.as_str();
    connection
        .prepare_cached(
            "UPDATE federated_trust_domains SET bundle_endpoint_url = ?2, endpoint_spiffe_id = ?3 \
             WHERE trust_domain = ?1",
        )?
        .execute(params![name, relationship.bundle_endpoint_url, endpoint_id(&relationship.profile)?])?;
    if let Some(bundle) = bundle {
        bundles::set(connection, bundle)?;
    }
    let revision = record(connection, Kind::Relationship, name, Op::Put)?;
    Ok((relationship, revision))
}

fn delete(connection: &Connection, trust_domain: &TrustDomain) -> Result<Revision, Fail> {
    let deleted = connection
        .prepare_cached("DELETE FROM federated_trust_domains WHERE trust_domain = ?1")?
        .execute([trust_domain.as_str()])?;
    if deleted == 0 {
        return Err(NOT_FOUND.into());
    }
    record(connection, Kind::Relationship, trust_domain.as_str(), Op::Delete)
}

#[async_trait]
impl FederationRelationships for SqliteStore {
    async fn create_relationship(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<Revision, Error> {
        self.write("create federation relationship", move |connection| create(connection, &relationship, bundle)).await
    }

    async fn update_relationship(
        &self,
        relationship: FederationRelationship,
        mask: RelationshipMask,
        bundle: Option<Bundle>,
    ) -> Result<(FederationRelationship, Revision), Error> {
        let change = move |connection: &Connection| update(connection, relationship, mask, bundle);
        self.write("update federation relationship", change).await
    }

    async fn delete_relationship(&self, trust_domain: &TrustDomain) -> Result<Revision, Error> {
        let name = trust_domain.clone();
        self.write("delete federation relationship", move |connection| delete(connection, &name)).await
    }

    async fn fetch_relationship(&self, trust_domain: &TrustDomain) -> Result<Option<FederationRelationship>, Error> {
        let name = trust_domain.clone();
        self.read("fetch federation relationship", move |connection| fetch(connection, &name)).await
    }

    async fn list_relationships(&self, page: PageRequest) -> Result<Page<FederationRelationship>, Error> {
        self.read("list federation relationships", move |connection| list(connection, &page)).await
    }
}
