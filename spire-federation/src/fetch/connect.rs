//! How endpoints are reached.

use std::{fmt::Debug, io};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A connection's bytes.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects to endpoints; the seam for transports of tests.
#[async_trait]
pub trait Connector: Debug + Send + Sync {
    /// A new connection to `host`, a name or an address without brackets. The caller watches the time and drops the
    /// future when it is up.
    ///
    /// # Errors
    /// When there is no connection to be had.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>>;
}

/// Connects over TCP, trying the addresses of a name in turn.
#[derive(Debug, Clone, Copy)]
pub struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
