//! A server of the scenario with its agent: their names, files and addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::Result;

/// One server with its agent and its workload.
pub(crate) struct Site {
    /// The prompt of its commands, and the name of its folder.
    pub(crate) name: &'static str,
    pub(crate) trust_domain: &'static str,
    pub(crate) server_port: u16,
    pub(crate) bundle_port: u16,
    pub(crate) workload_address: SocketAddr,
}

impl Site {
    /// Both sites, with ports that are free.
    pub(crate) fn pair() -> Result<[Self; 2]> {
        Self::at([("broker", "broker.example"), ("stockmarket", "stockmarket.example")])
    }

    /// A server and the two below it, of one trust domain.
    pub(crate) fn nested() -> Result<[Self; 3]> {
        Self::at([("root", "example.org"), ("nestedA", "example.org"), ("nestedB", "example.org")])
    }

    fn at<const N: usize>(names: [(&'static str, &'static str); N]) -> Result<[Self; N]> {
        let mut ports = free_port_rows::<N, 3>()?.into_iter();
        Ok(names.map(|(name, trust_domain)| {
            let [server_port, bundle_port, workload] = ports.next().unwrap_or_default();
            let workload_address = SocketAddr::from((Ipv4Addr::LOCALHOST, workload));
            Self { name, trust_domain, server_port, bundle_port, workload_address }
        }))
    }

    /// Whether it is the one with the page.
    pub(crate) fn is_broker(&self) -> bool {
        self.name == "broker"
    }

    /// A file of this site, as commands name it from the scenario's directory.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    pub(crate) fn server_socket(&self) -> String {
        self.file("server.sock")
    }

    pub(crate) fn agent_socket(&self) -> String {
        self.file("agent.sock")
    }

    /// The name that the site's agent gets beside its own, so that entries need not name a token.
    pub(crate) fn host_id(&self) -> String {
        format!("spiffe://{}/host", self.trust_domain)
    }
}

/// Ports that nobody listens on, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let [ports] = free_port_rows()?;
    Ok(ports)
}

fn free_port_rows<const N: usize, const M: usize>() -> Result<[[u16; M]; N]> {
    let listeners = [(); N].map(|()| [(); M].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))));
    let mut ports = [[0; M]; N];
    for (port, listener) in ports.as_flattened_mut().iter_mut().zip(listeners.as_flattened()) {
        let listener = listener.as_ref().map_err(|err| format!("no free port on 127.0.0.1: {err}"))?;
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The port that was asked for; otherwise the tutorial's, where it is free.
pub(crate) fn page_port(wanted: Option<u16>) -> Result<u16> {
    const TUTORIAL: u16 = 8080;
    let try_port = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match wanted {
        Some(port) => {
            let listener = try_port(port).map_err(|err| format!("127.0.0.1:{port}: {err}; --port takes another"))?;
            Ok(listener.local_addr()?.port())
        }
        None if try_port(TUTORIAL).is_ok() => Ok(TUTORIAL),
        None => Ok(free_ports::<1>()?[0]),
    }
}
