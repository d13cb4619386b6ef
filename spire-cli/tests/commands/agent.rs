//! The commands of `spire-agent`, against endpoints in memory.

use std::path::Path;
use std::time::Duration;

use crate::support::{Fake, Run, terminal};
use spiffe_core::testing::TestAuthority;
use spire_api::proto::{agent_debug, agent_logger, types};
use spire_cli::Outcome;
use spire_cli::agent::{self, RunFlags};
use tempfile::TempDir;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use workload_api::testing::FakeEndpoint;

async fn with(line: &str, environment: &[(&str, &str)]) -> Run {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (mut terminal, stdout, stderr) = terminal("", environment);
    let outcome = agent::main("1.2.3", &words, &mut terminal).await;
    let Outcome::Exit(code) = outcome else { unreachable!("{outcome:?}") };
    Run { code, stdout: stdout.text(), stderr: stderr.text() }
}

async fn on(socket: &Path, words: &str) -> Run {
    with(&format!("{words} -socketPath {}", socket.display()), &[]).await
}

/// An endpoint with two identities and a federated bundle, and its socket.
fn endpoint(directory: &TempDir) -> (FakeEndpoint, std::path::PathBuf) {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/one", "/two"]);
    endpoint.federate(&TestAuthority::new("other.example"));
    let socket = directory.path().join("agent.sock");
    endpoint.listen(&socket).unwrap();
    (endpoint, socket)
}

#[tokio::test]
async fn x509_svids_are_fetched_and_printed() {
    let directory = TempDir::new().unwrap();
    let (_endpoint, socket) = endpoint(&directory);
    for words in ["api fetch", "api fetch x509"] {
        let run = on(&socket, words).await;
        let (first, rest) = run.stdout.split_once('\n').unwrap();
        assert!(first.starts_with("Received 2 svids after "), "{first}");
        let text = Run { code: run.code, stdout: rest.to_owned(), stderr: run.stderr }.all();
        insta::assert_snapshot!("x509_svids_are_fetched_and_printed", text);
    }
    let json: serde_json::Value =
        serde_json::from_str(&on(&socket, "api fetch x509 -output json -silent").await.stdout).unwrap();
    assert_eq!(json["svids"][1]["spiffe_id"], "spiffe://example.org/two");
    assert!(json["federated_bundles"]["spiffe://other.example"].is_string());
    assert_eq!(json["crl"], serde_json::json!([]));
}

#[tokio::test]
async fn x509_svids_are_written_with_their_keys_private() {
    let directory = TempDir::new().unwrap();
    let (endpoint, socket) = endpoint(&directory);
    let path = directory.path().display();
    let run = on(&socket, &format!("api fetch x509 -silent -write {path}")).await;
    let stdout = run.stdout.replace(&path.to_string(), "DIR");
    insta::assert_snapshot!(Run { stdout, ..run }.all());
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(read("bundle.1.pem"), endpoint.authority().root().to_pem());
    assert!(read("svid.0.pem").starts_with("-----BEGIN CERTIFICATE-----\n"));
    spiffe_core::key::PrivateKey::from_pem(&read("svid.0.key")).unwrap();
    let metadata = directory.path().join("svid.0.key").metadata().unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
    let run = on(&socket, "api fetch x509 -silent -write /nonexistent").await;
    assert_eq!((run.code, run.stderr.as_str()), (1, "open /nonexistent/svid.0.pem: no such file or directory\n"));
}

#[tokio::test]
async fn a_caller_without_identity_is_told_so() {
    let directory = TempDir::new().unwrap();
    let endpoint = FakeEndpoint::new("example.org");
    let socket = directory.path().join("agent.sock");
    endpoint.listen(&socket).unwrap();
    let error = "rpc error: code = PermissionDenied desc = no identity issued\n";
    for words in ["api fetch", "api fetch jwt -audience a"] {
        let run = on(&socket, words).await;
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (1, "", error), "{words}");
    }
}

#[tokio::test]
async fn jwt_svids_are_fetched_and_validated() {
    let directory = TempDir::new().unwrap();
    let (_endpoint, socket) = endpoint(&directory);
    let run = on(&socket, "api fetch jwt -audience a,b -spiffeID spiffe://example.org/two").await;
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!((run.code, lines[0]), (0, "token(spiffe://example.org/two):"), "{}", run.stderr);
    assert!(lines.contains(&"bundle(spiffe://example.org):") && lines.contains(&"bundle(spiffe://other.example):"));
    let token = lines[1].trim_start();
    let valid = on(&socket, &format!("api validate jwt -audience b -svid {token}")).await;
    let lines: Vec<&str> = valid.stdout.lines().collect();
    assert_eq!(lines[..2], ["SVID is valid.", "SPIFFE ID : spiffe://example.org/two"], "{}", valid.stderr);
    let claims: serde_json::Value = serde_json::from_str(lines[2].strip_prefix("Claims    : ").unwrap()).unwrap();
    assert_eq!(claims["sub"], "spiffe://example.org/two");
    assert!(claims["exp"].is_i64(), "whole numbers are printed as such: {claims}");
    let json = on(&socket, "api fetch jwt -audience a -format json").await.stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["svids"][0]["spiffe_id"], "spiffe://example.org/one");
    assert!(json[1]["bundles"]["spiffe://example.org"].is_string());
    for (words, error) in [
        ("fetch jwt".to_owned(), "audience must be specified"),
        ("validate jwt".to_owned(), "audience must be specified"),
        ("validate jwt -audience a".to_owned(), "svid must be specified"),
        (format!("validate jwt -audience other -svid {token}"), "SVID is not valid: "),
        ("validate jwt -audience a -svid rubbish".to_owned(), "SVID is not valid: "),
    ] {
        let run = on(&socket, &format!("api {words}")).await;
        assert!(run.code == 1 && run.stdout.is_empty() && run.stderr.starts_with(error), "{words}: {}", run.stderr);
        assert!(!run.stderr.contains(token), "tokens are not repeated");
    }
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_on() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let run = on(&socket, "api fetch -timeout 20ms").await;
    let error = "rpc error: code = DeadlineExceeded desc = context deadline exceeded\n";
    assert_eq!((run.code, run.stderr.as_str()), (1, error));
}

#[tokio::test]
async fn watching_prints_every_state() {
    let directory = TempDir::new().unwrap();
    let (endpoint, socket) = endpoint(&directory);
    let (mut terminal, stdout, _) = terminal("", &[]);
    let words = ["api", "watch", "-socketPath", socket.to_str().unwrap()].map(str::to_owned);
    let watched = async {
        wait_for(&stdout, "Received 2 svids after ").await;
        endpoint.set_identities(&["/three"]);
        wait_for(&stdout, "Received 1 svid after ").await;
    };
    tokio::select! {
        outcome = agent::main("", &words, &mut terminal) => unreachable!("{outcome:?}"),
        () = watched => {}
    }
    assert!(stdout.text().contains("[other.example] CA #1 Valid After:\t"));
}

async fn wait_for(stdout: &crate::support::Buffer, text: &str) {
    let wait = async {
        while !stdout.text().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[tokio::test]
async fn health_logger_and_debug_are_shown() {
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on("/grpc.health.v1.Health/Check", |_: HealthCheckRequest| Ok(HealthCheckResponse { status: 1 }))
        .on("/spire.api.agent.logger.v1.Logger/GetLogger", |_: agent_logger::GetLoggerRequest| {
            Ok(types::Logger { current_level: 6, launch_level: 4 })
        })
        .on("/spire.agent.debug.v1.Debug/GetInfo", |_: agent_debug::GetInfoRequest| {
            let certificate = agent_debug::get_info_response::Cert {
                id: Some(types::Spiffeid { trust_domain: "example.org".to_owned(), path: "/spire/agent".to_owned() }),
                expires_at: 1_800_000_000,
                subject: "O=SPIRE,C=US".to_owned(),
            };
            Ok(agent_debug::GetInfoResponse {
                svid_chain: vec![certificate],
                uptime: 3723,
                cached_x509_svids_count: 4,
                ..Default::default()
            })
        })
        .serve(directory.path());
    assert_eq!(on(&served.socket, "healthcheck").await.stdout, "Agent is healthy.\n");
    assert_eq!(on(&served.socket, "logger get").await.stdout, "Logger Level : debug\nLaunch Level : warning\n\n");
    insta::assert_snapshot!(on(&served.socket, "debug getinfo").await.all());
    insta::assert_snapshot!(on(&served.socket, "debug getinfo -output json").await.all());
    let run = on(&served.socket, "logger set").await;
    assert_eq!((run.code, run.stderr.as_str()), (1, "Error: a value (-level) must be set\n"));
    let run = on(Path::new("/nonexistent"), "healthcheck").await;
    assert_eq!((run.code, run.stderr.as_str()), (1, "Agent is unhealthy: unable to determine health\n"));
}

#[tokio::test]
async fn the_socket_is_chosen_by_flag_instance_environment() {
    const TEMPLATE: &str = "SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE";
    let all = [(TEMPLATE, "/nonexistent/%i.sock"), ("SPIRE_AGENT_PUBLIC_SOCKET", "/nonexistent/env.sock")];
    for (flags, environment, chosen) in [
        ("-socketPath /nonexistent/flag.sock -instance a", &all[..], "dial unix /nonexistent/flag.sock: "),
        ("-instance a", &all[..], "dial unix /nonexistent/a.sock: "),
        ("", &all[..], "dial unix /nonexistent/env.sock: "),
        ("-instance a", &[(TEMPLATE, "/x")], "failed to find %i in SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE"),
    ] {
        let run = with(&format!("api fetch {flags}"), environment).await;
        assert!(run.code == 1 && run.stderr.contains(chosen), "{flags}: {}", run.stderr);
    }
}

#[tokio::test]
async fn running_is_left_to_the_binary() {
    let words = ["run", "-joinToken", "t", "-insecureBootstrap", "-serverPort=8081"].map(str::to_owned);
    let (mut terminal, ..) = terminal("", &[]);
    let flags = RunFlags {
        config: RunFlags::DEFAULT_CONFIG.to_owned(),
        join_token: Some("t".to_owned()),
        insecure_bootstrap: true,
        server_port: Some(8081),
        ..RunFlags::default()
    };
    assert_eq!(agent::main("1.2.3", &words, &mut terminal).await, Outcome::Run(flags));
    insta::assert_snapshot!(with("", &[]).await.all());
    insta::assert_snapshot!(with("api", &[]).await.all());
}
