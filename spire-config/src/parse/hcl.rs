//! HCL 1.

use super::cursor::Cursor;
use super::{Failure, MAX_DEPTH, string};
use crate::Error;
use crate::document::{Item, Key, Position, Value, ValueKind};

/// The items of a whole file.
pub(crate) fn hcl(text: &str) -> Result<Vec<Item>, Failure> {
    Parser { cursor: Cursor::new(text), depth: 0 }.items(None)
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    depth: usize,
}

impl Parser<'_> {
    /// Items to the end of the file, or to the brace that closes the block opened at `start`.
    fn items(&mut self, start: Option<Position>) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        loop {
            self.skip_space()?;
            match (self.cursor.peek(), start) {
                (None, None) => return Ok(items),
                (None, Some(start)) => return Err((start, "block is not closed: a } is missing".to_owned())),
                (Some('}'), Some(_)) => {
                    self.cursor.next();
                    return Ok(items);
                }
                _ => items.push(self.item()?),
            }
            self.skip_space()?;
            self.cursor.take(",");
        }
    }

    fn item(&mut self) -> Result<Item, Failure> {
        let key = self.key()?;
        let mut labels = Vec::new();
        loop {
            self.skip_space()?;
            let position = self.cursor.position();
            match self.cursor.peek() {
                Some('{') => {
                    let block = Value { kind: self.object()?, position };
                    return Ok(labelled(key, labels, block));
                }
                Some('=') if labels.is_empty() => {
                    self.cursor.next();
                    return Ok(Item { key, value: self.value()? });
                }
                Some('=') => return self.cursor.fail("a key before = has no labels; a block has no ="),
                Some('"' | '_') => labels.push(self.key()?),
                Some(letter) if letter.is_alphabetic() => labels.push(self.key()?),
                _ => {
                    let found = self.cursor.found();
                    return self.cursor.fail(format!("expected = or {{ after key {:?}, found {found}", key.name));
                }
            }
        }
    }

    fn key(&mut self) -> Result<Key, Failure> {
        let position = self.cursor.position();
        let name = match self.cursor.peek() {
            Some('"') => string::quoted(&mut self.cursor)?,
            Some(first) if first == '_' || first.is_alphabetic() => self.word().to_owned(),
            _ => return self.cursor.fail(format!("expected a key, found {}", self.cursor.found())),
        };
        Ok(Key { name, position })
    }

    fn word(&mut self) -> &str {
        self.cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    }

    fn value(&mut self) -> Result<Value, Failure> {
        self.skip_space()?;
        let position = self.cursor.position();
        let kind = match self.cursor.peek() {
            Some('"') => ValueKind::String(string::quoted(&mut self.cursor)?),
            Some('<') if self.cursor.rest().starts_with("<<") => ValueKind::String(string::heredoc(&mut self.cursor)?),
            Some('{') => self.object()?,
            Some('[') => self.list()?,
            Some('-' | '+' | '.' | '0'..='9') => self.number()?,
            Some(letter) if letter.is_alphabetic() => match self.word() {
                "true" => ValueKind::Bool(true),
                "false" => ValueKind::Bool(false),
                word => {
                    return Err((position, format!("unexpected word {word:?}: texts are written in double quotes")));
                }
            },
            _ => return self.cursor.fail(format!("expected a value, found {}", self.cursor.found())),
        };
        Ok(Value { kind, position })
    }

    fn number(&mut self) -> Result<ValueKind, Failure> {
        let start = self.cursor;
        let text = self.cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let valid = match hexadecimal {
            Some(digits) => !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
            None => digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok(),
        };
        if valid { Ok(ValueKind::Number(text.to_owned())) } else { start.fail(format!("{text:?} is no number")) }
    }

    fn object(&mut self) -> Result<ValueKind, Failure> {
        let start = self.cursor.position();
        self.deeper()?;
        self.cursor.next();
        let items = self.items(Some(start))?;
        self.depth -= 1;
        Ok(ValueKind::Object(items))
    }

    fn list(&mut self) -> Result<ValueKind, Failure> {
        let start = self.cursor;
        self.deeper()?;
        self.cursor.next();
        let mut values = Vec::new();
        let mut separated = true;
        loop {
            self.skip_space()?;
            match self.cursor.peek() {
                None => return start.fail("list is not closed: a ] is missing"),
                Some(']') => break,
                Some(',') => separated = true,
                Some(_) if !separated => {
                    return self.cursor.fail(format!("expected , or ] in a list, found {}", self.cursor.found()));
                }
                Some(_) => {
                    values.push(self.value()?);
                    separated = false;
                    continue;
                }
            }
            self.cursor.next();
        }
        self.cursor.next();
        self.depth -= 1;
        Ok(ValueKind::List(values))
    }

    fn deeper(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.cursor.fail(Error::too_deep()) } else { Ok(()) }
    }

    /// Moves over space and comments.
    fn skip_space(&mut self) -> Result<(), Failure> {
        loop {
            self.cursor.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            let rest = self.cursor.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.cursor.take_while(|c| c != '\n');
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.cursor.skip(end + 2),
                    None => return self.cursor.fail("comment is not closed: a */ is missing"),
                }
            } else {
                return Ok(());
            }
        }
    }
}

/// `key a b { … }` as `key { a { b { … } } }`.
fn labelled(key: Key, labels: Vec<Key>, block: Value) -> Item {
    let value = labels.into_iter().rev().fold(block, |value, label| {
        let position = label.position;
        Value { kind: ValueKind::Object(vec![Item { key: label, value }]), position }
    });
    Item { key, value }
}
