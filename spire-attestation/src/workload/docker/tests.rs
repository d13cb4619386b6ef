use std::convert::Infallible;
use std::fs;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const CONTAINER: &str = r#"{
    "Id": "aaaa", "Image": "sha256:1234", "State": {"Pid": 7, "Running": true},
    "Config": {
        "Image": "nginx:1.25", "Env": ["PATH=/bin", "A=b:c"], "Labels": {"tier": "web", "org.x": "a b"}
    }
}"#;

/// A machine with processes and an engine, which answers these paths and 404 to others.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(cgroups: &[(u32, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (pid, cgroup) in cgroups {
            let process = dir.path().join(pid.to_string());
            fs::create_dir(&process).unwrap();
            fs::write(process.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        }
        Self { dir }
    }

    fn socket(&self, name: &str) -> String {
        format!("unix://{}/{name}", self.dir.path().display())
    }

    fn serve(&self, name: &str, answers: &'static [(&'static str, u16, &'static str)]) {
        let listener = UnixListener::bind(self.dir.path().join(name)).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = move |request: Request<Incoming>| {
                    let found = answers.iter().find(|answer| request.uri().path() == answer.0.replace("{A}", A));
                    let (status, body) = found.map_or((404, r#"{"message":"none"}"#), |found| (found.1, found.2));
                    let answer = Response::builder().status(status).body(Full::new(bytes::Bytes::from(body)));
                    std::future::ready(Ok::<_, Infallible>(answer.unwrap()))
                };
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer)),
                );
            }
        });
    }

    fn attestor(&self) -> DockerAttestor {
        DockerAttestor::new(&DockerConfig {
            docker_socket_path: self.socket("docker.sock"),
            podman_socket_path: self.socket("podman.sock"),
            podman_socket_path_template: self.socket("podman-%d.sock"),
            proc_root: self.dir.path().to_owned(),
            ..DockerConfig::default()
        })
        .unwrap()
    }

    async fn attest(&self) -> Result<Vec<String>, Error> {
        let selectors = self.attestor().attest(&Workload::new(42, Arc::new(|| true))).await?;
        Ok(selectors.iter().map(ToString::to_string).collect())
    }
}

const EVERYTHING: [&str; 6] = [
    "docker:label:org.x:a b",
    "docker:label:tier:web",
    "docker:env:PATH=/bin",
    "docker:env:A=b:c",
    "docker:image_id:nginx:1.25",
    "docker:image_config_digest:sha256:1234",
];

#[tokio::test]
async fn a_container_is_told_by_labels_environment_and_image() {
    let machine = Machine::new(&[(42, format!("/docker/{A}"))]);
    machine.serve(
        "docker.sock",
        &[("/containers/{A}/json", 200, CONTAINER), ("/images/sha256:1234/json", 200, r#"{"Id":"sha256:1234"}"#)],
    );
    assert_eq!(machine.attest().await.unwrap(), EVERYTHING);
}

#[tokio::test]
async fn an_image_that_has_gone_leaves_only_its_digest_out() {
    let machine = Machine::new(&[(42, format!("/docker/{A}"))]);
    machine.serve("docker.sock", &[("/containers/{A}/json", 200, CONTAINER)]);
    assert_eq!(machine.attest().await.unwrap(), EVERYTHING[..5]);
}

#[tokio::test]
async fn outside_of_containers_and_in_unknown_ones_there_are_no_selectors() {
    let outside = Machine::new(&[(42, "/system.slice/sshd.service".into())]);
    assert!(outside.attest().await.unwrap().is_empty());
    let unknown = Machine::new(&[(42, format!("/docker/{A}"))]);
    unknown.serve("docker.sock", &[]);
    assert!(unknown.attest().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_an_error() {
    let machine = Machine::new(&[(42, format!("/docker/{A}"))]);
    let started = tokio::time::Instant::now();
    let error = machine.attest().await.unwrap_err();
    assert!(error.to_string().starts_with("container engine at "), "{error}");
    assert_eq!(started.elapsed().as_millis(), 700);
}

#[tokio::test]
async fn an_engine_that_fails_for_the_image_is_an_error_too() {
    let machine = Machine::new(&[(42, format!("/docker/{A}"))]);
    machine.serve(
        "docker.sock",
        &[("/containers/{A}/json", 200, CONTAINER), ("/images/sha256:1234/json", 500, r#"{"message":"disk on fire"}"#)],
    );
    let error = machine.attest().await.unwrap_err().to_string();
    assert!(error.contains("500 Internal Server Error: disk on fire"), "{error}");
}

#[tokio::test]
async fn podman_is_asked_for_its_containers_and_a_users_podman_for_his() {
    let rootful = Machine::new(&[(42, format!("/machine.slice/libpod-{A}.scope/container"))]);
    rootful.serve("podman.sock", &[("/containers/{A}/json", 200, CONTAINER)]);
    assert_eq!(rootful.attest().await.unwrap().len(), 5);

    let path = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope");
    let rootless = Machine::new(&[(42, path.clone()), (7, path)]);
    rootless.serve("podman-1000.sock", &[("/containers/{A}/json", 200, CONTAINER)]);
    assert_eq!(rootless.attest().await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_name_taken_from_another_container_is_refused() {
    let container = format!("/system.slice/docker-{A}.scope");
    let b = "b".repeat(64);
    for forged in [
        format!("/user.slice/user-1000.slice/user@1000.service/docker-{A}.scope"),
        format!("/system.slice/docker-{b}.scope/docker-{A}.scope"),
    ] {
        let machine = Machine::new(&[(42, forged.clone()), (7, container.clone())]);
        machine.serve("docker.sock", &[("/containers/{A}/json", 200, CONTAINER)]);
        let error = machine.attest().await.unwrap_err();
        assert!(matches!(error, Error::Container(ContainerError::Forged { .. })), "{error}");
        // The same place is the container's own if its first process is there.
        let machine = Machine::new(&[(42, format!("{forged}/x")), (7, forged)]);
        machine.serve("docker.sock", &[("/containers/{A}/json", 200, CONTAINER)]);
        assert!(!machine.attest().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_version_leads_the_path() {
    let machine = Machine::new(&[]);
    machine.serve("docker.sock", &[("/v1.41/containers/{A}/json", 200, CONTAINER)]);
    let engine = Engine::new(&machine.socket("docker.sock"), "1.41").unwrap();
    assert!(engine.container(A).await.unwrap().is_some());
}

#[tokio::test]
async fn a_process_that_ends_meanwhile_is_not_reported() {
    let machine = Machine::new(&[(42, format!("/docker/{A}"))]);
    machine.serve("docker.sock", &[("/containers/{A}/json", 200, CONTAINER)]);
    let asked = std::sync::atomic::AtomicU32::new(0);
    let ends = move || asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
    let error = machine.attestor().attest(&Workload::new(42, Arc::new(ends))).await.unwrap_err();
    assert!(matches!(error, Error::Process(ProcessError::Gone { pid: 42 })), "{error}");
}

#[test]
fn configurations_that_cannot_be_used_are_refused() {
    let default = DockerConfig::default();
    DockerAttestor::new(&default).unwrap();
    for config in [
        DockerConfig { docker_socket_path: "tcp://127.0.0.1:1".into(), ..default.clone() },
        DockerConfig { podman_socket_path_template: "unix:///run/podman.sock".into(), ..default.clone() },
        DockerConfig { podman_socket_path_template: "unix:///%d/%d".into(), ..default.clone() },
        DockerConfig { podman_socket_path_template: "unix:///%d/%s".into(), ..default.clone() },
        DockerConfig { docker_version: "1/..".into(), ..default.clone() },
    ] {
        assert!(DockerAttestor::new(&config).is_err(), "{config:?}");
    }
    assert_eq!(fill("unix:///%%/%d", 7).unwrap(), "unix:///%/7");
}
