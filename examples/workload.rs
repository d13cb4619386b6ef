//! What both programs of the scenario need: an identity that is followed, a line to say, a signal to stop at.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use tokio::signal::unix::{SignalKind, signal};
use workload_api::{Address, Client, X509Source, tls};

/// How often a program that waits for its identity says so.
const REMINDER: Duration = Duration::from_secs(5);

/// Follows the Workload API at `address`, by default where `SPIFFE_ENDPOINT_SOCKET` says, and waits until this program
/// has been given an identity: it may be started before it is registered.
pub(crate) async fn identity(address: Option<Address>) -> Result<X509Source, Box<dyn Error>> {
    let address = match address {
        Some(address) => address,
        None => Address::from_env().map_err(|err| format!("{err}; set SPIFFE_ENDPOINT_SOCKET or --workload-api"))?,
    };
    let mut source = X509Source::start(&Client::new(address.clone()));
    while source.state().is_err() {
        if let Some(err) = source.last_error().filter(workload_api::Error::is_permanent) {
            return Err(err.into());
        }
        if tokio::time::timeout(REMINDER, source.changed()).await.is_err() {
            let reason = source.last_error().map_or_else(|| "no answer yet".to_owned(), |err| err.to_string());
            say(&format!("waiting for an identity from {address}: {reason}"));
        }
    }
    say(&format!("I am {}", source.svid()?.id()));
    tokio::spawn(tell_of_rotation(source.clone()));
    Ok(source)
}

/// The TLS configurations follow the source by themselves; this only tells.
async fn tell_of_rotation(mut source: X509Source) {
    loop {
        source.changed().await;
        match source.svid() {
            Ok(svid) => say(&format!("identity renewed: {}, valid until {}", svid.id(), svid.leaf().not_after())),
            Err(err) => say(&format!("identity lost: {err}")),
        }
    }
}

/// TLS with ring, on the machine's clock. The process-wide provider is left alone.
pub(crate) fn tls_settings() -> tls::Settings {
    tls::Settings::new(Arc::new(rustls::crypto::ring::default_provider()), Arc::new(DefaultTimeProvider))
}

/// Waits for Ctrl-C or a request to terminate.
pub(crate) async fn stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome,
        _ = terminate.recv() => Ok(()),
    }
}

/// Says what has changed, once: a state that lasts is not told again every second.
#[derive(Default)]
pub(crate) struct Narrator(Mutex<String>);

impl Narrator {
    pub(crate) fn tell(&self, line: String) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            say(&line);
            *last = line;
        }
    }
}

/// Nobody may be listening any more, which is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a program for people")]
pub(crate) fn complain(program: &str, err: &dyn Error) {
    eprintln!("{program}: {err}");
}
