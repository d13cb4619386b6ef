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

/// An `agent_path_template`: text, and fields in double braces, as in `/{{ .PluginName }}/{{ .Fingerprint }}`.
///
/// Of Go's template language this is the part that names fields; functions, conditions and pipelines are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPathTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A field's name with its dots, but for the first: `Subject.CommonName`.
    Field(String),
}

impl AgentPathTemplate {
    /// Parses a template whose fields all satisfy `known`.
    ///
    /// # Errors
    /// [`AgentIdError::Template`] names what is not understood.
    pub fn parse(template: &str, known: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let bad = |what: &str| AgentIdError::Template { template: template.to_owned(), what: what.to_owned() };
        let (mut parts, mut rest) = (Vec::new(), template);
        while let Some((text, tail)) = rest.split_once("{{") {
            let (action, tail) = tail.split_once("}}").ok_or_else(|| bad("a {{ without }}"))?;
            let field = action.trim().strip_prefix('.').unwrap_or_default();
            let is_field =
                field.split('.').all(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'));
            if !is_field || !known(field) {
                return Err(bad(action.trim()).into());
            }
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Field(field.to_owned()));
            rest = tail;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// The path, with each field's value.
    ///
    /// # Errors
    /// [`AgentIdError::NoValue`] for a field that has none.
    pub fn render(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, Error> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Field(field) => {
                    path.push_str(&value(field).ok_or_else(|| AgentIdError::NoValue { field: field.clone() })?);
                }
            }
        }
        Ok(path)
    }
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
    fn fields_of_a_template_get_their_values() {
        let template = AgentPathTemplate::parse("/a/{{ .Name }}-{{.Inner.Field}}/z", |_| true).unwrap();
        let path = template.render(|field| Some(format!("<{field}>"))).unwrap();
        assert_eq!(path, "/a/<Name>-<Inner.Field>/z");
        assert!(template.render(|_| None).is_err());
    }

    #[test]
    fn what_is_more_than_a_field_is_refused_with_its_name() {
        for (template, what) in [
            ("/{{ .Unknown }}", ".Unknown"),
            ("/{{ lower .Name }}", "lower .Name"),
            ("/{{ .Name | lower }}", ".Name | lower"),
            ("/{{ if .Name }}x{{ end }}", "if .Name"),
            ("/{{- .Name }}", "- .Name"),
            ("/{{ . }}", "\".\""),
            ("/{{ .Name", "a {{ without }}"),
        ] {
            let error = AgentPathTemplate::parse(template, |field| field == "Name").unwrap_err();
            assert!(error.to_string().contains(what), "{template}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_template_is_parsed_without_panic(template in "[{}. a|-]{0,30}") {
            let _ = AgentPathTemplate::parse(&template, |_| true);
        }
    }
}
