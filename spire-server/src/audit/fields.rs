//! What the messages of a call say of it, under SPIRE's names.

use prost::Message;
use spiffe_core::x509::Csr;
use spiffe_core::{SpiffeId, Timestamp};
use spire_api::convert::id;
use spire_api::proto::bundle::batch_delete_federated_bundle_request::Mode;
use spire_api::proto::types::federation_relationship::BundleEndpointProfile;
use spire_api::proto::types::{self, selector_match};
use spire_api::proto::{agent, bundle, entry, localauthority, logger, svid, trustdomain};
use spire_runtime::MoreFields;

use crate::caller::Caller;

const AGENT: &str = "/spire.api.server.agent.v1.Agent/";
const BUNDLE: &str = "/spire.api.server.bundle.v1.Bundle/";
const GET_BUNDLE: &str = "/spire.api.server.bundle.v1.Bundle/GetBundle";
const ENTRY: &str = "/spire.api.server.entry.v1.Entry/";
const LOCAL_AUTHORITY: &str = "/spire.api.server.localauthority.v1.LocalAuthority/";
const LOGGER: &str = "/spire.api.server.logger.v1.Logger/";
const SVID: &str = "/spire.api.server.svid.v1.SVID/";
const TRUST_DOMAIN: &str = "/spire.api.server.trustdomain.v1.TrustDomain/";

/// Whether the response says more than the request does.
pub(super) fn are_in_response(method: &str) -> bool {
    let name = method.rsplit('/').next().unwrap_or_default();
    name.starts_with("Batch") || method == GET_BUNDLE || (method.starts_with(SVID) && !name.contains("WIT"))
}

/// Of a call that is noted as a whole.
pub(super) fn of_request(method: &str, caller: &Caller, request: &[u8]) -> MoreFields {
    let mut fields = MoreFields::default();
    let Some((service, name)) = method.rsplit_once('/').map(|(service, name)| (format!("{service}/"), name)) else {
        return fields;
    };
    match service.as_str() {
        AGENT => of_agent(&mut fields, name, caller, request),
        BUNDLE => of_bundle(&mut fields, name, request),
        ENTRY => of_entry(&mut fields, name, request),
        LOCAL_AUTHORITY => of_authority(&mut fields, name, request),
        LOGGER if name == "SetLogLevel" => {
            let asked: logger::SetLogLevelRequest = decoded(request);
            fields.set("new_log_level", asked.new_level().as_str_name());
        }
        SVID => of_svid(&mut fields, name, request),
        TRUST_DOMAIN if matches!(name, "GetFederationRelationship" | "RefreshBundle") => {
            fields.set("trust_domain_id", decoded::<trustdomain::RefreshBundleRequest>(request).trust_domain);
        }
        _ => {}
    }
    fields
}

/// Those of each member of a batch, with its outcome; `None` for what is none.
pub(super) fn of_members(method: &str, request: &[u8], response: &[u8]) -> Option<Vec<(MoreFields, types::Status)>> {
    macro_rules! members {
        ($asked:ty, $members:ident, $answer:ty, $of:expr) => {{
            let (asked, answer): ($asked, $answer) = (decoded(request), decoded(response));
            let of = $of;
            let members = asked.$members.iter().zip(answer.results);
            members.map(|(member, result)| (of(&asked, member, &result), result.status.unwrap_or_default())).collect()
        }};
    }
    let (service, name) = method.rsplit_once('/')?;
    Some(match (format!("{service}/").as_str(), name) {
        (ENTRY, "BatchCreateEntry") => members!(
            entry::BatchCreateEntryRequest,
            entries,
            entry::BatchCreateEntryResponse,
            |_: &_, member: &_, _: &_| entry_fields(member, None)
        ),
        (ENTRY, "BatchUpdateEntry") => members!(
            entry::BatchUpdateEntryRequest,
            entries,
            entry::BatchUpdateEntryResponse,
            |asked: &entry::BatchUpdateEntryRequest, member: &_, _: &_| {
                entry_fields(member, asked.input_mask.as_ref())
            }
        ),
        (ENTRY, "BatchDeleteEntry") => members!(
            entry::BatchDeleteEntryRequest,
            ids,
            entry::BatchDeleteEntryResponse,
            |_: &_, member: &String, _: &_| one("entry_id", member)
        ),
        (SVID, "BatchNewX509SVID") => members!(
            svid::BatchNewX509svidRequest,
            params,
            svid::BatchNewX509svidResponse,
            |_: &_, member: &svid::NewX509svidParams, result: &svid::batch_new_x509svid_response::Result| {
                let mut fields = one("entry_id", &member.entry_id);
                fields.set("csr", hash(&member.csr));
                let signed = result.svid.as_ref();
                set_id(&mut fields, "spiffe_id", signed.and_then(|svid| svid.id.as_ref()));
                if let Some(svid) = signed {
                    fields.set("expires_at", svid.expires_at);
                }
                fields
            }
        ),
        (BUNDLE, "BatchCreateFederatedBundle") => members!(
            bundle::BatchCreateFederatedBundleRequest,
            bundle,
            bundle::BatchCreateFederatedBundleResponse,
            |_: &_, member: &_, _: &_| bundle_fields(member, None, "")
        ),
        (BUNDLE, "BatchUpdateFederatedBundle") => members!(
            bundle::BatchUpdateFederatedBundleRequest,
            bundle,
            bundle::BatchUpdateFederatedBundleResponse,
            |asked: &bundle::BatchUpdateFederatedBundleRequest, member: &_, _: &_| {
                bundle_fields(member, asked.input_mask.as_ref(), "")
            }
        ),
        (BUNDLE, "BatchSetFederatedBundle") => members!(
            bundle::BatchSetFederatedBundleRequest,
            bundle,
            bundle::BatchSetFederatedBundleResponse,
            |_: &_, member: &_, _: &_| bundle_fields(member, None, "")
        ),
        (BUNDLE, "BatchDeleteFederatedBundle") => members!(
            bundle::BatchDeleteFederatedBundleRequest,
            trust_domains,
            bundle::BatchDeleteFederatedBundleResponse,
            |asked: &bundle::BatchDeleteFederatedBundleRequest, member: &String, _: &_| {
                let mut fields = one("trust_domain_id", member);
                fields.set("mode", Mode::as_str_name(&asked.mode()));
                fields
            }
        ),
        (TRUST_DOMAIN, "BatchCreateFederationRelationship") => members!(
            trustdomain::BatchCreateFederationRelationshipRequest,
            federation_relationships,
            trustdomain::BatchCreateFederationRelationshipResponse,
            |_: &_, member: &_, _: &_| relationship_fields(member, None)
        ),
        (TRUST_DOMAIN, "BatchUpdateFederationRelationship") => members!(
            trustdomain::BatchUpdateFederationRelationshipRequest,
            federation_relationships,
            trustdomain::BatchUpdateFederationRelationshipResponse,
            |asked: &trustdomain::BatchUpdateFederationRelationshipRequest, member: &_, _: &_| {
                relationship_fields(member, asked.input_mask.as_ref())
            }
        ),
        (TRUST_DOMAIN, "BatchDeleteFederationRelationship") => members!(
            trustdomain::BatchDeleteFederationRelationshipRequest,
            trust_domains,
            trustdomain::BatchDeleteFederationRelationshipResponse,
            |_: &_, member: &String, _: &_| one("trust_domain_id", member)
        ),
        _ => return None,
    })
}

/// What only the answer says.
pub(super) fn add_answer(fields: &mut MoreFields, method: &str, response: &[u8]) {
    if method == GET_BUNDLE {
        fields.set("trust_domain_id", decoded::<types::Bundle>(response).trust_domain);
    }
    match method.strip_prefix(SVID) {
        Some("MintX509SVID") => {
            if let Some(svid) = decoded::<svid::MintX509svidResponse>(response).svid {
                fields.set("expires_at", Timestamp::from_unix(svid.expires_at));
                set_id(fields, "spiffe_id", svid.id.as_ref());
            }
        }
        Some("MintJWTSVID" | "NewJWTSVID") => {
            if let Some(svid) = decoded::<svid::NewJwtsvidResponse>(response).svid {
                set_id(fields, "spiffe_id", svid.id.as_ref());
                fields.set("ttl", svid.expires_at - svid.issued_at);
            }
        }
        _ => {}
    }
}

fn of_agent(fields: &mut MoreFields, name: &str, caller: &Caller, request: &[u8]) {
    match name {
        "CountAgents" => {
            if let Some(filter) = decoded::<agent::CountAgentsRequest>(request).filter {
                set_unless_empty(fields, "node_attestor_type", &filter.by_attestation_type);
                set_some(fields, "by_banned", filter.by_banned);
                set_some(fields, "by_can_reattest", filter.by_can_reattest);
                set_selectors(fields, filter.by_selector_match.as_ref());
            }
        }
        "ListAgents" => {
            if let Some(filter) = decoded::<agent::ListAgentsRequest>(request).filter {
                set_unless_empty(fields, "node_attestor_type", &filter.by_attestation_type);
                set_some(fields, "by_banned", filter.by_banned);
                set_some(fields, "by_can_reattest", filter.by_can_reattest);
                set_selectors(fields, filter.by_selector_match.as_ref());
            }
        }
        // Their first members are the same.
        "GetAgent" | "DeleteAgent" | "BanAgent" => {
            set_id(fields, "spiffe_id", decoded::<agent::GetAgentRequest>(request).id.as_ref());
        }
        "RenewAgent" => {
            if let Some(params) = decoded::<agent::RenewAgentRequest>(request).params {
                fields.set("csr", hash(&params.csr));
            }
        }
        "PostStatus" => {
            if let Some(id) = caller.id() {
                fields.set("spiffe_id", id);
            }
            set_unless_empty(fields, "agent_version", &decoded::<agent::PostStatusRequest>(request).agent_version);
        }
        "CreateJoinToken" => {
            let asked: agent::CreateJoinTokenRequest = decoded(request);
            set_some(fields, "ttl", Some(asked.ttl).filter(|ttl| *ttl > 0));
            set_id(fields, "spiffe_id", asked.agent_id.as_ref());
        }
        _ => {}
    }
}

fn of_bundle(fields: &mut MoreFields, name: &str, request: &[u8]) {
    match name {
        "AppendBundle" => {
            let asked: bundle::AppendBundleRequest = decoded(request);
            set_jwt_authorities(fields, &asked.jwt_authorities, "");
            set_x509_authorities(fields, &asked.x509_authorities, "");
        }
        "PublishJWTAuthority" => {
            let asked: bundle::PublishJwtAuthorityRequest = decoded(request);
            if let Some(key) = asked.jwt_authority {
                fields.set("jwt_authority_expires_at", key.expires_at);
                fields.set("jwt_authority_key_id", &key.key_id);
                fields.set("jwt_authority_public_key_sha256", hash(&key.public_key));
            }
        }
        "GetFederatedBundle" => {
            fields.set("trust_domain_id", decoded::<bundle::GetFederatedBundleRequest>(request).trust_domain);
        }
        _ => {}
    }
}

fn of_entry(fields: &mut MoreFields, name: &str, request: &[u8]) {
    macro_rules! filter {
        ($asked:ty) => {
            if let Some(filter) = decoded::<$asked>(request).filter {
                set_some(fields, "hint", filter.by_hint);
                set_id(fields, "parent_id", filter.by_parent_id.as_ref());
                set_id(fields, "spiffe_id", filter.by_spiffe_id.as_ref());
                set_selectors(fields, filter.by_selectors.as_ref());
                if let Some(by) = filter.by_federates_with {
                    fields.set("federates_with_match", by.r#match().as_str_name());
                    fields.set("federates_with", by.trust_domains.join(","));
                }
                set_some(fields, "downstream", filter.by_downstream);
            }
        };
    }
    match name {
        "CountEntries" => filter!(entry::CountEntriesRequest),
        "ListEntries" => filter!(entry::ListEntriesRequest),
        "GetEntry" => fields.set("entry_id", decoded::<entry::GetEntryRequest>(request).id),
        _ => {}
    }
}

/// All that name an authority do so in their first member.
fn of_authority(fields: &mut MoreFields, name: &str, request: &[u8]) {
    if name.starts_with("Get") || name.starts_with("Prepare") {
        return;
    }
    let given = decoded::<localauthority::TaintX509AuthorityRequest>(request).authority_id;
    set_unless_empty(fields, if name.contains("Upstream") { "subject_key_id" } else { "local_authority_id" }, &given);
}

fn of_svid(fields: &mut MoreFields, name: &str, request: &[u8]) {
    match name {
        "MintX509SVID" => {
            let asked: svid::MintX509svidRequest = decoded(request);
            fields.set("csr", hash(&asked.csr));
            fields.set("ttl", asked.ttl);
            if let Ok(csr) = Csr::from_der(&asked.csr) {
                fields.set("dns_name", csr.dns_sans().join(","));
            }
        }
        "MintJWTSVID" => {
            let asked: svid::MintJwtsvidRequest = decoded(request);
            set_id(fields, "spiffe_id", asked.id.as_ref());
            fields.set("audience", asked.audience.join(","));
            fields.set("ttl", asked.ttl);
        }
        "NewJWTSVID" => {
            let asked: svid::NewJwtsvidRequest = decoded(request);
            fields.set("entry_id", asked.entry_id);
            fields.set("audience", asked.audience.join(","));
        }
        "NewDownstreamX509CA" => fields.set("csr", hash(&decoded::<svid::NewDownstreamX509caRequest>(request).csr)),
        _ => {}
    }
}

fn entry_fields(entry: &types::Entry, mask: Option<&types::EntryMask>) -> MoreFields {
    let all = types::EntryMask {
        spiffe_id: true,
        parent_id: true,
        selectors: true,
        x509_svid_ttl: true,
        federates_with: true,
        admin: true,
        downstream: true,
        expires_at: true,
        dns_names: true,
        revision_number: true,
        store_svid: true,
        jwt_svid_ttl: true,
        hint: true,
        created_at: true,
        additional_attributes: true,
    };
    let mask = mask.unwrap_or(&all);
    let mut fields = MoreFields::default();
    set_unless_empty(&mut fields, "entry_id", &entry.id);
    set_id(&mut fields, "spiffe_id", entry.spiffe_id.as_ref().filter(|_| mask.spiffe_id));
    set_id(&mut fields, "parent_id", entry.parent_id.as_ref().filter(|_| mask.parent_id));
    if mask.selectors {
        set_unless_empty(&mut fields, "selectors", &listed(&entry.selectors));
    }
    if mask.federates_with {
        set_unless_empty(&mut fields, "federates_with", &entry.federates_with.join(","));
    }
    if mask.dns_names {
        set_unless_empty(&mut fields, "dns_name", &entry.dns_names.join(","));
    }
    set_some(&mut fields, "x509_svid_ttl", mask.x509_svid_ttl.then_some(entry.x509_svid_ttl));
    set_some(&mut fields, "jwt_svid_ttl", mask.jwt_svid_ttl.then_some(entry.jwt_svid_ttl));
    set_some(&mut fields, "admin", mask.admin.then_some(entry.admin));
    set_some(&mut fields, "downstream", mask.downstream.then_some(entry.downstream));
    set_some(&mut fields, "expires_at", mask.expires_at.then_some(entry.expires_at));
    set_some(&mut fields, "revision_number", mask.revision_number.then_some(entry.revision_number));
    set_some(&mut fields, "store_svid", mask.store_svid.then_some(entry.store_svid));
    set_some(&mut fields, "hint", mask.hint.then_some(&entry.hint));
    set_some(&mut fields, "created_at", mask.created_at.then_some(entry.created_at));
    fields
}

fn bundle_fields(bundle: &types::Bundle, mask: Option<&types::BundleMask>, prefix: &str) -> MoreFields {
    let mut fields = MoreFields::default();
    set_bundle(&mut fields, bundle, mask, prefix);
    fields
}

fn set_bundle(fields: &mut MoreFields, bundle: &types::Bundle, mask: Option<&types::BundleMask>, prefix: &str) {
    fields.set(format!("{prefix}trust_domain_id"), &bundle.trust_domain);
    if mask.is_none_or(|mask| mask.refresh_hint) {
        fields.set(format!("{prefix}refresh_hint"), bundle.refresh_hint);
    }
    if mask.is_none_or(|mask| mask.sequence_number) {
        fields.set(format!("{prefix}sequence_number"), bundle.sequence_number);
    }
    if mask.is_none_or(|mask| mask.jwt_authorities) {
        set_jwt_authorities(fields, &bundle.jwt_authorities, prefix);
    }
    if mask.is_none_or(|mask| mask.x509_authorities) {
        set_x509_authorities(fields, &bundle.x509_authorities, prefix);
    }
}

fn relationship_fields(
    given: &types::FederationRelationship,
    mask: Option<&types::FederationRelationshipMask>,
) -> MoreFields {
    let mut fields = MoreFields::default();
    set_unless_empty(&mut fields, "trust_domain_id", &given.trust_domain);
    if mask.is_none_or(|mask| mask.bundle_endpoint_url) {
        fields.set("bundle_endpoint_url", &given.bundle_endpoint_url);
    }
    if mask.is_none_or(|mask| mask.bundle_endpoint_profile) {
        match &given.bundle_endpoint_profile {
            Some(BundleEndpointProfile::HttpsWeb(_)) => fields.set("bundle_endpoint_profile", "https_web"),
            Some(BundleEndpointProfile::HttpsSpiffe(profile)) => {
                fields.set("bundle_endpoint_profile", "https_spiffe");
                fields.set("endpoint_spiffe_id", &profile.endpoint_spiffe_id);
            }
            None => {}
        }
    }
    if let Some(bundle) =
        given.trust_domain_bundle.as_ref().filter(|_| mask.is_none_or(|mask| mask.trust_domain_bundle))
    {
        set_bundle(&mut fields, bundle, None, "bundle_");
    }
    fields
}

fn set_jwt_authorities(fields: &mut MoreFields, keys: &[types::JwtKey], prefix: &str) {
    for (at, key) in keys.iter().enumerate() {
        fields.set(format!("{prefix}jwt_authority_expires_at.{at}"), key.expires_at);
        fields.set(format!("{prefix}jwt_authority_key_id.{at}"), &key.key_id);
        fields.set(format!("{prefix}jwt_authority_public_key_sha256.{at}"), hash(&key.public_key));
    }
}

fn set_x509_authorities(fields: &mut MoreFields, certificates: &[types::X509Certificate], prefix: &str) {
    for (at, certificate) in certificates.iter().enumerate() {
        fields.set(format!("{prefix}x509_authorities_asn1_sha256.{at}"), hash(&certificate.asn1));
    }
}

fn set_selectors(fields: &mut MoreFields, by: Option<&types::SelectorMatch>) {
    if let Some(by) = by {
        fields.set("by_selector_match", selector_match::MatchBehavior::as_str_name(&by.r#match()));
        fields.set("by_selectors", listed(&by.selectors));
    }
}

fn set_id(fields: &mut MoreFields, name: &str, id: Option<&types::Spiffeid>) {
    set_some(fields, name, shown(id));
}

fn set_unless_empty(fields: &mut MoreFields, name: &str, value: &str) {
    set_some(fields, name, Some(value).filter(|value| !value.is_empty()));
}

fn set_some(fields: &mut MoreFields, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        fields.set(name, value);
    }
}

fn one(name: &str, value: &str) -> MoreFields {
    let mut fields = MoreFields::default();
    fields.set(name, value);
    fields
}

/// What is no ID is not shown: the outcome says so.
fn shown(id: Option<&types::Spiffeid>) -> Option<SpiffeId> {
    id::from_proto(id).ok()
}

fn listed(selectors: &[types::Selector]) -> String {
    let selectors: Vec<String> = selectors.iter().map(|it| format!("{}:{}", it.r#type, it.value)).collect();
    selectors.join(",")
}

/// SHA-256 in hex: what is too long for a line, or not for everybody's eyes.
fn hash(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the handler has read too; nothing of what it could not read.
fn decoded<M: Message + Default>(message: &[u8]) -> M {
    M::decode(message).unwrap_or_default()
}
