//! Connections that know who is at the other end, and that can be cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::authority::Authority;
use super::{Peer, PeerError, Ticket};

/// A connection to an endpoint. Every request over it carries its [`Peer`].
#[derive(Debug)]
pub struct Connection<IO> {
    io: IO,
    peer: Peer,
    authority: Option<Authority>,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _place: Option<Ticket>,
}

impl<IO> Connection<IO> {
    /// A connection whose other end is known by other means.
    pub fn new(io: IO, peer: Peer) -> Self {
        Self { io, peer, authority: None, cut: None, _place: None }
    }

    /// Ends the connection when `cut` is cancelled, and gives its place back when it ends.
    pub(super) fn attach(self, cut: CancellationToken, place: Ticket) -> Self {
        Self { cut: Some(Box::pin(cut.cancelled_owned())), _place: Some(place), ..self }
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().map(|cut| cut.as_mut().poll(context)) {
            Some(Poll::Ready(())) => Err(io::ErrorKind::ConnectionAborted.into()),
            _ => Ok(()),
        }
    }
}

impl Connection<UnixStream> {
    /// Over a Unix socket, with hold of the process at the other end.
    ///
    /// # Errors
    /// As [`Peer::of_unix`].
    pub fn unix(io: UnixStream) -> Result<Self, PeerError> {
        let peer = Peer::of_unix(&io)?;
        Ok(Self { authority: Some(Authority::new()), ..Self::new(io, peer) })
    }
}

impl Connection<TcpStream> {
    /// Over TCP: only the address is known.
    ///
    /// # Errors
    /// When the other end has gone already.
    pub fn tcp(io: TcpStream) -> io::Result<Self> {
        let peer = Peer::Address(io.peer_addr()?);
        Ok(Self::new(io, peer))
    }
}

impl Connection<DuplexStream> {
    /// Over a pipe in memory (`tokio::io::duplex`).
    #[must_use]
    pub fn in_memory(io: DuplexStream) -> Self {
        Self::new(io, Peer::InMemory)
    }
}

impl<IO> Connected for Connection<IO> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if let Some(authority) = &mut self.authority {
            authority.pass(buffer.filled_mut().get_mut(before..).unwrap_or_default());
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
