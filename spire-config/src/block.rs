//! Blocks, decoded key by key.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use spiffe_core::Ttl;

use crate::Problem;
use crate::document::{Document, Item, Key, Position, Value, ValueKind};
use crate::duration::{parse_duration, parse_ttl};
use crate::report::Report;

/// A block whose keys are asked for one by one. When it is dropped, every key nobody asked for is reported as unknown.
///
/// Keys are found in any letter case; labels are exact. A block that comes several times counts as one: of scalars the
/// last value counts, lists are joined. An empty string counts as missing, and so does `null`.
#[derive(Debug)]
pub struct Block<'a> {
    report: &'a Report,
    file: &'a str,
    path: String,
    position: Option<Position>,
    json: bool,
    items: Vec<&'a Item>,
    /// Keys that were asked for.
    known: RefCell<Vec<&'static str>>,
    disregarded: Cell<bool>,
}

impl<'a> Block<'a> {
    /// The file as a block.
    #[must_use]
    pub fn root(document: &'a Document, report: &'a Report) -> Self {
        Self::at(document, "", report)
    }

    /// A file of its own that stands for the block at `path` of another.
    #[must_use]
    pub fn at(document: &'a Document, path: &str, report: &'a Report) -> Self {
        Self {
            report,
            file: &document.file,
            path: path.to_owned(),
            position: None,
            json: document.json,
            items: document.items.iter().collect(),
            known: RefCell::default(),
            disregarded: Cell::default(),
        }
    }

    /// The block `name` in this one, which is there without anything in it.
    #[must_use]
    pub fn empty(&self, name: &str) -> Self {
        self.inner(name, self.position, Vec::new())
    }

    /// Whether the key is there, whatever its value.
    #[must_use]
    pub fn has(&self, key: &'static str) -> bool {
        self.last(key).is_some()
    }

    /// Keys that may be there, whatever their values.
    pub fn known(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// A string, or a number as it is written.
    #[must_use]
    pub fn string(&self, key: &'static str) -> Option<String> {
        match &self.last(key)?.kind {
            ValueKind::String(text) | ValueKind::Number(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            ValueKind::Null => None,
            other => self.mistyped(key, "a string", other),
        }
    }

    /// A string that `parse` makes something of.
    #[must_use]
    pub fn parsed<T, E: Display>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.string(key)?;
        parse(&text).map_err(|err| self.error(key, format!("{text:?} cannot be used: {err}"))).ok()
    }

    /// A string that reads as a `T`.
    #[must_use]
    pub fn from_str<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        self.parsed(key, str::parse)
    }

    /// What `parse` makes of a flag of the command line or, where it says nothing, of the key's string.
    #[must_use]
    pub fn flag_or<T, E: Display>(
        &self,
        flag: &str,
        value: Option<&str>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return self.parsed(key, parse) };
        self.known(&[key]);
        parse(value).map_err(|err| self.report.flag(flag, format!("{value:?} cannot be used: {err}"))).ok()
    }

    /// A path, as it is written.
    #[must_use]
    pub fn path_at(&self, key: &'static str) -> Option<PathBuf> {
        self.string(key).map(PathBuf::from)
    }

    /// A duration, as in `1h30m`.
    #[must_use]
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let text = self.string(key)?;
        parse_duration(&text).map_err(|err| self.error(key, format!("could not parse {key} {text:?}: {err}"))).ok()
    }

    /// A duration of whole seconds.
    #[must_use]
    pub fn ttl(&self, key: &'static str) -> Option<Ttl> {
        let text = self.string(key)?;
        parse_ttl(&text).map_err(|err| self.error(key, format!("could not parse {key} {text:?}: {err}"))).ok()
    }

    /// A whole number, quoted or not.
    #[must_use]
    pub fn integer(&self, key: &'static str) -> Option<i64> {
        match &self.last(key)?.kind {
            ValueKind::String(text) | ValueKind::Number(text) => {
                let number = parse_integer(text);
                if number.is_none() {
                    self.error(key, format!("must be a whole number, not {text:?}"));
                }
                number
            }
            ValueKind::Null => None,
            other => self.mistyped(key, "a whole number", other),
        }
    }

    /// A whole number within the bounds of `T`.
    #[must_use]
    pub fn number<T: TryFrom<i64>>(&self, key: &'static str) -> Option<T> {
        let number = self.integer(key)?;
        let within = T::try_from(number).ok();
        if within.is_none() {
            self.error(key, format!("{number} is out of range"));
        }
        within
    }

    /// `true` or `false`, without quotes.
    #[must_use]
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        match &self.last(key)?.kind {
            ValueKind::Bool(value) => Some(*value),
            ValueKind::Null => None,
            other => self.mistyped(key, "true or false without quotes", other),
        }
    }

    /// A list of strings; empty where it is missing.
    #[must_use]
    pub fn strings(&self, key: &'static str) -> Vec<String> {
        let mut strings = Vec::new();
        for value in self.values(key) {
            match &value.kind {
                ValueKind::List(list) => {
                    for element in list {
                        match &element.kind {
                            ValueKind::String(text) | ValueKind::Number(text) => strings.push(text.clone()),
                            other => self.misplaced(element.position, key, "a list of strings", other),
                        }
                    }
                }
                ValueKind::Null => {}
                other => self.misplaced(value.position, key, "a list of strings in brackets", other),
            }
        }
        strings
    }

    /// A list of strings that `parse` makes something of.
    #[must_use]
    pub fn all_parsed<T, E: Display>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let problem = |text: &str, err: E| self.error(key, format!("{text:?} cannot be used: {err}"));
        self.strings(key).iter().filter_map(|text| parse(text).map_err(|err| problem(text, err)).ok()).collect()
    }

    /// A block; where it comes several times, all together.
    #[must_use]
    pub fn block(&self, key: &'static str) -> Option<Self> {
        let found = self.found(key);
        let position = found.first()?.key.position;
        let items: Vec<_> = found.into_iter().map(|item| self.objects(key, &item.value, self.json)).collect();
        // Nothing but null is no block.
        let present = items.iter().any(Option::is_some);
        present.then(|| self.inner(key, Some(position), items.into_iter().flatten().flatten().flatten().collect()))
    }

    /// A list of blocks, or a block that may come several times.
    #[must_use]
    pub fn blocks(&self, key: &'static str) -> Vec<Self> {
        let values = self.values(key);
        let of_value = |value: &'a Value| {
            let position = value.position;
            self.objects(key, value, true)
                .into_iter()
                .flatten()
                .map(move |items| self.inner(key, Some(position), items))
        };
        values.into_iter().flat_map(of_value).collect()
    }

    /// Blocks with one label, in their order; a label may come several times.
    #[must_use]
    pub fn labelled(&self, key: &'static str) -> Vec<(&'a Key, Self)> {
        let mut found = Vec::new();
        for value in self.values(key) {
            for item in self.objects(key, value, self.json).into_iter().flatten().flatten() {
                let path = format!("{key} {:?}", item.key.name);
                for items in self.objects(key, &item.value, self.json).unwrap_or_else(|| vec![Vec::new()]) {
                    found.push((&item.key, self.inner(&path, Some(item.key.position), items)));
                }
            }
        }
        found
    }

    /// The keys that were not asked for so far, which nobody has to report any more.
    #[must_use]
    pub fn take_rest(&mut self) -> Vec<&'a Key> {
        let (known, unknown) = std::mem::take(&mut self.items).into_iter().partition(|item| self.knows(item));
        self.items = known;
        unknown.into_iter().map(|item| &item.key).collect()
    }

    /// Reports an error at the key, or at the block where it is missing.
    pub fn error(&self, key: &'static str, message: impl Into<String>) {
        self.report.error(self.problem(self.position_of(key), key, message));
    }

    /// Reports a warning likewise.
    pub fn warning(&self, key: &'static str, message: impl Into<String>) {
        self.report.warning(self.problem(self.position_of(key), key, message));
    }

    /// Reports that the key cannot be used yet, where it is there.
    pub fn unsupported(&self, key: &'static str) {
        if let Some(item) = self.found(key).last() {
            self.report.error(self.problem(Some(item.key.position), key, "not supported yet: remove it"));
        }
    }

    /// Reports none of the keys that were not asked for: what the block is for has been reported already.
    pub fn disregard(&self) {
        self.disregarded.set(true);
    }

    /// Reports that the key does nothing here, where it is there.
    pub fn without_effect(&self, key: &'static str, reason: &str) {
        if self.has(key) {
            self.warning(key, format!("has no effect: {reason}"));
        }
    }

    /// Reports an error at the block as a whole.
    pub fn error_here(&self, message: impl Into<String>) {
        let (file, path) = (self.file.to_owned(), self.path.clone());
        self.report.error(Problem { file, position: self.position, path, message: message.into() });
    }

    /// Reports an error at one of the keys that [`Self::labelled`] or [`Self::take_rest`] gave.
    pub fn error_at(&self, position: Position, name: &str, message: impl Into<String>) {
        self.report.error(self.problem(Some(position), name, message));
    }

    /// Where problems go.
    #[must_use]
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Where the block is; empty for the file itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn inner(&self, name: &str, position: Option<Position>, items: Vec<&'a Item>) -> Self {
        let path = joined(&self.path, name);
        let (report, file, json) = (self.report, self.file, self.json);
        Self { report, file, path, position, json, items, known: RefCell::default(), disregarded: Cell::default() }
    }

    fn problem(&self, position: Option<Position>, name: &str, message: impl Into<String>) -> Problem {
        Problem { file: self.file.to_owned(), position, path: joined(&self.path, name), message: message.into() }
    }

    fn found(&self, key: &'static str) -> Vec<&'a Item> {
        self.known.borrow_mut().push(key);
        self.items.iter().copied().filter(|item| item.key.name.eq_ignore_ascii_case(key)).collect()
    }

    fn values(&self, key: &'static str) -> Vec<&'a Value> {
        self.found(key).into_iter().map(|item| &item.value).collect()
    }

    fn last(&self, key: &'static str) -> Option<&'a Value> {
        self.values(key).pop()
    }

    /// The objects that the value is or, where that is allowed, lists; `None` for null.
    fn objects(&self, key: &'static str, value: &'a Value, listed: bool) -> Option<Vec<Vec<&'a Item>>> {
        match &value.kind {
            ValueKind::Object(items) => Some(vec![items.iter().collect()]),
            ValueKind::List(list) if listed => {
                Some(list.iter().filter_map(|value| self.objects(key, value, false)).flatten().collect())
            }
            ValueKind::Null => None,
            other => {
                self.misplaced(value.position, key, "a block in braces", other);
                None
            }
        }
    }

    fn mistyped<T>(&self, key: &'static str, wanted: &str, found: &ValueKind) -> Option<T> {
        self.error(key, format!("must be {wanted}, not {}", found.name()));
        None
    }

    fn misplaced(&self, position: Position, key: &'static str, wanted: &str, found: &ValueKind) {
        self.error_at(position, key, format!("must be {wanted}, not {}", found.name()));
    }

    fn position_of(&self, key: &'static str) -> Option<Position> {
        self.found(key).last().map(|item| item.key.position).or(self.position)
    }

    fn knows(&self, item: &Item) -> bool {
        self.known.borrow().iter().any(|known| item.key.name.eq_ignore_ascii_case(known))
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        if self.disregarded.get() {
            return;
        }
        for key in self.take_rest() {
            let known = self.known.borrow();
            let similar = known.iter().find(|known| similar(known, &key.name));
            let hint = similar.map(|similar| format!(", did you mean {similar}?")).unwrap_or_default();
            let message = format!("unknown configuration detected: there is no such key{hint}");
            self.error_at(key.position, &key.name, message);
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether one is the other with one letter more, less, or different, or with two next to each other swapped.
fn similar(known: &str, written: &str) -> bool {
    let (known, written) = (known.as_bytes(), written.as_bytes());
    let same_start = known.iter().zip(written).take_while(|(a, b)| a == b).count();
    let (known, written) = (known.get(same_start..).unwrap_or_default(), written.get(same_start..).unwrap_or_default());
    let tail = |text: &[u8]| text.get(1..).map(<[u8]>::to_vec).unwrap_or_default();
    let swapped =
        matches!((known, written), ([a, b, rest @ ..], [c, d, others @ ..]) if (a, b, rest) == (d, c, others));
    swapped || known == tail(written) || tail(known) == written || tail(known) == tail(written)
}

/// With `0x`, `0o`, `0b` and a leading zero as Go reads them.
fn parse_integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)];
    let prefixed = prefixes.into_iter().find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, radix)));
    let (digits, radix) = match prefixed {
        Some((digits, radix)) if !digits.is_empty() => (digits, radix),
        _ => (lower.as_str(), 10),
    };
    // from_str_radix would take a sign of its own.
    let bare = digits.starts_with(|c: char| c.is_ascii_alphanumeric());
    bare.then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("8081", Some(8081)),
            ("0x1F91", Some(8081)),
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("0644", Some(0o644)),
            ("08081", None),
            ("8081.0", None),
            ("", None),
            ("+-1", None),
            ("0x-1", None),
        ] {
            assert_eq!(parse_integer(text), number, "{text}");
        }
    }

    #[test]
    fn one_letter_off_is_similar() {
        for (written, expected) in [
            ("trust_domian", true),
            ("turst_domian", false),
            ("trust_domai", true),
            ("trust_domainn", true),
            ("x", false),
        ] {
            assert_eq!(similar("trust_domain", written), expected, "{written}");
        }
        assert!(similar("bind_port", "bind-port"));
    }
}
