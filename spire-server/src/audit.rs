//! The audit log: who did what to what, one line for each call, and for batches one for each member.
//!
//! A call is overheard on its way to the handler and back ([`Note`]); what its messages say of it is in [`fields`].
//! Nothing is copied where the log is off.

mod fields;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use spire_api::status::code_name;
use spire_runtime::MoreFields;
use tonic::body::Body;
use tonic::{Code, Extensions, Status};

use crate::caller::Caller;

/// The most of a message that is looked at, in bytes: what tonic lets through to a handler, and its prefix.
const MAX_OVERHEARD: usize = 4 * 1024 * 1024 + PREFIX_LENGTH;
/// A message's flag for compression, which no service here uses, and its length.
const PREFIX_LENGTH: usize = 5;

/// One call that is noted.
#[derive(Clone, Debug)]
pub(crate) struct Note(Arc<Call>);

#[derive(Debug)]
struct Call {
    caller: Caller,
    /// The executable of a process on this machine.
    path: Option<PathBuf>,
    request: Overheard,
    /// Whether the handler notes how it ends.
    is_taken: AtomicBool,
}

type Overheard = Arc<Mutex<Vec<u8>>>;

impl Note {
    /// Begins with a request, which from here on carries the note to its handler.
    pub(crate) fn begin(caller: &Caller, request: http::Request<Body>) -> (Self, http::Request<Body>) {
        let path = match caller {
            Caller::Local { pid: Some(pid), .. } => std::fs::read_link(format!("/proc/{pid}/exe")).ok(),
            _ => None,
        };
        let (parts, body) = request.into_parts();
        let (body, overheard) = overhear(body);
        let note =
            Self(Arc::new(Call { caller: caller.clone(), path, request: overheard, is_taken: AtomicBool::new(false) }));
        let mut request = http::Request::from_parts(parts, body);
        request.extensions_mut().insert(note.clone());
        (note, request)
    }

    /// For a handler that answers before it is done: it writes the line itself. `None` where nothing is noted.
    pub(crate) fn take(extensions: &Extensions) -> Option<Self> {
        let note = extensions.get::<Self>()?;
        note.0.is_taken.store(true, Ordering::Relaxed);
        Some(note.clone())
    }

    /// Writes how a call ended that was not let in, or failed as a whole.
    pub(crate) fn failed(&self, method: &str, code: Code, message: &str) {
        if !self.0.is_taken.load(Ordering::Relaxed) {
            let request = self.0.request.lock();
            let fields = fields::of_request(method, &self.0.caller, message_of(&request));
            drop(request);
            self.write(&fields, code, message);
        }
    }

    /// Writes how a call ended that was answered: for a response in parts, when the first was there.
    pub(crate) async fn answered(&self, method: &str, response: http::Response<Body>) -> http::Response<Body> {
        if let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok) {
            self.failed(method, status.code(), status.message());
            return response;
        }
        if !fields::are_in_response(method) {
            self.failed(method, Code::Ok, "");
            return response;
        }
        let (parts, body) = response.into_parts();
        let (body, answer) = overhear(body);
        let body = match body.collect().await {
            Ok(collected) => Body::new(collected),
            Err(status) => return status.into_http(),
        };
        let (request, answer) = (std::mem::take(&mut *self.0.request.lock()), std::mem::take(&mut *answer.lock()));
        match fields::of_members(method, message_of(&request), message_of(&answer)) {
            Some(members) => {
                for (fields, status) in members {
                    self.write(&fields, Code::from(status.code), &status.message);
                }
            }
            None => {
                let mut fields = fields::of_request(method, &self.0.caller, message_of(&request));
                fields::add_answer(&mut fields, method, message_of(&answer));
                self.write(&fields, Code::Ok, "");
            }
        }
        http::Response::from_parts(parts, body)
    }

    /// Writes one line.
    pub(crate) fn write(&self, fields: &MoreFields, code: Code, message: &str) {
        let (mut caller_uid, mut caller_gid) = (None, None);
        if let Caller::Local { uid, gid, .. } = self.0.caller {
            (caller_uid, caller_gid) = (uid, gid);
        }
        let failed = code != Code::Ok;
        tracing::info!(
            "type" = "audit",
            status = if failed { "error" } else { "success" },
            status_code = failed.then(|| code_name(code)),
            status_message = failed.then_some(message),
            caller_uid,
            caller_gid,
            caller_path = self.0.path.as_ref().map(|path| tracing::field::display(path.display())),
            more = fields.as_value(),
            "API accessed"
        );
    }
}

/// The body, and what has gone through it so far.
fn overhear(body: Body) -> (Body, Overheard) {
    let overheard = Overheard::default();
    let ear = Arc::clone(&overheard);
    let body = body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            let mut heard = ear.lock();
            let room = MAX_OVERHEARD.saturating_sub(heard.len());
            heard.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        frame
    });
    (Body::new(body), overheard)
}

/// The first message of a body; empty where there is none.
fn message_of(body: &[u8]) -> &[u8] {
    let Some(([0, a, b, c, d], rest)) = body.split_first_chunk::<PREFIX_LENGTH>() else { return &[] };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    usize::try_from(length).ok().and_then(|length| rest.get(..length)).unwrap_or_default()
}
