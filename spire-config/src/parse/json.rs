//! JSON, with commas before a closing bracket as HCL's own reader of it tolerates them.

use super::cursor::Cursor;
use super::{Failure, MAX_DEPTH};
use crate::Error;
use crate::document::{Item, Key, Value, ValueKind};

/// The items of a whole file, which is one object.
pub(crate) fn json(text: &str) -> Result<Vec<Item>, Failure> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    parser.skip_space();
    let items = parser.object()?;
    parser.skip_space();
    match parser.cursor.peek() {
        None => Ok(items),
        Some(_) => parser.cursor.fail(format!("expected the end of the file, found {}", parser.cursor.found())),
    }
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    depth: usize,
}

impl Parser<'_> {
    fn object(&mut self) -> Result<Vec<Item>, Failure> {
        self.sequence('}', |parser| {
            let position = parser.cursor.position();
            let name = parser.string()?;
            parser.skip_space();
            if !parser.cursor.take(":") {
                return parser.cursor.fail(format!("expected : after key {name:?}, found {}", parser.cursor.found()));
            }
            Ok(Item { key: Key { name, position }, value: parser.value()? })
        })
    }

    /// Elements to `end`; the cursor stands at the bracket that opens them.
    fn sequence<T>(&mut self, end: char, element: impl Fn(&mut Self) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.cursor.fail(Error::too_deep());
        }
        self.cursor.next();
        let mut elements = Vec::new();
        loop {
            self.skip_space();
            if self.cursor.peek() != Some(end) {
                elements.push(element(self)?);
                self.skip_space();
                if self.cursor.take(",") {
                    continue;
                }
            }
            if self.cursor.peek() != Some(end) {
                return self.cursor.fail(format!("expected , or {end}, found {}", self.cursor.found()));
            }
            self.cursor.next();
            self.depth -= 1;
            return Ok(elements);
        }
    }

    fn value(&mut self) -> Result<Value, Failure> {
        self.skip_space();
        let start = self.cursor;
        let kind = match self.cursor.peek() {
            Some('{') => ValueKind::Object(self.object()?),
            Some('[') => ValueKind::List(self.sequence(']', Self::value)?),
            Some('"') => ValueKind::String(self.string()?),
            _ => match self.cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')) {
                "true" => ValueKind::Bool(true),
                "false" => ValueKind::Bool(false),
                "null" => ValueKind::Null,
                "" => return start.fail(format!("expected a value, found {}", start.found())),
                text if serde_json::from_str::<serde_json::Number>(text).is_ok() => ValueKind::Number(text.to_owned()),
                text => return start.fail(format!("{text:?} is no value")),
            },
        };
        Ok(Value { kind, position: start.position() })
    }

    fn string(&mut self) -> Result<String, Failure> {
        let start = self.cursor;
        if !self.cursor.take("\"") {
            return start.fail(format!("expected a text in double quotes, found {}", start.found()));
        }
        loop {
            match self.cursor.next() {
                None => return start.fail("string is not terminated: a closing \" is missing"),
                Some('\\') => drop(self.cursor.next()),
                Some('"') => break,
                Some(_) => {}
            }
        }
        let length = start.rest().len() - self.cursor.rest().len();
        let text = start.rest().get(..length).unwrap_or_default();
        serde_json::from_str(text).or_else(|err| start.fail(format!("string is not JSON: {err}")))
    }

    fn skip_space(&mut self) {
        self.cursor.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }
}
