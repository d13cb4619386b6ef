//! Files of the tutorials and the chart, and files that are wrong.

use std::fmt::Write as _;

use spiffe_core::{KeyType, Ttl};
use spire_runtime::log::{LogFormat, LogLevel};
use spire_types::EndpointProfile;

use super::*;
use crate::config::{
    BundleEndpointProfile, DataStore, KeyManager, NodeAttestor, UpstreamAuthority, WebCertificate, X509PopMode,
};

fn read(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = parse("server.conf", text, &Overrides::default()).unwrap_or_else(|err| panic!("{err}"));
    (config, warnings.iter().map(ToString::to_string).collect())
}

fn fails(text: &str) -> String {
    parse("server.conf", text, &Overrides::default()).unwrap_err().to_string()
}

const PLUGINS: &str = r#"plugins { KeyManager "memory" {}
    DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "d" } } }"#;

/// A file whose server block holds `server` besides what is required, all in its first line.
fn with(server: &str) -> String {
    format!("server {{ trust_domain = \"td\" data_dir = \"d\" {server} }}\n{PLUGINS}")
}

#[test]
fn the_files_of_the_federation_tutorial() {
    for (text, own, other, host) in [
        (include_str!("broker.conf"), "broker.example", "stockmarket.example", "spire-server-stock"),
        (include_str!("stockmarket.conf"), "stockmarket.example", "broker.example", "spire-server-broker"),
    ] {
        let (config, warnings) = read(text);
        assert_eq!(config.trust_domain.as_str(), own);
        assert_eq!((config.bind_address.as_str(), config.bind_port), ("0.0.0.0", 8081));
        assert_eq!(config.ca.subject, DistinguishedName::default_ca());
        assert_eq!((config.svids.x509_ttl, config.svids.jwt_ttl), (Ttl::from_hours(1), Ttl::from_minutes(5)));
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.log.file, Some(PathBuf::from("/opt/spire/server.log")));
        let endpoint = config.federation.bundle_endpoint.unwrap();
        assert_eq!(
            (endpoint.address.to_string(), endpoint.profile),
            ("0.0.0.0:8443".into(), BundleEndpointProfile::HttpsSpiffe)
        );
        let other = TrustDomain::parse(other).unwrap();
        let relationship = FederationRelationshipText::of(&config.federation.federates_with[0]);
        assert_eq!(relationship, format!("{other} https://{host}:8443 spiffe://{other}/spire/server"));
        assert_eq!(config.plugins.key_manager, KeyManager::Memory);
        let path = PathBuf::from("/opt/spire/data/server/datastore.sqlite3");
        assert_eq!(config.plugins.datastore, DataStore::Sqlite { path });
        let ca_bundle_paths = vec![PathBuf::from("/opt/spire/conf/server/agent-cacert.pem")];
        let x509pop = crate::config::X509PopConfig::new(X509PopMode::ExternalPki { ca_bundle_paths });
        assert_eq!(config.plugins.node_attestors, [NodeAttestor::X509Pop(x509pop)]);
        assert_eq!(
            warnings,
            [
                "server.conf:9:5: server.default_svid_ttl: deprecated: use default_x509_svid_ttl and \
                 default_jwt_svid_ttl; it is taken for the former",
                "server.conf:17:9: server.federation.bundle_endpoint.profile: deprecated without a profile: write \
                 profile \"https_spiffe\" {}",
            ]
        );
    }
}

/// A relationship in a line.
struct FederationRelationshipText;

impl FederationRelationshipText {
    fn of(relationship: &spire_types::FederationRelationship) -> String {
        let mut text = format!("{} {}", relationship.trust_domain, relationship.bundle_endpoint_url);
        match &relationship.profile {
            EndpointProfile::HttpsSpiffe { endpoint_id } => write!(text, " {endpoint_id}").unwrap(),
            _ => text.push_str(" web"),
        }
        text
    }
}

#[test]
fn how_long_keys_are_published_before_they_sign() {
    let delays = |settings: &str| {
        let publication = read(&with(settings)).0.ca.publication;
        (publication.successor.as_secs(), publication.first.as_secs())
    };
    assert_eq!(delays(""), (300, 20));
    let set = r#"experimental { key_publication_delay = "10m" first_key_publication_delay = "50s" }"#;
    assert_eq!(delays(set), (600, 50));
}

#[test]
fn the_old_forms_of_federation() {
    let (config, warnings) = read(&with(
        r#"federation {
            bundle_endpoint { address = "0.0.0.0" port = "443"
                acme { domain_name = "broker.example" email = "some@email.com" tos_accepted = true } }
            federates_with "stocksmarket.org" { bundle_endpoint { address = "spire-server-stocks" port = 8443 } }
            federates_with "spiffe://a" { bundle_endpoint { address = "::1" spiffe_id = "spiffe://a/b" } }
            federates_with b.org { bundle_endpoint { address = "b.org" use_web_pki = true } }
        }"#,
    ));
    let relationships: Vec<_> = config.federation.federates_with.iter().map(FederationRelationshipText::of).collect();
    assert_eq!(
        relationships,
        [
            "stocksmarket.org https://spire-server-stocks:8443 spiffe://stocksmarket.org/spire/server",
            "a https://[::1]:443 spiffe://a/b",
            "b.org https://b.org:443 web",
        ]
    );
    let BundleEndpointProfile::HttpsWeb(WebCertificate::Acme(acme)) =
        config.federation.bundle_endpoint.unwrap().profile
    else {
        panic!("no ACME")
    };
    assert_eq!((acme.domain_name.as_str(), acme.tos_accepted), ("broker.example", true));
    assert_eq!(acme.directory_url, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(warnings.iter().filter(|warning| warning.contains("deprecated")).count(), 4, "{warnings:?}");
}

#[test]
fn the_nested_tutorial() {
    let (config, warnings) = read(include_str!("nested.conf"));
    let Some(UpstreamAuthority::Spire(spire)) = config.plugins.upstream_authority else { panic!("no upstream") };
    assert_eq!((spire.server_address.as_str(), spire.server_port), ("root-server", 8081));
    assert_eq!(spire.workload_api_socket, PathBuf::from("/opt/spire/sockets/workload_api.sock"));
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn json_as_the_chart_writes_it_with_variables() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.conf");
    std::fs::write(&path, include_str!("chart.json")).unwrap();
    let lookup = |name: &str| (name == "DATA").then(|| "/run/spire/data".to_owned());
    let (config, warnings) = load(&path, Some(&lookup), &Overrides::default()).unwrap_or_else(|err| panic!("{err}"));
    assert_eq!(config.data_dir, PathBuf::from("/run/spire/data"));
    let path = PathBuf::from("/run/spire/data/datastore.sqlite3");
    assert_eq!(config.plugins.datastore, DataStore::Sqlite { path });
    assert_eq!((config.ca.key_type, config.ca.jwt_key_type), (KeyType::Rsa2048, KeyType::Rsa2048));
    assert_eq!(config.svids.agent_ttl, Ttl::from_hours(4));
    assert_eq!(config.svids.jwt_issuer.as_deref(), Some("https://oidc-discovery.example.org"));
    assert!(config.rate_limits.attestation && !config.rate_limits.signing);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.health_checks.unwrap().bind_port, 8080);
    assert_eq!(config.telemetry.prometheus.unwrap().port, 9988);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn flags_count_more_than_the_file_unless_they_say_nothing() {
    let overrides = Overrides {
        bind_address: Some("[::1]".into()),
        bind_port: Some(0),
        data_dir: Some("/flag".into()),
        socket_path: Some(String::new()),
        trust_domain: Some("spiffe://flag".into()),
        log: shared::LogFlags { level: Some("warn".into()), source_location: true, ..Default::default() },
    };
    let text = with("bind_port = 99 socket_path = \"/file\" log_level = \"loud\"");
    let (config, _) = parse("server.conf", &text, &overrides).unwrap();
    assert_eq!((config.bind_address.as_str(), config.bind_port), ("::1", 99));
    assert_eq!((config.data_dir, config.socket_path), (PathBuf::from("/flag"), PathBuf::from("/file")));
    assert_eq!(config.trust_domain.as_str(), "flag");
    assert_eq!((config.log.level, config.log.source_location), (LogLevel::Warn, true));

    let overrides = Overrides { bind_port: Some(70_000), trust_domain: Some("Td".into()), ..Overrides::default() };
    let err = parse("server.conf", &with(""), &overrides).unwrap_err().to_string();
    let both = "command line: -trustDomain: \"Td\" cannot be used: trust domain characters are limited to lowercase \
                letters, numbers, dots, dashes, and underscores\ncommand line: -serverPort: must be between 1 and 65535";
    assert_eq!(err, both);
}

#[test]
fn what_is_missing_is_told_at_once() {
    assert_eq!(
        fails(""),
        "server.conf: plugins: plugins section must be configured\n\
         server.conf: server: server section must be configured"
    );
    assert_eq!(
        fails("server {\n}\nplugins {}"),
        "server.conf:1:1: server.trust_domain: trust_domain must be configured\n\
         server.conf:1:1: server.data_dir: data_dir must be configured\n\
         server.conf:3:1: plugins.DataStore: expecting a DataStore plugin: write DataStore \"sql\" { … }\n\
         server.conf:3:1: plugins.KeyManager: exactly one KeyManager plugin is expected, there are 0"
    );
}

#[test]
fn everything_that_is_wrong_has_its_place() {
    for (server, expected) in [
        ("zork = 1", "server.zork: unknown configuration detected: there is no such key"),
        (
            "bind_prt = 1",
            "server.bind_prt: unknown configuration detected: there is no such key, did you mean bind_port?",
        ),
        ("bind_port = 70000", "server.bind_port: 70000 is out of range"),
        ("ca_ttl = \"3600\"", "server.ca_ttl: could not parse ca_ttl \"3600\": time: missing unit in duration"),
        ("ca_key_type = \"dsa\"", "key type \"dsa\" is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]"),
        ("admin_ids = [\"x\"]", "server.admin_ids: \"x\" cannot be used: scheme is missing or invalid"),
        ("log_level = \"loud\"", "server.log_level: \"loud\" cannot be used: not a valid log level"),
        (
            "audit_log_enabled = \"true\"",
            "server.audit_log_enabled: must be true or false without quotes, not a string",
        ),
        ("ratelimit { signin = true }", "server.ratelimit.signin: unknown configuration detected"),
        ("experimental { named_pipe_name = \"x\" }", "named_pipe_name is not supported in this platform"),
        ("experimental { feature_flags = [\"x\"] }", "unknown feature flag(s): [x]"),
        ("experimental { wit_issuer = \"x\" }", "server.experimental.wit_issuer: not supported yet: remove it"),
        ("proxy_protocol_trusted_cidrs = []", "server.proxy_protocol_trusted_cidrs: not supported yet: remove it"),
        (
            "federation { bundle_endpoint { address = \"localhost\" } }",
            "\"localhost\" cannot be used: it must be an IP address",
        ),
        ("federation { bundle_endpoint { profile \"https_web\" {} } }", "takes either 'acme' or 'serving_cert_file'"),
        (
            "federation { bundle_endpoint { profile \"https_web\" {} profile \"https_spiffe\" {} } }",
            "exactly one bundle endpoint profile is expected",
        ),
        ("federation { federates_with \"a\" {} }", "federates_with[\"a\"].bundle_endpoint_url must be configured"),
        (
            "federation { federates_with \"a\" { bundle_endpoint_url = \"http://a\" } }",
            "must use the HTTPS protocol; URL found: \"http://a\"",
        ),
        ("federation { federates_with \"td\" {} }", "td is the server's own trust domain"),
        ("federation { federates_with \"A\" {} }", "\"A\" is no trust domain"),
    ] {
        let err = fails(&with(server));
        assert!(err.starts_with("server.conf:1:") && err.contains(expected), "{server}: {err}");
    }
}

#[test]
fn plugins_that_are_wrong() {
    for (plugins, expected) in [
        ("KeyManager \"disk\" {}", "plugins.KeyManager \"disk\".plugin_data.keys_path: keys_path must be configured"),
        ("KeyManager \"aws_kms\" { plugin_data { region = \"x\" } }", "KeyManager \"aws_kms\" is not supported yet"),
        ("KeyManager \"memory\" { plugin_data { x = 1 } }", "plugin_data.x: unknown configuration detected"),
        (
            "KeyManager \"memory\" {} KeyManager \"memory\" {}",
            "plugin \"KeyManager\"/\"memory\" declared more than once",
        ),
        ("KeyManager \"memory\" { plugin_cmd = \"x\" }", "programs as plugins are not supported yet"),
        ("NodeResolver \"noop\" {}", "unsupported plugin type \"NodeResolver\""),
        ("NodeAttestor \"x509pop\" { plugin_data {} }", "one of ca_bundle_path or ca_bundle_paths must be configured"),
        ("NodeAttestor \"x509pop\" { plugin_data_file = \"/x/y.conf\" }", "open /x/y.conf: no such file or directory"),
        ("UpstreamAuthority \"disk\" {}", "'cert_file_path' and 'key_file_path' must be set and not empty"),
        ("DataStore \"sql\" { plugin_data { database_type = \"postgres\" } }", "\"postgres\" is not supported yet"),
        ("DataStore \"sql\" { plugin_data { database_type \"aws_postgres\" {} } }", "must be a string, not a block"),
    ] {
        let err = fails(&format!("server {{ trust_domain = \"td\" data_dir = \"d\" }}\nplugins {{ {plugins} }}"));
        assert!(err.contains(expected), "{plugins}: {err}");
    }
}

#[test]
fn a_disabled_plugin_does_not_count() {
    let (config, _) =
        read(&with("").replace(
            "plugins {",
            "plugins { KeyManager \"aws_kms\" { enabled = false plugin_data { region = \"x\" } } ",
        ));
    assert_eq!(config.plugins.key_manager, KeyManager::Memory);
}
