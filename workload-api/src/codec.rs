//! How messages are encoded: by prost, in buffers of their length.
//!
//! An agent holds a stream for each of its workloads and has nothing to say on most of them, but keeps the buffer of the
//! last message. tonic's own buffers, made for messages that follow each other, would be most of what such a stream takes.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Room at first, in bytes: for what comes before a message.
const BEGINNING: usize = 16;
/// Room for a request, in bytes.
const REQUEST: usize = 256;
/// So many bytes are handed on before more messages are encoded: tonic's own value.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub(crate) struct SmallCodec<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(ProstEncoder::new(BufferSettings::new(BEGINNING, YIELD_THRESHOLD)))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(REQUEST, YIELD_THRESHOLD))
    }
}

/// Makes room for each message as a whole.
#[derive(Debug)]
pub(crate) struct ExactEncoder<T>(ProstEncoder<T>);

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        self.0.encode(message, buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
