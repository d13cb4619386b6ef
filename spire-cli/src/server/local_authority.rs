//! `localauthority x509` and `localauthority jwt`: `activate`, `prepare`, `revoke`, `show`, `taint`; and
//! `upstreamauthority revoke` and `taint`.

use std::io::Write as _;

use clap::Args;
use spire_api::proto::localauthority::{
    ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, AuthorityState, GetJwtAuthorityStateRequest,
    GetX509AuthorityStateRequest, PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest,
    RevokeX509AuthorityRequest, RevokeX509UpstreamAuthorityRequest, TaintJwtAuthorityRequest,
    TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
};

use super::client::Api;
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::go;
use crate::terminal::Terminal;

/// What an authority signs.
#[derive(Clone, Copy)]
enum Kind {
    X509,
    Jwt,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::X509 => "X.509",
            Self::Jwt => "JWT",
        }
    }
}

macro_rules! show {
    ($name:ident, $kind:expr, $words:literal, $synopsis:literal, $call:ident, $request:ident, $attempt:literal) => {
        #[derive(Args, Debug)]
        pub(super) struct $name {
            #[command(flatten)]
            api: Api,
        }

        impl Action for $name {
            const NAME: &'static str = $words;
            const SYNOPSIS: &'static str = $synopsis;

            async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
                let answer = self.api.local_authority(terminal)?.$call($request {}).await;
                let answer = answer.during($attempt)?.into_inner();
                self.api.output.print(terminal, &answer, |terminal, answer| {
                    slot(terminal, $kind, "active", answer.active.as_ref())?;
                    writeln!(terminal.stdout)?;
                    slot(terminal, $kind, "prepared", answer.prepared.as_ref())?;
                    writeln!(terminal.stdout)?;
                    slot(terminal, $kind, "old", answer.old.as_ref())
                })
            }
        }
    };
}

macro_rules! prepare {
    ($name:ident, $kind:expr, $words:literal, $synopsis:literal, $call:ident, $request:ident) => {
        #[derive(Args, Debug)]
        pub(super) struct $name {
            #[command(flatten)]
            api: Api,
        }

        impl Action for $name {
            const NAME: &'static str = $words;
            const SYNOPSIS: &'static str = $synopsis;

            async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
                let answer = self.api.local_authority(terminal)?.$call($request {}).await;
                let answer = answer.during(format!("could not prepare {} authority", $kind.name()))?.into_inner();
                self.api.output.print(terminal, &answer, |terminal, answer| {
                    changed(terminal, $kind, "Prepared", answer.prepared_authority.as_ref())
                })
            }
        }
    };
}

macro_rules! change {
    (
        $name:ident, $kind:expr, $words:literal, $synopsis:literal, $call:ident, $request:ident,
        $verb:literal, $done:literal, $field:ident
    ) => {
        #[derive(Args, Debug)]
        pub(super) struct $name {
            #[command(flatten)]
            api: Api,
            /// ID of the authority
            #[arg(long = "authorityID", value_name = "string", default_value = "")]
            authority_id: String,
        }

        impl Action for $name {
            const NAME: &'static str = $words;
            const SYNOPSIS: &'static str = $synopsis;

            async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
                if self.authority_id.is_empty() {
                    return Err(Error::refused("an authority ID is required"));
                }
                let request = $request { authority_id: self.authority_id };
                let answer = self.api.local_authority(terminal)?.$call(request).await;
                let attempt = format!("could not {} {} authority", $verb, $kind.name());
                let answer = answer.during(attempt)?.into_inner();
                self.api.output.print(terminal, &answer, |terminal, answer| {
                    changed(terminal, $kind, $done, answer.$field.as_ref())
                })
            }
        }
    };
}

macro_rules! change_upstream {
    ($name:ident, $words:literal, $synopsis:literal, $call:ident, $request:ident, $verb:literal, $done:literal) => {
        #[derive(Args, Debug)]
        pub(super) struct $name {
            #[command(flatten)]
            api: Api,
            /// Subject key ID of the upstream authority's certificate
            #[arg(long = "subjectKeyID", value_name = "string", default_value = "")]
            subject_key_id: String,
        }

        impl Action for $name {
            const NAME: &'static str = $words;
            const SYNOPSIS: &'static str = $synopsis;

            async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
                if self.subject_key_id.is_empty() {
                    let text = "the Subject Key ID of the X.509 upstream authority is required";
                    return Err(Error::refused(text));
                }
                let request = $request { subject_key_id: self.subject_key_id };
                let answer = self.api.local_authority(terminal)?.$call(request).await;
                let answer = answer.during(concat!("could not ", $verb, " X.509 upstream authority"))?.into_inner();
                self.api.output.print(terminal, &answer, |terminal, answer| {
                    let id = &answer.upstream_authority_subject_key_id;
                    writeln!(terminal.stdout, concat!($done, " X.509 upstream authority:\n  Subject Key ID: {}"), id)?;
                    Ok(())
                })
            }
        }
    };
}

show!(
    ShowX509,
    Kind::X509,
    "localauthority x509 show",
    "Shows the server's X.509 authorities",
    get_x509_authority_state,
    GetX509AuthorityStateRequest,
    "could not get X.509 authorities"
);
show!(
    ShowJwt,
    Kind::Jwt,
    "localauthority jwt show",
    "Shows the server's JWT authorities",
    get_jwt_authority_state,
    GetJwtAuthorityStateRequest,
    "could not get JWT authorities"
);
prepare!(
    PrepareX509,
    Kind::X509,
    "localauthority x509 prepare",
    "Makes the next X.509 authority and adds it to the bundle",
    prepare_x509_authority,
    PrepareX509AuthorityRequest
);
prepare!(
    PrepareJwt,
    Kind::Jwt,
    "localauthority jwt prepare",
    "Makes the next JWT authority and adds it to the bundle",
    prepare_jwt_authority,
    PrepareJwtAuthorityRequest
);
change!(
    ActivateX509,
    Kind::X509,
    "localauthority x509 activate",
    "Signs with the prepared X.509 authority from now on",
    activate_x509_authority,
    ActivateX509AuthorityRequest,
    "activate",
    "Activated",
    activated_authority
);
change!(
    ActivateJwt,
    Kind::Jwt,
    "localauthority jwt activate",
    "Signs with the prepared JWT authority from now on",
    activate_jwt_authority,
    ActivateJwtAuthorityRequest,
    "activate",
    "Activated",
    activated_authority
);
change!(
    TaintX509,
    Kind::X509,
    "localauthority x509 taint",
    "Taints the old X.509 authority: what it signed is replaced",
    taint_x509_authority,
    TaintX509AuthorityRequest,
    "taint",
    "Tainted",
    tainted_authority
);
change!(
    TaintJwt,
    Kind::Jwt,
    "localauthority jwt taint",
    "Taints the old JWT authority: what it signed is replaced",
    taint_jwt_authority,
    TaintJwtAuthorityRequest,
    "taint",
    "Tainted",
    tainted_authority
);
change!(
    RevokeX509,
    Kind::X509,
    "localauthority x509 revoke",
    "Takes the old X.509 authority out of the bundle",
    revoke_x509_authority,
    RevokeX509AuthorityRequest,
    "revoke",
    "Revoked",
    revoked_authority
);
change!(
    RevokeJwt,
    Kind::Jwt,
    "localauthority jwt revoke",
    "Takes the old JWT authority out of the bundle",
    revoke_jwt_authority,
    RevokeJwtAuthorityRequest,
    "revoke",
    "Revoked",
    revoked_authority
);
change_upstream!(
    TaintUpstream,
    "upstreamauthority taint",
    "Taints an upstream X.509 authority: what it signed is replaced",
    taint_x509_upstream_authority,
    TaintX509UpstreamAuthorityRequest,
    "taint",
    "Tainted"
);
change_upstream!(
    RevokeUpstream,
    "upstreamauthority revoke",
    "Takes an upstream X.509 authority out of the bundle",
    revoke_x509_upstream_authority,
    RevokeX509UpstreamAuthorityRequest,
    "revoke",
    "Revoked"
);

fn slot(terminal: &mut Terminal, kind: Kind, slot: &str, state: Option<&AuthorityState>) -> Result<(), Error> {
    let label = match slot {
        "active" => "Active",
        "prepared" => "Prepared",
        _ => "Old",
    };
    writeln!(terminal.stdout, "{label} {} authority:", kind.name())?;
    match state {
        Some(state) => print(terminal, kind, state),
        None => Ok(writeln!(terminal.stdout, "  No {slot} {} authority found", kind.name())?),
    }
}

fn changed(terminal: &mut Terminal, kind: Kind, done: &str, state: Option<&AuthorityState>) -> Result<(), Error> {
    writeln!(terminal.stdout, "{done} {} authority:", kind.name())?;
    let state =
        state.ok_or_else(|| Error::Refused(format!("the server did not say which {} authority", kind.name())))?;
    print(terminal, kind, state)
}

fn print(terminal: &mut Terminal, kind: Kind, state: &AuthorityState) -> Result<(), Error> {
    let out = &mut terminal.stdout;
    writeln!(out, "  Authority ID: {}", state.authority_id)?;
    writeln!(out, "  Expires at: {}", go::time(state.expires_at))?;
    match (kind, state.upstream_authority_subject_key_id.as_str()) {
        (Kind::Jwt, _) => {}
        (Kind::X509, "") => writeln!(out, "  Upstream authority ID: No upstream authority")?,
        (Kind::X509, id) => writeln!(out, "  Upstream authority Subject Key ID: {id}")?,
    }
    Ok(())
}
