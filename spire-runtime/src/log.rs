//! Logs in the two shapes that scripts around SPIRE read: logfmt-like text, and JSON.
//!
//! One subscriber for a process, installed by its binary; libraries only emit events. The level can be changed and the
//! file reopened while the process runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use spiffe_core::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::{Layer, Registry};

use crate::clock::Clock;

/// How much is logged, by SPIRE's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Panic,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LEVELS: [LogLevel; 7] = [
    LogLevel::Panic,
    LogLevel::Fatal,
    LogLevel::Error,
    LogLevel::Warn,
    LogLevel::Info,
    LogLevel::Debug,
    LogLevel::Trace,
];

impl LogLevel {
    /// The name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

/// Case does not matter; `warn` and `warning` are the same.
impl FromStr for LogLevel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        LEVELS
            .into_iter()
            .find(|level| level.as_str() == lower || (*level == Self::Warn && lower == "warn"))
            .ok_or_else(|| format!("not a valid log level: {name:?}"))
    }
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="..." level=info msg="..." key=value`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How a process logs, as SPIRE configures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `log_level`
    pub level: LogLevel,
    /// `log_format`
    pub format: LogFormat,
    /// `log_file`; `None` is standard output.
    pub file: Option<PathBuf>,
    /// `log_source_location`: file and line of each message.
    pub source_location: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text, file: None, source_location: false }
    }
}

/// The logs of a process: a handle to change them while it runs. Clones share it.
#[derive(Clone, Debug)]
pub struct Logging {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    launch_level: LogLevel,
    format: LogFormat,
    path: Option<PathBuf>,
    source_location: bool,
    output: Mutex<Output>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Output {
    Stdout,
    File(std::fs::File),
}

impl Logging {
    /// Opens the log: `path`, appended to and made with mode 0640, or standard output.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(level: LogLevel, format: LogFormat, path: Option<&Path>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let file = path.map(Path::to_owned);
        Self::open_as(&LogConfig { level, format, file, source_location: false }, clock)
    }

    /// Opens the log as it is configured.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open_as(config: &LogConfig, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let output = match &config.file {
            Some(path) => Output::File(open(path)?),
            None => Output::Stdout,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                level: AtomicU8::new(config.level as u8),
                launch_level: config.level,
                format: config.format,
                path: config.file.clone(),
                source_location: config.source_location,
                output: Mutex::new(output),
                clock,
            }),
        })
    }

    /// Makes it the log of this process. For binaries alone, once.
    ///
    /// # Errors
    /// When the process has a log already.
    pub fn install(&self) -> Result<(), String> {
        tracing::subscriber::set_global_default(self.subscriber()).map_err(|err| err.to_string())
    }

    /// A subscriber for the scope that a test or an embedder chooses.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(LineLayer(Arc::clone(&self.shared)))
    }

    /// How much is logged now.
    #[must_use]
    pub fn level(&self) -> LogLevel {
        self.shared.level()
    }

    /// How much was logged at the start.
    #[must_use]
    pub fn launch_level(&self) -> LogLevel {
        self.shared.launch_level
    }

    /// Logs more or less from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
        // Each place that logs remembers whether anybody listens.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Opens the file anew, after somebody moved it away. Nothing happens for standard output.
    ///
    /// # Errors
    /// When it cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.shared.path {
            let file = open(path)?;
            *self.shared.output.lock().unwrap_or_else(PoisonError::into_inner) = Output::File(file);
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Shared {
    fn level(&self) -> LogLevel {
        LEVELS.get(usize::from(self.level.load(Ordering::Relaxed))).copied().unwrap_or(LogLevel::Info)
    }

    fn write(&self, line: &str) {
        // A log that cannot be written must not stop the server.
        let _ = match &mut *self.output.lock().unwrap_or_else(PoisonError::into_inner) {
            Output::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            Output::File(file) => file.write_all(line.as_bytes()),
        };
    }
}

struct LineLayer(Arc<Shared>);

/// Crates below us that speak at every step; they are heard at TRACE alone.
const QUIET: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "rustls"];

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = self.0.level();
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        LogLevel::of(*metadata.level()) <= level
            && (level == LogLevel::Trace || *metadata.level() <= Level::WARN || !QUIET.contains(&crate_name))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        // The spans around it first, from the outermost: what is said nearer to the event counts.
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.others.extend(of_span.others.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        if let (true, Some(file), Some(line)) = (self.0.source_location, metadata.file(), metadata.line()) {
            fields.others.insert("file".into(), Value::text(format!("{file}:{line}")));
        }
        let level = LogLevel::of(*metadata.level());
        self.0.write(&line(self.0.format, self.0.clock.now(), level, &fields));
    }
}

/// The fields of an event or a span, by name; a name that comes again takes the place of the former.
#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<Cow<'static, str>, Value>,
}

/// What a field holds. In JSON, numbers and truth values are not quoted.
#[derive(Clone)]
struct Value {
    text: String,
    is_bare: bool,
}

impl Value {
    fn text(text: String) -> Self {
        Self { text, is_bare: false }
    }

    fn bare(value: impl fmt::Display) -> Self {
        Self { text: value.to_string(), is_bare: true }
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.text,
            // SPIRE's name for it.
            "err" => drop(self.others.insert("error".into(), value)),
            name => drop(self.others.insert(name.into(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::bare(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::bare(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value { text: value.to_string(), is_bare: value.is_finite() });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::bare(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match value.downcast_ref::<MoreFields>() {
            Some(more) => {
                self.others
                    .extend(more.0.iter().map(|(name, value)| (name.clone().into(), Value::text(value.clone()))));
            }
            None => self.put(field, Value::text(value.to_string())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::text(format!("{value:?}")));
    }
}

/// Fields whose names are known only when a line is written: `tracing::info!(more = fields.as_value(), "...")` puts each
/// of them into the line.
///
/// An event's own fields are fixed when it is compiled. These travel as an error, the one kind of value that keeps its
/// type on the way to a subscriber; those of others show all of them in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreFields(BTreeMap<String, String>);

impl MoreFields {
    /// Sets a field.
    pub fn set(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.0.insert(name.into(), value.to_string());
    }

    /// As a field's value.
    #[must_use]
    pub fn as_value(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl fmt::Display for MoreFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        f.write_str(&fields.join(" "))
    }
}

impl Error for MoreFields {}

/// The line as logrus writes it: in text the time, level and message come first, in JSON all names are sorted.
fn line(format: LogFormat, now: Timestamp, level: LogLevel, fields: &Fields) -> String {
    let mut line = String::new();
    match format {
        LogFormat::Text => {
            let _ = write!(line, "time=\"{now}\" level={} msg={}", level.as_str(), quoted(&fields.message));
            for (name, value) in &fields.others {
                let _ = write!(line, " {name}={}", quoted(&value.text));
            }
        }
        LogFormat::Json => {
            let written = |value: &Value| if value.is_bare { value.text.clone() } else { json(&value.text) };
            let mut all: BTreeMap<&str, String> =
                fields.others.iter().map(|(name, value)| (&**name, written(value))).collect();
            all.extend([
                ("level", json(level.as_str())),
                ("msg", json(&fields.message)),
                ("time", json(&now.to_string())),
            ]);
            for (number, (name, value)) in all.into_iter().enumerate() {
                let opening = if number == 0 { '{' } else { ',' };
                let _ = write!(line, "{opening}{}:{value}", json(name));
            }
            line.push('}');
        }
    }
    line.push('\n');
    line
}

/// Quotes a value unless it is one plain word, or nothing.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | '@' | '^' | '+');
    if value.chars().all(plain) { value.to_owned() } else { json(value) }
}

/// A JSON string. Control characters are escaped, so that nobody forges a line.
pub(crate) fn json(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn fields() -> Fields {
        Fields {
            message: "entry \"a\" created".into(),
            others: [("reason".into(), Value::text("x\ny".into())), ("entry_id".into(), Value::text("e-1".into()))]
                .into(),
        }
    }

    #[test]
    fn text_lines_look_like_logrus() {
        assert_eq!(
            line(LogFormat::Text, Timestamp::from_unix(0), LogLevel::Warn, &fields()),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"entry \\\"a\\\" created\" entry_id=e-1 reason=\"x\\ny\"\n"
        );
    }

    #[test]
    fn a_plain_word_is_not_quoted_and_nothing_is_nothing() {
        let others = [("a".into(), Value::text(String::new())), ("b".into(), Value::text("x:y".into()))].into();
        let fields = Fields { message: "ready".into(), others };
        assert_eq!(
            line(LogFormat::Text, Timestamp::from_unix(0), LogLevel::Info, &fields),
            "time=\"1970-01-01T00:00:00Z\" level=info msg=ready a= b=\"x:y\"\n"
        );
    }

    #[test]
    fn the_spans_around_an_event_give_their_fields() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Logging::open(LogLevel::Info, LogFormat::Text, Some(&path), Arc::new(SystemClock)).unwrap();
        tracing::subscriber::with_default(log.subscriber(), || {
            let request = tracing::info_span!("request", method = "GetEntry", caller_id = tracing::field::Empty);
            let _entered = request.enter();
            request.record("caller_id", "spiffe://example.org/admin");
            let _inner = tracing::info_span!("inner", method = "inner").entered();
            tracing::info!(service = "entry.v1", "API accessed");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "msg=\"API accessed\" caller_id=\"spiffe://example.org/admin\" method=inner service=entry.v1\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn json_lines_have_the_three_members_and_the_fields() {
        assert_eq!(
            line(LogFormat::Json, Timestamp::from_unix(0), LogLevel::Info, &fields()),
            "{\"entry_id\":\"e-1\",\"level\":\"info\",\"msg\":\"entry \\\"a\\\" created\",\"reason\":\"x\\ny\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }

    #[test]
    fn fields_without_a_fixed_name_stand_among_the_others_and_numbers_are_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Logging::open(LogLevel::Info, LogFormat::Json, Some(&path), Arc::new(SystemClock)).unwrap();
        let mut more = MoreFields::default();
        more.set("key.0", "a b");
        tracing::subscriber::with_default(log.subscriber(), || {
            tracing::info!(more = more.as_value(), number = 7, truth = true, err = %"broken", "here");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"error":"broken","key.0":"a b","level":"info","msg":"here","number":7,"time":"#;
        assert!(text.starts_with(expected) && text.ends_with(",\"truth\":true}\n"), "{text}");
        assert_eq!(more.to_string(), "key.0=\"a b\"");
    }

    #[test]
    fn the_level_changes_while_running_and_a_moved_file_is_reopened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Logging::open(LogLevel::Info, LogFormat::Text, Some(&path), Arc::new(SystemClock)).unwrap();
        tracing::subscriber::with_default(log.subscriber(), || {
            let event = |answer| tracing::debug!(answer, "shown");
            event(41);
            log.set_level(LogLevel::Debug);
            event(42);
            log.set_level(LogLevel::Info);
            event(43);
            std::fs::rename(&path, directory.path().join("log.1")).unwrap();
            log.reopen().unwrap();
            tracing::info!("in the new file");
        });
        let old = std::fs::read_to_string(directory.path().join("log.1")).unwrap();
        assert!(
            !old.contains("answer=41") && old.contains("msg=shown answer=42") && !old.contains("answer=43"),
            "{old}"
        );
        assert!(std::fs::read_to_string(&path).unwrap().contains("in the new file"));
    }

    #[test]
    fn the_place_in_the_source_is_a_field() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let config = LogConfig { file: Some(path.clone()), source_location: true, ..LogConfig::default() };
        let log = Logging::open_as(&config, Arc::new(SystemClock)).unwrap();
        tracing::subscriber::with_default(log.subscriber(), || tracing::info!("here"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("file=\"spire-runtime/src/log.rs:") && text.contains("msg=here"), "{text}");
    }

    #[test]
    fn levels_are_read_in_any_case() {
        assert_eq!("DEBUG".parse(), Ok(LogLevel::Debug));
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        assert!("loud".parse::<LogLevel>().is_err());
    }
}
