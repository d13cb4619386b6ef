//! A connection whose caller is known, and that can be cut.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use spire_runtime::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use workload_api::server::Authority;

use crate::caller::Caller;

/// A connection that the gRPC server reads until its peer is done, or the server is out of patience.
///
/// Of one type whatever it runs over, so that HTTP/2 is compiled once.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    caller: Caller,
    authority: Option<Authority>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    has_written: bool,
    _place: Option<Place>,
}

/// What a connection may run over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection {
    /// Over `stream`, until `cut`.
    pub(crate) fn new(stream: impl Stream + 'static, caller: Caller, cut: CancellationToken) -> Self {
        let cut = Box::pin(cut.cancelled_owned());
        Self { stream: Box::new(stream), caller, authority: None, cut, has_written: false, _place: None }
    }

    /// Over `stream`, until another stranger needs the place.
    pub(crate) fn of_a_stranger(stream: impl Stream + 'static, caller: Caller, place: Place) -> Self {
        let leave = place.leave().clone();
        Self { _place: Some(place), ..Self::new(stream, caller, leave) }
    }

    /// Over a Unix socket, whose clients may name the host by the socket's path.
    pub(crate) fn unix(stream: impl Stream + 'static, caller: Caller, cut: CancellationToken) -> Self {
        Self { authority: Some(Authority::new()), ..Self::new(stream, caller, cut) }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Every request on the connection has the [`Caller`] in its extensions.
impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(authority) = &mut self.authority {
            authority.pass(buf.filled_mut().get_mut(before..).unwrap_or_default());
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    // Head and body of an answer leave together. HTTP/2 asks first when it begins, and without vectors copies four times
    // as much into its buffer, where the trailers find room too: a short answer leaves whole.
    fn is_write_vectored(&self) -> bool {
        self.has_written && self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
