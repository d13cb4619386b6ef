//! Whom the agent trusts first: `insecure_bootstrap`, `trust_bundle_*` and `rebootstrap_*`.

use std::path::PathBuf;

use spire_config::{Block, parse_duration};

use super::{Overrides, text};
use crate::config::{Bootstrap, BundleFormat, Rebootstrap, RebootstrapMode};

pub(super) fn rebootstrap(agent: &Block<'_>, overrides: &Overrides) -> Rebootstrap {
    let defaults = Rebootstrap::default();
    let mode = |name: &str| match name {
        "never" => Ok(RebootstrapMode::Never),
        "auto" => Ok(RebootstrapMode::Auto),
        "always" => Ok(RebootstrapMode::Always),
        other => Err(format!("unknown rebootstrap mode specified: {other}; it must be never, auto or always")),
    };
    let (flag, delay) = (overrides.rebootstrap_mode.as_deref(), overrides.rebootstrap_delay.as_deref());
    Rebootstrap {
        mode: agent.flag_or("-rebootstrapMode", flag, "rebootstrap_mode", mode).unwrap_or(defaults.mode),
        delay: agent.flag_or("-rebootstrapDelay", delay, "rebootstrap_delay", parse_duration).unwrap_or(defaults.delay),
    }
}

pub(super) fn decode(agent: &Block<'_>, overrides: &Overrides, mode: RebootstrapMode) -> Option<Bootstrap> {
    let insecure = agent.boolean("insecure_bootstrap").unwrap_or_default() || overrides.insecure_bootstrap;
    let path = text(agent, "-trustBundle", overrides.trust_bundle_path.as_deref(), "trust_bundle_path");
    let url = text(agent, "-trustBundleUrl", overrides.trust_bundle_url.as_deref(), "trust_bundle_url");
    let address = agent.string("trust_bundle_spiffe_workload_api");
    let unix_socket = agent.path_at("trust_bundle_unix_socket");
    let format = format(agent, overrides);
    if insecure && mode != RebootstrapMode::Never {
        agent.error("insecure_bootstrap", "insecure_bootstrap option can not be used with rebootstrapping");
    }
    let exclusive = |key: &'static str, options: &str| {
        agent.error(key, format!("only one of {options} can be specified, not both"));
    };
    if let Some(address) = address {
        let key = "trust_bundle_spiffe_workload_api";
        for (other, there) in [
            ("insecure_bootstrap", insecure),
            ("trust_bundle_url", url.is_some()),
            ("trust_bundle_path", path.is_some()),
        ] {
            if there {
                exclusive(key, &format!("{other} or {key}"));
            }
        }
        if unix_socket.is_some() {
            let message = "trust_bundle_unix_socket can not be used with trust_bundle_spiffe_workload_api";
            agent.error("trust_bundle_unix_socket", message);
        }
        if let Err(err) = address.parse::<workload_api::Address>() {
            let message = format!("{key} is not a valid SPIFFE Workload API endpoint address: {err}");
            agent.error(key, message);
        }
        return Some(Bootstrap::WorkloadApi { address });
    }
    if unix_socket.is_some() && url.is_none() {
        let message = "if trust_bundle_unix_socket is specified, so must be trust_bundle_url";
        agent.error("trust_bundle_unix_socket", message);
    }
    match (insecure, url, path) {
        (true, Some(_), Some(_)) => {
            let message = "only one of insecure_bootstrap, trust_bundle_url, or trust_bundle_path can be specified, not \
                           the three options";
            agent.error("insecure_bootstrap", message);
            None
        }
        (true, Some(_), None) => {
            exclusive("insecure_bootstrap", "insecure_bootstrap or trust_bundle_url");
            None
        }
        (true, None, Some(_)) => {
            exclusive("insecure_bootstrap", "insecure_bootstrap or trust_bundle_path");
            None
        }
        (false, Some(_), Some(_)) => {
            exclusive("trust_bundle_url", "trust_bundle_url or trust_bundle_path");
            None
        }
        (true, None, None) => Some(Bootstrap::Insecure),
        (false, Some(url), None) => {
            check_url(agent, &url, unix_socket.is_some());
            Some(Bootstrap::Url { url, format, unix_socket })
        }
        (false, None, Some(path)) => Some(Bootstrap::File { path: PathBuf::from(path), format }),
        (false, None, None) => {
            let message = "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured \
                           unless insecure_bootstrap is set";
            agent.error("trust_bundle_path", message);
            None
        }
    }
}

fn format(agent: &Block<'_>, overrides: &Overrides) -> BundleFormat {
    let format = |name: &str| match name {
        "pem" => Ok(BundleFormat::Pem),
        "spiffe" => Ok(BundleFormat::Spiffe),
        _ => Err("invalid value for trust_bundle_format, expected \"pem\" or \"spiffe\""),
    };
    let flag = overrides.trust_bundle_format.as_deref();
    agent.flag_or("-trustBundleFormat", flag, "trust_bundle_format", format).unwrap_or_default()
}

fn check_url(agent: &Block<'_>, url: &str, over_socket: bool) {
    if over_socket && !url.starts_with("http://") {
        let message = "trust bundle URL must start with http:// when used with trust bundle unix socket";
        agent.error("trust_bundle_url", message);
    }
    if !over_socket && !url.starts_with("https://") {
        agent.error("trust_bundle_url", "trust bundle URL must start with https://");
    }
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    for reserved in ["spiffe-", "spire-"] {
        if query.split('&').any(|parameter| parameter.starts_with(reserved)) {
            agent.error("trust_bundle_url", format!("trust_bundle_url query params can not start with {reserved}"));
        }
    }
}
