//! The commands of `spire-server`, against a server in memory.

use crate::support::{Fake, Run, Served, terminal};
use spiffe_core::testing::TestAuthority;
use spire_api::convert;
use spire_api::proto::entry::batch_create_entry_response::Result as Created;
use spire_api::proto::entry::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
    BatchUpdateEntryRequest, BatchUpdateEntryResponse, GetEntryRequest, ListEntriesRequest, ListEntriesResponse,
    batch_delete_entry_response, batch_update_entry_response,
};
use spire_api::proto::types::entry::AdditionalAttributes;
use spire_api::proto::{agent, bundle, debug, localauthority, logger, svid, trustdomain, types};
use spire_cli::Outcome;
use spire_cli::server::{self, RunFlags};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Runs a command on the socket of `served`.
async fn on(served: &Served, words: &str) -> Run {
    let line = format!("{words} -socketPath {}", served.socket.display());
    with(&line, "", &[]).await
}

async fn with(line: &str, stdin: &str, environment: &[(&str, &str)]) -> Run {
    let (outcome, stdout, stderr) = outcome(line, stdin, environment).await;
    let Outcome::Exit(code) = outcome else { unreachable!("{outcome:?}") };
    Run { code, stdout, stderr }
}

async fn outcome(line: &str, stdin: &str, environment: &[(&str, &str)]) -> (Outcome<RunFlags>, String, String) {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (mut terminal, stdout, stderr) = terminal(stdin, environment);
    let outcome = server::main("1.2.3", &words, &mut terminal).await;
    (outcome, stdout.text(), stderr.text())
}

fn ok() -> Option<types::Status> {
    Some(types::Status { code: 0, message: "OK".to_owned() })
}

fn refused(code: Code, message: &str) -> Option<types::Status> {
    Some(types::Status { code: code.into(), message: message.to_owned() })
}

fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid { trust_domain: "example.org".to_owned(), path: path.to_owned() })
}

fn selector(text: &str) -> types::Selector {
    let (kind, value) = text.split_once(':').unwrap();
    types::Selector { r#type: kind.to_owned(), value: value.to_owned() }
}

/// An entry with everything in it.
fn entry() -> types::Entry {
    types::Entry {
        id: "one".to_owned(),
        spiffe_id: id("/web"),
        parent_id: id("/agent"),
        selectors: vec![selector("unix:uid:1000"), selector("docker:label:a<b")],
        x509_svid_ttl: 3600,
        jwt_svid_ttl: 0,
        federates_with: vec!["other.example".to_owned()],
        admin: true,
        downstream: true,
        expires_at: 1_900_000_000,
        dns_names: vec!["web.example".to_owned()],
        revision_number: 7,
        store_svid: true,
        hint: "internal".to_owned(),
        created_at: 1_700_000_000,
        additional_attributes: Some(AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            jwt_svid_include_jti: true,
        }),
    }
}

const CREATE: &str = "/spire.api.server.entry.v1.Entry/BatchCreateEntry";

/// Creates what it is asked for, except where the hint is `refuse`.
fn creating() -> Fake {
    Fake::default().on(CREATE, |request: BatchCreateEntryRequest| {
        let create = |entry: types::Entry| {
            if entry.hint == "refuse" {
                return Created { status: refused(Code::AlreadyExists, "similar entry already exists"), entry: None };
            }
            Created { status: ok(), entry: Some(types::Entry { id: "new".to_owned(), ..entry }) }
        };
        Ok(BatchCreateEntryResponse { results: request.entries.into_iter().map(create).collect() })
    })
}

const WEB: &str = "entry create -spiffeID spiffe://example.org/web -parentID spiffe://example.org/agent -selector a:b";

#[tokio::test]
async fn an_entry_is_created_from_flags() {
    let directory = TempDir::new().unwrap();
    let served = creating().serve(directory.path());
    let flags = "-selector unix:uid:1000 -federatesWith spiffe://other.example -federatesWith third -x509SVIDTTL 60 \
                 -jwtSVIDTTL=30 -dns a.example -admin -downstream=false -entryExpiry 1900000000 -hint h \
                 -jwtSVIDIncludeJTI -entryID mine -storeSVID";
    let run = on(&served, &format!("{WEB} {flags}")).await;
    insta::assert_snapshot!(run.all());
    insta::assert_debug_snapshot!(served.asked::<BatchCreateEntryRequest>(CREATE));
}

#[tokio::test]
async fn entries_that_are_refused_go_to_standard_error_and_fail_in_pretty_output_alone() {
    let directory = TempDir::new().unwrap();
    let served = creating().serve(directory.path());
    insta::assert_snapshot!(on(&served, &format!("{WEB} -hint refuse")).await.all());
    insta::assert_snapshot!(on(&served, &format!("{WEB} -hint refuse -output json")).await.all());
}

#[tokio::test]
async fn entries_are_created_from_a_file_on_standard_input() {
    let directory = TempDir::new().unwrap();
    let served = creating().serve(directory.path());
    let json = r#"{"entries": [{"spiffe_id": "spiffe://example.org/a", "parent_id": "spiffe://example.org/p",
        "selectors": [{"type": "unix", "value": "uid:1"}]},
        {"spiffe_id": "spiffe://example.org/b", "parent_id": "spiffe://example.org/p", "hint": "refuse"}]}"#;
    let line = format!("entry create -data - -socketPath {}", served.socket.display());
    insta::assert_snapshot!(with(&line, json, &[]).await.all());
}

#[tokio::test]
async fn a_node_entry_has_the_server_as_its_parent() {
    let directory = TempDir::new().unwrap();
    let served = creating().serve(directory.path());
    on(&served, "entry create -node -spiffeID spiffe://example.org/nodes -selector a:b").await;
    let asked: BatchCreateEntryRequest = served.asked(CREATE);
    assert_eq!(asked.entries[0].parent_id, id("/spire/server"));
}

#[tokio::test]
async fn flags_that_make_no_entry_are_refused_in_order() {
    for (words, error) in [
        ("", "at least one selector is required"),
        ("-selector a:b -node -federatesWith x", "node entries can not federate"),
        ("-selector a:b", "a parent ID is required if the node flag is not set"),
        ("-selector a:b -node", "a SPIFFE ID is required"),
        ("-selector a:b -node -spiffeID x -x509SVIDTTL -1", "a positive x509-SVID TTL is required"),
        ("-selector a:b -node -spiffeID x -jwtSVIDTTL -1", "a positive JWT-SVID TTL is required"),
        ("-selector a -node -spiffeID spiffe://a/b", "selector \"a\" must be formatted as type:value"),
        ("-selector a:b -node -spiffeID http://a/b", "scheme is missing or invalid"),
        (
            "-selector a:b -node -spiffeID spiffe://a/b -x509SVIDTTL 4294967296",
            "invalid value for X509 SVID TTL: 4294967296 is out of range",
        ),
    ] {
        let run = with(&format!("entry create {words}"), "", &[]).await;
        assert_eq!((run.code, run.stderr, run.stdout), (1, format!("Error: {error}\n"), String::new()), "{words}");
    }
}

#[tokio::test]
async fn an_update_keeps_the_attributes_that_no_flag_names() {
    const UPDATE: &str = "/spire.api.server.entry.v1.Entry/BatchUpdateEntry";
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on("/spire.api.server.entry.v1.Entry/GetEntry", |_: GetEntryRequest| {
            let additional = AdditionalAttributes { disable_x509_svid_prefetch: true, jwt_svid_include_jti: false };
            Ok(types::Entry { additional_attributes: Some(additional), ..entry() })
        })
        .on(UPDATE, |request: BatchUpdateEntryRequest| {
            let update = |entry| batch_update_entry_response::Result { status: ok(), entry: Some(entry) };
            Ok(BatchUpdateEntryResponse { results: request.entries.into_iter().map(update).collect() })
        })
        .serve(directory.path());
    let line = WEB.replace("create", "update");
    let run = on(&served, &format!("{line} -entryID one -jwtSVIDIncludeJTI")).await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let asked: BatchUpdateEntryRequest = served.asked(UPDATE);
    assert_eq!(asked.entries[0].additional_attributes, entry().additional_attributes);
    assert_eq!(asked.input_mask, None, "an update replaces the entry");
    on(&served, &format!("{line} -entryID one")).await;
    assert_eq!(served.asked::<BatchUpdateEntryRequest>(UPDATE).entries[0].additional_attributes, None);
}

#[tokio::test]
async fn entries_are_shown_in_order_over_all_pages() {
    const LIST: &str = "/spire.api.server.entry.v1.Entry/ListEntries";
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on(LIST, |request: ListEntriesRequest| {
            let second = types::Entry { id: "two".to_owned(), spiffe_id: id("/api"), ..types::Entry::default() };
            Ok(match request.page_token.as_str() {
                "" => ListEntriesResponse { entries: vec![entry()], next_page_token: "next".to_owned() },
                _ => ListEntriesResponse { entries: vec![second], next_page_token: String::new() },
            })
        })
        .serve(directory.path());
    insta::assert_snapshot!(on(&served, "entry show").await.all());
    insta::assert_snapshot!(on(&served, "entry show -output json").await.all());
    let flags = "-selector a:b -matchSelectorsOn any -federatesWith x -matchFederatesWithOn subset -hint h -downstream";
    on(&served, &format!("entry show -spiffeID spiffe://example.org/a {flags}")).await;
    insta::assert_debug_snapshot!(served.asked::<ListEntriesRequest>(LIST));
    let both = on(&served, "entry show -entryID one -selector a:b").await;
    assert_eq!(both.stderr, "Error: the -entryID flag can't be combined with others\n");
}

#[tokio::test]
async fn deleting_says_what_became_of_each_entry() {
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on("/spire.api.server.entry.v1.Entry/BatchDeleteEntry", |request: BatchDeleteEntryRequest| {
            let delete = |id: String| {
                let status = if id == "gone" { refused(Code::NotFound, "entry not found") } else { ok() };
                batch_delete_entry_response::Result { status, id }
            };
            Ok(BatchDeleteEntryResponse { results: request.ids.into_iter().map(delete).collect() })
        })
        .serve(directory.path());
    insta::assert_snapshot!(on(&served, "entry delete -entryID one").await.all());
    insta::assert_snapshot!(on(&served, "entry delete -entryID gone").await.all());
    let line = format!("entry delete -file - -socketPath {}", served.socket.display());
    insta::assert_snapshot!(with(&line, r#"{"ids": ["one", "gone", "two"]}"#, &[]).await.all());
}

#[tokio::test]
async fn health_is_what_the_server_says() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    for (status, code, stderr) in [
        (1, 0, ""),
        (2, 1, "Error: server is unhealthy: server returned status \"NOT_SERVING\"\n"),
        (-1, 1, "Error: server is unhealthy: unable to determine health\n"),
    ] {
        let directory = TempDir::new().unwrap();
        let served = Fake::default()
            .on(CHECK, move |_: HealthCheckRequest| match status {
                -1 => Err(Status::internal("no")),
                status => Ok(HealthCheckResponse { status }),
            })
            .serve(directory.path());
        let run = on(&served, "healthcheck").await;
        assert_eq!((run.code, run.stderr.as_str()), (code, stderr));
        assert_eq!(run.stdout, if code == 0 { "Server is healthy.\n" } else { "" });
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_at_once() {
    let run = with("healthcheck -verbose -socketPath /nonexistent/api.sock", "", &[]).await;
    insta::assert_snapshot!(run.all());
    let run = with("entry show -socketPath /nonexistent/api.sock", "", &[]).await;
    insta::assert_snapshot!(run.all());
}

#[tokio::test]
async fn the_socket_is_chosen_by_flag_instance_environment() {
    const TEMPLATE: &str = "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE";
    const SOCKET: &str = "SPIRE_SERVER_PRIVATE_SOCKET";
    let all = [(TEMPLATE, "/nonexistent/%i.sock"), (SOCKET, "/nonexistent/env.sock")];
    for (flags, environment, chosen) in [
        ("-socketPath /nonexistent/flag.sock -instance a", &all[..], "dial unix ///nonexistent/flag.sock: "),
        ("-instance a", &all[..], "dial unix ///nonexistent/a.sock: "),
        ("", &all[..], "dial unix ///nonexistent/env.sock: "),
        ("-socketPath /x -instance a", &[], "you must define SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE to use"),
        ("-instance a", &[(TEMPLATE, "/x")], "failed to find %i in SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE"),
    ] {
        let run = with(&format!("bundle count {flags}"), "", environment).await;
        assert!(run.code == 1 && run.stderr.contains(chosen), "{flags}: {}", run.stderr);
    }
}

/// Bundles whose certificates are made anew for each run, by the authorities behind them.
fn bundles() -> (TestAuthority, types::Bundle) {
    let authority = TestAuthority::new("example.org");
    let bundle = convert::bundle::to_proto(&authority.bundle(), None);
    (authority, bundle)
}

#[tokio::test]
async fn the_own_bundle_is_shown_as_pem_document_or_json() {
    let directory = TempDir::new().unwrap();
    let (authority, bundle) = bundles();
    let served = Fake::default()
        .on("/spire.api.server.bundle.v1.Bundle/GetBundle", move |_: bundle::GetBundleRequest| Ok(bundle.clone()))
        .serve(directory.path());
    assert_eq!(on(&served, "bundle show").await.stdout, authority.root().to_pem());
    let document = on(&served, "bundle show -format spiffe").await.stdout;
    assert_eq!(document, format!("{}\n", authority.bundle().to_document()));
    let json: serde_json::Value = serde_json::from_str(&on(&served, "bundle show -output json").await.stdout).unwrap();
    assert_eq!(json["trust_domain"], "example.org");
    assert_eq!(json["x509_authorities"][0]["tainted"], false);
    let run = on(&served, "bundle show -format xml").await;
    assert_eq!((run.code, run.stderr.as_str()), (1, "Error: invalid format: \"xml\"\n"));
}

#[tokio::test]
async fn the_experimental_commands_of_old_exchange_documents_and_warn() {
    const SET: &str = "/spire.api.server.bundle.v1.Bundle/BatchSetFederatedBundle";
    let directory = TempDir::new().unwrap();
    let (authority, bundle) = bundles();
    let served = Fake::default()
        .on("/spire.api.server.bundle.v1.Bundle/GetBundle", move |_: bundle::GetBundleRequest| Ok(bundle.clone()))
        .on(SET, |_: bundle::BatchSetFederatedBundleRequest| {
            let result = bundle::batch_set_federated_bundle_response::Result { status: ok(), bundle: None };
            Ok(bundle::BatchSetFederatedBundleResponse { results: vec![result] })
        })
        .serve(directory.path());
    let run = on(&served, "experimental bundle show").await;
    let warning = "Warning: experimental bundle show is deprecated, use bundle show -format spiffe\n";
    assert_eq!((run.code, run.stderr.as_str()), (0, warning));
    let line = format!("experimental bundle set -id spiffe://example.org -socketPath {}", served.socket.display());
    let set = with(&line, &run.stdout, &[]).await;
    assert_eq!((set.code, set.stdout.as_str()), (0, "bundle set.\n"), "{}", set.stderr);
    let asked: bundle::BatchSetFederatedBundleRequest = served.asked(SET);
    assert_eq!(asked.bundle[0].x509_authorities[0].asn1, authority.root().der());
    let run = with(&format!("{line} -format pem"), &authority.root().to_pem(), &[]).await;
    assert_eq!((run.code, run.stdout.as_str()), (0, "bundle set.\n"), "{}", run.stderr);
}

#[tokio::test]
async fn bundles_of_others_have_a_banner_each() {
    let directory = TempDir::new().unwrap();
    let (authority, bundle) = bundles();
    let served = Fake::default()
        .on("/spire.api.server.bundle.v1.Bundle/ListFederatedBundles", move |_: bundle::ListFederatedBundlesRequest| {
            let other = types::Bundle { trust_domain: "other.example".to_owned(), ..bundle.clone() };
            let bundles = vec![bundle.clone(), other];
            Ok(bundle::ListFederatedBundlesResponse { bundles, next_page_token: String::new() })
        })
        .serve(directory.path());
    let text = on(&served, "bundle list").await.stdout.replace(&authority.root().to_pem(), "PEM\n");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_bundle_is_set_from_standard_input_or_a_file() {
    const SET: &str = "/spire.api.server.bundle.v1.Bundle/BatchSetFederatedBundle";
    let directory = TempDir::new().unwrap();
    let authority = TestAuthority::new("other.example");
    let served = Fake::default()
        .on(SET, |request: bundle::BatchSetFederatedBundleRequest| {
            let set = |bundle: types::Bundle| {
                let good = bundle.trust_domain != "refused.example";
                let status = if good { ok() } else { refused(Code::InvalidArgument, "no such luck") };
                bundle::batch_set_federated_bundle_response::Result { status, bundle: None }
            };
            Ok(bundle::BatchSetFederatedBundleResponse { results: request.bundle.into_iter().map(set).collect() })
        })
        .serve(directory.path());
    let socket = served.socket.display();
    let pem = authority.root().to_pem();
    let run = with(&format!("bundle set -id spiffe://other.example -socketPath {socket}"), &pem, &[]).await;
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "bundle set.\n", ""));
    let asked: bundle::BatchSetFederatedBundleRequest = served.asked(SET);
    assert_eq!(asked.bundle[0].trust_domain, "other.example");
    assert_eq!(asked.bundle[0].x509_authorities[0].asn1, authority.root().der());
    let path = directory.path().join("bundle.json");
    std::fs::write(&path, authority.bundle().to_document()).unwrap();
    let run = on(&served, &format!("bundle set -id other.example -format spiffe -path {}", path.display())).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = with(&format!("bundle set -id refused.example -socketPath {socket}"), &pem, &[]).await;
    assert_eq!((run.code, run.stderr.as_str()), (1, "Error: failed to set federated bundle: no such luck\n"));
    for (words, stdin, error) in [
        ("", pem.as_str(), "id flag is required"),
        ("-id a -path /nonexistent", "", "unable to load bundle data: open /nonexistent: no such file or directory"),
        ("-id a -format x", "", "invalid format: \"x\""),
        ("-id a", "rubbish", "unable to parse bundle data: "),
        ("-id a -format spiffe", "rubbish", "unable to parse to spiffe bundle: "),
    ] {
        let run = with(&format!("bundle set {words} -socketPath {socket}"), stdin, &[]).await;
        assert!(run.code == 1 && run.stderr.starts_with(&format!("Error: {error}")), "{words}: {}", run.stderr);
    }
}

#[tokio::test]
async fn a_join_token_is_generated() {
    const CREATE_TOKEN: &str = "/spire.api.server.agent.v1.Agent/CreateJoinToken";
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on(CREATE_TOKEN, |_: agent::CreateJoinTokenRequest| {
            Ok(types::JoinToken { value: "t-o-k".to_owned(), expires_at: 1_800_000_600 })
        })
        .serve(directory.path());
    assert_eq!(on(&served, "token generate").await.stdout, "Token: t-o-k\nWarning: Missing SPIFFE ID.\n");
    let asked: agent::CreateJoinTokenRequest = served.asked(CREATE_TOKEN);
    assert_eq!((asked.ttl, asked.agent_id), (600, None));
    let run = on(&served, "token generate -spiffeID spiffe://example.org/a -ttl 5").await;
    assert_eq!(run.stdout, "Token: t-o-k\n");
    let asked: agent::CreateJoinTokenRequest = served.asked(CREATE_TOKEN);
    assert_eq!((asked.ttl, asked.agent_id), (5, id("/a")));
    let json = on(&served, "token generate -output json").await.stdout;
    assert_eq!(json, "{\"expires_at\":\"1800000600\",\"value\":\"t-o-k\"}\n");
}

#[tokio::test]
async fn agents_are_listed_shown_and_purged() {
    const LIST: &str = "/spire.api.server.agent.v1.Agent/ListAgents";
    let agents = || {
        let agent = |path, banned, expires_at| types::Agent {
            id: id(path),
            attestation_type: "join_token".to_owned(),
            x509svid_serial_number: "42".to_owned(),
            x509svid_expires_at: expires_at,
            selectors: vec![selector("a:b")],
            banned,
            can_reattest: true,
            agent_version: if banned { String::new() } else { "1.15.3".to_owned() },
        };
        vec![agent("/spire/agent/1", false, 1_800_003_600), agent("/spire/agent/2", true, 1_700_000_000)]
    };
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on(LIST, move |_: agent::ListAgentsRequest| {
            Ok(agent::ListAgentsResponse { agents: agents(), next_page_token: String::new() })
        })
        .on("/spire.api.server.agent.v1.Agent/GetAgent", move |_: agent::GetAgentRequest| Ok(agents().remove(0)))
        .on("/spire.api.server.agent.v1.Agent/DeleteAgent", |_: agent::DeleteAgentRequest| Ok(()))
        .serve(directory.path());
    insta::assert_snapshot!(on(&served, "agent list -banned false -canReattest true").await.all());
    let asked: agent::ListAgentsRequest = served.asked(LIST);
    let filter = asked.filter.unwrap();
    assert_eq!((filter.by_banned, filter.by_can_reattest), (Some(false), Some(true)));
    insta::assert_snapshot!(on(&served, "agent show -spiffeID spiffe://example.org/spire/agent/1").await.all());
    insta::assert_snapshot!(on(&served, "agent purge").await.all());
    insta::assert_snapshot!(on(&served, "agent purge -dryRun -output json").await.all());
    assert_eq!(
        on(&served, "agent evict -spiffeID spiffe://example.org/x").await.stdout,
        "Agent evicted successfully\n"
    );
    assert_eq!(on(&served, "agent evict -spiffeID spiffe://example.org/x -output json").await.stdout, "{}\n");
    assert_eq!(on(&served, "agent ban").await.stderr, "Error: a SPIFFE ID is required\n");
    let run = on(&served, "agent ban -spiffeID spiffe://example.org/x").await;
    let error =
        "Error: rpc error: code = Unimplemented desc = nothing to say to /spire.api.server.agent.v1.Agent/BanAgent\n";
    assert_eq!((run.code, run.stderr.as_str()), (1, error));
}

#[tokio::test]
async fn relationships_are_created_listed_and_refreshed() {
    let directory = TempDir::new().unwrap();
    let served = Fake::default()
        .on(
            "/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship",
            |request: trustdomain::BatchCreateFederationRelationshipRequest| {
                let create = |relationship: types::FederationRelationship| {
                    let good = relationship.bundle_endpoint_url.starts_with("https://");
                    let status = if good { ok() } else { refused(Code::InvalidArgument, "must use the https scheme") };
                    let federation_relationship = good.then_some(relationship);
                    trustdomain::batch_create_federation_relationship_response::Result {
                        status,
                        federation_relationship,
                    }
                };
                let results = request.federation_relationships.into_iter().map(create).collect();
                Ok(trustdomain::BatchCreateFederationRelationshipResponse { results })
            },
        )
        .on(
            "/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle",
            |request: trustdomain::RefreshBundleRequest| match request.trust_domain.as_str() {
                "known" => Ok(()),
                "down" => Err(Status::internal("connection refused")),
                _ => Err(Status::not_found("no relationship")),
            },
        )
        .serve(directory.path());
    let spiffe = "-bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://f.example/server";
    let good = format!("federation create -trustDomain f.example -bundleEndpointURL https://f.example/b {spiffe}");
    insta::assert_snapshot!(on(&served, &good).await.all());
    insta::assert_snapshot!(on(&served, &good.replace("https:", "http:")).await.all());
    for (words, code, stdout, stderr) in [
        ("refresh -id known", 0, "Bundle refreshed\n", ""),
        ("refresh -id known -output json", 0, "{\"code\":0,\"message\":\"OK\"}\n", ""),
        ("refresh -id other", 1, "", "Error: there is no federation relationship with trust domain \"other\"\n"),
        (
            "refresh -id down",
            1,
            "",
            "Error: failed to refresh bundle: rpc error: code = Internal desc = connection refused\n",
        ),
        ("create", 1, "", "Error: trust domain is required\n"),
        ("create -trustDomain a", 1, "", "Error: bundle endpoint URL is required\n"),
        ("delete", 1, "", "Error: id is required\n"),
        ("show", 1, "", "Error: a trust domain name is required\n"),
    ] {
        let run = on(&served, &format!("federation {words}")).await;
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (code, stdout, stderr), "{words}");
    }
}

#[tokio::test]
async fn svids_are_minted_and_written() {
    const MINT: &str = "/spire.api.server.svid.v1.SVID/MintX509SVID";
    let directory = TempDir::new().unwrap();
    let (authority, bundle) = bundles();
    let token = authority.jwt_svid("/m", &["a"], crate::support::NOW);
    let minted = authority.svid("/m");
    let chain: Vec<_> = minted.chain().iter().map(|certificate| certificate.der().to_vec().into()).collect();
    let served = Fake::default()
        .on(MINT, move |_: svid::MintX509svidRequest| {
            let cert_chain = chain.clone();
            let svid = types::X509svid { cert_chain, id: id("/m"), expires_at: 1_800_000_600, hint: String::new() };
            Ok(svid::MintX509svidResponse { svid: Some(svid) })
        })
        .on("/spire.api.server.svid.v1.SVID/MintJWTSVID", move |_: svid::MintJwtsvidRequest| {
            Ok(svid::MintJwtsvidResponse { svid: Some(types::Jwtsvid { token: token.clone(), ..Default::default() }) })
        })
        .on("/spire.api.server.bundle.v1.Bundle/GetBundle", move |_: bundle::GetBundleRequest| Ok(bundle.clone()))
        .serve(directory.path());
    let path = directory.path().display();
    let run = on(&served, &format!("x509 mint -spiffeID spiffe://example.org/m -dns a.b -ttl 1h -write {path}")).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let capped = "X509-SVID lifetime was capped shorter than specified ttl; expires \"2027-01-15T08:10:00Z\"\n";
    assert_eq!(run.stderr, capped);
    assert_eq!(
        run.stdout,
        format!(
            "X509-SVID written to {path}/svid.pem\nPrivate key written to {path}/key.pem\nRoot CAs written to {path}/bundle.pem\n"
        )
    );
    let asked: svid::MintX509svidRequest = served.asked(MINT);
    let csr = spiffe_core::x509::Csr::from_der(&asked.csr).unwrap();
    assert_eq!(csr.uri_sans(), ["spiffe://example.org/m"]);
    assert_eq!(csr.dns_sans(), ["a.b"]);
    assert_eq!(asked.ttl, 3600);
    let key = directory.path().join("key.pem");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let run = on(&served, "jwt mint -spiffeID spiffe://example.org/m -audience a").await;
    assert_eq!((run.code, run.stdout.trim_end().split('.').count()), (0, 3), "{}", run.stderr);
    let run = on(&served, "jwt mint -spiffeID spiffe://example.org/m").await;
    assert_eq!(run.stderr, "Error: at least one audience must be specified\n");
    let run = on(&served, "x509 mint -spiffeID spiffe://example.org/m -write /nonexistent").await;
    let error = "Error: unable to write SVID: open /nonexistent/svid.pem: no such file or directory\n";
    assert_eq!((run.code, run.stderr.as_str()), (1, error));
}

#[tokio::test]
async fn authorities_logger_and_debug_are_shown() {
    let directory = TempDir::new().unwrap();
    let state = |id: &str, upstream: &str| {
        Some(localauthority::AuthorityState {
            authority_id: id.to_owned(),
            expires_at: 1_800_000_000,
            upstream_authority_subject_key_id: upstream.to_owned(),
        })
    };
    let served = Fake::default()
        .on(
            "/spire.api.server.localauthority.v1.LocalAuthority/GetX509AuthorityState",
            move |_: localauthority::GetX509AuthorityStateRequest| {
                let (active, prepared) = (state("a1", ""), state("b2", "cc"));
                Ok(localauthority::GetX509AuthorityStateResponse { active, prepared, old: None })
            },
        )
        .on(
            "/spire.api.server.localauthority.v1.LocalAuthority/TaintJWTAuthority",
            move |request: localauthority::TaintJwtAuthorityRequest| {
                let tainted_authority = state(&request.authority_id, "");
                Ok(localauthority::TaintJwtAuthorityResponse { tainted_authority })
            },
        )
        .on("/spire.api.server.logger.v1.Logger/SetLogLevel", |request: logger::SetLogLevelRequest| {
            Ok(types::Logger { current_level: request.new_level, launch_level: 5 })
        })
        .on("/spire.api.server.debug.v1.Debug/GetInfo", |_: debug::GetInfoRequest| {
            let certificate = |id, subject: &str| debug::get_info_response::Cert {
                id,
                expires_at: 1_800_000_000,
                subject: subject.to_owned(),
            };
            Ok(debug::GetInfoResponse {
                svid_chain: vec![certificate(id("/spire/server"), "O=SPIRE,C=US"), certificate(None, "CN=root")],
                uptime: 102,
                agents_count: 1,
                federated_bundles_count: 2,
                entries_count: 3,
            })
        })
        .serve(directory.path());
    insta::assert_snapshot!(on(&served, "localauthority x509 show").await.all());
    insta::assert_snapshot!(on(&served, "localauthority x509 show -output json").await.all());
    insta::assert_snapshot!(on(&served, "localauthority jwt taint -authorityID x").await.all());
    insta::assert_snapshot!(on(&served, "logger set -level WARN").await.all());
    insta::assert_snapshot!(on(&served, "debug getinfo").await.all());
    assert_eq!(on(&served, "localauthority jwt taint").await.stderr, "Error: an authority ID is required\n");
    assert_eq!(on(&served, "logger set -level x").await.stderr, "Error: the value \"x\" is not a valid setting\n");
}

#[tokio::test]
async fn words_that_name_no_command_get_help() {
    insta::assert_snapshot!(with("", "", &[]).await.all());
    assert_eq!(with("nonsense", "", &[]).await.code, 127);
    assert_eq!(with("-h", "", &[]).await.code, 0);
    insta::assert_snapshot!(with("localauthority", "", &[]).await.all());
    assert_eq!(with("entry nonsense", "", &[]).await.code, 1);
    assert_eq!(with("-x entry show", "", &[]).await.code, 1);
    insta::assert_snapshot!(with("token generate -h", "", &[]).await.all());
    let run = with("--version", "", &[]).await;
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", "1.2.3\n"));
    let run = with("token generate -output xml", "", &[]).await;
    let error = "invalid value \"xml\" for flag -output: bad formatter flag: unknown format option: \"xml\"\n";
    assert!(run.code == 1 && run.stderr.starts_with(&format!("{error}Usage of generate:\n")), "{}", run.stderr);
    let run = with("token generate -output json -output pretty", "", &[]).await;
    let error = "invalid value \"pretty\" for flag -output: the output format has already been set to \"json\"\n";
    assert!(run.code == 1 && run.stderr.starts_with(error), "{}", run.stderr);
}

#[tokio::test]
async fn running_and_validating_are_left_to_the_binary() {
    let (outcome, ..) = outcome("run -config /etc/s.conf --serverPort 8081 -expandEnv -trustDomain a", "", &[]).await;
    let flags = RunFlags {
        config: "/etc/s.conf".to_owned(),
        expand_env: true,
        server_port: Some(8081),
        trust_domain: Some("a".to_owned()),
        ..RunFlags::default()
    };
    assert_eq!(outcome, Outcome::Run(flags));
    let (outcome, ..) = self::outcome("validate", "", &[]).await;
    let config = RunFlags::DEFAULT_CONFIG.to_owned();
    assert_eq!(outcome, Outcome::Validate(RunFlags { config, ..RunFlags::default() }));
}
