//! Clients built on gRPC's C core (Python, C++, Ruby and others) name the host of a Unix socket by its path,
//! percent-encoded: `:authority: run%2Fspire%2Fapi.sock`. HTTP's own rules have no room for that, and our HTTP/2 would
//! reset their streams. Over a Unix socket the name says nothing, so what does not belong into one is replaced on the way
//! in, byte by byte: lengths, and with them everything else, stay as they are.

/// Follows what one client sends: HTTP/2 frames, and in those with headers the fields (RFC 9113 §4.1, RFC 7541 §6).
#[derive(Debug)]
pub struct Authority {
    frame: Frame,
    field: Field,
}

/// Where in the frames the next byte is.
#[derive(Debug)]
enum Frame {
    /// So many bytes of the client's preface are still to come.
    Preface(usize),
    /// In the nine bytes that begin a frame, of which so many have come.
    Head([u8; HEAD], usize),
    /// In a payload that does not matter.
    Other(usize),
    /// In a frame with headers: what comes before the fields, what remains in all, and the padding at its end. The first
    /// byte of a padded one tells the latter.
    Headers { before: usize, left: usize, padding: usize, is_padded: bool },
}

/// Where in the fields the next byte is.
#[derive(Debug)]
enum Field {
    Start,
    /// In the rest of an index or size that a byte was too small for; a text follows that of a `literal`.
    Number {
        literal: bool,
    },
    Length(Text),
    /// As before, with what is known of the length.
    LongLength {
        text: Text,
        length: usize,
        shift: u32,
        plain: bool,
    },
    Text {
        text: Text,
        left: usize,
        plain: bool,
    },
    /// What comes is not understood: the HTTP/2 behind will see it too.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// A name, as long as it may be that of the authority.
    Name {
        matched: usize,
        matches: bool,
    },
    Value {
        of_authority: bool,
    },
}

const NAME: &[u8] = b":authority";
const PREFACE: usize = 24;
const HEAD: usize = 9;
const NEXT_FRAME: Frame = Frame::Head([0; HEAD], 0);
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Before the first byte of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self { frame: Frame::Preface(PREFACE), field: Field::Start }
    }

    /// Takes the next bytes as they arrive, and puts the name right.
    pub fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes).clamp(1, bytes.len());
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// Takes some bytes, and says how many.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.frame {
            Frame::Preface(left) | Frame::Other(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    self.frame = NEXT_FRAME;
                }
                taken
            }
            Frame::Head(head, come) => {
                let before = *come;
                for (place, byte) in head.iter_mut().skip(before).zip(bytes.iter()) {
                    *place = *byte;
                    *come += 1;
                }
                let taken = *come - before;
                if *come == HEAD {
                    let [one, two, three, kind, flags, ..] = *head;
                    let length = usize::from(one) << 16 | usize::from(two) << 8 | usize::from(three);
                    self.frame = payload(length, kind, flags);
                    self.field = Field::Start;
                }
                taken
            }
            Frame::Headers { before, left, padding, is_padded } => {
                let Some(byte) = bytes.first_mut() else { return 0 };
                if std::mem::take(is_padded) {
                    *padding = usize::from(*byte);
                }
                if *before > 0 {
                    *before -= 1;
                } else if *left > *padding {
                    self.field.next(byte);
                }
                *left -= 1;
                if *left == 0 {
                    self.frame = NEXT_FRAME;
                }
                1
            }
        }
    }
}

fn payload(length: usize, kind: u8, flags: u8) -> Frame {
    let is_padded = flags & PADDED != 0;
    match (length, kind) {
        (0, _) => NEXT_FRAME,
        (left, HEADERS) => {
            let before = usize::from(is_padded) + if flags & PRIORITY == 0 { 0 } else { 5 };
            Frame::Headers { before, left, padding: 0, is_padded }
        }
        (left, _) => Frame::Other(left),
    }
}

impl Field {
    fn next(&mut self, byte: &mut u8) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Start => Self::begin(*byte),
            Self::Number { literal } if *byte & 0x80 != 0 => Self::Number { literal },
            Self::Number { literal: true } => Self::Length(Text::Value { of_authority: false }),
            Self::Number { literal: false } => Self::Start,
            Self::Length(text) => {
                let (plain, length) = (*byte & 0x80 == 0, usize::from(*byte & 0x7f));
                match length {
                    0x7f => Self::LongLength { text, length, shift: 0, plain },
                    length => Self::text(text, length, plain),
                }
            }
            Self::LongLength { text, length, shift, plain } if shift <= 21 => {
                let length = length + (usize::from(*byte & 0x7f) << shift);
                match *byte & 0x80 {
                    0 => Self::text(text, length, plain),
                    _ => Self::LongLength { text, length, shift: shift + 7, plain },
                }
            }
            Self::Text { text, left, plain } => Self::text(text.next(byte, plain), left - 1, plain),
            Self::LongLength { .. } | Self::Lost => Self::Lost,
        };
    }

    /// The first byte of a field says what it is, and which name it has where the client has used it before.
    fn begin(byte: u8) -> Self {
        let (literal, mask) = match byte {
            0x80.. => (false, 0x7f),
            0x40.. => (true, 0x3f),
            0x20.. => (false, 0x1f),
            _ => (true, 0x0f),
        };
        match (literal, byte & mask) {
            (_, index) if index == mask => Self::Number { literal },
            (false, _) => Self::Start,
            (true, 0) => Self::Length(Text::Name { matched: 0, matches: true }),
            // Number 1 of the static table (RFC 7541 appendix A).
            (true, index) => Self::Length(Text::Value { of_authority: index == 1 }),
        }
    }

    /// In a text of which so much is left.
    fn text(text: Text, left: usize, plain: bool) -> Self {
        match (left, text) {
            (0, Text::Name { matched, matches }) => {
                Self::Length(Text::Value { of_authority: matches && matched == NAME.len() })
            }
            (0, Text::Value { .. }) => Self::Start,
            (left, text) => Self::Text { text, left, plain },
        }
    }
}

impl Text {
    fn next(self, byte: &mut u8, plain: bool) -> Self {
        match self {
            Self::Name { matched, matches } => {
                Self::Name { matched: matched + 1, matches: matches && plain && NAME.get(matched) == Some(byte) }
            }
            Self::Value { of_authority } => {
                if of_authority && plain && !byte.is_ascii_alphanumeric() && *byte != b'.' {
                    *byte = b'-';
                }
                self
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

    fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
        let length = u8::try_from(block.len()).unwrap();
        [&[0, 0, length, 1, flags, 0, 0, 0, 1], block].concat()
    }

    fn passed(stream: &[u8], chunk: usize) -> Vec<u8> {
        let (mut authority, mut stream) = (Authority::new(), stream.to_vec());
        stream.chunks_mut(chunk).for_each(|chunk| authority.pass(chunk));
        stream
    }

    /// Flags, what is sent, and what arrives.
    type Case<'a> = (u8, &'a [u8], &'a [u8]);

    fn expect(cases: &[Case<'_>]) {
        let (mut sent, mut expected) = (SETTINGS.to_vec(), SETTINGS.to_vec());
        for (flags, sends, arrives) in cases {
            sent.extend(headers(*flags, sends));
            expected.extend(headers(*flags, arrives));
        }
        for chunk in [1, 2, 7, 1000] {
            assert_eq!(passed(&sent, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn the_path_of_a_socket_becomes_a_name() {
        expect(&[
            (
                4,
                b"@\x05:path\x02/%@\n:authority\x08a%2Fb_:c\x83\x86",
                b"@\x05:path\x02/%@\n:authority\x08a-2Fb--c\x83\x86",
            ),
            // by its number, after a size and a padding, never to be stored
            (4, b"\x20\x41\x03%2F", b"\x20\x41\x03-2F"),
            (8, b"\x02\x11\x01%%%", b"\x02\x11\x01-%%"),
            (0x28, b"\x01\0\0\0\0%\x01\x01%%", b"\x01\0\0\0\0%\x01\x01-%"),
        ]);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for block in [
            &b"@\n:authority\x09localhost"[..],
            // compressed, other names, numbers of more than one byte
            b"\x41\x83%%%",
            b"@\n:authoritx\x01%@\x01:\x01%@\x0b:authority-\x01%",
            b"\x7f\x80\x01\x01%\xff\x80\x01\x0f\x01\x01%",
            b"",
        ] {
            expect(&[(4, block, block), (4, b"\x41\x01%", b"\x41\x01-")]);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_pass_and_keep_their_number(stream: Vec<u8>, chunk in 1usize..9) {
            let sent = [SETTINGS, &stream].concat();
            assert_eq!(passed(&sent, chunk).len(), sent.len());
        }
    }
}
