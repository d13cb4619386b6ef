//! The listener: parts of the process are asked now and then, and whoever calls is told what they said last.

use std::fmt::{Debug, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::HealthConfig;
use crate::clock::Clock;
use crate::http_endpoint::{self, Answer};
use crate::log::json;
use crate::tasks::Tasks;

/// How often parts are asked until all are well for the first time.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// How often they are asked after that.
const INTERVAL: Duration = Duration::from_secs(60);

/// A part of the process that can be asked how it does.
#[async_trait]
pub trait HealthCheck: Debug + Send + Sync {
    /// What the answer calls the part, as in `server.ca`.
    fn name(&self) -> &'static str;

    /// How it does. Asked by one caller at a time.
    async fn check(&self) -> Health;
}

/// How a part does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it works; one that does not is restarted by whoever watches.
    pub live: bool,
    /// Whether it can be used.
    pub ready: bool,
    /// What is wrong.
    pub details: Details,
}

/// What is told besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Details {
    /// Nothing is wrong.
    Fine,
    /// There is nothing to ask.
    Absent,
    /// What is wrong.
    Failure {
        /// The member that says it, as in `get_bundle_err`.
        member: &'static str,
        /// Why.
        reason: String,
    },
}

impl Health {
    /// Live and ready where `outcome` is; otherwise neither, and `member` says why.
    #[must_use]
    pub fn of(outcome: Result<(), String>, member: &'static str) -> Self {
        match outcome {
            Ok(()) => Self { live: true, ready: true, details: Details::Fine },
            Err(reason) => Self { live: false, ready: false, details: Details::Failure { member, reason } },
        }
    }
}

/// Opens the listener that `config` asks for and answers on it with what `checks` say.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub async fn start(
    config: &HealthConfig,
    checks: Vec<Arc<dyn HealthCheck>>,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> io::Result<()> {
    let listener = HealthListener::bind(config).await?;
    let shutdown = tasks.shutdown_token();
    tasks.spawn("health checks", async move {
        listener.serve(checks, clock, shutdown).await;
        Ok::<(), io::Error>(())
    });
    Ok(())
}

/// A listener that is open, and not answered yet.
#[derive(Debug)]
pub struct HealthListener {
    listener: TcpListener,
    address: SocketAddr,
    config: HealthConfig,
}

impl HealthListener {
    /// Opens it.
    ///
    /// # Errors
    /// When the address is taken, or not this machine's.
    pub async fn bind(config: &HealthConfig) -> io::Result<Self> {
        let (listener, address) = http_endpoint::bind(&config.bind_address, config.bind_port).await?;
        Ok(Self { listener, address, config: config.clone() })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks `checks` and answers, until `shutdown`. Until all have been asked once, the answer is no.
    pub async fn serve(self, checks: Vec<Arc<dyn HealthCheck>>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        tracing::info!(address = %self.address, "Serving health checks");
        let latest = Arc::new(Mutex::new(Latest { live: false, ready: false, body: "{}\n".to_owned() }));
        let shown = Arc::clone(&latest);
        let config = self.config;
        let answer = move |path: &str| {
            let latest = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let well = match path {
                path if path == config.live_path => latest.live,
                path if path == config.ready_path => latest.ready,
                _ => return Answer::not_found(),
            };
            let status = if well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            Answer { status, content_type: "application/json", body: latest.body.clone() }
        };
        tokio::join!(
            http_endpoint::serve(self.listener, answer, shutdown.clone()),
            shutdown.run_until_cancelled(watch(&checks, clock.as_ref(), &latest))
        );
    }
}

/// What was said last.
struct Latest {
    live: bool,
    ready: bool,
    body: String,
}

async fn watch(checks: &[Arc<dyn HealthCheck>], clock: &dyn Clock, latest: &Mutex<Latest>) {
    let mut interval = FIRST_INTERVAL;
    loop {
        let mut now = Latest { live: true, ready: true, body: String::from("{") };
        for (number, check) in checks.iter().enumerate() {
            let health = check.check().await;
            if let Details::Failure { reason, .. } = &health.details {
                tracing::warn!(check = check.name(), reason, "Health check has failed");
            }
            now.live &= health.live;
            now.ready &= health.ready;
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(now.body, "{comma}{}:{}", json(check.name()), details(&health.details));
        }
        now.body.push_str("}\n");
        if now.live && now.ready {
            interval = INTERVAL;
        }
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = now;
        clock.sleep(interval).await;
    }
}

fn details(details: &Details) -> String {
    match details {
        Details::Fine => "{}".to_owned(),
        Details::Absent => "null".to_owned(),
        Details::Failure { member, reason } => format!("{{{}:{}}}", json(member), json(reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::SystemClock;

    /// Fails the first time, then does not.
    #[derive(Debug, Default)]
    struct Slow(AtomicU32);

    #[async_trait]
    impl HealthCheck for Slow {
        fn name(&self) -> &'static str {
            "server"
        }

        async fn check(&self) -> Health {
            let first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
            Health::of(if first { Err("no \"bundle\"".to_owned()) } else { Ok(()) }, "get_bundle_err")
        }
    }

    #[derive(Debug)]
    struct Nothing;

    #[async_trait]
    impl HealthCheck for Nothing {
        fn name(&self) -> &'static str {
            "agent"
        }

        async fn check(&self) -> Health {
            Health { live: true, ready: true, details: Details::Absent }
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        format!("{} {body}", head.split(' ').nth(1).unwrap())
    }

    #[tokio::test]
    async fn what_was_said_last_is_answered_and_a_failure_is_asked_again_soon() {
        let config = HealthConfig { bind_address: "127.0.0.1".into(), bind_port: 0, ..HealthConfig::default() };
        let listener = HealthListener::bind(&config).await.unwrap();
        let (address, shutdown) = (listener.address(), CancellationToken::new());
        let checks: Vec<Arc<dyn HealthCheck>> = vec![Arc::new(Slow::default()), Arc::new(Nothing)];
        let serving = tokio::spawn(listener.serve(checks, Arc::new(SystemClock), shutdown.clone()));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let failed = "500 {\"server\":{\"get_bundle_err\":\"no \\\"bundle\\\"\"},\"agent\":null}\n";
        assert_eq!(get(address, "/live").await, failed);
        assert_eq!(get(address, "/ready?x=1").await, failed);
        assert!(get(address, "/").await.starts_with("404 "));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(get(address, "/ready").await, "200 {\"server\":{},\"agent\":null}\n");
        let idle = TcpStream::connect(address).await.unwrap();
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
        drop(idle);
    }
}
