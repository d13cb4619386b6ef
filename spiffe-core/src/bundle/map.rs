//! The bundle map: the bundles of several trust domains in one document.
//!
//! Standard: SPIFFE Trust Domain and Bundle §5.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Bundle, BundleError, BundleSet, MAX_DOCUMENT_LENGTH, Parsed};
use crate::id::TrustDomain;
use crate::time::Ttl;

/// Most bundles that one map may hold.
pub const MAX_BUNDLES: usize = 4096;

/// A bundle map that was read: all of it, or nothing (Trust Domain and Bundle, appendix B.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleMap {
    /// The bundles.
    pub bundles: BundleSet,
    /// How often to ask for the map anew; those inside the bundles say nothing of it (§5.1.1).
    pub refresh_hint: Option<Ttl>,
    /// What was ignored inside each of the bundles.
    pub problems: Vec<(TrustDomain, BundleError)>,
}

impl BundleMap {
    /// Reads a map.
    ///
    /// # Errors
    /// [`BundleError`] where anything but single keys is wrong with it; the map at hand then stays in force.
    pub fn parse(document: &[u8]) -> Result<Self, BundleError> {
        if document.len() > MAX_DOCUMENT_LENGTH {
            return Err(BundleError::TooLong);
        }
        let read: Read<'_> = serde_json::from_slice(document)
            .map_err(|err| BundleError::Json { line: err.line(), column: err.column() })?;
        let domains = read.trust_domains.ok_or(BundleError::Domains { what: "trust_domains is missing" })?;
        let mut map = Self { bundles: BundleSet::default(), refresh_hint: None, problems: Vec::new() };
        map.refresh_hint = read
            .spiffe_refresh_hint
            .and_then(|hint| hint.get().parse().ok())
            .filter(|hint| *hint > 0)
            .map(Ttl::from_secs);
        for (name, document) in domains.0 {
            let trust_domain = TrustDomain::parse(&name)
                .map_err(|_| BundleError::Domains { what: "a member is not the name of a trust domain" })?;
            let Parsed { bundle, problems, .. } =
                Bundle::parse_document(trust_domain.clone(), document.get().as_bytes())?;
            map.problems.extend(problems.into_iter().map(|problem| (trust_domain.clone(), problem)));
            if map.bundles.insert(bundle).is_some() {
                return Err(BundleError::Domains { what: "a trust domain stands twice" });
            }
        }
        Ok(map)
    }
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    trust_domains: Option<Domains<'a>>,
    #[serde(borrow)]
    spiffe_refresh_hint: Option<&'a RawValue>,
}

/// All members as they stand, those that stand twice among them.
struct Domains<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Domains<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Domains<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Domains<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry::<String, &'de RawValue>()? {
                    if members.len() == MAX_BUNDLES {
                        return Err(A::Error::custom("too many bundles"));
                    }
                    members.push(member);
                }
                Ok(Domains(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
