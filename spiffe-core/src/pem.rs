//! PEM: labelled base64 blocks (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Largest text that is read, in bytes.
pub const MAX_TEXT_LENGTH: usize = 4 << 20;
/// Width of the body's lines.
const LINE_WIDTH: usize = 64;

/// One block.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after BEGIN, e.g. `CERTIFICATE`.
    pub label: String,
    /// The decoded body.
    pub der: Vec<u8>,
}

/// The body may be a private key, so it is not shown.
impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Why a text is no PEM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// A block's body is not base64.
    #[error("PEM block {label:?} that begins at line {line} is not valid base64")]
    Base64 {
        /// The block's label.
        label: String,
        /// Line of its BEGIN, from 1.
        line: usize,
    },
    /// No block at all.
    #[error("no PEM blocks")]
    Empty,
    /// The text is longer than [`MAX_TEXT_LENGTH`].
    #[error("PEM text is longer than {MAX_TEXT_LENGTH} bytes")]
    TooLong,
    /// A BEGIN without its END.
    #[error("PEM block {label:?} that begins at line {line} has no end")]
    Unterminated {
        /// The block's label.
        label: String,
        /// Line of its BEGIN, from 1.
        line: usize,
    },
}

/// Prints one block, with a final newline.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / LINE_WIDTH + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE_WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Reads all blocks of a text; what stands between them is ignored.
///
/// # Errors
/// [`PemError`]; a text without any block is [`PemError::Empty`].
pub fn decode_all(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_TEXT_LENGTH {
        return Err(PemError::TooLong);
    }
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(label) = boundary(line, "-----BEGIN ") else { continue };
        let mut body = Zeroizing::new(String::new());
        let ended = lines.by_ref().any(|(_, line)| {
            let ends = boundary(line, "-----END ") == Some(label);
            // Headers ("Proc-Type: ...") belong to encrypted keys, which fail as base64 below.
            if !ends {
                body.push_str(line.trim());
            }
            ends
        });
        let (label, line) = (label.to_owned(), number + 1);
        if !ended {
            return Err(PemError::Unterminated { label, line });
        }
        let Ok(der) = STANDARD.decode(body.as_bytes()) else { return Err(PemError::Base64 { label, line }) };
        blocks.push(Block { label, der });
    }
    if blocks.is_empty() { Err(PemError::Empty) } else { Ok(blocks) }
}

fn boundary<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim().strip_prefix(start)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_are_read_in_order_and_prose_between_them_is_ignored() {
        let text = format!("a comment\n{}more\r\n{}", encode("A", b"one"), encode("B", b"two").replace('\n', "\r\n"));
        let blocks = decode_all(&text).unwrap();
        assert_eq!(
            blocks.iter().map(|b| (b.label.as_str(), b.der.as_slice())).collect::<Vec<_>>(),
            [("A", b"one".as_slice()), ("B", b"two".as_slice())]
        );
    }

    #[test]
    fn broken_texts_say_where() {
        assert_eq!(decode_all("nothing here"), Err(PemError::Empty));
        let open = "\n-----BEGIN X-----\nAAAA\n";
        assert_eq!(decode_all(open), Err(PemError::Unterminated { label: "X".into(), line: 2 }));
        let bad = "-----BEGIN X-----\n!!!\n-----END X-----\n";
        assert_eq!(decode_all(bad), Err(PemError::Base64 { label: "X".into(), line: 1 }));
        assert_eq!(decode_all(&" ".repeat(MAX_TEXT_LENGTH + 1)), Err(PemError::TooLong));
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode_all(&encode("CERTIFICATE", &der)).unwrap()[0].der.clone(), der);
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = decode_all(&text);
        }
    }
}
