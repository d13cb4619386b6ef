//! Quoted texts and heredocs of HCL.

use super::Failure;
use super::cursor::Cursor;

/// A text in double quotes, at which the cursor stands.
///
/// What stands in `${ … }` is taken as it is, quotes and line ends included: nothing is put in its place.
pub(super) fn quoted(cursor: &mut Cursor<'_>) -> Result<String, Failure> {
    let start = *cursor;
    let unterminated = || start.fail("string is not terminated: a closing \" is missing");
    cursor.next();
    let mut bytes = Vec::new();
    loop {
        let here = *cursor;
        match cursor.next() {
            None => return unterminated(),
            Some('"') => break,
            Some('\n') => return here.fail("string is not terminated at the end of the line"),
            Some('\\') => escape(cursor, &here, &mut bytes)?,
            Some('$') if cursor.peek() == Some('{') => {
                bytes.push(b'$');
                if !interpolation(cursor, &mut bytes) {
                    return unterminated();
                }
            }
            Some(plain) => push(&mut bytes, plain),
        }
    }
    String::from_utf8(bytes).or_else(|_| start.fail("string is not UTF-8"))
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Takes the braces, at the first of which the cursor stands, and what is in them; false when they do not end.
fn interpolation(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> bool {
    let mut open = 0_usize;
    while let Some(next) = cursor.next() {
        push(bytes, next);
        match next {
            '{' => open += 1,
            '}' if open == 1 => return true,
            '}' => open -= 1,
            _ => {}
        }
    }
    false
}

/// What follows a backslash.
fn escape(cursor: &mut Cursor<'_>, start: &Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    let plain = match cursor.peek() {
        Some('a') => 0x07,
        Some('b') => 0x08,
        Some('f') => 0x0c,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0b,
        Some('\\') => b'\\',
        Some('"') => b'"',
        _ => match numeric_escape(cursor) {
            Some(numeric) => {
                bytes.extend(numeric);
                return Ok(());
            }
            None => return start.fail("unknown escape sequence in string; a backslash is written as two"),
        },
    };
    cursor.next();
    bytes.push(plain);
    Ok(())
}

/// The bytes of an octal, `x`, `u` or `U` escape.
fn numeric_escape(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let (letter, digits, radix) = match cursor.peek()? {
        '0'..='7' => (0, 3, 8),
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        _ => return None,
    };
    let names_a_byte = digits < 4;
    let text = cursor.rest().get(letter..letter + digits).filter(|text| text.chars().all(|c| c.is_digit(radix)))?;
    let code = u32::from_str_radix(text, radix).ok()?;
    cursor.skip(letter + digits);
    if names_a_byte {
        return Some(vec![u8::try_from(code).ok()?]);
    }
    Some(char::from_u32(code)?.to_string().into_bytes())
}

/// The lines between `<<TAG`, at which the cursor stands, and a line with the tag alone.
///
/// With `<<-TAG` lines lose the closing tag's indentation, where all have it.
pub(super) fn heredoc(cursor: &mut Cursor<'_>) -> Result<String, Failure> {
    let start = *cursor;
    cursor.skip(2);
    let unindent = cursor.take("-");
    let tag = cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if tag.is_empty() || (!cursor.take("\n") && !cursor.take("\r\n")) {
        return start.fail("heredoc must begin with << and a word that ends the line");
    }
    let mut lines = Vec::new();
    while !cursor.rest().is_empty() {
        let line = cursor.take_while(|c| c != '\n');
        if line.trim() == tag {
            let indentation = line.split(tag).next().unwrap_or_default();
            let all_have_it = unindent && lines.iter().all(|line: &&str| line.starts_with(indentation));
            let indentation = if all_have_it { indentation.len() } else { 0 };
            return Ok(lines
                .iter()
                .filter_map(|line| line.get(indentation..))
                .fold(String::new(), |text, line| text + line.trim_end_matches('\r') + "\n"));
        }
        lines.push(line);
        cursor.next();
    }
    start.fail(format!("heredoc is not terminated: a line with {tag} alone is missing"))
}
