//! How much one endpoint, and each caller of it, may hold open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use tonic::Status;

use super::Peer;

/// Bounds of an endpoint. What goes beyond is refused with `ResourceExhausted`; what is open stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. Where the process may hold few files open, a quarter of those instead.
    pub connections: usize,
    /// Connections at a time of one process (or one address); a quarter of all at most.
    pub connections_per_caller: usize,
    /// Calls at a time, open streams included, over one connection.
    pub calls_per_connection: u32,
    /// Calls at a time, open streams included, of one process (or one address).
    pub calls_per_caller: usize,
    /// Calls at a time, open streams included, of all callers together.
    pub calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_caller: 1_024,
            calls_per_connection: 1_024,
            calls_per_caller: 1_024,
            calls: 65_536,
        }
    }
}

/// Counts calls, or connections; shared by the services of an endpoint.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    what: &'static str,
    per_caller: usize,
    most: usize,
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
    /// For calls, with nothing open.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::of("calls", limits, limits.calls_per_caller, limits.calls)
    }

    /// For connections, each of which holds a socket, its process, and that one's directory.
    pub(super) fn of_connections(limits: Limits) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
        let most = limits.connections.min(descriptors.unwrap_or(usize::MAX) / 4);
        Self::of("connections", limits, limits.connections_per_caller.min(most.div_ceil(4)), most)
    }

    fn of(what: &'static str, limits: Limits, per_caller: usize, most: usize) -> Self {
        Self(Arc::new(Shared { limits, what, per_caller, most, open: Mutex::default() }))
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Lets one in; it counts for as long as the ticket lives.
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
        let exhausted = |who| Status::resource_exhausted(format!("{who} has too many open {}", self.0.what));
        if open.total >= self.0.most {
            return Err(exhausted("endpoint"));
        }
        let own = open.by_caller.entry(key).or_insert(0);
        if *own >= self.0.per_caller {
            return Err(exhausted("caller"));
        }
        *own += 1;
        open.total += 1;
        Ok(Ticket { gate: Arc::clone(&self.0), key })
    }
}

/// The place of one call or connection.
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
