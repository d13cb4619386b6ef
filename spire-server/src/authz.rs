//! Which caller may use which RPC: one table, and one function that judges a caller by it.
//!
//! A method that has no row is denied to everybody; a test enumerates the service definitions, so none is forgotten.

use spiffe_core::{SpiffeId, Timestamp};
use spire_types::{AttestedNode, RegistrationEntry};

use crate::caller::Caller;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Everybody, the unauthenticated included.
    pub any: bool,
    /// Callers on the administrators' socket.
    pub local: bool,
    /// Administrators by configuration (`admin_ids`) or by an `admin` entry.
    pub admin: bool,
    /// Workloads with a `downstream` entry.
    pub downstream: bool,
    /// Attested agents.
    pub agent: bool,
}

impl Allowed {
    /// Whether the method is not even there for callers on the network.
    #[must_use]
    pub fn is_only_local(self) -> bool {
        self == LOCAL
    }
}

const NOBODY: Allowed = Allowed { any: false, local: false, admin: false, downstream: false, agent: false };
const ANY: Allowed = Allowed { any: true, ..NOBODY };
const LOCAL: Allowed = Allowed { local: true, ..NOBODY };
const LOCAL_ADMIN: Allowed = Allowed { local: true, admin: true, ..NOBODY };
const LOCAL_ADMIN_AGENT: Allowed = Allowed { local: true, admin: true, agent: true, ..NOBODY };
const AGENT: Allowed = Allowed { agent: true, ..NOBODY };
const DOWNSTREAM: Allowed = Allowed { downstream: true, ..NOBODY };

/// Who may call `/package.Service/Method`; `None` for a method nobody knows, which is denied.
#[must_use]
pub fn allowed(full_method: &str) -> Option<Allowed> {
    let (service, method) = full_method.strip_prefix('/')?.split_once('/')?;
    let row = match service {
        "spire.api.server.agent.v1.Agent" => match method {
            "AttestAgent" => ANY,
            "RenewAgent" | "PostStatus" => AGENT,
            "CountAgents" | "ListAgents" | "GetAgent" | "DeleteAgent" | "BanAgent" | "CreateJoinToken" => LOCAL_ADMIN,
            _ => return None,
        },
        "spire.api.server.bundle.v1.Bundle" => match method {
            "GetBundle" => ANY,
            "GetFederatedBundle" => LOCAL_ADMIN_AGENT,
            "PublishJWTAuthority" | "PublishWITAuthority" => DOWNSTREAM,
            "CountBundles"
            | "AppendBundle"
            | "ListFederatedBundles"
            | "BatchCreateFederatedBundle"
            | "BatchUpdateFederatedBundle"
            | "BatchSetFederatedBundle"
            | "BatchDeleteFederatedBundle" => LOCAL_ADMIN,
            _ => return None,
        },
        "spire.api.server.entry.v1.Entry" => match method {
            "GetAuthorizedEntries" | "SyncAuthorizedEntries" => AGENT,
            "CountEntries" | "ListEntries" | "GetEntry" | "BatchCreateEntry" | "BatchUpdateEntry"
            | "BatchDeleteEntry" => LOCAL_ADMIN,
            _ => return None,
        },
        "spire.api.server.svid.v1.SVID" => match method {
            "BatchNewX509SVID" | "NewJWTSVID" | "BatchNewWITSVID" => AGENT,
            "NewDownstreamX509CA" => DOWNSTREAM,
            "MintX509SVID" | "MintJWTSVID" | "MintWITSVID" => LOCAL_ADMIN,
            _ => return None,
        },
        "spire.api.server.trustdomain.v1.TrustDomain" => match method {
            "ListFederationRelationships"
            | "GetFederationRelationship"
            | "BatchCreateFederationRelationship"
            | "BatchUpdateFederationRelationship"
            | "BatchDeleteFederationRelationship"
            | "RefreshBundle" => LOCAL_ADMIN,
            _ => return None,
        },
        "spire.api.server.localauthority.v1.LocalAuthority" => match method {
            "GetJWTAuthorityState"
            | "PrepareJWTAuthority"
            | "ActivateJWTAuthority"
            | "TaintJWTAuthority"
            | "RevokeJWTAuthority"
            | "GetX509AuthorityState"
            | "PrepareX509Authority"
            | "ActivateX509Authority"
            | "TaintX509Authority"
            | "TaintX509UpstreamAuthority"
            | "RevokeX509Authority"
            | "RevokeX509UpstreamAuthority"
            | "GetWITAuthorityState"
            | "PrepareWITAuthority"
            | "ActivateWITAuthority"
            | "TaintWITAuthority"
            | "RevokeWITAuthority" => LOCAL_ADMIN,
            _ => return None,
        },
        "spire.api.server.debug.v1.Debug" => match method {
            "GetInfo" => LOCAL,
            _ => return None,
        },
        "spire.api.server.logger.v1.Logger" => match method {
            "GetLogger" | "SetLogLevel" | "ResetLogLevel" => LOCAL,
            _ => return None,
        },
        "spire.ext.registry.v1.Registry" => match method {
            "Follow" => AGENT,
            _ => return None,
        },
        "grpc.health.v1.Health" => match method {
            "Check" | "List" | "Watch" => LOCAL,
            _ => return None,
        },
        _ => return None,
    };
    Some(row)
}

/// In which role a caller was admitted; handlers that need to know find it in the request's extensions.
#[derive(Clone, Debug)]
pub enum Role {
    /// The method is open to everybody.
    Nobody,
    /// On the administrators' socket.
    Local,
    /// Administrator by configuration or entry.
    Admin,
    /// Downstream server, with the entry that says so.
    Downstream(Box<RegistrationEntry>),
    /// Attested agent.
    Agent(SpiffeId),
}

impl Role {
    /// The word under which SPIRE's logs know this role.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Local => "local",
            Self::Admin => "admin",
            Self::Downstream(_) => "downstream",
            Self::Agent(_) => "agent",
        }
    }
}

/// Why an agent was not admitted. Agents act on it: they attest again, or stop when banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentDenial {
    /// Its SVID has expired.
    Expired,
    /// No attestation is on record: it was evicted, or never attested.
    NotAttested,
    /// It uses an SVID that a newer one has replaced.
    NotActive,
    /// An administrator banned it.
    Banned,
}

/// What is on record about an agent, as far as authorization asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgentSerials<'a> {
    /// Serial number of the SVID in use, decimal; `None` when banned.
    pub current: Option<&'a str>,
    /// Serial number of a renewed SVID that has not been used yet.
    pub new: Option<&'a str>,
}

impl<'a> From<&'a AttestedNode> for AgentSerials<'a> {
    fn from(node: &'a AttestedNode) -> Self {
        Self { current: node.serial.as_deref(), new: node.new_serial.as_deref() }
    }
}

/// An agent that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentAdmission {
    /// With the SVID on record.
    Current,
    /// With a renewed SVID, used for the first time: the record must be promoted.
    Promote,
}

/// Judges an agent's verified SVID against its record.
///
/// # Errors
/// The [`AgentDenial`] which tells the agent what to do.
pub fn judge_agent(
    leaf_serial: &str,
    leaf_not_after: Timestamp,
    record: Option<AgentSerials<'_>>,
    now: Timestamp,
) -> Result<AgentAdmission, AgentDenial> {
    if leaf_not_after < now {
        return Err(AgentDenial::Expired);
    }
    let record = record.ok_or(AgentDenial::NotAttested)?;
    let current = record.current.ok_or(AgentDenial::Banned)?;
    if current == leaf_serial {
        Ok(AgentAdmission::Current)
    } else if record.new == Some(leaf_serial) {
        Ok(AgentAdmission::Promote)
    } else {
        Err(AgentDenial::NotActive)
    }
}

/// What can be decided without looking at any record: the method is open, or the caller is local or a configured
/// administrator.
#[must_use]
pub fn judge_transport(allowed: Allowed, caller: &Caller, admin_ids: &[SpiffeId]) -> Option<Role> {
    if allowed.any {
        return Some(Role::Nobody);
    }
    match caller {
        Caller::Local { .. } if allowed.local => Some(Role::Local),
        Caller::Identified { id, .. } if allowed.admin && admin_ids.contains(id) => Some(Role::Admin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn serials<'a>(current: Option<&'a str>, new: Option<&'a str>) -> AgentSerials<'a> {
        AgentSerials { current, new }
    }

    #[test]
    fn an_unknown_method_has_no_row() {
        assert_eq!(allowed("/spire.api.server.entry.v1.Entry/DropEverything"), None);
        assert_eq!(allowed("/evil.Service/Method"), None);
        assert_eq!(allowed("no-slash"), None);
    }

    #[test]
    fn every_method_of_every_service_of_a_server_has_a_row() {
        let is_served = |package: &str| package.starts_with("spire.api.server.") || package.starts_with("spire.ext.");
        let files = prost_types::FileDescriptorSet::decode(spire_api::proto::DESCRIPTORS).unwrap();
        let mut methods = 0;
        for file in files.file.iter().filter(|file| is_served(file.package())) {
            for service in &file.service {
                for method in &service.method {
                    let full = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(allowed(&full).is_some(), "{full} has no row");
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, 63, "the definitions are complete");
    }

    #[test]
    fn an_agent_is_judged_by_the_serial_number_on_record() {
        let now = Timestamp::from_unix(1000);
        let later = Timestamp::from_unix(2000);
        let judge = |record: Option<AgentSerials<'_>>| judge_agent("7", later, record, now);
        assert_eq!(judge(None), Err(AgentDenial::NotAttested));
        assert_eq!(judge(Some(serials(None, None))), Err(AgentDenial::Banned));
        assert_eq!(judge(Some(serials(None, Some("7")))), Err(AgentDenial::Banned));
        assert_eq!(judge(Some(serials(Some("7"), None))), Ok(AgentAdmission::Current));
        assert_eq!(judge(Some(serials(Some("6"), Some("7")))), Ok(AgentAdmission::Promote));
        assert_eq!(judge(Some(serials(Some("6"), Some("8")))), Err(AgentDenial::NotActive));
        assert_eq!(
            judge_agent("7", Timestamp::from_unix(999), Some(serials(Some("7"), None)), now),
            Err(AgentDenial::Expired)
        );
    }

    #[test]
    fn a_local_caller_never_passes_as_agent_or_downstream() {
        let local = Caller::Local { uid: Some(0), gid: Some(0), pid: Some(1) };
        for method in
            ["/spire.api.server.svid.v1.SVID/NewJWTSVID", "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA"]
        {
            assert!(judge_transport(allowed(method).unwrap(), &local, &[]).is_none());
        }
    }
}
