//! `entry count`, `create`, `delete`, `show`, `update`.

mod change;
mod delete;
mod file;
mod find;

use std::fmt::Write as _;

use spire_api::proto::types;

use super::client::id_text;
use crate::go;

pub(super) use change::{Create, Update};
pub(super) use delete::Delete;
pub(super) use find::{Count, Show};

/// An entry in words, a line per fact, a blank line after them.
fn block(entry: &types::Entry) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{label:<24}: {value}");
    };
    let ttl = |seconds: i32| if seconds == 0 { "default".to_owned() } else { seconds.to_string() };
    line("Entry ID", &if entry.id.is_empty() { "(none)" } else { &entry.id });
    line("SPIFFE ID", &id_text(entry.spiffe_id.as_ref()));
    line("Parent ID", &id_text(entry.parent_id.as_ref()));
    line("Revision", &entry.revision_number);
    if entry.downstream {
        line("Downstream", &true);
    }
    line("X509-SVID TTL", &ttl(entry.x509_svid_ttl));
    line("JWT-SVID TTL", &ttl(entry.jwt_svid_ttl));
    if entry.expires_at != 0 {
        line("Expiration time", &go::time(entry.expires_at));
    }
    for selector in &entry.selectors {
        line("Selector", &format_args!("{}:{}", selector.r#type, selector.value));
    }
    for trust_domain in &entry.federates_with {
        line("FederatesWith", trust_domain);
    }
    for name in &entry.dns_names {
        line("DNS name", name);
    }
    if entry.admin {
        line("Admin", &true);
    }
    if entry.store_svid {
        line("StoreSvid", &true);
    }
    if !entry.hint.is_empty() {
        line("Hint", &entry.hint);
    }
    if let Some(additional) = &entry.additional_attributes {
        if additional.disable_x509_svid_prefetch {
            line("DisableX509SvidPrefetch", &true);
        }
        if additional.jwt_svid_include_jti {
            line("JwtSvidIncludeJti", &true);
        }
    }
    text.push('\n');
    text
}
