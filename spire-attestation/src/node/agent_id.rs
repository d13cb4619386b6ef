//! The SPIFFE IDs of agents: `spiffe://<trust domain>/spire/agent/<method>/...`.

use spiffe_core::{SpiffeId, TrustDomain};

use crate::{AgentIdError, Error};

/// The agent ID at `path`, which is absolute and stands below `/spire/agent`.
///
/// # Errors
/// When `path` is no SPIFFE path (SPIFFE-ID §2.2).
pub fn agent_id(trust_domain: &TrustDomain, path: &str) -> Result<SpiffeId, Error> {
    trust_domain
        .join(&format!("{AGENT_PREFIX}{path}"))
        .map_err(|source| AgentIdError::Path { path: path.to_owned(), source }.into())
}

/// Checks `agent_path_template` of a server's node attestor: unset or the default is fine.
///
/// # Errors
/// [`AgentIdError::Template`] for any other: rendering Go templates is not built in.
pub fn check_template(configured: Option<&str>, default: &'static str) -> Result<(), Error> {
    match configured {
        None | Some("") => Ok(()),
        Some(template) if without_blanks(template) == without_blanks(default) => Ok(()),
        Some(template) => Err(AgentIdError::Template { template: template.to_owned(), default }.into()),
    }
}

fn without_blanks(template: &str) -> String {
    template.chars().filter(|c| *c != ' ').collect()
}

const AGENT_PREFIX: &str = "/spire/agent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_id_stands_below_spire_agent() {
        let td = TrustDomain::parse("example.org").unwrap();
        let id = agent_id(&td, "/x509pop/0a").unwrap();
        assert_eq!(id.as_str(), "spiffe://example.org/spire/agent/x509pop/0a");
    }

    #[test]
    fn a_path_that_is_no_spiffe_path_is_refused() {
        let td = TrustDomain::parse("example.org").unwrap();
        for path in ["/x509pop/", "/x509pop/a b", "/x509pop/../x", "/x509pop//a"] {
            assert!(agent_id(&td, path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_the_default_template_is_understood() {
        let default = "/{{ .PluginName }}/{{ .Fingerprint }}";
        check_template(None, default).unwrap();
        check_template(Some("/{{.PluginName}}/{{.Fingerprint}}"), default).unwrap();
        let error = check_template(Some("/x/{{ .Subject.CommonName }}"), default).unwrap_err();
        assert!(error.to_string().contains("only the default template"), "{error}");
    }
}
