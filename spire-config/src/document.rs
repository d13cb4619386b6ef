//! A configuration file as it is written: nothing is decided yet.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use crate::Error;
use crate::parse;

/// Longest configuration file in bytes.
pub const MAX_FILE_SIZE: usize = 4 << 20;

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A parsed file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What to call the file in messages.
    pub file: String,
    /// What is in it.
    pub items: Vec<Item>,
    /// Whether it is JSON, in which a list of objects does as a block.
    pub json: bool,
}

/// A key and its value, or a block.
///
/// Labels are keys: `A "b" { … }` is an item `A` whose value is an object with an item `b`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Item {
    pub key: Key,
    pub value: Value,
}

/// A key, or the label of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Key {
    pub name: String,
    pub position: Position,
}

/// A value, and where it begins.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Value {
    pub kind: ValueKind,
    pub position: Position,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueKind {
    /// Quoted, or a heredoc.
    String(String),
    /// As it is written.
    Number(String),
    /// `true` or `false`
    Bool(bool),
    /// `null`, in JSON alone.
    Null,
    /// In brackets.
    List(Vec<Value>),
    /// In braces; a name may come several times.
    Object(Vec<Item>),
}

impl ValueKind {
    /// What to call it in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a bool",
            Self::Null => "null",
            Self::List(_) => "a list",
            Self::Object(_) => "a block",
        }
    }
}

impl Document {
    /// Parses `text`: JSON where its first character is `{`, HCL otherwise.
    ///
    /// # Errors
    /// [`Error::Syntax`] says where and why.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let json = text.trim_start().starts_with('{');
        let items = if json { parse::json(text) } else { parse::hcl(text) };
        match items {
            Ok(items) => Ok(Self { file: file.to_owned(), items, json }),
            Err((position, message)) => Err(Error::Syntax { file: file.to_owned(), position, message }),
        }
    }
}

/// The text of the file at `path`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unreadable`] and [`Error::TooLong`].
pub fn read_file(path: &Path) -> Result<String, Error> {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: absolute() },
        _ => Error::Unreadable { path: absolute(), source },
    };
    let limit = u64::try_from(MAX_FILE_SIZE).unwrap_or(u64::MAX);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_FILE_SIZE { Err(Error::TooLong { path: absolute() }) } else { Ok(text) }
}
