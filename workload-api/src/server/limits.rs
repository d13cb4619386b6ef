//! How much one endpoint, and each caller of it, may hold open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

use super::Peer;

/// Bounds of an endpoint. What goes beyond is refused with `ResourceExhausted`; what is open stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Calls at a time, open streams included, over one connection.
    pub calls_per_connection: u32,
    /// Calls at a time, open streams included, of one process (or one address).
    pub calls_per_caller: usize,
    /// Calls at a time, open streams included, of all callers together.
    pub calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16_384, calls_per_connection: 1_024, calls_per_caller: 1_024, calls: 65_536 }
    }
}

/// Counts calls; shared by the services of an endpoint.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_caller: HashMap<Key, usize>,
    total: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Process(i32),
    Address(IpAddr),
    InMemory,
}

impl Gate {
    /// With nothing open.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, open: Mutex::default() }))
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Lets one call in; it counts for as long as the ticket lives.
    ///
    /// # Errors
    /// `ResourceExhausted` where the caller, or all together, have as many open as they may.
    pub fn enter(&self, peer: &Peer) -> Result<Ticket, Status> {
        let key = match peer {
            Peer::Process(process) => Key::Process(process.pid()),
            Peer::Address(address) => Key::Address(address.ip()),
            Peer::InMemory => Key::InMemory,
        };
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.0.limits.calls {
            return Err(Status::resource_exhausted("endpoint has too many open calls"));
        }
        let own = open.by_caller.entry(key).or_insert(0);
        if *own >= self.0.limits.calls_per_caller {
            return Err(Status::resource_exhausted("caller has too many open calls"));
        }
        *own += 1;
        open.total += 1;
        Ok(Ticket { gate: Arc::clone(&self.0), key })
    }
}

/// One call's place.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Shared>,
    key: Key,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(own) = open.by_caller.get_mut(&self.key) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_caller.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_cannot_take_the_places_of_others() {
        let gate = Gate::new(Limits { calls_per_caller: 2, calls: 3, ..Limits::default() });
        let other = Peer::Address(([127, 0, 0, 1], 1).into());
        let first = gate.enter(&Peer::InMemory).unwrap();
        let _second = gate.enter(&Peer::InMemory).unwrap();
        assert_eq!(gate.enter(&Peer::InMemory).unwrap_err().code(), tonic::Code::ResourceExhausted);
        let _other = gate.enter(&other).unwrap();
        assert_eq!(gate.enter(&other).unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(first);
        gate.enter(&Peer::InMemory).unwrap();
    }

    #[test]
    fn callers_who_have_left_are_forgotten() {
        let gate = Gate::new(Limits::default());
        drop(gate.enter(&Peer::InMemory).unwrap());
        assert!(gate.0.open.lock().unwrap().by_caller.is_empty());
    }
}
