//! Which socket a command talks to.

use std::path::PathBuf;

use clap::Args;
use spire_api::channel;
use tokio::net::UnixStream;
use tonic::transport::Channel;

use crate::error::{DialError, Error};
use crate::terminal::Terminal;

/// Where the server's administrators' socket is by default.
pub(crate) const SERVER_DEFAULT: &str = "/tmp/spire-server/private/api.sock";
/// Where the Workload API is by default.
pub(crate) const WORKLOAD_DEFAULT: &str = "/tmp/spire-agent/public/api.sock";
/// Where the agent's administrators' socket is by default.
pub(crate) const AGENT_ADMIN_DEFAULT: &str = "/tmp/spire-agent/private/admin.sock";

/// Flags that choose the server's socket.
#[derive(Args, Debug)]
pub(crate) struct ServerSocket {
    /// Socket of the server's API to connect to
    #[arg(id = "socketPath", long = "socketPath", value_name = "string", default_value = SERVER_DEFAULT)]
    path: String,
    /// Name that replaces %i in the socket template (env SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE)
    #[arg(long = "instance", value_name = "string", default_value = "")]
    instance: String,
}

impl ServerSocket {
    const TEMPLATE: &'static str = "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE";
    const SOCKET: &'static str = "SPIRE_SERVER_PRIVATE_SOCKET";

    pub(crate) fn open(&self, terminal: &Terminal) -> Result<Channel, Error> {
        let undefined = format!("you must define {} to use the instance flag", Self::TEMPLATE);
        let named = of_instance(&self.instance, Self::TEMPLATE, undefined, terminal)?;
        let path = Some(self.path.clone()).filter(|path| path != SERVER_DEFAULT);
        let path = path.or(named).or_else(|| terminal.variable(Self::SOCKET));
        Ok(open(path.unwrap_or_else(|| SERVER_DEFAULT.to_owned()).into(), AS_URL))
    }
}

/// Flags that choose the Workload API's socket.
#[derive(Args, Debug)]
pub(crate) struct WorkloadSocket {
    /// Socket of the agent's Workload API to connect to
    #[arg(id = "socketPath", long = "socketPath", value_name = "string", default_value = WORKLOAD_DEFAULT)]
    path: String,
    /// Name that replaces %i in the socket template (env SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE)
    #[arg(long = "instance", value_name = "string", default_value = "")]
    instance: String,
}

impl WorkloadSocket {
    const TEMPLATE: &'static str = "SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE";
    const SOCKET: &'static str = "SPIRE_AGENT_PUBLIC_SOCKET";

    pub(crate) fn open(&self, terminal: &Terminal) -> Result<Channel, Error> {
        // The leading blank is part of the text that scripts may compare with.
        let undefined =
            format!(" {} environment variable must be defined when using the instance flag", Self::TEMPLATE);
        let named = of_instance(&self.instance, Self::TEMPLATE, undefined, terminal)?;
        let path = Some(self.path.clone()).filter(|path| path != WORKLOAD_DEFAULT);
        let path = path.or(named).or_else(|| terminal.variable(Self::SOCKET));
        Ok(open(path.unwrap_or_else(|| WORKLOAD_DEFAULT.to_owned()).into(), ""))
    }
}

/// The flag that chooses the agent's administrators' socket.
#[derive(Args, Debug)]
pub(crate) struct AgentAdminSocket {
    /// Socket of the agent's administrators' API to connect to
    #[arg(id = "socketPath", long = "socketPath", value_name = "string", default_value = AGENT_ADMIN_DEFAULT)]
    path: String,
}

impl AgentAdminSocket {
    pub(crate) fn open(&self) -> Channel {
        open(PathBuf::from(&self.path), AS_URL)
    }
}

/// The socket of a named instance; the template is checked even when the socket is given otherwise.
fn of_instance(
    instance: &str,
    template_variable: &str,
    undefined: String,
    terminal: &Terminal,
) -> Result<Option<String>, Error> {
    if instance.is_empty() {
        return Ok(None);
    }
    let template = terminal.variable(template_variable).ok_or(Error::Refused(undefined))?;
    if !template.contains("%i") {
        return Err(Error::Refused(format!("failed to find %i in {template_variable}")));
    }
    Ok(Some(template.replace("%i", instance)))
}

/// What SPIRE's administrators' commands put before a path in errors, since they dial URLs; those of workloads do not.
const AS_URL: &str = "//";

/// A channel that fails at its first use when nobody listens, and says where.
fn open(path: PathBuf, before: &'static str) -> Channel {
    channel::over(move || {
        let path = path.clone();
        async move {
            UnixStream::connect(&path)
                .await
                .map_err(|source| std::io::Error::new(source.kind(), DialError { before, path, source }))
        }
    })
}
