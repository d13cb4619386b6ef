//! The clock as rustls takes it, so that certificate checks obey simulated time.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::clock::Clock;

#[derive(Debug)]
struct TlsTime(Arc<dyn Clock>);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_unix()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Makes rustls ask `clock`.
#[must_use]
pub fn rustls_time(clock: Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(TlsTime(clock))
}
