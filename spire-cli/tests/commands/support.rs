//! A terminal in memory, and a server that answers as a test has told it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use spiffe_core::Timestamp;
use spire_cli::Terminal;
use tokio::net::UnixListener;
use tonic::{Code, Status};

/// When all commands of these tests run.
pub(crate) const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

/// What a command has left behind.
pub(crate) struct Run {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// All of it, for a snapshot.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Buffers behind a terminal.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A terminal, and what goes to its standard output and standard error.
pub(crate) fn terminal(stdin: &str, environment: &[(&str, &str)]) -> (Terminal, Buffer, Buffer) {
    let (stdout, stderr) = (Buffer::default(), Buffer::default());
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let terminal = Terminal {
        stdin: Box::new(Cursor::new(stdin.as_bytes().to_vec())),
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(stderr.clone()),
        environment: Box::new(move |name| environment.get(name).cloned()),
        now: NOW,
    };
    (terminal, stdout, stderr)
}

type Answer = Box<dyn Fn(Bytes) -> Result<Vec<u8>, Status> + Send + Sync>;

/// Answers calls by their paths, and remembers what was asked.
#[derive(Default)]
pub(crate) struct Fake {
    answers: BTreeMap<&'static str, Answer>,
    asked: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl Fake {
    pub(crate) fn on<Q: Message + Default, A: Message>(
        mut self,
        path: &'static str,
        answer: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static,
    ) -> Self {
        let answer = move |request| Ok(answer(Q::decode(request).unwrap())?.encode_to_vec());
        self.answers.insert(path, Box::new(answer));
        self
    }

    /// Serves on a socket in `directory` for as long as the runtime lives.
    pub(crate) fn serve(self, directory: &Path) -> Served {
        let socket = directory.join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::clone(&self.asked);
        let fake = Arc::new(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = Arc::clone(&fake);
                let service = hyper::service::service_fn(move |request| Arc::clone(&fake).answer(request));
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Served { socket, asked }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        // The first five bytes are the length of the message that follows.
        let message = body.slice(5..);
        self.asked.lock().unwrap().push((path.clone(), message.clone()));
        let answer = match self.answers.get(path.as_str()) {
            Some(answer) => answer(message),
            None => Err(Status::new(Code::Unimplemented, format!("nothing to say to {path}"))),
        };
        let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
        let status = match answer {
            Ok(message) => {
                let mut framed = BytesMut::new();
                framed.put_u8(0);
                framed.put_u32(u32::try_from(message.len()).unwrap());
                framed.put_slice(&message);
                frames.push(Ok(Frame::data(framed.freeze())));
                Status::new(Code::Ok, "")
            }
            Err(status) => status,
        };
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        frames.push(Ok(Frame::trailers(trailers)));
        let body = StreamBody::new(tokio_stream::iter(frames));
        Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
    }
}

/// Where a [`Fake`] listens.
pub(crate) struct Served {
    pub(crate) socket: PathBuf,
    asked: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl Served {
    /// The last request of a path.
    pub(crate) fn asked<Q: Message + Default>(&self, path: &str) -> Q {
        let asked = self.asked.lock().unwrap();
        let (_, message) = asked.iter().rev().find(|(asked, _)| asked == path).expect("asked");
        Q::decode(message.clone()).unwrap()
    }
}
