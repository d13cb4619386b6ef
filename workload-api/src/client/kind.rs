//! The kinds of state that the Workload API streams, and how they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use spiffe_core::x509::{Certificate, X509Svid};
use spiffe_core::{Bundle, BundleSet, PrivateKey, SpiffeId, TrustDomain, X509Authority};
use tonic::{Status, Streaming};

use super::Api;
use crate::context::{Identity, JwtToken, X509Context};
use crate::error::Error;
use crate::proto;

/// A kind of state. There are three, and no others can be made.
#[async_trait]
pub trait Kind: sealed::Sealed + Send + Sync + 'static {
    /// One complete state.
    type State: Send + Sync + 'static;
    #[doc(hidden)]
    type Response: Send + 'static;

    /// What it is called in messages.
    const NAME: &'static str;

    #[doc(hidden)]
    async fn open(api: &mut Api) -> Result<Streaming<Self::Response>, Status>;

    #[doc(hidden)]
    fn read(response: Self::Response) -> Result<Self::State, Error>;

    #[doc(hidden)]
    fn same(one: &Self::State, other: &Self::State) -> bool;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::X509 {}
    impl Sealed for super::X509Bundles {}
    impl Sealed for super::JwtBundles {}
}

/// Identities and bundles: `FetchX509SVID`.
#[derive(Debug)]
pub enum X509 {}

/// Bundles for verifying X.509-SVIDs: `FetchX509Bundles`.
#[derive(Debug)]
pub enum X509Bundles {}

/// Bundles for verifying JWT-SVIDs: `FetchJWTBundles`.
#[derive(Debug)]
pub enum JwtBundles {}

#[async_trait]
impl Kind for X509 {
    type State = X509Context;
    type Response = proto::X509svidResponse;
    const NAME: &'static str = "X.509-SVIDs";

    async fn open(api: &mut Api) -> Result<Streaming<Self::Response>, Status> {
        Ok(api.fetch_x509svid(proto::X509svidRequest {}).await?.into_inner())
    }

    fn read(response: Self::Response) -> Result<X509Context, Error> {
        let mut bundles = read_bundles(response.federated_bundles, x509_bundle)?;
        let mut identities = Vec::with_capacity(response.svids.len());
        for svid in response.svids {
            let (identity, bundle) = read_svid(svid)?;
            bundles.insert(bundle);
            identities.push(identity);
        }
        if identities.is_empty() {
            return Err(Error::Missing { what: "X.509-SVID" });
        }
        let mut context = X509Context { identities, bundles: Arc::new(bundles) };
        context.drop_repeated_hints();
        Ok(context)
    }

    fn same(one: &X509Context, other: &X509Context) -> bool {
        one.same_as(other)
    }
}

#[async_trait]
impl Kind for X509Bundles {
    type State = BundleSet;
    type Response = proto::X509BundlesResponse;
    const NAME: &'static str = "X.509 bundles";

    async fn open(api: &mut Api) -> Result<Streaming<Self::Response>, Status> {
        Ok(api.fetch_x509_bundles(proto::X509BundlesRequest {}).await?.into_inner())
    }

    fn read(response: Self::Response) -> Result<BundleSet, Error> {
        non_empty(read_bundles(response.bundles, x509_bundle)?)
    }

    fn same(one: &BundleSet, other: &BundleSet) -> bool {
        one == other
    }
}

#[async_trait]
impl Kind for JwtBundles {
    type State = BundleSet;
    type Response = proto::JwtBundlesResponse;
    const NAME: &'static str = "JWT bundles";

    async fn open(api: &mut Api) -> Result<Streaming<Self::Response>, Status> {
        Ok(api.fetch_jwt_bundles(proto::JwtBundlesRequest {}).await?.into_inner())
    }

    fn read(response: Self::Response) -> Result<BundleSet, Error> {
        non_empty(read_bundles(response.bundles, |trust_domain, jwks| {
            Bundle::from_jwks(trust_domain.clone(), jwks).map_err(|err| Error::bundle(trust_domain.as_str(), err))
        })?)
    }

    fn same(one: &BundleSet, other: &BundleSet) -> bool {
        one == other
    }
}

/// The tokens of a response to `FetchJWTSVID`.
pub(super) fn read_jwt_svids(response: proto::JwtsvidResponse) -> Result<Vec<JwtToken>, Error> {
    if response.svids.is_empty() {
        return Err(Error::Missing { what: "JWT-SVID" });
    }
    let read = |svid: proto::Jwtsvid| {
        if svid.svid.is_empty() {
            return Err(Error::Missing { what: "JWT-SVID" });
        }
        Ok(JwtToken { id: SpiffeId::parse(&svid.spiffe_id)?, token: svid.svid, hint: svid.hint })
    };
    response.svids.into_iter().map(read).collect()
}

/// All parts of an SVID have to be there (SPIFFE Workload API §4.5), and to belong together.
fn read_svid(svid: proto::X509svid) -> Result<(Identity, Bundle), Error> {
    for (what, missing) in [
        ("SPIFFE ID", svid.spiffe_id.is_empty()),
        ("certificate", svid.x509_svid.is_empty()),
        ("private key", svid.x509_svid_key.is_empty()),
        ("bundle", svid.bundle.is_empty()),
    ] {
        if missing {
            return Err(Error::Missing { what });
        }
    }
    let id = SpiffeId::parse(&svid.spiffe_id)?;
    let chain = Certificate::from_der_many(&svid.x509_svid)?;
    let key = PrivateKey::from_pkcs8_der(&svid.x509_svid_key)?;
    let read = X509Svid::new(chain, key)?;
    if *read.id() != id {
        return Err(Error::Svid { reason: format!("certificate is that of {}, not of {id}", read.id()) });
    }
    let bundle = x509_bundle(&id.trust_domain(), &svid.bundle)?;
    Ok((Identity { svid: Arc::new(read), hint: svid.hint }, bundle))
}

fn x509_bundle(trust_domain: &TrustDomain, der: &[u8]) -> Result<Bundle, Error> {
    let mut bundle = Bundle::new(trust_domain.clone());
    if !der.is_empty() {
        let roots = Certificate::from_der_many(der).map_err(|err| Error::bundle(trust_domain.as_str(), err))?;
        bundle.x509_authorities =
            roots.into_iter().map(|certificate| X509Authority { certificate, tainted: false }).collect();
    }
    Ok(bundle)
}

/// Keys are trust domain IDs; some servers send an ID with a path, whose trust domain is meant.
fn read_bundles(
    bundles: BTreeMap<String, Bytes>,
    read: impl Fn(&TrustDomain, &[u8]) -> Result<Bundle, Error>,
) -> Result<BundleSet, Error> {
    bundles
        .into_iter()
        .map(|(key, value)| {
            let trust_domain = TrustDomain::parse_name_or_id(&key).map_err(|err| Error::bundle(&key, err))?;
            read(&trust_domain, &value)
        })
        .collect()
}

fn non_empty(bundles: BundleSet) -> Result<BundleSet, Error> {
    if bundles.is_empty() { Err(Error::Missing { what: "bundle" }) } else { Ok(bundles) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spiffe_core::testing::TestAuthority;

    use super::*;

    fn svid(authority: &TestAuthority, path: &str) -> proto::X509svid {
        let svid = authority.svid(path);
        proto::X509svid {
            spiffe_id: svid.id().to_string(),
            x509_svid: svid.leaf().der().to_vec().into(),
            x509_svid_key: svid.private_key().to_pkcs8_der().to_vec().into(),
            bundle: authority.root().der().to_vec().into(),
            hint: String::new(),
        }
    }

    fn read(svids: Vec<proto::X509svid>) -> Result<X509Context, Error> {
        X509::read(proto::X509svidResponse { svids, ..proto::X509svidResponse::default() })
    }

    #[test]
    fn workload_api_4_5_a_message_that_lacks_a_part_is_discarded() {
        let authority = TestAuthority::new("example.org");
        let whole = svid(&authority, "/a");
        read(vec![whole.clone()]).unwrap();
        assert_eq!(read(Vec::new()).unwrap_err(), Error::Missing { what: "X.509-SVID" });
        let lacking = [
            ("SPIFFE ID", proto::X509svid { spiffe_id: String::new(), ..whole.clone() }),
            ("certificate", proto::X509svid { x509_svid: Bytes::new(), ..whole.clone() }),
            ("private key", proto::X509svid { x509_svid_key: Bytes::new(), ..whole.clone() }),
            ("bundle", proto::X509svid { bundle: Bytes::new(), ..whole.clone() }),
        ];
        for (what, lacking) in lacking {
            assert_eq!(read(vec![whole.clone(), lacking]).unwrap_err(), Error::Missing { what });
        }
    }

    #[test]
    fn workload_api_5_1_parts_that_do_not_belong_together_are_refused() {
        let authority = TestAuthority::new("example.org");
        let (one, other) = (svid(&authority, "/a"), svid(&authority, "/b"));
        let pem = Bytes::from(authority.root().to_pem());
        for broken in [
            proto::X509svid { spiffe_id: other.spiffe_id.clone(), ..one.clone() },
            proto::X509svid { x509_svid_key: other.x509_svid_key.clone(), ..one.clone() },
            proto::X509svid { x509_svid: one.bundle.clone(), ..one.clone() },
            proto::X509svid { x509_svid: [&one.x509_svid[..], b"x"].concat().into(), ..one.clone() },
            proto::X509svid { bundle: pem, ..one.clone() },
        ] {
            let err = read(vec![broken]).unwrap_err();
            assert!(matches!(err, Error::Svid { .. } | Error::Bundle { .. }), "{err}");
        }
    }

    #[test]
    fn federated_bundles_are_named_by_any_id_of_their_trust_domain() {
        let (own, other) = (TestAuthority::new("example.org"), TestAuthority::new("other.example"));
        for key in ["spiffe://other.example", "other.example", "spiffe://other.example/x"] {
            let federated_bundles = BTreeMap::from([(key.to_owned(), Bytes::copy_from_slice(other.root().der()))]);
            let response =
                proto::X509svidResponse { svids: vec![svid(&own, "/a")], crl: Vec::new(), federated_bundles };
            let bundles = X509::read(response).unwrap().bundles;
            assert_eq!(bundles.get(other.trust_domain()).unwrap().x509_roots().count(), 1);
        }
        let federated_bundles = BTreeMap::from([("http://other".to_owned(), Bytes::new())]);
        let response = proto::X509svidResponse { svids: vec![svid(&own, "/a")], crl: Vec::new(), federated_bundles };
        assert!(matches!(X509::read(response), Err(Error::Bundle { .. })));
    }

    proptest! {
        #[test]
        fn no_response_makes_the_reader_fall(
            id in ".{0,20}",
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 4),
        ) {
            let part = |index: usize| Bytes::from(parts[index].clone());
            let svid = proto::X509svid {
                spiffe_id: id.clone(), x509_svid: part(0), x509_svid_key: part(1), bundle: part(2), hint: id.clone(),
            };
            let bundles = BTreeMap::from([(id.clone(), part(3))]);
            prop_assert!(read(vec![svid]).is_err());
            let _ = X509Bundles::read(proto::X509BundlesResponse { crl: Vec::new(), bundles: bundles.clone() });
            let _ = JwtBundles::read(proto::JwtBundlesResponse { bundles });
        }
    }
}
