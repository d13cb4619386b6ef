//! Files of the tutorials, and files that are wrong.

use std::time::Duration;

use spire_runtime::log::LogLevel;

use super::*;
use crate::config::{Bootstrap, BundleFormat, KeyManager, NodeAttestor, RebootstrapMode, WorkloadAttestor};

const BROKER: &str = r#"agent {
    data_dir = "/opt/spire/data/agent"
    log_level = "DEBUG"
    log_file = "/opt/spire/agent.log"
    server_address = "spire-server-broker"
    server_port = "8081"
    socket_path ="/tmp/agent.sock"
    trust_bundle_path = "/opt/spire/conf/agent/bootstrap.crt"
    trust_domain = "broker.example"
}

plugins {
    NodeAttestor "x509pop" {
        plugin_data {
            private_key_path = "/opt/spire/conf/agent/agent.key.pem"
            certificate_path = "/opt/spire/conf/agent/agent.crt.pem"
        }
    }

    KeyManager "disk" {
        plugin_data {
            directory = "/opt/spire/data/agent"
        }
    }

    WorkloadAttestor "unix" {
        plugin_data {
        }
    }
}
"#;

const PLUGINS: &str = r#"plugins { KeyManager "memory" {} NodeAttestor "join_token" {} WorkloadAttestor "unix" {} }"#;

/// A file whose agent block holds `agent` besides what is required, all in its first line.
fn with(agent: &str) -> String {
    format!("agent {{ trust_domain = \"td\" server_address = \"s\" server_port = 1 {agent} }}\n{PLUGINS}")
}

fn read(text: &str) -> Config {
    let (config, warnings) = parse("agent.conf", text, &Overrides::default()).unwrap_or_else(|err| panic!("{err}"));
    assert_eq!(warnings, []);
    config
}

fn fails(text: &str) -> String {
    parse("agent.conf", text, &Overrides::default()).unwrap_err().to_string()
}

#[test]
fn the_file_of_the_federation_tutorial() {
    let config = read(BROKER);
    assert_eq!(config.trust_domain.as_str(), "broker.example");
    assert_eq!((config.server_address.as_str(), config.server_port), ("spire-server-broker", 8081));
    assert_eq!(config.workload_api.socket_path, PathBuf::from("/tmp/agent.sock"));
    assert_eq!(config.log.level, LogLevel::Debug);
    let path = PathBuf::from("/opt/spire/conf/agent/bootstrap.crt");
    assert_eq!(config.bootstrap, Bootstrap::File { path, format: BundleFormat::Pem });
    let directory = PathBuf::from("/opt/spire/data/agent");
    assert_eq!(config.plugins.key_manager, KeyManager::Disk { directory });
    let NodeAttestor::X509Pop(files) = &config.plugins.node_attestor else { panic!("no x509pop") };
    assert_eq!(files.certificate_path, PathBuf::from("/opt/spire/conf/agent/agent.crt.pem"));
    assert!(matches!(config.plugins.workload_attestors.as_slice(), [WorkloadAttestor::Unix(_)]));
    assert_eq!(config.sync_interval, Duration::from_secs(5));
    assert!(config.workload_api.enabled && config.workload_api.sds.is_some());
}

#[test]
fn docker_and_unix_of_the_nested_tutorial() {
    let config = read(&BROKER.replace(
        "WorkloadAttestor \"unix\" {",
        "WorkloadAttestor \"docker\" { plugin_data {} }\n WorkloadAttestor \"unix\" {",
    ));
    let attestors = config.plugins.workload_attestors;
    assert!(matches!(attestors.as_slice(), [WorkloadAttestor::Docker(_), WorkloadAttestor::Unix(_)]), "{attestors:?}");
}

#[test]
fn json_as_the_chart_writes_it() {
    let text = r#"{
      "agent": {"data_dir": "/var/lib/spire", "log_level": "info", "rebootstrap_delay": "10m", "rebootstrap_mode": "always",
        "server_address": "spire-server.spire", "server_port": "443", "trust_bundle_format": "spiffe",
        "socket_path": "/tmp/spire-agent/public/spire-agent.sock", "trust_domain": "example.org",
        "trust_bundle_path": "/run/spire/bundle/bundle.spiffe", "experimental": {"sync_interval": "500ms"}},
      "health_checks": {"bind_port": "9982", "listener_enabled": true},
      "plugins": {"KeyManager": [{"memory": {"plugin_data": null}}], "NodeAttestor": [{"join_token": {"plugin_data": {}}}],
        "WorkloadAttestor": [{"unix": {"plugin_data": {"discover_workload_path": true}}}]}}"#;
    let config = read(text);
    assert_eq!(config.rebootstrap.mode, RebootstrapMode::Always);
    assert_eq!(config.sync_interval, Duration::from_millis(500));
    assert_eq!(config.health_checks.unwrap().bind_port, 9982);
    assert_eq!(config.plugins.key_manager, KeyManager::Memory);
    assert_eq!(config.plugins.node_attestor, NodeAttestor::JoinToken { token: None });
}

#[test]
fn a_join_token_comes_from_the_file_the_flag_or_a_file_of_its_own() {
    let token = |config: Config| match config.plugins.node_attestor {
        NodeAttestor::JoinToken { token } => token.map(|token| token.0),
        other => panic!("{other:?}"),
    };
    let text = with("insecure_bootstrap = true join_token = \"in-file\"");
    assert_eq!(token(read(&text)).as_deref(), Some("in-file"));
    let overrides = Overrides { join_token: Some("flag".into()), ..Overrides::default() };
    let (config, _) = parse("agent.conf", &text, &overrides).unwrap();
    assert_eq!(token(config).as_deref(), Some("flag"));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let text = with(&format!("insecure_bootstrap = true join_token_file = {:?}", path.to_str().unwrap()));
    assert!(fails(&text).contains("unable to read join token file"));
    std::fs::write(&path, " \n").unwrap();
    assert!(fails(&text).contains("join token file is empty"));
    std::fs::write(&path, "own-file\n").unwrap();
    assert_eq!(token(read(&text)).as_deref(), Some("own-file"));
}

#[test]
fn everything_that_is_wrong_has_its_place() {
    for (agent, expected) in [
        ("", "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured unless"),
        ("trust_bundle_path = \"a\" zork = 1", "agent.zork: unknown configuration detected: there is no such key"),
        ("insecure_bootstrap = \"true\"", "agent.insecure_bootstrap: must be true or false without quotes"),
        ("insecure_bootstrap = true trust_bundle_path = \"a\"", "only one of insecure_bootstrap or trust_bundle_path"),
        (
            "trust_bundle_url = \"https://a\" trust_bundle_path = \"a\"",
            "only one of trust_bundle_url or trust_bundle_path",
        ),
        ("trust_bundle_url = \"http://a\"", "trust bundle URL must start with https://"),
        ("trust_bundle_url = \"https://a/?spire-x=1\"", "query params can not start with spire-"),
        ("trust_bundle_path = \"a\" trust_bundle_format = \"der\"", "expected \"pem\" or \"spiffe\""),
        ("trust_bundle_path = \"a\" trust_bundle_unix_socket = \"s\"", "so must be trust_bundle_url"),
        ("trust_bundle_spiffe_workload_api = \"tcp://x\"", "is not a valid SPIFFE Workload API endpoint address"),
        ("insecure_bootstrap = true rebootstrap_mode = \"auto\"", "can not be used with rebootstrapping"),
        ("insecure_bootstrap = true rebootstrap_mode = \"x\"", "unknown rebootstrap mode specified: x"),
        ("insecure_bootstrap = true availability_target = \"1h\"", "availability_target must be at least 24h0m0s"),
        ("insecure_bootstrap = true x509_svid_cache_max_size = -1", "x509_svid_cache_max_size should not be negative"),
        (
            "insecure_bootstrap = true workload_x509_svid_key_type = \"rsa-4096\"",
            "must be one of [ec-p256, ec-p384, rsa-2048]",
        ),
        (
            "insecure_bootstrap = true authorized_delegates = [\"spiffe://x/y\"]",
            "is not of the agent's trust domain td",
        ),
        (
            "insecure_bootstrap = true socket_path = \"/run/a/s\" admin_socket_path = \"/run/a/b/s\"",
            "admin socket cannot be in the same directory or a subdirectory",
        ),
        (
            "insecure_bootstrap = true experimental { broker { brokers = [] } }",
            "experimental.broker: not supported yet",
        ),
        ("insecure_bootstrap = true experimental { ratelimit { fetch_jwt_svid = -1 } }", "must not be negative"),
        ("insecure_bootstrap = true experimental { sync_interval = \"0\" }", "must be longer than zero"),
        ("insecure_bootstrap = true sds { zork = 1 }", "agent.sds.zork: unknown configuration detected"),
    ] {
        let err = fails(&with(agent));
        assert!(err.starts_with("agent.conf:1:") && err.contains(expected), "{agent}: {err}");
    }
}

#[test]
fn what_is_missing_is_told_at_once() {
    let err = fails("agent { insecure_bootstrap = true }\nplugins { WorkloadAttestor \"k8s\" {} }");
    for expected in [
        "trust_domain must be configured",
        "server_address must be configured",
        "server_port must be configured",
        "exactly one KeyManager plugin is expected, there are 0",
        "exactly one NodeAttestor plugin is expected, there are 0",
        "WorkloadAttestor \"k8s\" is not supported yet",
    ] {
        assert!(err.contains(expected), "{expected}: {err}");
    }
}
